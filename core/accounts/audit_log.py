"""The audit log: who did what, to which user or object, when, and from which client.

The entry about a change is written in the same transaction as the change. The database therefore stores both
of them, or neither.
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

    `next` is the cursor of the page with older entries, and `newer` is the cursor of the page with newer
    entries. A cursor is text to pass to `AuditLog.page`. A cursor is None if there is no such page.
    """

    entries: tuple[AuditEntry, ...]
    next: str | None = None
    newer: str | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Conditions that select entries of the audit log. A field that is None selects every entry.

    `person` is a username. It selects the actions by this user and the actions that affected this user. If
    `action` is set too, an entry must meet both conditions.
    """

    person: str | None = None
    action: Action | None = None


class AuditLog:
    """Adds entries to the audit log and reads them.

    Triggers in the database prevent anybody from changing or deleting an entry.
    """

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
        """Add an entry to the audit log, in the transaction of `session`.

        - `actor`: the id of the user who acted. None if nobody is signed in or the app acts on its own.
        - `subject`: the username, id or name of what the action affected.
        - `unique_key`: nothing is added if the log already has an entry with this key.

        Secrets are removed from all texts. Texts that are too long for their columns are cut.
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
        """Whether the audit log has an entry that was recorded with this `unique_key`."""
        found = select(col(AuditEntry.id)).where(col(AuditEntry.id) == _unique_id(unique_key))
        return session.execute(found).first() is not None

    def page(
        self, admin: SignedIn, filters: AuditFilter = AuditFilter(), *, after: str | None = None
    ) -> AuditPage:
        """Return a page of at most PAGE_SIZE entries that match `filters`, newest first.

        `after` is the cursor `next` or `newer` of another page. If `after` is None or invalid, the first page
        is returned. Raises NotAllowed if `admin` isn't an administrator.
        """
        require_admin(admin)
        with self._database.read() as session:
            found = paginate(partial(_rows, session, filters), Cursor.decode(after), PAGE_SIZE, _cursor_at)
        return AuditPage(found.rows, found.next, found.newer)

    def iterate(self, admin: SignedIn, filters: AuditFilter = AuditFilter()) -> Iterator[AuditEntry]:
        """Return an iterator over all entries that match `filters`, newest first.

        The iterator reads ROWS_PER_PAGE entries at a time. Raises NotAllowed if `admin` isn't an
        administrator.
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
    """Return at most `limit` entries that match `filters`, beginning next to `cursor`.

    Returns the entries that are older than the cursor's entry, newest first. If `cursor.newer` is True,
    returns the entries that are newer, oldest first. If `cursor` is None, begins with the newest entry of the
    log.
    """
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
    """Return `moment`, a time in UTC, as text such as "2026-01-31 12:00:00"."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def table_row(entry: AuditEntry) -> tuple[str, ...]:
    """Return the texts of `entry` for one row of a table, in the order of COLUMN_TITLES."""
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
    """Return the id of the entry that has this `unique_key`.

    The id is derived from the key. A second entry with the same key would have the same id, which the primary
    key prevents.
    """
    return sha256_hex(unique_key)[:32]
