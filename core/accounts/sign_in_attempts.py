"""Counts sign-in attempts, and locks a username after too many failed attempts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.client_info import client_info
from core.accounts.identity import lock_accounts
from core.accounts.usernames import USERNAME_LENGTH, fold_username
from core.common.clock import utc_now
from core.database.database import Database
from core.database.models import SignInAttempt, User

MAX_ATTEMPTS = 5
# MAX_ATTEMPTS within this time lock a username. The lock ends this long after the last attempt.
LOCKOUT = timedelta(minutes=15)


class SignInAttempts:
    """Locks a username after MAX_ATTEMPTS sign-in attempts within LOCKOUT (15 minutes).

    The lock ends LOCKOUT after the last attempt. Unknown usernames are locked too, so that a lock doesn't
    reveal which usernames exist.
    """

    def __init__(
        self, database: Database, audit_log: AuditLog, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._clock = clock

    def begin(self, username: str) -> None:
        """Count a sign-in attempt for this username. Raises SignInLocked while the username is locked.

        Call this before checking the password. Otherwise parallel attempts could exceed the limit.
        """
        name = _attempted_name(username)
        with self._database.write() as session:
            now = self._lock(session)
            if locked_at := self._locked_at(session, name, now):
                raise errors.SignInLocked(retry_after=(locked_at + LOCKOUT - now).total_seconds())
            session.add(SignInAttempt(username=name, at=now))

    def record_failure(self, username: str, *, details: str = "") -> None:
        """Record a failed sign-in in the audit log. `details` is text for the entry.

        If this attempt locked the username, record the lock-out too. For unknown usernames, the audit log
        gets one entry per hour and client address. That entry leaves out the username, because people
        sometimes type their password into the wrong field.
        """
        name = _attempted_name(username)
        with self._database.write() as session:
            now = self._lock(session)
            # Write for unknown usernames too, so that the response time doesn't reveal which usernames exist.
            own_attempts = col(SignInAttempt.username) == name
            session.execute(update(SignInAttempt).where(own_attempts).values(at=SignInAttempt.at))
            if not session.exec(select(User.id).where(User.username == name)).first():
                key = f"unknown name|{client_info.get().address}|{now:%Y-%m-%d %H}"
                self._audit_log.record(
                    session, Action.SIGN_IN_FAILURE, details="unknown name", unique_key=key
                )
                return
            self._audit_log.record(session, Action.SIGN_IN_FAILURE, subject=name, details=details)
            if locked_at := self._locked_at(session, name, now):
                key = f"lock-out|{name}|{locked_at.isoformat()}"
                self._audit_log.record(session, Action.LOCK_OUT, subject=name, unique_key=key)

    def clear(self, username: str) -> None:
        """Delete the attempts that were counted for a username. Call this after a successful sign-in."""
        with self._database.write() as session:
            clear_attempts(session, _attempted_name(username))

    def tidy(self) -> None:
        """Delete attempts that are too old to lock a username."""
        with self._database.write() as session:
            now = self._lock(session)
            # An attempt has a time in the future if the clock was set back after the attempt.
            expired = (col(SignInAttempt.at) <= now - 2 * LOCKOUT) | (col(SignInAttempt.at) > now)
            session.execute(delete(SignInAttempt).where(expired))

    def _lock(self, session: Session) -> datetime:
        """Take the lock of `lock_accounts`, and return the current time.

        The clock is read after the lock is taken. Attempts that concurrent requests have stored therefore
        aren't later than the returned time.
        """
        lock_accounts(self._database, session)
        return self._clock()

    def _locked_at(self, session: Session, name: str, now: datetime) -> datetime | None:
        """Return the time of the attempt that locked the username `name`.

        Returns None if `name` isn't locked at the time `now`.
        """
        latest = session.exec(
            select(SignInAttempt.at)
            .where(SignInAttempt.username == name)
            .where(SignInAttempt.at > now - 2 * LOCKOUT, SignInAttempt.at <= now)
            .order_by(col(SignInAttempt.at).desc())
            .limit(MAX_ATTEMPTS)
        ).all()
        locked = (
            len(latest) == MAX_ATTEMPTS and latest[0] - latest[-1] < LOCKOUT and now - latest[0] < LOCKOUT
        )
        return latest[0] if locked else None


def clear_attempts(session: Session, folded_name: str) -> None:
    session.execute(delete(SignInAttempt).where(col(SignInAttempt.username) == folded_name))


def _attempted_name(username: str) -> str:
    """Return `username` as attempts are stored: folded by `fold_username`, and cut to the column's length."""
    return fold_username(username)[: max(USERNAME_LENGTH)]
