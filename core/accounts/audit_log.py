"""The audit log: who did what, to which user or object, when, and from which client.

An entry is written in the same transaction as the change that it describes. Both are stored, or neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any

from sqlalchemy import and_, or_, select
from sqlmodel import Session, col

from core.accounts.client_info import client_info
from core.accounts.identity import SignedIn, require_admin
from core.common.clock import utc_now
from core.common.ids import new_id, sha256_hex
from core.common.text import storable_text
from core.database.columns import fit_to_columns
from core.database.database import ROWS_PER_PAGE, Database
from core.database.models import AuditEntry, User
from core.database.pagination import Cursor, after_cursor, paginate
from core.errors import scrub

PAGE_SIZE = 50
# The titles of the cells that `table_row` returns.
COLUMN_TITLES = ("Time (UTC)", "Action", "Person", "Target", "Details", "Address", "Browser", "Request")


class Action(StrEnum):
    """The actions that the audit log records. The values are stored in the database and must not change."""

    SIGN_IN = "sign-in"
    SIGN_IN_FAILURE = "sign-in failure"
    LOCK_OUT = "lock-out"
    SIGN_OUT = "sign-out"
    PASSWORD_CHANGE = "password change"  # noqa: S105
    PASSWORD_RESET_MADE = "password reset made"  # noqa: S105
    PASSWORD_RESET_USED = "password reset used"  # noqa: S105
    REGISTRATION = "registration"
    INVITATION_MADE = "invitation made"
    INVITATION_WITHDRAWN = "invitation withdrawn"
    WITHDRAWAL = "withdrawal"
    REINSTATEMENT = "reinstatement"
    TOKEN_MADE = "token made"  # noqa: S105
    TOKEN_USED = "token used"  # noqa: S105
    TOKEN_FAILURE = "token failure"  # noqa: S105
    TOKEN_REVOKED = "token revoked"  # noqa: S105
    BUDGET_CHANGE = "budget change"
    TRASH = "deletion"
    RESTORE = "restoring"
    PURGE = "deletion for good"
    SHARE_MADE = "share made"
    SHARE_WITHDRAWN = "share withdrawn"


# The actions whose entries have a username as their subject: the user that the action affected.
_SUBJECT_IS_USERNAME = (
    Action.SIGN_IN_FAILURE,
    Action.LOCK_OUT,
    Action.TOKEN_FAILURE,
    Action.PASSWORD_RESET_MADE,
    Action.PASSWORD_RESET_USED,
    Action.WITHDRAWAL,
    Action.REINSTATEMENT,
    Action.BUDGET_CHANGE,
)


@dataclass(frozen=True, slots=True)
class AuditPage:
    """One page of entries of the audit log, newest first.

    `next` (older entries) and `newer` are the cursors of the neighbouring pages, to pass to `AuditLog.page`.
    A cursor is None if there is no such page.
    """

    entries: tuple[AuditEntry, ...]
    next: str | None = None
    newer: str | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Selects entries of the audit log. A field that is None matches every entry.

    `person` is a username. It matches the entries of the user's own actions and of actions that affected the
    user.
    """

    person: str | None = None
    action: Action | None = None


