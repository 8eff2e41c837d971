"""Durable background generation: what was submitted survives the page, the tab and the process.

A job's row is the truth; `job_queue` decides which job is next, `dispatcher` when, and `worker` makes it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import ColumnElement, case, func, update
from sqlmodel import Session, col, select

from core import errors
from core.common.clock import utc_now
from core.common.ids import new_id
from core.common.text import storable_text
from core.database.database import AdvisoryLock, Database
from core.database.models import LIVE_STATES, Image, Job, JobState
from core.generation.dispatcher import Dispatcher
from core.generation.job_queue import JobQueue
from core.generation.job_state import cancel_live, rows_of
from core.generation.recovery import RECENT
from core.generation.views import ENDED_WITHOUT_IMAGE, JobView, view_of
from core.generation.worker import Worker
from core.prompts.recipe import Recipe
from core.storage.keys import partial_key
from core.storage.storage import Storage
from core.usage.budgets import Budgets

log = structlog.get_logger(__name__)


# Two clicks within this time with the same recipe are one batch.
DOUBLE_CLICK = timedelta(seconds=2)
MOST_SHOWN = 100
# Given a transaction and a new batch's id, the id of the batch that it is again, if it is one.
Repeats = Callable[[Session, str], str | None]


@dataclass(slots=True)
class Jobs:
    """Submits, runs and recovers jobs. `start` begins to work on them, `stop` lets running calls finish.

    `places` is how many this process works on at once. While `may_work` says no, jobs wait. `alive` gives
    the numbers of the processes that may be working on jobs; where others `share` the work, one counts as
    gone when it was missed twice: a restart of the database drops all locks at once. Once `closed` is set,
    which a signal's handler may do, no job is begun any more.
    """

    database: Database
    storage: Storage
    worker: Worker
    queue: JobQueue
    budgets: Budgets
    places: int = 4
    clock: Callable[[], datetime] = utc_now
    may_work: Callable[[], bool] = lambda: True
    alive: Callable[[], frozenset[int]] = frozenset
    share: bool = False
    closed: threading.Event = field(default_factory=threading.Event)
    _missed: frozenset[int | None] = frozenset()
    _dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        self._dispatcher = Dispatcher(self.claim, self.worker.run, places=self.places)

    def start(self) -> None:
        """Settle what an earlier process left, then take up the queue.

        Raises StorageError or DatabaseError when that can't be done.
        """
        if not self.share:
            self.sweep()
        self._dispatcher.start()

    def sweep(self) -> None:
        """Settle the jobs of processes that are gone. Raises StorageError or DatabaseError."""
        missed, self._missed = self._missed, frozenset()
        running = self._in_state(JobState.RUNNING)
        # Read after the jobs: whoever has begun one of them had its number by then.
        missing = frozenset(job.process for job in running) - self.alive()
        gone = missing & missed if self.share else missing
        self._missed = missing
        for job in running:
            if job.process in gone:
                self.worker.settle(job)

    def stop(self, *, grace_seconds: float = 30) -> bool:
        """Take no new work and let running calls finish within the grace period; whether they all have."""
        self.closed.set()
        self.worker.stopping.set()
        return self._dispatcher.stop(grace_seconds)

    def claim(self) -> Job | None:
        """The next job, now marked as running and to be given to the worker; None while nothing may begin."""
        if self.closed.is_set() or not self.may_work():
            return None
        return self.queue.claim()

    # Submitting and watching

    def submit(self, owner_id: str, recipe: Recipe, count: int) -> str:
        """Queue `count` images of one recipe; see `submit_all`."""
        return self.submit_all(owner_id, [recipe] * count)

    def submit_all(
        self,
        owner_id: str,
        recipes: Sequence[Recipe],
        *,
        asked_at: datetime | None = None,
        repeats: Repeats | None = None,
    ) -> str:
        """Queue an image of each recipe and return the batch's id; a double click gets the first batch.

        What was submitted before `asked_at` is known to the user, who wants these as well. `repeats` decides
        in place of the double click's rule whether this is an earlier batch again. Raises BudgetSpent before
        any is queued.
        """
        requests, batch_id = [recipe.to_json() for recipe in recipes], new_id()
        estimates = [self.budgets.reservation(recipe) for recipe in recipes]
        with self.database.write() as session:
            self.database.lock(session, AdvisoryLock.SUBMISSION)
            # Not before the lock: what was submitted while this one waited would be dated later than now.
            now = self.clock()
            if repeats:
                earlier = repeats(session, batch_id)
            else:
                earlier = self._double(session, owner_id, requests, now, asked_at)
            if earlier:
                return earlier
            self.budgets.reserve(session, owner_id, estimates, now)
            session.add_all(_batch(batch_id, owner_id, requests, estimates, now))
        self._dispatcher.wake()
        return batch_id

    def _double(
        self,
        session: Session,
        owner_id: str,
        requests: list[dict[str, Any]],
        now: datetime,
        asked_at: datetime | None,
    ) -> str | None:
        """The batch that this one is the second click of."""
        since = max(now - DOUBLE_CLICK, asked_at or now - DOUBLE_CLICK)
        recent = session.exec(
            select(Job)
            .where(Job.owner_id == owner_id, Job.created_at > since, Job.created_at <= now)
            .order_by(col(Job.created_at).desc(), col(Job.position))
        ).all()
        if not recent:
            return None
        batch = [job for job in recent if job.batch_id == recent[0].batch_id]
        going = not any(job.state in ENDED_WITHOUT_IMAGE for job in batch)
        same = [job.request for job in batch] == requests
        return batch[0].batch_id if going and same else None

    def recent(self, owner_id: str) -> tuple[JobView, ...]:
        """This user's live jobs and those that ended lately and weren't dismissed; newest batch first.

        Of more than MOST_SHOWN, those that run are there, then those that begin next.
        """
        since, live = self.clock() - RECENT, col(Job.state).in_(LIVE_STATES)
        with self.database.read() as session:
            found = session.exec(
                select(Job)
                .where(Job.owner_id == owner_id, col(Job.dismissed_at).is_(None))
                .where(live | (col(Job.created_at) > since))
                .order_by(
                    col(Job.state) != JobState.RUNNING,
                    col(Job.state) != JobState.QUEUED,
                    case((live, col(Job.created_at))),
                    col(Job.created_at).desc(),
                    col(Job.batch_id),
                    col(Job.position),
                )
                .limit(MOST_SHOWN)
            ).all()
            jobs = sorted(found, key=lambda job: (-job.created_at.timestamp(), job.batch_id, job.position))
            made = session.exec(
                select(Image.job_id, Image.id)
                .where(Image.owner_id == owner_id, col(Image.job_id).in_([job.id for job in jobs]))
                .where(col(Image.trashed_at).is_(None))
                .order_by(col(Image.file_key))
            ).all()
        waiting = any(job.state == JobState.QUEUED for job in jobs)
        places = self.queue.places(owner_id) if waiting else {}
        return tuple(
            view_of(job, tuple(image for job_id, image in made if job_id == job.id), places.get(job.id))
            for job in jobs
        )

    def partial(self, owner_id: str, job_id: str, number: int) -> bytes:
        """A partial picture of a running job. Raises ImageNotFound for anybody but the owner."""
        job = self._owned(owner_id, job_id)
        if job.state not in LIVE_STATES:
            raise errors.ImageNotFound
        try:
            return self.storage.get(partial_key(job_id, number))
        except errors.FileDamaged as error:
            raise errors.ImageNotFound from error

    def recipe(self, owner_id: str, job_id: str) -> Recipe:
        """What a job was asked for.

        Raises ImageNotFound for anybody but the owner, and RecipeUnreadable for another version's job.
        """
        return Recipe.from_json(self._owned(owner_id, job_id).request)

    def retry(self, owner_id: str, *job_ids: str) -> str:
        """Submit the same recipes again as one batch, on the user's word; the old rows are dismissed.

        What has come meanwhile is entered instead. Returns the new batch's id, or the old one's where nothing
        was left to try. Raises ImageNotFound for anybody but the owner, JobNotRetryable, BudgetSpent, which
        leaves the old rows as they were, and StorageError.
        """
        jobs = [self._owned(owner_id, job_id) for job_id in job_ids]
        if any(job.state not in ENDED_WITHOUT_IMAGE for job in jobs):
            raise errors.JobNotRetryable
        self._adopt(jobs)
        batch_id = new_id()
        with self.database.write() as session:
            self.database.lock(session, AdvisoryLock.SUBMISSION)
            now = self.clock()
            taken = [job for job in jobs if self._dismiss(session, owner_id, (job.id,), failed=True)]
            estimates = [self.budgets.reservation(Recipe.from_any_version(job.request)) for job in taken]
            self.budgets.reserve(session, owner_id, estimates, now)
            new = _batch(batch_id, owner_id, [job.request for job in taken], estimates, now)
            session.add_all(new)
        self._dispatcher.wake()
        return batch_id if new else jobs[0].batch_id

    def cancel(self, owner_id: str, job_id: str) -> JobState:
        """Take a queued job back; a running one, whose call has left, is let finish, and is not called again.

        Returns how the job stands then. Raises ImageNotFound for anybody but the owner.
        """
        self._cancel(owner_id, col(Job.id) == job_id)
        return JobState(self._owned(owner_id, job_id).state)

    def cancel_waiting(self, owner_id: str, batch_id: str | None = None) -> int:
        """Take back all of this user's queued jobs, or those of one batch; how many that were."""
        return self._cancel(owner_id, *([col(Job.batch_id) == batch_id] if batch_id else []))

    def _cancel(self, owner_id: str, *conditions: ColumnElement[bool]) -> int:
        with self.database.write() as session:
            return cancel_live(session, owner_id, self.clock(), *conditions)

    def counts(self, owner_id: str) -> dict[JobState, int]:
        """How many of this user's jobs run and wait: all of them, also those that `recent` leaves out."""
        found = (
            select(Job.state, func.count())
            .where(Job.owner_id == owner_id, col(Job.state).in_(LIVE_STATES))
            .group_by(col(Job.state))
        )
        with self.database.read() as session:
            return {JobState(state): count for state, count in session.exec(found)}

    def dismiss(self, owner_id: str, *job_ids: str) -> None:
        """Let ended jobs go from the page; their images stay in the gallery."""
        with self.database.write() as session:
            self._dismiss(session, owner_id, job_ids)

    def enter_late(self) -> None:
        """Enter answers that came after their job was given up, and whose process ended before it did so."""
        since = self.clock() - RECENT
        with self.database.read() as session:
            unknown = select(Job).where(Job.state == JobState.UNKNOWN, col(Job.finished_at) > since)
            jobs = list(session.exec(unknown))
        for job in jobs:
            try:
                self._adopt([job])
            except errors.StorageError as error:
                # One that can't be read keeps no other.
                log.error("a late answer can't be read", job_id=job.id, details=error.details)

    def _adopt(self, jobs: Sequence[Job]) -> None:
        for job in jobs:
            if job.state == JobState.UNKNOWN and self.worker.intake.adopt(job):
                self.worker.intake.clear(job)

    def _dismiss(
        self, session: Session, owner_id: str, job_ids: tuple[str, ...], *, failed: bool = False
    ) -> int:
        """Let ended jobs go, or with `failed` those alone that brought no image; how many those were."""
        state = col(Job.state)
        return rows_of(
            session.execute(
                update(Job)
                .where(col(Job.id).in_(job_ids), col(Job.owner_id) == owner_id)
                .where(state.in_(ENDED_WITHOUT_IMAGE) if failed else state.not_in(LIVE_STATES))
                .where(col(Job.dismissed_at).is_(None))
                .values(dismissed_at=self.clock())
            )
        )

    def _owned(self, owner_id: str, job_id: str) -> Job:
        with self.database.read() as session:
            job = session.get(Job, storable_text(job_id))
        if job is None or job.owner_id != owner_id:
            raise errors.ImageNotFound
        return job

    def _in_state(self, state: JobState) -> list[Job]:
        with self.database.read() as session:
            return list(session.exec(select(Job).where(Job.state == state).order_by(col(Job.created_at))))


def _batch(
    batch_id: str,
    owner_id: str,
    requests: Sequence[dict[str, Any]],
    estimates: Sequence[int | None],
    now: datetime,
) -> list[Job]:
    return [
        Job(
            batch_id=batch_id,
            position=position,
            owner_id=owner_id,
            request=request,
            reserved_micros=estimate,
            created_at=now,
        )
        for position, (request, estimate) in enumerate(zip(requests, estimates, strict=True))
    ]
