"""Browser sessions. Signing in gives a one-time ticket, which the browser exchanges for a session cookie."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from sqlalchemy import delete, update
from sqlmodel import Session, col, select

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import LAST_SEEN_INTERVAL, SignedIn, lock_user, lock_verified_user
from core.common.clock import utc_now
from core.common.ids import sha256_hex
from core.database.database import Database
from core.database.models import Role, SignInSession, SignInTicket, User

TICKET_LIFETIME = timedelta(seconds=60)
_MAX_BROWSER_LENGTH = 200


class Sessions:
    """Issues sign-in tickets, and opens, finds and ends browser sessions.

    Tickets and session tokens are secret texts that are returned once. The database stores only their
    SHA-256.
    """

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        *,
        session_days: int = 30,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._lifetime = timedelta(days=session_days)
        self._clock = clock

    def issue_ticket(self, username: str, verified_hash: str) -> str:
        """Create a ticket, which `redeem_ticket` exchanges once for a browser session, and return the ticket.

        The ticket is valid for TICKET_LIFETIME (60 s). `verified_hash` is the stored hash that the password
        was checked against. Raises SignInFailed if the stored hash has changed since then, and
        AccessWithdrawn if the user's access was withdrawn.
        """
        ticket = secrets.token_urlsafe(32)
        with self._database.write() as session:
            user = lock_verified_user(session, username, verified_hash)
            expires_at = self._clock() + TICKET_LIFETIME
            session.add(SignInTicket(id=sha256_hex(ticket), user_id=user.id, expires_at=expires_at))
        return ticket

    def redeem_ticket(self, ticket: str, *, browser: str = "") -> str:
        """Open a browser session in exchange for `ticket`, and return the session's token.

        `browser` is the browser's User-Agent, which is stored with the session. Raises SessionEnded if the
        ticket is unknown, used or expired. A new password, signing out everywhere and a withdrawal of access
        delete the user's tickets.
        """
        token, now = secrets.token_urlsafe(32), self._clock()
        valid = (col(SignInTicket.id) == sha256_hex(ticket), col(SignInTicket.expires_at) > now)
        with self._database.write() as session:
            # Lock the user's row first, then the ticket: `end_sessions` takes the same order, so the two
            # can't deadlock.
            user_id = session.execute(select(SignInTicket.user_id).where(*valid)).scalar()
            user = lock_user(session, user_id) if user_id else None
            used = session.execute(
                delete(SignInTicket).where(*valid).returning(col(SignInTicket.id))
            ).scalar()
            if user is None or user.withdrawn_at or not used:
                raise errors.SessionEnded
            session.add(
                SignInSession(
                    id=sha256_hex(token),
                    user_id=user.id,
                    created_at=now,
                    seen_at=now,
                    expires_at=now + self._lifetime,
                    browser=browser[:_MAX_BROWSER_LENGTH],
                )
            )
            self._audit_log.record(session, Action.SIGN_IN, actor=user.id)
        return token

    def authenticate(self, token: str | None) -> SignedIn | None:
        """Return the user whose browser session has this token.

        Returns None if `token` is None or unknown, if the session has ended or expired, and if the user's
        access was withdrawn.
        """
        if not token:
            return None
        now = self._clock()
        with self._database.read() as session:
            found = session.exec(
                select(SignInSession, User)
                .where(SignInSession.id == sha256_hex(token), SignInSession.user_id == User.id)
                .where(SignInSession.expires_at > now, col(User.withdrawn_at).is_(None))
            ).first()
        if found is None:
            return None
        row, user = found
        if now - row.seen_at > LAST_SEEN_INTERVAL:
            with suppress(errors.StorageError, errors.DatabaseError):  # users stay signed in on a full disk
                self._extend(row.id, now)
        return SignedIn(user.id, user.username, user.display_name, user.role == Role.ADMIN, row.id)

    def _extend(self, session_id: str, now: datetime) -> None:
        """Set the session's time of last use to `now`, and postpone the session's expiry."""
        with self._database.write() as session:
            session.execute(
                update(SignInSession)
                .where(col(SignInSession.id) == session_id)
                .values(seen_at=now, expires_at=now + self._lifetime)
            )

    def sign_out(self, token: str | None) -> None:
        """End the session that has this token, which all tabs of a browser share.

        Does nothing if no session has this token.
        """
        if token:
            own = col(SignInSession.id) == sha256_hex(token)
            with self._database.write() as session:
                ended = delete(SignInSession).where(own).returning(col(SignInSession.user_id))
                if user_id := session.execute(ended).scalar():
                    self._audit_log.record(session, Action.SIGN_OUT, actor=user_id)

    def sign_out_everywhere(self, user: SignedIn) -> None:
        """End every session of `user`, in all browsers, and delete the user's tickets."""
        with self._database.write() as session:
            end_sessions(session, user.user_id)
            self._audit_log.record(session, Action.SIGN_OUT, actor=user.user_id, details="everywhere")

    def list(self, user: SignedIn) -> tuple[SignInSession, ...]:
        """Return the sessions of `user` that haven't expired, most recently used first.

        Each browser in which the user is signed in has one session.
        """
        with self._database.read() as session:
            return tuple(
                session.exec(
                    select(SignInSession)
                    .where(SignInSession.user_id == user.user_id, SignInSession.expires_at > self._clock())
                    .order_by(col(SignInSession.seen_at).desc())
                )
            )

    def tidy(self) -> None:
        """Delete expired sessions and tickets."""
        with self._database.write() as session:
            now = self._clock()
            # Sessions before tickets: `end_sessions` takes the same order, so the two can't deadlock.
            session.execute(delete(SignInSession).where(col(SignInSession.expires_at) <= now))
            session.execute(delete(SignInTicket).where(col(SignInTicket.expires_at) <= now))


def end_sessions(session: Session, user_id: str) -> None:
    """Delete every session and ticket of a user.

    A concurrent transaction that creates a session or ticket holds the lock on the user's row until it
    commits. This function waits for that lock, so it deletes the new session or ticket too.
    """
    lock_user(session, user_id)
    session.execute(delete(SignInSession).where(col(SignInSession.user_id) == user_id))
    session.execute(delete(SignInTicket).where(col(SignInTicket.user_id) == user_id))
