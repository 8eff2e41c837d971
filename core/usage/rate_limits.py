"""How many requests a user and each token may send in a minute, counted in rows that all processes share."""

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
    """What is counted by itself: looking, and what costs money or changes something."""

    READ = "read"
    PAID = "paid"


@dataclass(frozen=True, slots=True)
class Limit:
    """`subject`, a user or a token, may send `most` requests in a window."""

    subject: str
    most: int


@dataclass(frozen=True, slots=True)
class Window:
    """What is left for the subject that has the least left, and in how many seconds all is free again."""

    limit: int
    remaining: int
    reset: int
    over: bool = False

    def headers(self) -> dict[str, str]:
        names = ("Limit", "Remaining", "Reset")
        values = (self.limit, self.remaining, self.reset)
        return {f"RateLimit-{name}": str(value) for name, value in zip(names, values, strict=True)}


class RateLimits:
    """One row for each subject and kind: its window, and how many requests were let through in it."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def acquire(self, kind: RateKind, limits: Sequence[Limit]) -> Window:
        """Count one request for all subjects, or for none where one of them has nothing left."""
        now = self._clock()
        try:
            with self._database.write() as session:
                found = session.execute(self._counted(kind, limits, now)).all()
                windows = [_window(limit, found, now) for limit in limits]
                fullest = min(windows, key=lambda window: (not window.over, window.remaining))
                if fullest.over:
                    raise _NothingLeft(fullest)
        except _NothingLeft as full:
            return full.window
        return fullest

    def tidy(self) -> None:
        """Remove the windows that are over."""
        with self._database.write() as session:
            session.execute(delete(RateWindow).where(col(RateWindow.began_at) <= self._clock() - WINDOW))

    def _counted(self, kind: RateKind, limits: Sequence[Limit], now: datetime) -> Any:
        """One statement: whoever counts the same subject at once waits, and finds what this one wrote."""
        rows = [
            {"subject": limit.subject, "kind": kind, "began_at": now, "count": 1}
            for limit in sorted(limits, key=lambda limit: limit.subject)
        ]
        began = col(RateWindow.began_at)
        # One from the future was dated by a clock that has been set back since.
        over = or_(began <= now - WINDOW, began > now + WINDOW)
        return (
            self._database.insert(RateWindow)
            .values(rows)
            .on_conflict_do_update(
                index_elements=["subject", "kind"],
                set_={
                    "count": case((over, 1), else_=col(RateWindow.count) + 1),
                    "began_at": case((over, now), else_=began),
                },
            )
            .returning(col(RateWindow.subject), col(RateWindow.count).label("taken"), began)
        )


class _NothingLeft(Exception):
    """Takes back what was counted in the same transaction."""

    def __init__(self, window: Window) -> None:
        self.window = window


def _window(limit: Limit, found: Sequence[Any], now: datetime) -> Window:
    row = next(row for row in found if row.subject == limit.subject)
    reset = max(1, ceil((row.began_at + WINDOW - now).total_seconds()))
    return Window(limit.most, max(0, limit.most - row.taken), reset, over=row.taken > limit.most)
