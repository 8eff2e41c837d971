"""User administration: lists the users, and withdraws or reinstates a user's access."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session, col, select

from core import errors
from core.accounts.api_tokens import end_tokens
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import SignedIn, lock_user, require_admin
from core.accounts.passwords import end_resets
from core.accounts.sessions import end_sessions
from core.common.clock import utc_now
from core.database.database import Database
from core.database.models import Role, User


@dataclass(frozen=True, slots=True)
class Account:
    """A user as the administrator's list shows them.

    `withdrawn_at` is when the user's access was withdrawn, or None if the user has access.
    """

    user_id: str
    username: str
    is_admin: bool
    created_at: datetime
    withdrawn_at: datetime | None


OnWithdrawal = Callable[[Session, str, datetime], object]


def ignore_withdrawal(_session: Session, _user_id: str, _now: datetime) -> None:
    """Do nothing. This is the callback `on_withdrawal` of `Users` for an app without jobs."""


class Users:
    """Lists users, and withdraws or reinstates their access.

    Every method raises NotAllowed if `admin` isn't an administrator. `withdraw` and `reinstate` call
    `on_withdrawal(session, user_id, now)` in their transaction, to cancel the user's queued jobs.
    """

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        *,
        on_withdrawal: OnWithdrawal = ignore_withdrawal,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._on_withdrawal = on_withdrawal
        self._clock = clock

    def list(self, admin: SignedIn) -> tuple[Account, ...]:
        """Return every user in the order of registration, including users whose access was withdrawn."""
        require_admin(admin)
        with self._database.read() as session:
            users = session.exec(select(User).order_by(col(User.created_at))).all()
        return tuple(
            Account(user.id, user.username, user.role == Role.ADMIN, user.created_at, user.withdrawn_at)
            for user in users
        )

    def withdraw(self, admin: SignedIn, user_id: str) -> None:
        """Withdraw a user's access: end their sessions, delete their API tokens, and refuse sign-ins.

        Deletes the user's password reset links and cancels their queued jobs too. A running job finishes, and
        the user's images stay stored. Does nothing if no user has this id. Raises NotAllowed if `user_id` is
        the id of `admin`, so that a team can't lose its only administrator.
        """
        require_admin(admin)
        if user_id == admin.user_id:
            raise errors.NotAllowed("You can't withdraw your own account.")
        with self._database.write() as session:
            user = lock_user(session, user_id)
            if user is None:
                return
            user.withdrawn_at = self._clock()
            session.add(user)
            end_sessions(session, user_id)
            self._on_withdrawal(session, user_id, user.withdrawn_at)
            end_resets(session, user_id)
            self._audit_log.record(session, Action.WITHDRAWAL, actor=admin.user_id, subject=user.username)
            end_tokens(session, self._audit_log, user, "the withdrawal", actor=admin.user_id)

    def reinstate(self, admin: SignedIn, user_id: str) -> None:
        """Give a user access again after a withdrawal.

        The sessions, tokens and links that the withdrawal ended stay ended. Does nothing if no user has this
        id.
        """
        require_admin(admin)
        with self._database.write() as session:
            if user := session.get(User, user_id):
                user.withdrawn_at = None
                # Cancel jobs that the user submitted during the withdrawal: nobody waits for them.
                self._on_withdrawal(session, user_id, self._clock())
                self._audit_log.record(
                    session, Action.REINSTATEMENT, actor=admin.user_id, subject=user.username
                )
