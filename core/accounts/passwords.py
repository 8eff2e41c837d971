"""Passwords: the rules for a new one, the stored hash, and the reset links that replace a forgotten one."""

from __future__ import annotations

import base64
import hashlib
import secrets
import unicodedata
from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete
from sqlmodel import Session, col, select

from core import errors
from core.accounts.api_tokens import end_tokens
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import SignedIn, lock_accounts, lock_user, lock_verified_user, require_admin
from core.accounts.sessions import end_sessions
from core.accounts.sign_in_attempts import clear_attempts
from core.accounts.usernames import fold_username
from core.common.clock import utc_now
from core.common.ids import sha256_hex
from core.database.database import Database
from core.database.models import PasswordReset, User

MIN_PASSWORD_LENGTH = 10
MAX_PASSWORD_LENGTH = 1024
_MIN_DIFFERENT_CHARACTERS = 4
RESET_LIFETIME = timedelta(hours=24)
# The query parameter of a reset link that has its token.
RESET_PARAM = "reset"


class Passwords:
    """Stores password hashes and reset links.

    A reset token is returned as text once. The database has its SHA-256 only.
    """

    def __init__(
        self, database: Database, audit_log: AuditLog, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._clock = clock

    def stored_hash(self, username: str) -> str | None:
        """The hash of a user's password; None for an unknown or withdrawn user."""
        with self._database.read() as session:
            return session.exec(
                select(User.password_hash).where(
                    User.username == fold_username(username), col(User.withdrawn_at).is_(None)
                )
            ).first()

    def replace_hash(self, username: str, password_hash: str, verified_hash: str) -> None:
        """Replace the user's hash, and end their sessions, reset links and API tokens.

        `verified_hash` is the stored hash that the current password matched. Raises SignInFailed if the user
        has another hash by now, or no access.
        """
        with self._database.write() as session:
            user = lock_verified_user(session, username, verified_hash)
            user.password_hash = password_hash
            end_sessions(session, user.id)
            end_resets(session, user.id)
            self._audit_log.record(session, Action.PASSWORD_CHANGE, actor=user.id, subject=user.username)
            end_tokens(session, self._audit_log, user, "a new password", actor=user.id)

    def create_reset(self, admin: SignedIn, user_id: str) -> str:
        """Return a token with which a user sets a new password, once and within RESET_LIFETIME.

        It can't be read again, and replaces an earlier one. Raises NotAllowed, also for an account that
        doesn't exist or was withdrawn.
        """
        require_admin(admin)
        return self._create_reset(col(User.id) == user_id, admin=admin)

    def create_reset_as_operator(self, username: str) -> str:
        """The same without an administrator, for `python -m core recover`."""
        return self._create_reset(col(User.username) == fold_username(username))

    def _create_reset(self, is_user: ColumnElement[bool], *, admin: SignedIn | None = None) -> str:
        token, now = secrets.token_urlsafe(24), self._clock()
        with self._database.write() as session:
            lock_accounts(self._database, session)
            user = session.exec(select(User).where(is_user)).one_or_none()
            if user is None or user.withdrawn_at:
                raise errors.NotAllowed("There is no account with that name, or its access was withdrawn.")
            end_resets(session, user.id)
            session.add(PasswordReset(id=sha256_hex(token), user_id=user.id, expires_at=now + RESET_LIFETIME))
            self._audit_log.record(
                session,
                Action.PASSWORD_RESET_MADE,
                actor=admin.user_id if admin else None,
                subject=user.username,
                details="" if admin else "by the server's operator",
            )
        return token

    def check_reset(self, token: str) -> str:
        """The name of the user that a reset token belongs to. Raises ResetInvalid."""
        with self._database.read() as session:
            return self._reset_user(session, token).username

    def use_reset(self, token: str, password_hash: str) -> str:
        """Store a new hash and return the user's name.

        Ends the user's sessions, reset links, API tokens and lock-out. Raises ResetInvalid, also for
        the second of two concurrent uses.
        """
        with self._database.write() as session:
            lock_accounts(self._database, session)
            owner = select(PasswordReset.user_id).where(PasswordReset.id == sha256_hex(token))
            if user_id := session.exec(owner).first():
                lock_user(session, user_id)
            user = self._reset_user(session, token)
            user.password_hash = password_hash
            session.add(user)
            end_sessions(session, user.id)
            end_resets(session, user.id)
            clear_attempts(session, user.username)
            self._audit_log.record(session, Action.PASSWORD_RESET_USED, subject=user.username)
            end_tokens(session, self._audit_log, user, "a new password by a link")
            return user.username

    def _reset_user(self, session: Session, token: str) -> User:
        row = session.get(PasswordReset, sha256_hex(token))
        user = session.get(User, row.user_id) if row and row.expires_at > self._clock() else None
        if user is None or user.withdrawn_at:
            raise errors.ResetInvalid
        return user

    def tidy(self) -> None:
        """Remove expired reset links."""
        with self._database.write() as session:
            session.execute(delete(PasswordReset).where(col(PasswordReset.expires_at) <= self._clock()))


def end_resets(session: Session, user_id: str) -> None:
    session.execute(delete(PasswordReset).where(col(PasswordReset.user_id) == user_id))


def prehash(password: str) -> str:
    """Shorten any password to 44 ASCII characters, because bcrypt refuses more than 72 bytes.

    A password longer than the maximum is cut first: normalising a run of combining marks takes time that is
    quadratic in its length.
    """
    whole = unicodedata.normalize("NFKC", password[: MAX_PASSWORD_LENGTH + 1]).encode(
        "utf-8", "surrogatepass"
    )
    digest = hashlib.sha256(whole).digest()
    return base64.b64encode(digest).decode()


def check_password_rules(password: str, username: str = "") -> None:
    """Raise PasswordRejected unless `password` has a permitted length and isn't easy to guess."""
    if len(password) < MIN_PASSWORD_LENGTH:
        raise errors.PasswordRejected(f"A password needs at least {MIN_PASSWORD_LENGTH} characters.")
    if len(password) > MAX_PASSWORD_LENGTH:
        raise errors.PasswordRejected(f"A password can have at most {MAX_PASSWORD_LENGTH} characters.")
    folded = unicodedata.normalize("NFKC", password).casefold()
    too_few = len(set(folded)) < _MIN_DIFFERENT_CHARACTERS
    if too_few or folded in _common_passwords() or folded == fold_username(username):
        raise errors.PasswordRejected


def _common_passwords() -> dict[str, int]:
    # Half a megabyte of words, imported only when somebody sets a new password.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415

    passwords: dict[str, int] = FREQUENCY_LISTS["passwords"]
    return passwords


def check_repeated(password: str, repeated: str) -> None:
    """Raise PasswordRejected unless both fields have the same password."""
    if password != repeated:
        raise errors.PasswordRejected(
            "The two passwords don't match.", suggestions=("Type the same password twice.",)
        )
