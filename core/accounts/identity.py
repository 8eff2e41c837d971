"""The signed-in user, and the permission checks and row locks for changes to accounts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, select

from core import errors
from core.accounts.usernames import fold_username
from core.database.database import AdvisoryLock, Database
from core.database.models import ApiToken, Scope, SignInSession, User

# The time at which a session or token was last used is written at most once per interval. Otherwise each
# check of a session or token would write to the database.
LAST_SEEN_INTERVAL = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The user of a request, who signed in with a browser session or with an API token.

    - Browser session: `session_id` is the id of the session's row. `scopes` is None, which permits
      everything.
    - API token: `token_id` is the id of the token's row, and `scopes` has the token's permissions.
      `session_id` is empty and `is_admin` is False.
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
        """Raise ScopeMissing if the user signed in with an API token that doesn't have `scope`."""
        if not self.may(scope):
            raise errors.ScopeMissing(details=f"needed: {scope}")


def require_admin(user: SignedIn) -> None:
    """Raise NotAllowed unless `user` is an administrator."""
    if not user.is_admin:
        raise errors.NotAllowed


def lock_accounts(database: Database, session: Session) -> None:
    """Take the lock that serialises account changes which depend on many rows.

    Creating the first account is such a change. The lock is held until the transaction of `session` ends.
    """
    database.lock(session, AdvisoryLock.ACCOUNTS)


def lock_user(session: Session, user_id: str) -> User | None:
    """Lock the user's row until the transaction ends, and return the row.

    Returns None if no user has this id. Creating a session, ticket or API token of a user locks the user's
    row first. Ending all of them, after a new password or a withdrawal of access, does so too. Such changes
    therefore run one after the other. Other transactions can still insert rows that refer to the user.
    """
    statement = select(User).where(User.id == user_id).with_for_update(key_share=True)
    return session.exec(statement.execution_options(populate_existing=True)).one_or_none()


def lock_verified_user(session: Session, username: str, verified_hash: str) -> User:
    """Lock the user's row until the transaction ends, and return the row.

    `verified_hash` is the stored hash that the password was checked against. Checking a password is slow, so
    the account may have changed meanwhile. Raises SignInFailed if the stored hash now differs from
    `verified_hash`. Raises AccessWithdrawn if it doesn't, and the user's access was withdrawn.
    """
    statement = select(User).where(User.username == fold_username(username)).with_for_update(key_share=True)
    user = session.exec(statement).one_or_none()
    if user is None or user.password_hash != verified_hash:
        raise errors.SignInFailed
    if user.withdrawn_at:
        raise errors.AccessWithdrawn
    return user


def check_standing(session: Session, user: SignedIn, now: datetime) -> None:
    """Raise SessionEnded unless the browser session or API token of `user` is valid at the time `now`.

    Locks the user's row until the transaction ends. Until then, a new password or a withdrawal of access
    can't end the session or token.
    """
    found = lock_user(session, user.user_id)
    token = session.get(ApiToken, user.token_id) if user.token_id else None
    row = token or session.get(SignInSession, user.session_id)
    if found is None or found.withdrawn_at or row is None or row.user_id != found.id:
        raise errors.SessionEnded
    if row.expires_at is not None and row.expires_at <= now:
        raise errors.SessionEnded
