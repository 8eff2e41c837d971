"""The signed-in user as a value, and the checks and row locks that every change to an account begins with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, select

from core import errors
from core.accounts.usernames import fold_username
from core.database.database import AdvisoryLock, Database
from core.database.models import ApiToken, Scope, SignInSession, User

# How old "last seen" may grow before a request writes it again: without it, every read would be a write.
LAST_SEEN_INTERVAL = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The user that a request comes from, with a browser's session or with an API token.

    `session_id` is the id of the browser's session row, and empty with a token. `scopes` is what a token
    allows; None stands for a browser's session, which may do everything. With a token nobody is an
    administrator.
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
        """Raise ScopeMissing unless the session or token allows `scope`."""
        if not self.may(scope):
            raise errors.ScopeMissing(details=f"needed: {scope}")


def require_admin(user: SignedIn) -> None:
    """Raise NotAllowed unless `user` is an administrator."""
    if not user.is_admin:
        raise errors.NotAllowed


def lock_accounts(database: Database, session: Session) -> None:
    """Serialise the changes that look at many rows first, as "is this the first account?" does.

    The lock is held until the transaction of `session` ends.
    """
    database.lock(session, AdvisoryLock.ACCOUNTS)


def lock_user(session: Session, user_id: str) -> User | None:
    """Read the user's current row and lock it until the transaction ends.

    A change that lets somebody in (a session, a ticket, a token) and a change that ends it (a new password, a
    withdrawal) both take this lock, so that one is complete before the other begins. Inserting rows that
    refer to the user isn't held up.
    """
    statement = select(User).where(User.id == user_id).with_for_update(key_share=True)
    return session.exec(statement.execution_options(populate_existing=True)).one_or_none()


def lock_verified_user(session: Session, username: str, verified_hash: str) -> User:
    """Lock the user whose stored hash is still `verified_hash`. Raises SignInFailed otherwise.

    Checking a password takes long enough for the hash to change, or the access to be withdrawn, meanwhile.
    """
    statement = select(User).where(User.username == fold_username(username)).with_for_update(key_share=True)
    user = session.exec(statement).one_or_none()
    if user is None or user.withdrawn_at or user.password_hash != verified_hash:
        raise errors.SignInFailed
    return user


def check_standing(session: Session, user: SignedIn, now: datetime) -> None:
    """Raise SessionEnded unless the user's session or token is still valid.

    It stays valid until the transaction of `session` ends, because the user's row is locked.
    """
    found = lock_user(session, user.user_id)
    token = session.get(ApiToken, user.token_id) if user.token_id else None
    row = token or session.get(SignInSession, user.session_id)
    if found is None or found.withdrawn_at or row is None or row.user_id != found.id:
        raise errors.SessionEnded
    if row.expires_at is not None and row.expires_at <= now:
        raise errors.SessionEnded
