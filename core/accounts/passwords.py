"""Passwords: the rules for new passwords, the stored hashes, and the links that reset a password."""

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
# The query parameter that holds the token in the URL of a reset link.
RESET_PARAM = "reset"


class Passwords:
    """Stores password hashes and reset links.

    A reset link contains a secret token. The token is returned once; the database stores only its SHA-256.
    """

    def __init__(
        self, database: Database, audit_log: AuditLog, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._clock = clock

    def stored_hash(self, username: str) -> str | None:
        """Return the stored hash of a user's password. Returns None if the user is unknown or withdrawn."""
        with self._database.read() as session:
            return session.exec(
                select(User.password_hash).where(
                    User.username == fold_username(username), col(User.withdrawn_at).is_(None)
                )
            ).first()

    def replace_hash(self, username: str, password_hash: str, verified_hash: str) -> None:
        """Replace a user's password hash, and end the user's sessions, reset links and API tokens.

        `verified_hash` is the stored hash that the current password was checked against. Raises SignInFailed
        if the stored hash has changed since then, or if the user was withdrawn.
        """
        with self._database.write() as session:
            user = lock_verified_user(session, username, verified_hash)
            user.password_hash = password_hash
            end_sessions(session, user.id)
            end_resets(session, user.id)
            self._audit_log.record(session, Action.PASSWORD_CHANGE, actor=user.id, subject=user.username)
            end_tokens(session, self._audit_log, user, "a new password", actor=user.id)

    def create_reset(self, admin: SignedIn, user_id: str) -> str:
        """Return a new reset token, with which the user can set a password once within RESET_LIFETIME.

        Earlier reset tokens of the user become invalid. Raises NotAllowed if `admin` isn't an administrator,
        or if the user doesn't exist or was withdrawn.
        """
        require_admin(admin)
        return self._create_reset(col(User.id) == user_id, admin=admin)

    def create_reset_as_operator(self, username: str) -> str:
        """Return a new reset token, as `create_reset` does, for the command `python -m core recover`."""
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
        """Return the username that a reset token belongs to. Raises ResetInvalid if the token isn't valid."""
        with self._database.read() as session:
            return self._reset_user(session, token).username

    def use_reset(self, token: str, password_hash: str) -> str:
        """Use up a reset token: store the new `password_hash` and return the username.

        The user's sessions, reset links, API tokens and sign-in lock are ended. Raises ResetInvalid if the
        token isn't valid. Of two concurrent uses of one token, the second raises ResetInvalid.
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
        """Delete expired reset links."""
        with self._database.write() as session:
            session.execute(delete(PasswordReset).where(col(PasswordReset.expires_at) <= self._clock()))


def end_resets(session: Session, user_id: str) -> None:
    session.execute(delete(PasswordReset).where(col(PasswordReset.user_id) == user_id))


def prehash(password: str) -> str:
    """Return the password's SHA-256 in base64, which fits into the 72 bytes that bcrypt accepts.

    The password is first cut to just over MAX_PASSWORD_LENGTH: Unicode normalisation takes quadratic time
    for a long run of combining marks.
    """
    whole = unicodedata.normalize("NFKC", password[: MAX_PASSWORD_LENGTH + 1]).encode(
        "utf-8", "surrogatepass"
    )
    digest = hashlib.sha256(whole).digest()
    return base64.b64encode(digest).decode()


def check_password_rules(password: str, username: str = "") -> None:
    """Raise PasswordRejected if `password` is too short, too long or easy to guess."""
    if len(password) < MIN_PASSWORD_LENGTH:
        raise errors.PasswordRejected(f"A password needs at least {MIN_PASSWORD_LENGTH} characters.")
    if len(password) > MAX_PASSWORD_LENGTH:
        raise errors.PasswordRejected(f"A password can have at most {MAX_PASSWORD_LENGTH} characters.")
    folded = unicodedata.normalize("NFKC", password).casefold()
    too_few = len(set(folded)) < _MIN_DIFFERENT_CHARACTERS
    if too_few or folded in _common_passwords() or folded == fold_username(username):
        raise errors.PasswordRejected


def _common_passwords() -> dict[str, int]:
    # The list takes half a megabyte of memory, so it is imported only when somebody sets a new password.
    from zxcvbn.frequency_lists import FREQUENCY_LISTS  # noqa: PLC0415

    passwords: dict[str, int] = FREQUENCY_LISTS["passwords"]
    return passwords


def check_repeated(password: str, repeated: str) -> None:
    """Raise PasswordRejected unless the password and its repetition are equal."""
    if password != repeated:
        raise errors.PasswordRejected(
            "The two passwords don't match.", suggestions=("Type the same password twice.",)
        )
