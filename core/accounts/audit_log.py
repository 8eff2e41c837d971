"""The audit trail: who did what, to what, when and from where, added in the transaction of what it tells."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from functools import partial
from typing import Any, Protocol

from sqlalchemy import and_, or_, select
from sqlmodel import Session, col

from core.accounts.client_info import client_info
from core.common.clock import utc_now
from core.common.ids import new_id, sha256_hex
from core.common.text import storable_text
from core.database.columns import fit_to_columns
from core.database.database import ROWS_PER_PAGE, Database
from core.database.models import AuditEntry, User
from core.database.pagination import Cursor, after_cursor, paginate
from core.errors import NotAllowed, scrub

PAGE_SIZE = 50
# The titles of `cells`.
TITLES = ("Time (UTC)", "Action", "Person", "Target", "Details", "Address", "Browser", "Request")


class Action(StrEnum):
    """What is recorded."""

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


# Their subject is the username of whom it was done to.
_DONE_TO_PEOPLE = (
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
class Entries:
    """Some of the trail, newest first. `next` and `newer` are cursors for `after`; None: nothing follows."""

    entries: tuple[AuditEntry, ...]
    next: str | None = None
    newer: str | None = None


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which entries: `person` is the username of who did it, or of whom it was done to."""

    person: str | None = None
    action: Action | None = None


class Reader(Protocol):
    """Who asks; `core.accounts.identity.SignedIn` is one."""

    @property
    def is_admin(self) -> bool: ...


class AuditLog:
    """Adds to the trail and reads it; nobody changes it, which the database sees to."""

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
        once: str | None = None,
    ) -> None:
        """Add an entry to the caller's write transaction: it stands if what it tells of does.

        `actor` is a user's id, None where nobody is signed in or the app did it by itself. `subject` is a
        username where it was done to a person, else an id or a name. Of entries with the same `once` only
        the first is added. Keys and tokens are taken out of every text, which is cut to its column.
        """
        user = session.get(User, actor) if actor else None
        here = client_info.get()
        texts = {
            "actor_name": user.username if user else "",
            "subject": subject,
            "details": details,
            "address": here.address,
            "browser": here.browser,
            "request_id": here.request_id,
        }
        fields = {name: scrub(text) for name, text in texts.items()} | {
            "id": once_id(once) if once else new_id(),
            "at": self._clock(),
            "action": action,
            "actor_id": actor,
        }
        session.execute(
            self._database.insert(AuditEntry)
            .values(fit_to_columns(AuditEntry, fields))
            .on_conflict_do_nothing()
        )

    def has(self, session: Session, once: str) -> bool:
        """Whether the entry of that `once` is there."""
        found = select(col(AuditEntry.id)).where(col(AuditEntry.id) == once_id(once))
        return session.execute(found).first() is not None

    def page(self, admin: Reader, which: AuditFilter = AuditFilter(), *, after: str | None = None) -> Entries:
        """PAGE_SIZE entries, newest first. Raises NotAllowed.

        `after` is `next` or `newer` of another page; a damaged one gives the first page.
        """
        _require_admin(admin)
        with self._database.read() as session:
            return _page(session, which, Cursor.decode(after))

    def all(self, admin: Reader, which: AuditFilter = AuditFilter()) -> Iterator[AuditEntry]:
        """Every entry, newest first, read as it is asked for. Raises NotAllowed."""
        _require_admin(admin)
        return self._all(which)

    def _all(self, which: AuditFilter) -> Iterator[AuditEntry]:
        cursor: Cursor | None = None
        while True:
            with self._database.read() as session:
                found = _rows(session, which, cursor, ROWS_PER_PAGE)
            yield from found
            if len(found) < ROWS_PER_PAGE:
                return
            cursor = _place(found[-1])


def _require_admin(reader: Reader) -> None:
    if not reader.is_admin:
        raise NotAllowed


def _page(session: Session, which: AuditFilter, cursor: Cursor | None) -> Entries:
    found = paginate(partial(_rows, session, which), cursor, PAGE_SIZE, _place)
    return Entries(found.rows, found.next, found.newer)


def _rows(session: Session, which: AuditFilter, cursor: Cursor | None, limit: int) -> tuple[AuditEntry, ...]:
    """Up to `limit` entries beyond `cursor`, nearest to it first."""
    matching = select(AuditEntry).where(*_conditions(which))
    found = after_cursor(matching, cursor, col(AuditEntry.at), col(AuditEntry.id)).limit(limit)
    return tuple(session.scalars(found))


def _conditions(which: AuditFilter) -> list[Any]:
    conditions: list[Any] = []
    if which.action:
        conditions.append(col(AuditEntry.action) == which.action)
    if which.person is not None:
        person = storable_text(which.person)
        actor = select(col(User.id)).where(col(User.username) == person).scalar_subquery()
        to_them = and_(col(AuditEntry.subject) == person, col(AuditEntry.action).in_(_DONE_TO_PEOPLE))
        conditions.append(or_(col(AuditEntry.actor_id) == actor, to_them))
    return conditions


def _place(entry: AuditEntry) -> Cursor:
    return Cursor(entry.at, entry.id)


def utc_words(moment: datetime) -> str:
    """A time as it stands in the trail."""
    return f"{moment:%Y-%m-%d %H:%M:%S}"


def cells(entry: AuditEntry) -> tuple[str, ...]:
    """An entry as a line of a table."""
    return (
        utc_words(entry.at),
        entry.action,
        entry.actor_name,
        entry.subject,
        entry.details,
        entry.address,
        entry.browser,
        entry.request_id,
    )


def once_id(once: str) -> str:
    """The id that makes an entry the only one of its kind."""
    return sha256_hex(once)[:32]
