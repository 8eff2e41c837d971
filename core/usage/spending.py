"""The amount of each budget that a user has used in the current UTC day and month.

The sum of the period's calls and the reservations of the live jobs:

- A call that is known to have cost nothing, or that was taken back, counts nothing.
- A call that was or may have been charged without bringing an image counts one image, and its price or else
  its reservation. An image that arrives late replaces both.
- A call whose response doesn't state a price counts its reservation.
- A queued or running job counts its reservation: its price if that is published, else the most that it is
  likely to cost. A model without any price reserves no money, so only a budget of images limits it; its jobs
  are refused once the money is spent.
- An enhancement is recorded before it is sent. It reserves the most that it is likely to cost: all of its
  input and the longest output. Without a price it reserves nothing, and is refused once the money is spent.
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
    """What a user has used in a day and in a month, reservations included. Money is in micro-USD."""

    day_micros: int
    month_micros: int
    day_images: int
    month_images: int


def day_of(now: datetime) -> datetime:
    """The beginning of the UTC day of `now`."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def month_of(now: datetime) -> datetime:
    """The beginning of the UTC month of `now`."""
    return day_of(now).replace(day=1)


def spending(session: Session, user_id: str, now: datetime) -> Spending:
    """Sum up calls and reservations in one statement: a job that ends between two would be in neither."""
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
    """The calls of this month, one row each."""
    at: Any = col(Usage.started_at)
    return select(
        at.label("at"),
        func.coalesce(col(Usage.price_micros), col(Usage.reserved_micros), 0).label("micros"),
        (col(Usage.images) + col(Usage.lost_images)).label("images"),
    ).where(col(Usage.user_id) == user_id, col(Usage.started_at) >= month_of(now))


def _reservations(user_id: str, now: datetime) -> Select[Any]:
    """The live jobs, one row each. A queued job counts from now on, a running one from its start."""
    queued = col(Job.state) == JobState.QUEUED
    # SQLite uses the partial index of live jobs only if the states are literals in the statement. Adding ""
    # to the owner's column keeps it from using the owner's index instead, which holds all jobs of all time.
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
