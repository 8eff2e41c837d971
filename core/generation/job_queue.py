"""Whose job is next: fair between users, within what runs at once and what leaves in a minute."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from sqlalchemy import ColumnElement, Select, func, or_, select, update
from sqlmodel import Session, col

from core.common.clock import utc_now
from core.database.database import AdvisoryLock, Database
from core.database.models import Job, JobState, Usage, UsageKind, User
from core.errors import ImageError
from core.usage.usage_log import Outcome

MINUTE = timedelta(minutes=1)
# How many of the latest calls tell how long one takes, and what is said before the first.
SAMPLE = 20
FIRST_GUESS_SECONDS = 30.0
Conditions = tuple[ColumnElement[bool], ...]
_MAY_COME = col(User.withdrawn_at).is_(None)


@dataclass(frozen=True, slots=True)
class Limits:
    """`at_once` images in all and `per_user` of each; `per_minute` calls that leave, 0 for any number."""

    at_once: int = 4
    per_user: int = 4
    per_minute: int = 0


@dataclass(frozen=True, slots=True)
class Place:
    """Where a queued job stands: how many begin before it, and in how many seconds it may begin itself."""

    ahead: int
    seconds: float


class JobQueue:
    """The queued rows of all users, in turns: who has the fewest images running, then who waited longest.

    `process` is the number of the one that claims.
    """

    def __init__(
        self,
        database: Database,
        limits: Limits = Limits(),
        *,
        process: int = 0,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._limits = limits
        self._process = process
        self._clock = clock
        self._in_doubt: deque[Conditions] = deque()

    def claim(self) -> Job | None:
        """The next job, now marked as running: from here on its call may have left. None: nothing may begin.

        Safe in many threads and processes at once: the limits hold over all of them.
        """
        now, claimed = self._clock(), None
        if not self._in_doubt and not self._anything(now):
            return None
        try:
            with self._database.write() as session:
                self._database.lock(session, AdvisoryLock.QUEUE)
                job = self._confirmed(session) or self._take(session, now)
                # Noted at once: a row can't be asked any more when its transaction has failed.
                claimed = _as_claimed(job) if job else None
        except ImageError:
            if claimed:
                self._in_doubt.append(claimed)
            raise
        return job

    def _confirmed(self, session: Session) -> Job | None:
        """A job whose claim was committed after all, though the connection broke before that was said."""
        while self._in_doubt:
            job = session.scalars(select(Job).where(*self._in_doubt[0])).first()
            self._in_doubt.popleft()
            if job is not None:
                return job
        return None

    def _take(self, session: Session, now: datetime) -> Job | None:
        if self._full(session, now):
            return None
        owner_id = session.execute(self._turn(now)).scalar()
        if owner_id is None:
            return None
        session.execute(update(User).where(col(User.id) == owner_id).values(served_at=now))
        return session.scalars(
            update(Job)
            # The state once more: the row may have been cancelled while this statement waited for it.
            .where(
                col(Job.id) == _first_of(owner_id, now).scalar_subquery(), col(Job.state) == JobState.QUEUED
            )
            .values(
                state=JobState.RUNNING,
                process=self._process,
                started_at=now,
                attempts=col(Job.attempts) + 1,
                due_at=None,
            )
            .returning(Job)
        ).one_or_none()

    def places(self, owner_id: str) -> dict[str, Place]:
        """The places of this user's queued jobs, by their ids, when everybody takes turns."""
        with self._database.read() as session:
            mine = session.scalars(_in_order(col(Job.owner_id) == owner_id)).all()
            if not mine:
                return {}
            queued, running = (_counts(session, state) for state in (JobState.QUEUED, JobState.RUNNING))
            seconds = _usual_seconds(session)
        others = [count for owner, count in queued.items() if owner != owner_id]
        return {
            job_id: self._place(rank, others, running, running.get(owner_id, 0), seconds)
            for rank, job_id in enumerate(mine)
        }

    def _place(
        self, rank: int, others: list[int], running: dict[str, int], own_running: int, seconds: float
    ) -> Place:
        ahead = rank + sum(min(count, rank + 1) for count in others)
        rounds = max(
            _rounds(ahead + sum(running.values()), self._limits.at_once),
            _rounds(rank + own_running, self._limits.per_user),
        )
        minutes = ahead // self._limits.per_minute if self._limits.per_minute else 0
        return Place(ahead, max(rounds * seconds, minutes * MINUTE.total_seconds()))

    def _anything(self, now: datetime) -> bool:
        """Whether a job is due; asked first, for it takes no lock."""
        due = select(col(Job.id)).join(User, col(User.id) == col(Job.owner_id)).where(*_due(now), _MAY_COME)
        with self._database.read() as session:
            return session.execute(due.limit(1)).first() is not None

    def _full(self, session: Session, now: datetime) -> bool:
        if sum(_counts(session, JobState.RUNNING).values()) >= self._limits.at_once:
            return True
        return bool(self._limits.per_minute) and _left_since(session, now - MINUTE) >= self._limits.per_minute

    def _turn(self, now: datetime) -> Select[str]:
        """The user whose turn it is; nothing is bought for one whose access was withdrawn."""
        running = (
            select(col(Job.owner_id).label("owner"), func.count().label("count"))
            .where(col(Job.state) == JobState.RUNNING)
            .group_by(col(Job.owner_id))
            .subquery()
        )
        waiting = (
            select(col(Job.owner_id).label("owner"), func.min(col(Job.created_at)).label("since"))
            .where(*_due(now))
            .group_by(col(Job.owner_id))
            .subquery()
        )
        at_work = func.coalesce(running.c.count, 0)
        return (
            select(waiting.c.owner)
            .join(User, col(User.id) == waiting.c.owner)
            .outerjoin(running, running.c.owner == waiting.c.owner)
            .where(at_work < self._limits.per_user, _MAY_COME)
            .order_by(at_work, col(User.served_at).is_not(None), col(User.served_at), waiting.c.since)
            .limit(1)
        )


