"""Error counts: how often each error was shown to users, by error code and hour. Administrators read them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import case, delete, func, select
from sqlmodel import col

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.database.database import Database
from core.database.models import ErrorCount

RECENT = timedelta(hours=24)
RETENTION = timedelta(days=30)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ErrorFrequency:
    """The frequency of one error.

    `recent` is the number within the last RECENT, and `total` the number within the last RETENTION. `message`
    is "" if this release of the app has no error with this code.
    """

    code: str
    message: str
    recent: int
    total: int


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Stores how often errors occurred. Safe to share between threads and processes."""

    database: Database
    clock: Callable[[], datetime] = utc_now

    def count(self, error: errors.ImageError) -> None:
        """Count `error`, unless this error object was counted before. Never raises.

        Database errors aren't counted, because counting would write to the failing database. They are logged.
        """
        if error.counted or isinstance(error, errors.DatabaseError):
            return
        error.counted = True
        try:
            self._add(error.code)
        except Exception as fault:
            log.error("error_not_counted", code=error.code, error=repr(fault))

    def _add(self, code: str) -> None:
        hour = _hour(self.clock())
        with self.database.write() as session:
            session.execute(
                self.database.insert(ErrorCount)
                .values(code=code, hour=hour, count=1)
                .on_conflict_do_update(
                    index_elements=["code", "hour"], set_={"count": col(ErrorCount.count) + 1}
                )
            )

    def frequencies(self, admin: SignedIn) -> tuple[ErrorFrequency, ...]:
        """Return how often each error occurred within the last RETENTION.

        The errors that were most frequent within the last RECENT come first. Raises NotAllowed if `admin`
        isn't an administrator.
        """
        if not admin.is_admin:
            raise errors.NotAllowed
        now = _hour(self.clock())
        recent = func.sum(case((col(ErrorCount.hour) > now - RECENT, col(ErrorCount.count)), else_=0))
        total = func.sum(ErrorCount.count)
        found = (
            select(col(ErrorCount.code), recent, total)
            .where(col(ErrorCount.hour) > now - RETENTION)
            .group_by(ErrorCount.code)
            .order_by(recent.desc(), total.desc(), col(ErrorCount.code))
        )
        with self.database.read() as session:
            return tuple(
                _frequency(code, int(new), int(every)) for code, new, every in session.execute(found)
            )

    def tidy(self) -> None:
        """Delete the counts that are older than RETENTION."""
        with self.database.write() as session:
            session.execute(delete(ErrorCount).where(col(ErrorCount.hour) <= _hour(self.clock()) - RETENTION))


def _frequency(code: str, recent: int, total: int) -> ErrorFrequency:
    kind = errors.by_code(code)
    return ErrorFrequency(code, str(kind.message) if kind else "", recent, total)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
