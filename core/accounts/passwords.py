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
    """Stores password hashes and the links with which users reset their passwords.

    Each link contains a secret text, the reset token. `create_reset` returns the token once. The database
    stores only the token's SHA-256.
    """

    def __init__(
        self, database: Database, audit_log: AuditLog, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._clock = clock

    def stored_hash(self, username: str, *, withdrawn: bool = False) -> str | None:
        """Return the stored password hash of the user with this name.

        Returns None if there is no such user. Unless `withdrawn` is True, it also returns None if the user's
        access was withdrawn.
        """
        named = select(User.password_hash).where(User.username == fold_username(username))
        with self._database.read() as session:
            return session.exec(named if withdrawn else named.where(col(User.withdrawn_at).is_(None))).first()

    def replace_hash(self, username: str, password_hash: str, verified_hash: str) -> None:
        """Replace the stored hash of a user's password by `password_hash`.

        Ends the user's sessions, and deletes the user's reset links and API tokens. `verified_hash` is the
        stored hash that the current password was checked against. Raises SignInFailed if the stored hash has
        changed since then, and AccessWithdrawn if the user's access was withdrawn.
        """
        with self._database.write() as session:
            user = lock_verified_user(session, username, verified_hash)
            user.password_hash = password_hash
            end_sessions(session, user.id)
            end_resets(session, user.id)
            self._audit_log.record(session, Action.PASSWORD_CHANGE, actor=user.id, subject=user.username)
            end_tokens(session, self._audit_log, user, "a new password", actor=user.id)

    def create_reset(self, admin: SignedIn, user_id: str) -> str:
        """Create a reset token, with which the user can set a new password once, and return the token.

        The token is valid for RESET_LIFETIME (24 hours). Earlier reset tokens of the user become invalid.
        Raises NotAllowed if `admin` isn't an administrator, if no user has the id `user_id`, and if that
        user's access was withdrawn.
        """
        require_admin(admin)
        return self._create_reset(col(User.id) == user_id, admin=admin)

    def create_reset_as_operator(self, username: str) -> str:
        """Create a reset token for the user named `username`, and return the token.

        This is for the command `python -m core recover`. Unlike `create_reset`, this method doesn't check who
        calls it. Raises NotAllowed if no user has this name, and if the user's access was withdrawn.
        """
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
        """Return the name of the user that a reset token belongs to.

        Raises ResetInvalid if the token is unknown, used or expired, and if the user's access was withdrawn.
        """
        with self._database.read() as session:
            return self._reset_user(session, token).username

    def use_reset(self, token: str, password_hash: str) -> str:
        """Store `password_hash` for the user that a reset token belongs to, and return the username.

        Ends the user's sessions, deletes the user's reset links and API tokens, and unlocks the username.
        Raises ResetInvalid if the token is unknown, used or expired. If two requests use one token at the
        same time, the second request gets ResetInvalid.
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
            lock_accounts(self._database, session)
            session.execute(delete(PasswordReset).where(col(PasswordReset.expires_at) <= self._clock()))


def end_resets(session: Session, user_id: str) -> None:
    session.execute(delete(PasswordReset).where(col(PasswordReset.user_id) == user_id))


def prehash(password: str) -> str:
    """Return the SHA-256 of `password` in base64. bcrypt accepts at most 72 bytes, and this text has 44.

    `password` is first cut to MAX_PASSWORD_LENGTH + 1 characters. Otherwise Unicode normalisation could take
    very long: its time is quadratic in the length of a run of combining marks.
    """
    whole = unicodedata.normalize("NFKC", password[: MAX_PASSWORD_LENGTH + 1]).encode(
        "utf-8", "surrogatepass"
    )
    digest = hashlib.sha256(whole).digest()
    return base64.b64encode(digest).decode()


def check_password_rules(password: str, username: str = "") -> None:
    """Raise PasswordRejected if `password` is too short, too long or easy to guess.

    A password is easy to guess if it has few different characters, is on the list of common passwords, or
    equals `username`.
    """
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
    """Raise PasswordRejected if `password` and `repeated` differ."""
    if password != repeated:
        raise errors.PasswordRejected(
            "The two passwords don't match.", suggestions=("Type the same password twice.",)
        )
