"""Rate limits: how many API requests per minute each user and each API token may send.

The counters are database rows, so all processes share them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from math import ceil
from typing import Any

from sqlalchemy import case, delete, or_
from sqlmodel import col

from core.common.clock import utc_now
from core.database.database import Database
from core.database.models import RateWindow

WINDOW = timedelta(minutes=1)


class RateKind(StrEnum):
    """The two kinds of requests, each with its own limit.

    READ is for requests that only read. PAID is for requests that cost money or change something.
    """

    READ = "read"
    PAID = "paid"


@dataclass(frozen=True, slots=True)
class Limit:
    """The most requests that `subject`, a user or an API token, may send in one WINDOW."""

    subject: str
    max_requests: int


@dataclass(frozen=True, slots=True)
class LimitStatus:
    """The state of a rate limit after a request. If several limits apply, it is the limit nearest to its end.

    - `limit`: the most requests in one WINDOW.
    - `remaining`: the number of requests that are left in the current window.
    - `reset`: the seconds until the next window starts.
    - `exceeded`: whether the request was above the limit.
    """

    limit: int
    remaining: int
    reset: int
    exceeded: bool = False

    def headers(self) -> dict[str, str]:
        names = ("Limit", "Remaining", "Reset")
        values = (self.limit, self.remaining, self.reset)
        return {f"RateLimit-{name}": str(value) for name, value in zip(names, values, strict=True)}


class RateLimits:
    """Counts requests. Each subject and kind of request has one row.

    The row holds the start of the current window and the number of requests admitted in it.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def acquire(self, kind: RateKind, limits: Sequence[Limit]) -> LimitStatus:
        """Count one request against all `limits`. Return the status of the limit nearest to its end.

        If the request exceeds one of the limits, the status of that limit is returned, with `exceeded` set.
        The request is then counted against none of the limits.
        """
        now = self._clock()
        try:
            with self._database.write() as session:
                found = session.execute(self._count(kind, limits, now)).all()
                statuses = [_status(limit, found, now) for limit in limits]
                tightest = min(statuses, key=lambda status: (not status.exceeded, status.remaining))
                if tightest.exceeded:
                    raise _LimitExceeded(tightest)
        except _LimitExceeded as exceeded:
            return exceeded.status
        return tightest

    def tidy(self) -> None:
        """Delete the rows whose window has ended."""
        with self._database.write() as session:
            session.execute(delete(RateWindow).where(col(RateWindow.began_at) <= self._clock() - WINDOW))

    def _count(self, kind: RateKind, limits: Sequence[Limit], now: datetime) -> Any:
        """Build one SQL statement that counts the request for the subjects of all `limits`.

        The statement returns each subject, its number of requests, and the start of its window. The row locks
        of the statement make a concurrent request for the same subject wait.
        """
        rows = [
            {"subject": limit.subject, "kind": kind, "began_at": now, "count": 1}
            for limit in sorted(limits, key=lambda limit: limit.subject)
        ]
        began = col(RateWindow.began_at)
        # A window can start in the future if the clock was set back. Treat it as ended.
        ended = or_(began <= now - WINDOW, began > now + WINDOW)
        return (
            self._database.insert(RateWindow)
            .values(rows)
            .on_conflict_do_update(
                index_elements=["subject", "kind"],
                set_={
                    "count": case((ended, 1), else_=col(RateWindow.count) + 1),
                    "began_at": case((ended, now), else_=began),
                },
            )
            .returning(col(RateWindow.subject), col(RateWindow.count).label("used"), began)
        )


class _LimitExceeded(Exception):
    """Raised to roll back the transaction, so that the refused request isn't counted for any subject."""

    def __init__(self, status: LimitStatus) -> None:
        self.status = status


def _status(limit: Limit, found: Sequence[Any], now: datetime) -> LimitStatus:
    row = next(row for row in found if row.subject == limit.subject)
    reset = max(1, ceil((row.began_at + WINDOW - now).total_seconds()))
    return LimitStatus(
        limit.max_requests,
        max(0, limit.max_requests - row.used),
        reset,
        exceeded=row.used > limit.max_requests,
    )
