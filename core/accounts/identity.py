"""The signed-in user as a value, and the checks that their account still stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, select

from core import errors
from core.database.models import ApiToken, Scope, SignInSession, User

# Writing "last seen" on every poll would make readers writers.
SEEN_EVERY = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Who a request comes from; `session_id` names the browser's session row, '' where a token came instead.

    `scopes` is what a token allows; None is a browser's session, which may do everything. Whoever comes with
    a token is nobody's administrator.
    """

    user_id: str
    username: str
    display_name: str
    is_admin: bool
    session_id: str
    scopes: frozenset[Scope] | None = None
    token_id: str | None = None

    def may(self, scope: Scope) -> bool:
        return self.scopes is None or scope in self.scopes

    def require(self, scope: Scope) -> None:
        """Raise ScopeMissing unless this may be done."""
        if not self.may(scope):
            raise errors.ScopeMissing(details=f"needed: {scope}")


def lock_user(session: Session, user_id: str) -> User | None:
    """The user as they are now, whose row nobody else changes or locks until the transaction ends.

    What lets somebody in is made, and what ends it is done, with this lock held: so each comes wholly before
    the other. What merely refers to the user isn't held up.
    """
    this = select(User).where(User.id == user_id).with_for_update(key_share=True)
    return session.exec(this.execution_options(populate_existing=True)).one_or_none()


def check_standing(session: Session, user: SignedIn, now: datetime) -> None:
    """Raise SessionEnded unless what this user came with stands, and will until the transaction ends."""
    found = lock_user(session, user.user_id)
    by_token = session.get(ApiToken, user.token_id) if user.token_id else None
    row = by_token or session.get(SignInSession, user.session_id)
    if found is None or found.withdrawn_at or row is None or row.user_id != found.id:
        raise errors.SessionEnded
    if row.expires_at is not None and row.expires_at <= now:
        raise errors.SessionEnded
