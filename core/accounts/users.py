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
    """The fields of a user that the administrator's list shows. `withdrawn_at` is None for an active user."""

    user_id: str
    username: str
    is_admin: bool
    created_at: datetime
    withdrawn_at: datetime | None


OnWithdrawal = Callable[[Session, str, datetime], object]


def ignore_withdrawal(_session: Session, _user_id: str, _now: datetime) -> None:
    """Do nothing. This is the default of `Users(on_withdrawal=…)`, for an app without jobs."""


class Users:
    """Lists users, and withdraws or reinstates their access.

    Every method raises NotAllowed unless the caller is an administrator. The callback
    `on_withdrawal(session, user_id, now)` cancels the user's queued jobs. It runs in the transaction that
    withdraws or reinstates the user.
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
        """Return every user, withdrawn users included, in the order of registration."""
        require_admin(admin)
        with self._database.read() as session:
            users = session.exec(select(User).order_by(col(User.created_at))).all()
        return tuple(
            Account(user.id, user.username, user.role == Role.ADMIN, user.created_at, user.withdrawn_at)
            for user in users
        )

    def withdraw(self, admin: SignedIn, user_id: str) -> None:
        """End a user's sessions, tokens and password links, cancel their queued jobs, and refuse sign-ins.

        The user's images stay stored. A running job finishes, and its image is stored too. Raises NotAllowed
        if `user_id` is the administrator's own id, so that a team can't lose its only administrator.
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
        """Give a withdrawn user access again. The sessions, tokens and links that were ended stay ended."""
        require_admin(admin)
        with self._database.write() as session:
            if user := session.get(User, user_id):
                user.withdrawn_at = None
                # Cancel jobs that were submitted while the withdrawal committed: nobody waits for them.
                self._on_withdrawal(session, user_id, self._clock())
                self._audit_log.record(
                    session, Action.REINSTATEMENT, actor=admin.user_id, subject=user.username
                )