class AuditLog:
    """Adds entries to the audit log and reads them. Database triggers prevent changes to existing entries."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def record(
        self,
        session: Session,
        action: Action,
        *,
        actor: str | None = None,
        subject: str = "",
        details: str = "",
        unique_key: str | None = None,
    ) -> None:
        """Add an entry to the write transaction of `session`.

        `actor` is the id of the acting user, or None if nobody is signed in or the app acts on its own.
        `subject` is the username, id or name of what the action affected. Of several entries with the same
        `unique_key`, only the first is stored. Secrets are removed from all texts, and long texts are cut to
        the length of their columns.
        """
        user = session.get(User, actor) if actor else None
        client = client_info.get()
        texts = {
            "actor_name": user.username if user else "",
            "subject": subject,
            "details": details,
            "address": client.address,
            "browser": client.browser,
            "request_id": client.request_id,
        }
        fields = {name: scrub(text) for name, text in texts.items()} | {
            "id": _unique_id(unique_key) if unique_key else new_id(),
            "at": self._clock(),
            "action": action,
            "actor_id": actor,
        }
        session.execute(
            self._database.insert(AuditEntry)
            .values(fit_to_columns(AuditEntry, fields))
            .on_conflict_do_nothing()
        )

    def is_recorded(self, session: Session, unique_key: str) -> bool:
        """Whether an entry was recorded with this `unique_key`."""
        found = select(col(AuditEntry.id)).where(col(AuditEntry.id) == _unique_id(unique_key))
        return session.execute(found).first() is not None

    def page(
        self, admin: SignedIn, filters: AuditFilter = AuditFilter(), *, after: str | None = None
    ) -> AuditPage:
        """Return a page of up to PAGE_SIZE entries, newest first.

        `after` is the cursor `next` or `newer` of another page. An invalid cursor gives the first page.
        Raises NotAllowed if `admin` isn't an administrator.
        """
        require_admin(admin)
        with self._database.read() as session:
            found = paginate(partial(_rows, session, filters), Cursor.decode(after), PAGE_SIZE, _cursor_at)
        return AuditPage(found.rows, found.next, found.newer)

    def iterate(self, admin: SignedIn, filters: AuditFilter = AuditFilter()) -> Iterator[AuditEntry]:
        """Return an iterator over all matching entries, newest first.

        The entries are read in pages of ROWS_PER_PAGE. Raises NotAllowed if `admin` isn't an administrator.
        """
        require_admin(admin)
        return self._iterate(filters)

    def _iterate(self, filters: AuditFilter) -> Iterator[AuditEntry]:
        cursor: Cursor | None = None
        while True:
            with self._database.read() as session:
                found = _rows(session, filters, cursor, ROWS_PER_PAGE)
            yield from found
            if len(found) < ROWS_PER_PAGE:
                return
            cursor = _cursor_at(found[-1])


def _rows(
    session: Session, filters: AuditFilter, cursor: Cursor | None, limit: int
) -> tuple[AuditEntry, ...]:
    """Return up to `limit` matching entries that follow `cursor`, the entries nearest to the cursor first."""
    matching = select(AuditEntry).where(*_conditions(filters))
    found = after_cursor(matching, cursor, col(AuditEntry.at), col(AuditEntry.id)).limit(limit)
    return tuple(session.scalars(found))


def _conditions(filters: AuditFilter) -> list[Any]:
    conditions: list[Any] = []
    if filters.action:
        conditions.append(col(AuditEntry.action) == filters.action)
    if filters.person is not None:
        person = storable_text(filters.person)
        actor = select(col(User.id)).where(col(User.username) == person).scalar_subquery()
        done_to_person = and_(
            col(AuditEntry.subject) == person, col(AuditEntry.action).in_(_SUBJECT_IS_USERNAME)
        )
        conditions.append(or_(col(AuditEntry.actor_id) == actor, done_to_person))
    return conditions


def _cursor_at(entry: AuditEntry) -> Cursor:
    return Cursor(entry.at, entry.id)


def format_utc(moment: datetime) -> str:
    """Return a UTC time as text, such as "2026-01-31 12:00:00". The time zone is left out."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def table_row(entry: AuditEntry) -> tuple[str, ...]:
    """Return the cells of an entry, in the order of COLUMN_TITLES."""
    return (
        format_utc(entry.at),
        entry.action,
        entry.actor_name,
        entry.subject,
        entry.details,
        entry.address,
        entry.browser,
        entry.request_id,
    )


def _unique_id(unique_key: str) -> str:
    """Return an entry id derived from the key. The primary key then refuses a second entry with this key."""
    return sha256_hex(unique_key)[:32]
