"""Spending: how much of each budget a user has used in the current UTC day and month.

It is the sum of the calls to the service in that period and the reservations of the live jobs, which are
queued or running:

- A call costs its price. If the price is unknown, it costs the amount reserved for it.
- A call that certainly cost nothing counts nothing.
- A call that was or may have been charged but brought no image counts one image. If the image arrives later,
  the call is recorded anew with its image and price.
- A live job counts the amount reserved for it: the published price of the image, or else the likely maximum.
- A job whose model has no published price reserves no money, so only the image budgets limit it. Once the
  money is spent, such jobs are refused.
- An enhancement is recorded before it is sent. It reserves its likely maximum: the price of its whole input
  and the longest possible output. Without a published price it reserves nothing, and it is refused once the
  money is spent.
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
    """The amounts that a user has used in a day and a month, with reservations. Money is in micro-USD."""

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
    """Return the sums of the user's calls and reservations in the day and the month of `now`.

    One statement reads both. A job that ended between two statements would be missing from the sums.
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
    """Select the user's recorded calls of this month, one row for each call."""
    at: Any = col(Usage.started_at)
    return select(
        at.label("at"),
        func.coalesce(col(Usage.price_micros), col(Usage.reserved_micros), 0).label("micros"),
        (col(Usage.images) + col(Usage.lost_images)).label("images"),
    ).where(col(Usage.user_id) == user_id, col(Usage.started_at) >= month_of(now))


def _reservations(user_id: str, now: datetime) -> Select[Any]:
    """Select the user's live jobs, one row for each job.

    A queued job counts in the period of `now`, and a running job in the period in which it started.
    """
    queued = col(Job.state) == JobState.QUEUED
    # SQLite uses the small partial index of live jobs only if the states are literals in the statement. The
    # expression `owner_id + ""` keeps SQLite from choosing the owner's index, which has all jobs ever made.
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
