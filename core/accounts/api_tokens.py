"""A person's tokens for the Images API: made, shown once, limited in scope and life, listed and revoked."""

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
from core.accounts.identity import SEEN_EVERY, SignedIn, check_standing
from core.common.clock import utc_now
from core.common.ids import sha256_hex
from core.database.database import AdvisoryLock, Database
from core.database.models import ApiToken, Scope, User

PREFIX = "atl_"
NAME_LENGTH = range(1, 65)
# Days that a token can live; None is until it is revoked.
LIVES: tuple[int | None, ...] = (30, 90, 365, None)
MOST = 20
# What has expired is still listed for so long, so that its owner sees why a script has stopped.
KEPT = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Token:
    """A token as its owner sees one. `id` can't be used as one."""

    id: str
    name: str
    scopes: frozenset[Scope]
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None

    def expired(self, now: datetime) -> bool:
        return self.expires_at is not None and self.expires_at <= now


class ApiTokens:
    """Every rule about tokens. They leave as text, once, and are stored as SHA-256 only."""

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._clock = clock
        self._audit_log = audit_log

    def make(self, user: SignedIn, name: str, scopes: Iterable[Scope], life: int | None) -> str:
        """A new token; shown once. `life` is one of LIVES.

        Raises TokenOptionsRejected, also where the user has MOST already, ScopeMissing, for a token makes no
        token,
        and SessionEnded where the session has ended in this moment: a new password leaves no token.
        """
        _require_browser(user)
        name, allowed = _checked_name(name), frozenset(scopes)
        if not allowed or life not in LIVES:
            raise errors.TokenOptionsRejected
        token = PREFIX + secrets.token_urlsafe(32)
        with self._database.write() as session:
            self._database.lock(session, AdvisoryLock.ACCOUNTS)
            now = self._clock()
            check_standing(session, user, now)
            self._check_room(session, user.user_id, now)
            row = ApiToken(
                id=sha256_hex(token),
                user_id=user.user_id,
                name=name,
                scopes=" ".join(sorted(allowed)),
                created_at=now,
                expires_at=now + timedelta(days=life) if life else None,
            )
            session.add(row)
            lasts = f"for {life} days" if life else "until it is revoked"
            details = f"may {' and '.join(sorted(allowed))}; {lasts}"
            self._audit_log.record(
                session, Action.TOKEN_MADE, actor=user.user_id, subject=name, details=details
            )
        return token

    def _check_room(self, session: Session, user_id: str, now: datetime) -> None:
        mine = (col(ApiToken.user_id) == user_id, _live(now))
        count = session.execute(select(func.count()).select_from(ApiToken).where(*mine)).scalar_one()
        if count >= MOST:
            raise errors.TokenOptionsRejected(
                f"You already have {MOST} API tokens.", suggestions=("Revoke one that is no longer used.",)
            )

    def signed_in(self, token: str) -> SignedIn | None:
        """Whom this token stands for: nobody when it is made up, expired, revoked or of a withdrawn user.

        The first use of each day from each address is in the trail, a refused one too; of tokens that nobody
        has, one each hour.
        """
        now, here = self._clock(), client_info.get().address
        with self._database.read() as session:
            row, user = _found(session, token)
            refusal = _refusal(row, user, now)
            when = f"{now:%Y-%m-%d}" if row else f"{now:%Y-%m-%d %H}"
            once = f"{row.id if row else 'unknown token'}|{here}|{when}{'|refused' if refusal else ''}"
            known = self._audit_log.has(session, once)
        if row is None or user is None or refusal:
            if not known:
                self._refused(row, user, refusal, once)
            return None
        if not known or row.used_at is None or now - row.used_at > SEEN_EVERY:
            with suppress(errors.StorageError, errors.DatabaseError):  # a full disk turns nobody away
                self._touch(row, now, once)
        return SignedIn(
            user.id, user.username, user.display_name, is_admin=False, session_id="",
            scopes=_scopes(row), token_id=row.id,
        )  # fmt: skip

    def _refused(self, row: ApiToken | None, user: User | None, why: str, once: str) -> None:
        """Write into the trail that a token was refused; it is refused all the same where that can't be."""
        subject, details = (user.username, f"{row.name}: {why}") if row and user else ("", why)
        with suppress(errors.StorageError, errors.DatabaseError), self._database.write() as session:
            self._audit_log.record(session, Action.TOKEN_FAILURE, subject=subject, details=details, once=once)

    def _touch(self, row: ApiToken, now: datetime, once: str) -> None:
        """Write when it was used, and into the trail the first use of each day from each address."""
        with self._database.write() as session:
            session.execute(update(ApiToken).where(col(ApiToken.id) == row.id).values(used_at=now))
            self._audit_log.record(session, Action.TOKEN_USED, actor=row.user_id, subject=row.name, once=once)

    def list(self, user: SignedIn) -> tuple[Token, ...]:
        """This user's tokens, newest first, those that have expired lately too."""
        newest = (col(ApiToken.created_at).desc(), col(ApiToken.id))
        with self._database.read() as session:
            rows = session.exec(
                select(ApiToken).where(ApiToken.user_id == user.user_id).order_by(*newest)
            ).all()
        return tuple(
            Token(row.id, row.name, _scopes(row), row.created_at, row.expires_at, row.used_at) for row in rows
        )

    def revoke(self, user: SignedIn, token_id: str) -> None:
        """End a token at once; another user's stays, and one that is gone is no fault.

        Raises ScopeMissing.
        """
        _require_browser(user)
        own = (col(ApiToken.id) == token_id, col(ApiToken.user_id) == user.user_id)
        with self._database.write() as session:
            name = session.execute(delete(ApiToken).where(*own).returning(col(ApiToken.name))).scalar()
            if name:
                self._audit_log.record(session, Action.TOKEN_REVOKED, actor=user.user_id, subject=name)

    def tidy(self) -> None:
        """Remove tokens that expired long ago."""
        with self._database.write() as session:
            session.execute(delete(ApiToken).where(col(ApiToken.expires_at) <= self._clock() - KEPT))


def _require_browser(user: SignedIn) -> None:
    if user.scopes is not None:
        raise errors.ScopeMissing("API tokens can only be made and revoked on the account page.")


def _checked_name(name: str) -> str:
    line = " ".join(name.split())
    if len(line) not in NAME_LENGTH or not line.isprintable():
        raise errors.TokenOptionsRejected
    return line


def _found(session: Session, token: str) -> tuple[ApiToken | None, User | None]:
    """The row of a token, and its user."""
    row = session.get(ApiToken, sha256_hex(token)) if token.startswith(PREFIX) else None
    return row, session.get(User, row.user_id) if row else None


def _refusal(row: ApiToken | None, user: User | None, now: datetime) -> str:
    """Why a token lets nobody in; empty where it does."""
    if row is None or user is None:
        return "unknown token"
    if user.withdrawn_at:
        return "its user's access was withdrawn"
    return "it has expired" if row.expires_at is not None and row.expires_at <= now else ""


def _live(now: datetime) -> ColumnElement[bool]:
    return or_(col(ApiToken.expires_at).is_(None), col(ApiToken.expires_at) > now)


def _scopes(row: ApiToken) -> frozenset[Scope]:
    return frozenset(map(Scope, row.scopes.split()))
