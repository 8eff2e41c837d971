"""Registration: who may create an account, and the invitations for new users."""

from __future__ import annotations

import secrets
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import delete
from sqlmodel import Session, col, select

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import SignedIn, lock_accounts, require_admin
from core.accounts.usernames import check_free, check_username, fill_skeletons, skeleton
from core.common.clock import utc_now
from core.common.ids import sha256_hex
from core.common.text import storable_text
from core.database.database import Database
from core.database.models import INVITE_NAME_LENGTH, Invite, Role, User
from core.settings import RegistrationMode

INVITE_LIFETIME = timedelta(days=7)
# The audit log names an invitation by the first digits of its hash. This is the number of these digits.
_LOGGED_ID_LENGTH = 8


@dataclass(frozen=True, slots=True)
class OpenInvite:
    """An invitation that can still be used.

    `id` is a hash of the invitation's secret token. Nobody can register with the hash. `name` says whom the
    invitation is for, and may be empty.
    """

    id: str
    name: str
    created_at: datetime
    expires_at: datetime


class Registration:
    """Creates accounts and invitations.

    `mode` says who may create an account: everybody, only people with an invitation, or nobody. The first
    account is always permitted.
    """

    def __init__(
        self,
        database: Database,
        audit_log: AuditLog,
        *,
        mode: RegistrationMode = RegistrationMode.OPEN,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._mode = mode
        self._clock = clock

    def has_users(self) -> bool:
        with self._database.read() as session:
            return _has_users(session)

    def check(self, invite: str | None = None) -> None:
        """Check that an account can be created now. `invite` is the token of an invitation, or None.

        Raises RegistrationClosed if nobody may register, and if an invitation is needed but `invite` is
        empty. Raises InviteInvalid if the invitation is unknown, used or expired.
        """
        with self._database.read() as session:
            self._check(session, invite)

    def create_user(self, username: str, password_hash: str, *, invite: str | None = None) -> User:
        """Create an account and return its row. The first account becomes the administrator.

        `invite` is the token of an invitation, or None. A needed invitation is marked as used. Raises
        UsernameRejected if the name isn't permitted, and UsernameTaken if a user has this name or a name that
        looks like it. Raises RegistrationClosed or InviteInvalid as `check` does.
        """
        folded = check_username(username)
        with self._database.write() as session:
            # If two people register first at the same time, only one may become the administrator.
            lock_accounts(self._database, session)
            first = not _has_users(session)
            used_invite = self._check(session, invite)
            displayed = unicodedata.normalize("NFKC", username).strip()
            fill_skeletons(session)
            check_free(session, folded, displayed)
            user = User(
                username=folded,
                display_name=displayed,
                skeleton=skeleton(displayed),
                password_hash=password_hash,
                role=Role.ADMIN if first else Role.MEMBER,
                created_at=self._clock(),
            )
            session.add(user)
            session.flush()
            details = "administrator" if first else "member"
            if used_invite:
                used_invite.used_by = user.id
                details += f", by invitation {_logged_id(used_invite.id)}"
            self._audit_log.record(
                session, Action.REGISTRATION, actor=user.id, subject=folded, details=details
            )
            return user

    def _check(self, session: Session, invite: str | None) -> Invite | None:
        """Return the row of the invitation, or None if the account needs no invitation.

        Raises RegistrationClosed or InviteInvalid as `check` does.
        """
        if self._mode is RegistrationMode.OPEN or not _has_users(session):
            return None
        if self._mode is RegistrationMode.CLOSED or not invite:
            raise errors.RegistrationClosed
        row = session.get(Invite, sha256_hex(invite))
        if row is None or row.used_by or row.expires_at <= self._clock():
            raise errors.InviteInvalid
        return row

    def create_invite(self, admin: SignedIn, name: str = "") -> str:
        """Create an invitation and return its secret token. `name` says whom the invitation is for.

        One account can be created with the token, within INVITE_LIFETIME (7 days). The database stores only
        the token's hash. Raises NotAllowed if `admin` isn't an administrator.
        """
        require_admin(admin)
        token = secrets.token_urlsafe(24)
        now, invite_id = self._clock(), sha256_hex(token)
        name = storable_text(" ".join(name.split()))[:INVITE_NAME_LENGTH]
        with self._database.write() as session:
            session.add(
                Invite(
                    id=invite_id,
                    name=name,
                    created_by=admin.user_id,
                    created_at=now,
                    expires_at=now + INVITE_LIFETIME,
                )
            )
            self._audit_log.record(
                session, Action.INVITATION_MADE, actor=admin.user_id, subject=_logged_id(invite_id),
                details=name and f"for {name}",
            )  # fmt: skip
        return token

    def open_invites(self, admin: SignedIn) -> list[OpenInvite]:
        """Return the invitations that can still be used, newest first.

        Raises NotAllowed if `admin` isn't an administrator.
        """
        require_admin(admin)
        usable = (col(Invite.used_by).is_(None), col(Invite.expires_at) > self._clock())
        with self._database.read() as session:
            found = session.exec(select(Invite).where(*usable).order_by(col(Invite.created_at).desc())).all()
        return [OpenInvite(invite.id, invite.name, invite.created_at, invite.expires_at) for invite in found]

    def withdraw_invite(self, admin: SignedIn, invite_id: str) -> None:
        """Delete an invitation, so that nobody can use it.

        Does nothing if the invitation is unknown or was used. Raises NotAllowed if `admin` isn't an
        administrator.
        """
        require_admin(admin)
        with self._database.write() as session:
            unused = (col(Invite.id) == invite_id, col(Invite.used_by).is_(None))
            deleted = session.execute(delete(Invite).where(*unused).returning(col(Invite.id))).scalar()
            if deleted:
                self._audit_log.record(
                    session, Action.INVITATION_WITHDRAWN, actor=admin.user_id, subject=_logged_id(deleted)
                )

    def tidy(self) -> None:
        """Delete expired invitations, used and unused ones."""
        with self._database.write() as session:
            # Without the lock, an invitation could be deleted while somebody registers with it.
            lock_accounts(self._database, session)
            session.execute(delete(Invite).where(col(Invite.expires_at) <= self._clock()))


def _has_users(session: Session) -> bool:
    return session.exec(select(User.id).limit(1)).first() is not None


def _logged_id(invite_id: str) -> str:
    return invite_id[:_LOGGED_ID_LENGTH]
