"""How often each failure has reached somebody, by code and hour: what the administrator looks at."""

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

LATELY = timedelta(hours=24)
KEPT = timedelta(days=30)
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """How often one failure came up: within LATELY, and within KEPT. `message` is "" for a code of before."""

    code: str
    message: str
    lately: int
    all: int


@dataclass(frozen=True, slots=True)
class ErrorCounts:
    """Counts what people were told, each failure once. Safe to share between threads and processes."""

    database: Database
    clock: Callable[[], datetime] = utc_now

    def count(self, error: errors.ImageError) -> None:
        """Count `error`, unless another place has. Never raises.

        What is wrong with the database itself is in the log alone: to write there would make it worse.
        """
        if error.counted or isinstance(error, errors.DatabaseError):
            return
        error.counted = True
        try:
            self._add(error.code)
        except Exception as fault:
            log.error("a failure could not be counted", code=error.code, error=repr(fault))

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

    def seen(self, admin: SignedIn) -> tuple[Seen, ...]:
        """What has come up within KEPT, the most frequent of LATELY first. Raises NotAllowed."""
        if not admin.is_admin:
            raise errors.NotAllowed
        now = _hour(self.clock())
        lately = func.sum(case((col(ErrorCount.hour) > now - LATELY, col(ErrorCount.count)), else_=0))
        total = func.sum(ErrorCount.count)
        found = (
            select(col(ErrorCount.code), lately, total)
            .where(col(ErrorCount.hour) > now - KEPT)
            .group_by(ErrorCount.code)
            .order_by(lately.desc(), total.desc(), col(ErrorCount.code))
        )
        with self.database.read() as session:
            return tuple(_seen(code, int(new), int(every)) for code, new, every in session.execute(found))

    def tidy(self) -> None:
        """Forget what is older than anybody is shown."""
        with self.database.write() as session:
            session.execute(delete(ErrorCount).where(col(ErrorCount.hour) <= _hour(self.clock()) - KEPT))


def _seen(code: str, lately: int, total: int) -> Seen:
    kind = errors.by_code(code)
    return Seen(code, str(kind.message) if kind else "", lately, total)


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)
