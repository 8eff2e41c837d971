"""The job queue: decides which job starts next, so that users take turns.

Limits apply to the number of running jobs and to the calls per minute.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil
from typing import Any

from sqlalchemy import ColumnElement, Select, case, func, or_, select, update
from sqlmodel import Session, col

from core.common.clock import utc_now
from core.database.database import AdvisoryLock, Database
from core.database.models import Job, JobState, Usage, UsageKind, User
from core.errors import ImageError
from core.responses.error_translation import MAX_RETRY_AFTER_SECONDS
from core.usage.usage_log import Outcome

MINUTE = timedelta(minutes=1)
# No job waits longer for its next call. If one seems to, the clock has been set back since it began to wait.
LONGEST_PAUSE = timedelta(seconds=MAX_RETRY_AFTER_SECONDS)
# The clocks of replicas differ by less than this.
_CLOCK_SKEW = MINUTE
# The duration of a call is estimated from this many of the latest calls. Before the first call, it is the
# default.
SAMPLE_SIZE = 20
DEFAULT_CALL_SECONDS = 30.0
Conditions = tuple[ColumnElement[bool], ...]
_HAS_ACCESS = col(User.withdrawn_at).is_(None)


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits on generation.

    At most `at_once` jobs run at the same time, and at most `per_user` jobs of each user. At most
    `per_minute` calls start in a minute. If `per_minute` is 0, the calls per minute aren't limited.
    """

    at_once: int = 4
    per_user: int = 4
    per_minute: int = 0


@dataclass(frozen=True, slots=True)
class QueuePosition:
    """The position of a queued job.

    `ahead` is the number of jobs that start before it. `seconds` is the estimated time until it starts.
    """

    ahead: int
    seconds: float


