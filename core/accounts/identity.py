"""The signed-in user, and the permission checks and row locks for changes to accounts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlmodel import Session, select

from core import errors
from core.accounts.usernames import fold_username
from core.database.database import AdvisoryLock, Database
from core.database.models import ApiToken, Scope, SignInSession, User

# The time of last use is written at most once per interval. Otherwise every read would need a write.
LAST_SEEN_INTERVAL = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class SignedIn:
    """The user of a request, who signed in with a browser session or with an API token.

    - Browser session: `session_id` is the id of the session's row. `scopes` is None: everything is allowed.
    - API token: `session_id` is empty, `scopes` are the token's permissions, and `is_admin` is always False.
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
    """Take the lock for account changes that depend on many rows, such as creating the first account.

    The lock serialises these changes. It is held until the transaction of `session` ends.
    """
    database.lock(session, AdvisoryLock.ACCOUNTS)


def lock_user(session: Session, user_id: str) -> User | None:
    """Lock the user's row until the transaction ends, and return it. Returns None if no user has this id.

    Creating a session, ticket or token takes this lock, and so does ending them by a new password or a
    withdrawal. One of two such changes therefore waits for the other. Other transactions can still insert
    rows that refer to the user.
    """
    statement = select(User).where(User.id == user_id).with_for_update(key_share=True)
    return session.exec(statement.execution_options(populate_existing=True)).one_or_none()


def lock_verified_user(session: Session, username: str, verified_hash: str) -> User:
    """Lock the user's row and return it. `verified_hash` is the hash that the password was checked against.

    Checking a password is slow, so the account may have changed meanwhile. Raises SignInFailed if the stored
    hash is another one by now, or if the user was withdrawn.
    """
    statement = select(User).where(User.username == fold_username(username)).with_for_update(key_share=True)
    user = session.exec(statement).one_or_none()
    if user is None or user.withdrawn_at or user.password_hash != verified_hash:
        raise errors.SignInFailed
    return user


def check_standing(session: Session, user: SignedIn, now: datetime) -> None:
    """Raise SessionEnded unless the user's browser session or API token is still valid.

    The user's row is locked, so nothing can end the session or token before the transaction ends.
    """
    found = lock_user(session, user.user_id)
    token = session.get(ApiToken, user.token_id) if user.token_id else None
    row = token or session.get(SignInSession, user.session_id)
    if found is None or found.withdrawn_at or row is None or row.user_id != found.id:
        raise errors.SessionEnded
    if row.expires_at is not None and row.expires_at <= now:
        raise errors.SessionEnded
