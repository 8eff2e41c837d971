"""API tokens, which let a script call the Images API without the user's password."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, func, or_, update
from sqlmodel import Session, col, select

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.client_info import client_info
from core.accounts.identity import LAST_SEEN_INTERVAL, SignedIn, check_standing, lock_accounts
from core.common.clock import utc_now
from core.common.ids import sha256_hex
from core.database.database import Database
from core.database.models import ApiToken, Scope, User

PREFIX = "atl_"
NAME_LENGTH = range(1, 65)
# The lifetimes that a user can choose, in days. None: the token is valid until it is revoked.
LIFETIMES_DAYS: tuple[int | None, ...] = (30, 90, 365, None)
MAX_TOKENS_PER_USER = 20
# The owner's list shows expired tokens for this time, so that the owner sees why a script stopped working.
EXPIRED_LISTED_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class TokenSummary:
    """An API token as its owner's list shows it.

    `id` is a hash of the token, with which nobody can sign in. `expires_at` is None if the token never
    expires. `used_at` is None if the token was never used.
    """

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class ApiTokens:
    """Creates, checks, lists and revokes API tokens.

    `create` returns a token's secret text once. The database stores only the SHA-256 of that text.
    """

    def __init__(
        self, database: Database, audit_log: AuditLog, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._clock = clock

    def create(self, user: SignedIn, name: str, scopes: Iterable[Scope], lifetime_days: int | None) -> str:
        """Create an API token for `user` and return the token's secret text.

        `lifetime_days` is one of LIFETIMES_DAYS. None means that the token never expires. Raises
        TokenOptionsRejected if `name`, `scopes` or `lifetime_days` is invalid, and if the user already has
        MAX_TOKENS_PER_USER unexpired tokens. Raises ScopeMissing if `user` signed in with an API token, and
        SessionEnded if the user's browser session has ended.
        """
        _require_browser(user)
        name, allowed = _checked_name(name), frozenset(scopes)
        if not allowed or lifetime_days not in LIFETIMES_DAYS:
            raise errors.TokenOptionsRejected
        token = PREFIX + secrets.token_urlsafe(32)
        with self._database.write() as session:
            lock_accounts(self._database, session)
            now = self._clock()
            check_standing(session, user, now)
            self._check_count(session, user.user_id, now)
            row = ApiToken(
                id=sha256_hex(token),
                user_id=user.user_id,
                name=name,
                scopes=" ".join(sorted(allowed)),
                created_at=now,
                expires_at=now + timedelta(days=lifetime_days) if lifetime_days else None,
            )
            session.add(row)
            validity = f"for {lifetime_days} days" if lifetime_days else "until it is revoked"
            details = f"may {' and '.join(sorted(allowed))}; {validity}"
            self._audit_log.record(
                session, Action.TOKEN_MADE, actor=user.user_id, subject=name, details=details
            )
        return token

    def _check_count(self, session: Session, user_id: str, now: datetime) -> None:
        valid = (col(ApiToken.user_id) == user_id, _is_valid(now))
        count = session.execute(select(func.count()).select_from(ApiToken).where(*valid)).scalar_one()
        if count >= MAX_TOKENS_PER_USER:
            raise errors.TokenOptionsRejected(
                f"You already have {MAX_TOKENS_PER_USER} API tokens.",
                suggestions=("Revoke one that is no longer used.",),
            )

    def authenticate(self, token: str) -> SignedIn | None:
        """Return the user that an API token belongs to. Returns None if the token is refused.

        A token is refused if it is unknown, expired or revoked, or if its user's access was withdrawn. The
        audit log records the first use and the first refusal per token, day and client address. For unknown
        tokens, it records one refusal per hour and client address.
        """
        now, address = self._clock(), client_info.get().address
        with self._database.read() as session:
            row, user = _find(session, token)
            refusal = _refusal(row, user, now)
            when = f"{now:%Y-%m-%d}" if row else f"{now:%Y-%m-%d %H}"
            key = f"{row.id if row else 'unknown token'}|{address}|{when}{'|refused' if refusal else ''}"
            recorded = self._audit_log.is_recorded(session, key)
        if row is None or user is None or refusal:
            if not recorded:
                self._record_refusal(row, user, refusal, key)
            return None
        if not recorded or row.used_at is None or now - row.used_at > LAST_SEEN_INTERVAL:
            with suppress(errors.StorageError, errors.DatabaseError):  # tokens work on a full disk too
                self._record_use(row, now, key)
        return SignedIn(
            user.id,
            user.username,
            user.display_name,
            is_admin=False,
            session_id="",
            scopes=_scopes(row),
            token_id=row.id,
        )

    def _record_refusal(self, row: ApiToken | None, user: User | None, reason: str, key: str) -> None:
        """Record a refused token in the audit log. Errors of the database are ignored.

        `reason` is text for the entry. Of several refusals with the same `key`, only the first is recorded.
        """
        subject, details = (user.username, f"{row.name}: {reason}") if row and user else ("", reason)
        with suppress(errors.StorageError, errors.DatabaseError), self._database.write() as session:
            self._audit_log.record(
                session, Action.TOKEN_FAILURE, subject=subject, details=details, unique_key=key
            )

    def _record_use(self, row: ApiToken, now: datetime, key: str) -> None:
        with self._database.write() as session:
            session.execute(update(ApiToken).where(col(ApiToken.id) == row.id).values(used_at=now))
            self._audit_log.record(
                session, Action.TOKEN_USED, actor=row.user_id, subject=row.name, unique_key=key
            )

    def list(self, user: SignedIn) -> tuple[TokenSummary, ...]:
        """Return all API tokens of `user`, newest first.

        Expired tokens are included until `tidy` deletes them.
        """
        newest_first = (col(ApiToken.created_at).desc(), col(ApiToken.id))
        with self._database.read() as session:
            rows = session.exec(
                select(ApiToken).where(ApiToken.user_id == user.user_id).order_by(*newest_first)
            ).all()
        return tuple(
            TokenSummary(row.id, row.name, _scopes(row), row.created_at, row.expires_at, row.used_at)
            for row in rows
        )

    def revoke(self, user: SignedIn, token_id: str) -> None:
        """Delete an API token of `user`.

        Does nothing if the user has no token with the id `token_id`. Raises ScopeMissing if `user` signed in
        with an API token.
        """
        _require_browser(user)
        own = (col(ApiToken.id) == token_id, col(ApiToken.user_id) == user.user_id)
        with self._database.write() as session:
            name = session.execute(delete(ApiToken).where(*own).returning(col(ApiToken.name))).scalar()
            if name:
                self._audit_log.record(session, Action.TOKEN_REVOKED, actor=user.user_id, subject=name)

    def tidy(self) -> None:
        """Delete the tokens that expired more than EXPIRED_LISTED_FOR (30 days) ago."""
        with self._database.write() as session:
            session.execute(
                delete(ApiToken).where(col(ApiToken.expires_at) <= self._clock() - EXPIRED_LISTED_FOR)
            )


def end_tokens(
    session: Session, audit_log: AuditLog, user: User, reason: str, *, actor: str | None = None
) -> None:
    """Delete every API token of `user`, and record each deletion in the audit log.

    `reason` is text for the log entries, such as "a new password". `actor` is the id of the user who caused
    the deletions, or None if nobody is signed in.
    """
    deleted = delete(ApiToken).where(col(ApiToken.user_id) == user.id).returning(col(ApiToken.name))
    for name in session.scalars(deleted).all():
        details = f"of {user.username}, by {reason}"
        audit_log.record(session, Action.TOKEN_REVOKED, actor=actor, subject=name, details=details)


def _require_browser(user: SignedIn) -> None:
    if user.scopes is not None:
        raise errors.ScopeMissing("API tokens can only be created and revoked on the account page.")


def _checked_name(name: str) -> str:
    line = " ".join(name.split())
    if len(line) not in NAME_LENGTH or not line.isprintable():
        raise errors.TokenOptionsRejected
    return line


def _find(session: Session, token: str) -> tuple[ApiToken | None, User | None]:
    """Return the row of `token` and the row of the token's user.

    Both are None if the token is unknown.
    """
    row = session.get(ApiToken, sha256_hex(token)) if token.startswith(PREFIX) else None
    return row, session.get(User, row.user_id) if row else None


def _refusal(row: ApiToken | None, user: User | None, now: datetime) -> str:
    """Return the reason why a token is refused, for the audit log. Returns "" if the token is valid.

    `row` and `user` are the token's row and its user's row, as `_find` returns them.
    """
    if row is None or user is None:
        return "unknown token"
    if user.withdrawn_at:
        return "its user's access was withdrawn"
    return "it has expired" if row.expires_at is not None and row.expires_at <= now else ""


def _is_valid(now: datetime) -> ColumnElement[bool]:
    return or_(col(ApiToken.expires_at).is_(None), col(ApiToken.expires_at) > now)


def _scopes(row: ApiToken) -> frozenset[Scope]:
    return frozenset(map(Scope, row.scopes.split()))
