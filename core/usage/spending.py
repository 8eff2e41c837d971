"""Spending: how much of each budget a user has used in the current UTC day and month.

It is the sum of the user's calls to the service in that day or month, and of the amounts reserved for the
user's unfinished jobs. An unfinished job is queued or running.

- A call costs its price. If the price is unknown, the call costs the amount that was reserved for it.
- A call that certainly cost nothing doesn't count.
- A call that brought no image but may have been charged counts as one image. If the image arrives later, the
  call is recorded again with its image and price, and the earlier record is deleted.
- An unfinished job counts as one image, and its reservation as money. The reservation is the published price
  of the image, or else the likely maximum price.
- A job whose model has no published price reserves no money, so only the image budgets limit it. Once the
  money budget is used up, such jobs are refused.
- An enhancement is recorded before its call is sent. It reserves the likely maximum price: that of its whole
  input and the longest possible output. Without a published price, it reserves nothing, and it is refused
  once the money budget is used up.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, bindparam, case, func, literal, literal_column, or_, select, union_all
from sqlmodel import Session, col

from core.database.models import LIVE_STATES, Job, JobState, Usage, UtcDateTime


@dataclass(frozen=True, slots=True)
class Spending:
    """The used amounts of a user's four budgets, including reservations. Money is in micro-USD."""

    day_micros: int
    month_micros: int
    day_images: int
    month_images: int


def day_of(now: datetime) -> datetime:
    """Return the start of the UTC day of `now`."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def month_of(now: datetime) -> datetime:
    """Return the start of the UTC month of `now`."""
    return day_of(now).replace(day=1)


def spending(session: Session, user_id: str, now: datetime) -> Spending:
    """Return how much of each budget the user has used in the UTC day and the UTC month of `now`.

    One SQL statement reads both the calls and the jobs. With two statements, a job that ends between them
    would be missing from the sums.
    """
    counted = union_all(_ended_calls(user_id, now), _reservations(user_id, now)).subquery()
    today = counted.c.at >= day_of(now)
    sums = (
        func.sum(case((today, counted.c.micros))),
        func.sum(counted.c.micros),
        func.sum(case((today, counted.c.images))),
        func.sum(counted.c.images),
    )
    row = session.execute(select(*sums)).one()
    return Spending(*(int(value or 0) for value in row))


def _ended_calls(user_id: str, now: datetime) -> Select[Any]:
    """Build a query for the user's calls in the usage log that started in the month of `now`.

    Each row has the start time `at`, the cost `micros` in micro-USD, and the number of `images`.
    """
    at: Any = col(Usage.started_at)
    return select(
        at.label("at"),
        func.coalesce(col(Usage.price_micros), col(Usage.reserved_micros), 0).label("micros"),
        (col(Usage.images) + col(Usage.lost_images)).label("images"),
    ).where(col(Usage.user_id) == user_id, col(Usage.started_at) >= month_of(now))


def _reservations(user_id: str, now: datetime) -> Select[Any]:
    """Build a query for the user's queued and running jobs, with the columns of `_ended_calls`.

    A queued job counts at the time `now`, and a running job at the time at which it started. A running job
    that started before the month of `now` is left out.
    """
    queued = col(Job.state) == JobState.QUEUED
    # SQLite uses the small partial index of unfinished jobs only if the states are literals in the statement.
    # The expression `owner_id + ""` keeps SQLite from choosing the owner's index, which has all jobs ever
    # made.
    live: Any = bindparam("live", [str(state) for state in LIVE_STATES], expanding=True, literal_execute=True)
    return select(
        case((queued, literal(now, UtcDateTime())), else_=col(Job.started_at)).label("at"),
        func.coalesce(col(Job.reserved_micros), 0).label("micros"),
        literal_column("1").label("images"),
    ).where(
        col(Job.state).in_(live),
        (col(Job.owner_id) + "") == user_id,
        or_(queued, col(Job.started_at) >= month_of(now)),
    )