class JobQueue:
    """The queued jobs of all users.

    The next job belongs to the user with the fewest running jobs. If several users have equally few, the user
    whose last job started longest ago comes first. `process` is the number of this process. It is stored in
    the row of each claimed job, so that the jobs of a crashed process can be found.
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
        self._unconfirmed: deque[Conditions] = deque()

    def claim(self) -> Job | None:
        """Mark the next job as running, count one more attempt, and return the job.

        Returns None if no job may start now. Safe to call from many threads and processes. The limits apply
        to all of them together.
        """
        now, claimed = self._clock(), None
        if not self._unconfirmed and not self._is_any_due(now):
            return None
        try:
            with self._database.write() as session:
                self._database.lock(session, AdvisoryLock.QUEUE)
                job = self._confirmed(session) or self._claim_next(session, now)
                # Read the row's values now, because they can't be read after a failed commit.
                claimed = _as_claimed(job) if job else None
        except ImageError:
            if claimed:
                self._unconfirmed.append(claimed)
            raise
        return job

    def _confirmed(self, session: Session) -> Job | None:
        """Return a job whose claim was committed although the commit raised an error, or None.

        This happens if the database connection breaks before the commit returns.
        """
        while self._unconfirmed:
            job = session.scalars(select(Job).where(*self._unconfirmed[0])).first()
            self._unconfirmed.popleft()
            if job is not None:
                return job
        return None

    def _claim_next(self, session: Session, now: datetime) -> Job | None:
        if self._full(session, now):
            return None
        owner_id = session.execute(self._next_owner(now)).scalar()
        if owner_id is None:
            return None
        session.execute(update(User).where(col(User.id) == owner_id).values(served_at=now))
        return session.scalars(
            update(Job)
            # Check the state again: the job may have been cancelled while this statement waited for its row.
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

    def positions(self, owner_id: str) -> dict[str, QueuePosition]:
        """Return the positions of this user's queued jobs, by job id.

        The positions are estimates, which assume that all users take turns.
        """
        with self._database.read() as session:
            own = session.scalars(_in_order(col(Job.owner_id) == owner_id)).all()
            if not own:
                return {}
            queued, running = (_counts(session, state) for state in (JobState.QUEUED, JobState.RUNNING))
            seconds = _typical_seconds(session)
        others = [count for owner, count in queued.items() if owner != owner_id]
        return {
            job_id: self._position(rank, others, running, running.get(owner_id, 0), seconds)
            for rank, job_id in enumerate(own)
        }

    def _position(
        self, rank: int, others: list[int], running: dict[str, int], own_running: int, seconds: float
    ) -> QueuePosition:
        ahead = rank + sum(min(count, rank + 1) for count in others)
        rounds = max(
            _rounds(ahead + sum(running.values()), self._limits.at_once),
            _rounds(rank + own_running, self._limits.per_user),
        )
        minutes = ahead // self._limits.per_minute if self._limits.per_minute else 0
        return QueuePosition(ahead, max(rounds * seconds, minutes * MINUTE.total_seconds()))

    def _is_any_due(self, now: datetime) -> bool:
        """Return whether a job may start at the time `now`, if the limits allow it.

        `claim` calls this method first, because it needs no lock.
        """
        due = select(col(Job.id)).join(User, col(User.id) == col(Job.owner_id)).where(*_due(now), _HAS_ACCESS)
        with self._database.read() as session:
            return session.execute(due.limit(1)).first() is not None

    def _full(self, session: Session, now: datetime) -> bool:
        if sum(_counts(session, JobState.RUNNING).values()) >= self._limits.at_once:
            return True
        return bool(self._limits.per_minute) and _latest_calls(session, now) >= self._limits.per_minute

    def _next_owner(self, now: datetime) -> Select[str]:
        """Build a query for the id of the user whose job starts next.

        Users whose access was withdrawn are skipped, and so are users who already run `per_user` jobs.
        """
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
        # A user who seems to have been served later was served before the clock was set back: count this as
        # never, or the user would wait until the clock reaches that time again.
        served_at = case((col(User.served_at) <= now + _CLOCK_SKEW, col(User.served_at)))
        return (
            select(waiting.c.owner)
            .join(User, col(User.id) == waiting.c.owner)
            .outerjoin(running, running.c.owner == waiting.c.owner)
            .where(at_work < self._limits.per_user, _HAS_ACCESS)
            .order_by(at_work, served_at.is_not(None), served_at, waiting.c.since)
            .limit(1)
        )


def _due(now: datetime) -> Conditions:
    """Return SQL conditions for the queued jobs that may start at the time `now`."""
    due_at = col(Job.due_at)
    is_due = or_(due_at.is_(None), due_at <= now, due_at > now + LONGEST_PAUSE)
    return col(Job.state) == JobState.QUEUED, is_due


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
    """Return how many jobs each user has in `state`, by user id. Users without such a job are left out."""
    found: Any = session.execute(
        select(col(Job.owner_id), func.count()).where(col(Job.state) == state).group_by(col(Job.owner_id))
    )
    return dict(found.all())


def _latest_calls(session: Session, now: datetime) -> int:
    """Return how many image calls started in the minute before `now`.

    Calls that are still running count as well. Calls that seem to start later don't: they started before the
    clock was set back.
    """
    since, until = now - MINUTE, now + _CLOCK_SKEW
    ended = select(func.count()).where(
        col(Usage.started_at) > since,
        col(Usage.started_at) <= until,
        col(Usage.kind) == UsageKind.GENERATE,
        col(Usage.outcome) != Outcome.SAVED,
    )
    running = select(func.count()).where(
        col(Job.state) == JobState.RUNNING, col(Job.started_at) > since, col(Job.started_at) <= until
    )
    return int(session.execute(ended).scalar_one()) + int(session.execute(running).scalar_one())


def _typical_seconds(session: Session) -> float:
    """Return the median duration of the latest SAMPLE_SIZE successful image calls.

    Returns DEFAULT_CALL_SECONDS if there are none.
    """
    latest = session.scalars(
        select(col(Usage.seconds))
        .where(col(Usage.kind) == UsageKind.GENERATE, col(Usage.outcome) == Outcome.OK)
        .order_by(col(Usage.started_at).desc())
        .limit(SAMPLE_SIZE)
    ).all()
    return sorted(latest)[len(latest) // 2] if latest else DEFAULT_CALL_SECONDS


def _rounds(before: int, at_once: int) -> int:
    """Return the number of rounds that must end before a job with `before` jobs ahead of it starts.

    A round is the time of one call, in which `at_once` jobs run side by side.
    """
    return max(0, ceil((before - at_once + 1) / at_once))