def _due(now: datetime) -> Conditions:
    return col(Job.state) == JobState.QUEUED, or_(col(Job.due_at).is_(None), col(Job.due_at) <= now)


def _as_claimed(job: Job) -> Conditions:
    return (
        col(Job.id) == job.id,
        col(Job.state) == JobState.RUNNING,
        col(Job.attempts) == job.attempts,
        col(Job.started_at) == job.started_at,
    )


def _in_order(*conditions: ColumnElement[bool]) -> Select[str]:
    return (
        select(col(Job.id))
        .where(col(Job.state) == JobState.QUEUED, *conditions)
        .order_by(col(Job.created_at), col(Job.batch_id), col(Job.position))
    )


def _first_of(owner_id: str, now: datetime) -> Select[str]:
    return _in_order(col(Job.owner_id) == owner_id, *_due(now)).limit(1)


def _counts(session: Session, state: JobState) -> dict[str, int]:
    """How many jobs each user has in `state`."""
    found: Any = session.execute(
        select(col(Job.owner_id), func.count()).where(col(Job.state) == state).group_by(col(Job.owner_id))
    )
    return dict(found.all())


def _left_since(session: Session, moment: datetime) -> int:
    """How many image calls have left since then: those that ended, and those under way."""
    ended = select(func.count()).where(
        col(Usage.started_at) > moment,
        col(Usage.kind) == UsageKind.GENERATE,
        col(Usage.outcome) != Outcome.SAVED,
    )
    running = select(func.count()).where(col(Job.state) == JobState.RUNNING, col(Job.started_at) > moment)
    return int(session.execute(ended).scalar_one()) + int(session.execute(running).scalar_one())


def _usual_seconds(session: Session) -> float:
    """How long an image takes, by the median of the latest ones."""
    latest = session.scalars(
        select(col(Usage.seconds))
        .where(col(Usage.kind) == UsageKind.GENERATE, col(Usage.outcome) == Outcome.OK)
        .order_by(col(Usage.started_at).desc())
        .limit(SAMPLE)
    ).all()
    return sorted(latest)[len(latest) // 2] if latest else FIRST_GUESS_SECONDS


def _rounds(before: int, at_once: int) -> int:
    """How many times all places must become free for one with `before` others in front of it."""
    return max(0, ceil((before - at_once + 1) / at_once))
