"""Users, sessions, invitations and password resets, as rows."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, update
from sqlmodel import Session, col, select

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.client_info import client_info
from core.accounts.identity import SEEN_EVERY, SignedIn, lock_user
from core.accounts.passwords import RESET_LIFE
from core.accounts.registration import INVITE_LIFE, INVITE_NAME, OpenInvite
from core.accounts.sign_in import LOCK, MAX_ATTEMPTS, TICKET_LIFE
from core.accounts.usernames import check_free, check_username, fold_username
from core.common.clock import utc_now
from core.common.ids import sha256_hex
from core.database.database import AdvisoryLock, Database
from core.database.models import (
    ApiToken,
    Invite,
    PasswordReset,
    Role,
    SignInAttempt,
    SignInSession,
    SignInTicket,
    User,
)
from core.settings import Registration


@dataclass(frozen=True, slots=True)
class Account:
    """A user as the administrator sees one."""

    user_id: str
    username: str
    is_admin: bool
    created_at: datetime
    withdrawn_at: datetime | None


OnWithdrawal = Callable[[Session, str, datetime], object]


def ignore_withdrawal(_session: Session, _user_id: str, _now: datetime) -> None:
    """For an installation that has no jobs to cancel."""


class Accounts:
    """Every rule about users. Tokens leave as text and are stored as SHA-256 only.

    `on_withdrawal(session, user_id, now)` runs in the transaction that withdraws or reinstates a user.
    """

    def __init__(
        self,
        database: Database,
        *,
        registration: Registration = Registration.OPEN,
        session_days: int = 30,
        on_withdrawal: OnWithdrawal = ignore_withdrawal,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._audit = AuditLog(database, clock=clock)
        self._registration = registration
        self._session_life = timedelta(days=session_days)
        self._on_withdrawal = on_withdrawal
        self._clock = clock

    # Registration

    def any_user(self) -> bool:
        with self._database.read() as session:
            return session.exec(select(User.id).limit(1)).first() is not None

    def check_registration(self, invite: str | None = None) -> None:
        """Raise RegistrationClosed or InviteInvalid when nobody may make an account this way."""
        with self._database.read() as session:
            self._check_registration(session, invite)

    def create_user(self, username: str, password_hash: str, *, invite: str | None = None) -> User:
        """Add a user; the very first becomes the administrator, and an invitation is used up.

        Raises UsernameRejected, UsernameTaken, RegistrationClosed or InviteInvalid.
        """
        folded = check_username(username)
        with self._database.write() as session:
            self._lock(session)
            first = session.exec(select(User.id).limit(1)).first() is None
            used = self._check_registration(session, invite)
            check_free(session, folded)
            user = User(
                username=folded,
                display_name=unicodedata.normalize("NFKC", username).strip(),
                password_hash=password_hash,
                role=Role.ADMIN if first else Role.MEMBER,
                created_at=self._clock(),
            )
            session.add(user)
            session.flush()
            if used:
                used.used_by = user.id
            role = "administrator" if first else "member"
            way = f"{role}, by invitation {used.id[:INVITE_NAME]}" if used else role
            self._audit.record(session, Action.REGISTRATION, actor=user.id, subject=folded, details=way)
            return user

    def _check_registration(self, session: Session, invite: str | None) -> Invite | None:
        if self._registration is Registration.OPEN or session.exec(select(User.id).limit(1)).first() is None:
            return None
        if self._registration is Registration.CLOSED or not invite:
            raise errors.RegistrationClosed
        row = session.get(Invite, sha256_hex(invite))
        if row is None or row.used_by or row.expires_at <= self._clock():
            raise errors.InviteInvalid
        return row

    def _lock(self, session: Session) -> None:
        """Two first accounts at once must not both become administrator."""
        self._database.lock(session, AdvisoryLock.ACCOUNTS)

    def _locked_now(self, session: Session) -> datetime:
        """The time with the lock held: whatever is dated later was dated by another clock."""
        self._lock(session)
        return self._clock()

    def invite(self, admin: SignedIn) -> str:
        """A token for one new account within INVITE_LIFE; shown once."""
        self._require_admin(admin)
        token = secrets.token_urlsafe(24)
        now, name = self._clock(), sha256_hex(token)
        with self._database.write() as session:
            session.add(
                Invite(id=name, created_by=admin.user_id, created_at=now, expires_at=now + INVITE_LIFE)
            )
            self._audit.record(
                session, Action.INVITATION_MADE, actor=admin.user_id, subject=name[:INVITE_NAME]
            )
        return token

    def open_invites(self, admin: SignedIn) -> list[OpenInvite]:
        """The invitations that can still be used, newest first. Raises NotAllowed."""
        self._require_admin(admin)
        still = (col(Invite.used_by).is_(None), col(Invite.expires_at) > self._clock())
        with self._database.read() as session:
            found = session.exec(select(Invite).where(*still).order_by(col(Invite.created_at).desc())).all()
        return [OpenInvite(invite.id, invite.created_at, invite.expires_at) for invite in found]

    def withdraw_invite(self, admin: SignedIn, invite_id: str) -> None:
        """Let nobody use it any more. Raises NotAllowed."""
        self._require_admin(admin)
        with self._database.write() as session:
            open_one = (col(Invite.id) == invite_id, col(Invite.used_by).is_(None))
            gone = session.execute(delete(Invite).where(*open_one).returning(col(Invite.id))).scalar()
            if gone:
                self._audit.record(
                    session, Action.INVITATION_WITHDRAWN, actor=admin.user_id, subject=gone[:INVITE_NAME]
                )

    # Passwords

    def password_hash(self, username: str) -> str | None:
        """The stored hash of a user who may sign in, or None."""
        with self._database.read() as session:
            return session.exec(
                select(User.password_hash).where(
                    User.username == fold_username(username), col(User.withdrawn_at).is_(None)
                )
            ).first()

    def set_password_hash(self, username: str, password_hash: str, verified: str) -> None:
        """Store a new hash in place of the `verified` one, and end every session and token of that user.

        Raises SignInFailed as `issue_ticket` does.
        """
        with self._database.write() as session:
            user = self._verified(session, username, verified)
            user.password_hash = password_hash
            self._end_sessions(session, user.id)
            self._end_resets(session, user.id)
            self._audit.record(session, Action.PASSWORD_CHANGE, actor=user.id, subject=user.username)
            self._end_tokens(session, user, "a new password", actor=user.id)

    def password_reset(self, admin: SignedIn, user_id: str) -> str:
        """A token with which that user sets a new password, once and within RESET_LIFE; shown once.

        An earlier one of the same user ends. Raises NotAllowed for an account that can't be signed in to.
        """
        self._require_admin(admin)
        return self._reset(col(User.id) == user_id, admin=admin)

    def recovery(self, username: str) -> str:
        """What `password_reset` gives, for whoever runs the server: administrators forget theirs too."""
        return self._reset(col(User.username) == fold_username(username))

    def _reset(self, whose: ColumnElement[bool], *, admin: SignedIn | None = None) -> str:
        token, now = secrets.token_urlsafe(24), self._clock()
        with self._database.write() as session:
            self._lock(session)
            user = session.exec(select(User).where(whose)).one_or_none()
            if user is None or user.withdrawn_at:
                raise errors.NotAllowed("There is no account with that name, or its access was withdrawn.")
            self._end_resets(session, user.id)
            session.add(PasswordReset(id=sha256_hex(token), user_id=user.id, expires_at=now + RESET_LIFE))
            self._audit.record(
                session,
                Action.PASSWORD_RESET_MADE,
                actor=admin.user_id if admin else None,
                subject=user.username,
                details="" if admin else "by whoever runs the server",
            )
        return token

    def check_reset(self, token: str) -> str:
        """The name of the user whom `token` lets set a new password. Raises ResetInvalid."""
        with self._database.read() as session:
            return self._resetting(session, token).username

    def use_reset(self, token: str, password_hash: str) -> str:
        """Store the new hash, end the user's sessions, tokens and lock-out, and return their name.

        Raises ResetInvalid, also for the second of two uses at once.
        """
        with self._database.write() as session:
            self._lock(session)
            named = select(PasswordReset.user_id).where(PasswordReset.id == sha256_hex(token))
            if user_id := session.exec(named).first():
                lock_user(session, user_id)
            user = self._resetting(session, token)
            user.password_hash = password_hash
            session.add(user)
            self._end_sessions(session, user.id)
            self._end_resets(session, user.id)
            session.execute(delete(SignInAttempt).where(col(SignInAttempt.username) == user.username))
            self._audit.record(session, Action.PASSWORD_RESET_USED, subject=user.username)
            self._end_tokens(session, user, "a new password by a link")
            return user.username

    def _resetting(self, session: Session, token: str) -> User:
        row = session.get(PasswordReset, sha256_hex(token))
        user = session.get(User, row.user_id) if row and row.expires_at > self._clock() else None
        if user is None or user.withdrawn_at:
            raise errors.ResetInvalid
        return user

    def _end_resets(self, session: Session, user_id: str) -> None:
        session.execute(delete(PasswordReset).where(col(PasswordReset.user_id) == user_id))

    def begin_attempt(self, username: str) -> None:
        """Count an attempt before it is judged, so that attempts in parallel can't slip past the limit.

        Raises SignInLocked for LOCK after MAX_ATTEMPTS within LOCK, whether or not the name exists.
        """
        name = fold_username(username)[:64]
        with self._database.write() as session:
            now = self._locked_now(session)
            if locked := self._locked_since(session, name, now):
                raise errors.SignInLocked(retry_after=(locked + LOCK - now).total_seconds())
            session.add(SignInAttempt(username=name, at=now))

    def _locked_since(self, session: Session, name: str, now: datetime) -> datetime | None:
        """When the attempt was that locked this name, None where it isn't locked."""
        latest = session.exec(
            select(SignInAttempt.at)
            .where(SignInAttempt.username == name)
            .where(SignInAttempt.at > now - 2 * LOCK, SignInAttempt.at <= now)
            .order_by(col(SignInAttempt.at).desc())
            .limit(MAX_ATTEMPTS)
        ).all()
        locked = len(latest) == MAX_ATTEMPTS and latest[0] - latest[-1] < LOCK and now - latest[0] < LOCK
        return latest[0] if locked else None

    def attempt_failed(self, username: str, *, details: str = "") -> None:
        """Record that the attempt was a wrong password, and the lock-out when it was the last that goes.

        Of a name that nobody has only one an hour and address is recorded, without the name: people type
        their password into the wrong field.
        """
        name = fold_username(username)[:64]
        with self._database.write() as session:
            now = self._locked_now(session)
            # Something is written in any case: how long it takes mustn't tell which names there are.
            mine = col(SignInAttempt.username) == name
            session.execute(update(SignInAttempt).where(mine).values(at=SignInAttempt.at))
            if not session.exec(select(User.id).where(User.username == name)).first():
                once = f"unknown name|{client_info.get().address}|{now:%Y-%m-%d %H}"
                self._audit.record(session, Action.SIGN_IN_FAILURE, details="unknown name", once=once)
                return
            self._audit.record(session, Action.SIGN_IN_FAILURE, subject=name, details=details)
            if locked := self._locked_since(session, name, now):
                once = f"lock-out|{name}|{locked.isoformat()}"
                self._audit.record(session, Action.LOCK_OUT, subject=name, once=once)

    def clear_attempts(self, username: str) -> None:
        with self._database.write() as session:
            name = fold_username(username)[:64]
            session.execute(delete(SignInAttempt).where(col(SignInAttempt.username) == name))

    # Sessions

    def issue_ticket(self, username: str, verified: str) -> str:
        """A ticket that `redeem_ticket` exchanges, once and within TICKET_LIFE, for a session.

        `verified` is the hash that the password was found to match. Raises SignInFailed where it isn't the
        user's any more, or their access was withdrawn: to check a password takes long enough for that.
        """
        ticket = secrets.token_urlsafe(32)
        with self._database.write() as session:
            user = self._verified(session, username, verified)
            row = SignInTicket(id=sha256_hex(ticket), user_id=user.id, expires_at=self._clock() + TICKET_LIFE)
            session.add(row)
        return ticket

    def _verified(self, session: Session, username: str, verified: str) -> User:
        """The user who still has that hash, locked till the transaction ends. Raises SignInFailed."""
        named = select(User).where(User.username == fold_username(username)).with_for_update(key_share=True)
        user = session.exec(named).one_or_none()
        if user is None or user.withdrawn_at or user.password_hash != verified:
            raise errors.SignInFailed
        return user

    def redeem_ticket(self, ticket: str, *, browser: str = "") -> str:
        """The token of a new session.

        Raises SessionEnded for a ticket that is used, old or made up, or that a new password or the
        withdrawal of its user came after.
        """
        token, now = secrets.token_urlsafe(32), self._clock()
        good = (col(SignInTicket.id) == sha256_hex(ticket), col(SignInTicket.expires_at) > now)
        with self._database.write() as session:
            # The user before the ticket: a new password, which ends tickets, has them in this order.
            named = session.execute(select(SignInTicket.user_id).where(*good)).scalar()
            user = lock_user(session, named) if named else None
            used = session.execute(delete(SignInTicket).where(*good).returning(col(SignInTicket.id))).scalar()
            if user is None or user.withdrawn_at or not used:
                raise errors.SessionEnded
            session.add(
                SignInSession(
                    id=sha256_hex(token), user_id=user.id, created_at=now, seen_at=now,
                    expires_at=now + self._session_life, browser=browser[:200],
                )
            )  # fmt: skip
            self._audit.record(session, Action.SIGN_IN, actor=user.id)
        return token

    def signed_in(self, token: str | None) -> SignedIn | None:
        """Who holds this cookie now: nobody after sign-out, expiry, withdrawal or a new password."""
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
        if now - row.seen_at > SEEN_EVERY:
            with suppress(errors.StorageError, errors.DatabaseError):  # a full disk signs nobody out
                self._touch(row.id, now)
        return SignedIn(user.id, user.username, user.display_name, user.role == Role.ADMIN, row.id)

    def _touch(self, session_id: str, now: datetime) -> None:
        with self._database.write() as session:
            session.execute(
                update(SignInSession)
                .where(col(SignInSession.id) == session_id)
                .values(seen_at=now, expires_at=now + self._session_life)
            )

    def sign_out(self, token: str | None) -> None:
        """End the session of this cookie, in every tab that uses it."""
        if token:
            this = col(SignInSession.id) == sha256_hex(token)
            with self._database.write() as session:
                ended = delete(SignInSession).where(this).returning(col(SignInSession.user_id))
                if user_id := session.execute(ended).scalar():
                    self._audit.record(session, Action.SIGN_OUT, actor=user_id)

    def sign_out_everywhere(self, user: SignedIn) -> None:
        with self._database.write() as session:
            self._end_sessions(session, user.user_id)
            self._audit.record(session, Action.SIGN_OUT, actor=user.user_id, details="everywhere")

    def sessions(self, user: SignedIn) -> list[SignInSession]:
        """The browsers in which this user is signed in, last seen first."""
        with self._database.read() as session:
            return list(
                session.exec(
                    select(SignInSession)
                    .where(SignInSession.user_id == user.user_id, SignInSession.expires_at > self._clock())
                    .order_by(col(SignInSession.seen_at).desc())
                )
            )

    def _end_sessions(self, session: Session, user_id: str) -> None:
        # One that is being made ends too: it is there by the time that its maker lets go of the user's row.
        lock_user(session, user_id)
        session.execute(delete(SignInSession).where(col(SignInSession.user_id) == user_id))
        session.execute(delete(SignInTicket).where(col(SignInTicket.user_id) == user_id))

    def _end_tokens(self, session: Session, user: User, why: str, *, actor: str | None = None) -> None:
        ended = delete(ApiToken).where(col(ApiToken.user_id) == user.id).returning(col(ApiToken.name))
        for name in session.scalars(ended).all():
            details = f"of {user.username}, by {why}"
            self._audit.record(session, Action.TOKEN_REVOKED, actor=actor, subject=name, details=details)

    # Administration

    def accounts(self, admin: SignedIn) -> list[Account]:
        self._require_admin(admin)
        with self._database.read() as session:
            users = session.exec(select(User).order_by(col(User.created_at))).all()
        return [
            Account(user.id, user.username, user.role == Role.ADMIN, user.created_at, user.withdrawn_at)
            for user in users
        ]

    def withdraw(self, admin: SignedIn, user_id: str) -> None:
        """Take a user's access away, everywhere and at once; their images stay.

        What waits in the queue is taken back. What has been begun is let finish, and kept.

        Raises NotAllowed for oneself: a team must not lose its only administrator by a slip.
        """
        self._require_admin(admin)
        if user_id == admin.user_id:
            raise errors.NotAllowed("You can't withdraw your own account.")
        with self._database.write() as session:
            user = lock_user(session, user_id)
            if user is None:
                return
            user.withdrawn_at = self._clock()
            session.add(user)
            self._end_sessions(session, user_id)
            self._on_withdrawal(session, user_id, user.withdrawn_at)
            self._end_resets(session, user_id)
            self._audit.record(session, Action.WITHDRAWAL, actor=admin.user_id, subject=user.username)
            self._end_tokens(session, user, "the withdrawal", actor=admin.user_id)

    def reinstate(self, admin: SignedIn, user_id: str) -> None:
        self._require_admin(admin)
        with self._database.write() as session:
            if user := session.get(User, user_id):
                user.withdrawn_at = None
                # What was being submitted in the moment of the withdrawal: nobody waits for it any more.
                self._on_withdrawal(session, user_id, self._clock())
                self._audit.record(session, Action.REINSTATEMENT, actor=admin.user_id, subject=user.username)

    def _require_admin(self, user: SignedIn) -> None:
        if not user.is_admin:
            raise errors.NotAllowed

    def tidy(self) -> None:
        """Remove rows whose time is over."""
        with self._database.write() as session:
            now = self._locked_now(session)
            session.execute(delete(SignInTicket).where(col(SignInTicket.expires_at) <= now))
            session.execute(delete(SignInSession).where(col(SignInSession.expires_at) <= now))
            # One from the future was dated by a clock that has been set back since.
            over = (col(SignInAttempt.at) <= now - 2 * LOCK) | (col(SignInAttempt.at) > now)
            session.execute(delete(SignInAttempt).where(over))
            session.execute(delete(PasswordReset).where(col(PasswordReset.expires_at) <= now))
            session.execute(delete(Invite).where(col(Invite.expires_at) <= now))
