"""Background jobs. Each job generates one image, and continues if the page or the browser is closed.

A job's row holds its state, so a restart doesn't lose the job. `job_queue` decides which job is next,
`dispatcher` starts it, `worker` calls the service, and `recovery` ends the jobs of processes that stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

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
from core.generation.job_state import cancel_live_jobs, row_count
from core.generation.recovery import Recovery
from core.generation.views import ENDED_WITHOUT_IMAGE, JobView, view_of
from core.generation.worker import Worker
from core.prompts.recipe import Recipe
from core.storage.keys import partial_key
from core.storage.storage import Storage
from core.usage.budgets import Budgets

# If the same images are ordered twice within this time, the second order is a double click.
DOUBLE_CLICK_WINDOW = timedelta(seconds=2)
# The Create page shows a job for this long after its submission, unless the user dismisses it.
RECENT_AGE = timedelta(hours=12)
MAX_RECENT = 100
# A function that is called with the session that submits a new batch, and with the new batch's id. It returns
# the id of an earlier batch that was submitted for the same request, or None.
FindEarlierBatch = Callable[[Session, str], str | None]


@dataclass(slots=True)
class Jobs:
    """Submits, runs, lists and cancels jobs.

    This process runs at most `max_running` jobs at once, and starts no job while `may_claim` returns False.
    Once `closing` is True, this process starts no further jobs. Signal handlers may set it.
    """

    database: Database
    storage: Storage
    worker: Worker
    queue: JobQueue
    budgets: Budgets
    recovery: Recovery
    max_running: int = 4
    clock: Callable[[], datetime] = utc_now
    may_claim: Callable[[], bool] = lambda: True
    closing: bool = False
    _dispatcher: Dispatcher = field(init=False)

    def __post_init__(self) -> None:
        self._dispatcher = Dispatcher(self.claim, self.worker.run, max_running=self.max_running)

    def start(self) -> None:
        """End the jobs that an earlier process left running, then start working on the queue.

        If several processes share the database, a chore ends those jobs instead. Raises StorageError or
        DatabaseError if those jobs can't be ended.
        """
        if not self.recovery.shared:
            self.recovery.settle_orphans()
        self._dispatcher.start()

    def stop(self, *, grace_seconds: float = 30) -> bool:
        """Start no more jobs, and wait at most `grace_seconds` for the running jobs.

        Returns True if all running jobs ended in that time.
        """
        self.closing = True
        ended = self._dispatcher.stop(grace_seconds)
        self.worker.stopping.set()
        return ended

    def claim(self) -> Job | None:
        """Mark the next job as running and return the job. Returns None if no job may start now."""
        if self.closing or not self.may_claim():
            return None
        return self.queue.claim()

    def submit(
        self,
        owner_id: str,
        recipes: Sequence[Recipe],
        *,
        asked_at: datetime | None = None,
        find_earlier: FindEarlierBatch | None = None,
    ) -> str:
        """Queue one job for each of the `recipes`, and return the id of the new batch.

        If the user has submitted the same recipes within DOUBLE_CLICK_WINDOW, the user has clicked twice.
        Then no job is queued, and the id of the first batch is returned. Batches from before `asked_at` don't
        count. If `find_earlier` is given, it is called instead of this search for an earlier batch. Raises
        BudgetSpent and queues no job if the budgets don't cover all images.
        """
        requests, batch_id = [recipe.to_json() for recipe in recipes], new_id()
        estimates = [self.budgets.reservation(recipe) for recipe in recipes]
        with self.database.write() as session:
            self.database.lock(session, AdvisoryLock.SUBMISSION)
            # Read the clock after waiting for the lock, so that batches are dated in the order of submission.
            now = self.clock()
            if find_earlier:
                earlier = find_earlier(session, batch_id)
            else:
                earlier = self._double_click_of(session, owner_id, requests, now, asked_at)
            if earlier:
                return earlier
            self.budgets.reserve(session, owner_id, estimates, now)
            session.add_all(_batch(batch_id, owner_id, requests, estimates, now))
        self._dispatcher.wake()
        return batch_id

    def _double_click_of(
        self,
        session: Session,
        owner_id: str,
        requests: list[dict[str, Any]],
        now: datetime,
        asked_at: datetime | None,
    ) -> str | None:
        """Return the id of the user's last batch if it was submitted by the first click of a double click.

        That is so if the batch has the same `requests`, is younger than DOUBLE_CLICK_WINDOW and was submitted
        after `asked_at`, and if none of its jobs ended without an image. Returns None otherwise.
        """
        since = max(now - DOUBLE_CLICK_WINDOW, asked_at or now - DOUBLE_CLICK_WINDOW)
        recent = session.exec(
            select(Job)
            .where(Job.owner_id == owner_id, Job.created_at > since, Job.created_at <= now)
            .order_by(col(Job.created_at).desc(), col(Job.position))
        ).all()
        if not recent:
            return None
        batch = [job for job in recent if job.batch_id == recent[0].batch_id]
        has_failed = any(job.state in ENDED_WITHOUT_IMAGE for job in batch)
        same = [job.request for job in batch] == requests
        return batch[0].batch_id if same and not has_failed else None

    def recent(self, owner_id: str) -> tuple[JobView, ...]:
        """Return the user's queued and running jobs, and the jobs of the last RECENT_AGE, newest batch first.

        Dismissed jobs are left out. At most MAX_RECENT jobs are returned: first the running jobs are chosen,
        then the queued jobs that start next, then the newest of the ended jobs.
        """
        since, live = self.clock() - RECENT_AGE, col(Job.state).in_(LIVE_STATES)
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
                .limit(MAX_RECENT)
            ).all()
            jobs = sorted(found, key=lambda job: (-job.created_at.timestamp(), job.batch_id, job.position))
            images = session.exec(
                select(Image.job_id, Image.id)
                .where(Image.owner_id == owner_id, col(Image.job_id).in_([job.id for job in jobs]))
                .where(col(Image.trashed_at).is_(None))
                .order_by(col(Image.created_at))
            ).all()
        waiting = any(job.state == JobState.QUEUED for job in jobs)
        positions = self.queue.positions(owner_id) if waiting else {}
        return tuple(
            view_of(
                job, tuple(image_id for job_id, image_id in images if job_id == job.id), positions.get(job.id)
            )
            for job in jobs
        )

    def partial(self, owner_id: str, job_id: str, number: int) -> bytes:
        """Return the bytes of a preview (a partial image) of a queued or running job.

        `number` counts the previews of the job from 0. Raises ImageNotFound if there is no such preview, if
        the job has ended, or if the job is another user's.
        """
        job = self._owned(owner_id, job_id)
        if job.state not in LIVE_STATES:
            raise errors.ImageNotFound
        try:
            return self.storage.get(partial_key(job_id, number))
        except errors.FileDamaged as error:
            raise errors.ImageNotFound from error

    def recipe(self, owner_id: str, job_id: str) -> Recipe:
        """Return the job's recipe: the prompt and options of its image.

        Raises ImageNotFound if the job is another user's. Raises RecipeUnreadable if another release of the
        app has submitted the job with other fields.
        """
        return Recipe.from_json(self._owned(owner_id, job_id).request)

    def retry(self, owner_id: str, *job_ids: str) -> str:
        """Submit jobs that ended without an image again, as one batch. Return the id of the new batch.

        The old jobs are dismissed. If the response to an old job has arrived in the meantime, its image is
        added to the gallery, and the job isn't submitted again. If no job is left to submit, return the id of
        the old batch.

        Raises ImageNotFound if a job is another user's, JobNotRetryable if a job is queued, running or done,
        and StorageError if the storage can't be searched for responses. Raises BudgetSpent and dismisses no
        job if the budgets don't cover all images.
        """
        jobs = [self._owned(owner_id, job_id) for job_id in job_ids]
        if any(job.state not in ENDED_WITHOUT_IMAGE for job in jobs):
            raise errors.JobNotRetryable
        self.recovery.adopt(jobs)
        batch_id = new_id()
        with self.database.write() as session:
            self.database.lock(session, AdvisoryLock.SUBMISSION)
            now = self.clock()
            retried = [job for job in jobs if self._dismiss(session, owner_id, (job.id,), failed=True)]
            estimates = [self.budgets.reservation(Recipe.from_any_version(job.request)) for job in retried]
            self.budgets.reserve(session, owner_id, estimates, now)
            new = _batch(batch_id, owner_id, [job.request for job in retried], estimates, now)
            session.add_all(new)
        self._dispatcher.wake()
        return batch_id if new else jobs[0].batch_id

    def cancel(self, owner_id: str, job_id: str) -> JobState:
        """Cancel a job, and return the job's new state.

        A queued job ends as CANCELLED. The call of a running job can't be stopped. The call finishes, but no
        further attempt is made. A job that has ended stays as it is. Raises ImageNotFound if the job is
        another user's.
        """
        self._cancel(owner_id, col(Job.id) == job_id)
        return JobState(self._owned(owner_id, job_id).state)

    def cancel_waiting(self, owner_id: str, batch_id: str | None = None) -> int:
        """Cancel the user's queued and running jobs. Return the number of jobs that were queued.

        If `batch_id` is given, only the jobs of that batch are cancelled. The call of a running job can't be
        stopped. The call finishes, but no further attempt is made.
        """
        return self._cancel(owner_id, *([col(Job.batch_id) == batch_id] if batch_id else []))

    def _cancel(self, owner_id: str, *conditions: ColumnElement[bool]) -> int:
        with self.database.write() as session:
            return cancel_live_jobs(session, owner_id, self.clock(), *conditions)

    def counts(self, owner_id: str) -> dict[JobState, int]:
        """Return how many of the user's jobs are running and how many are queued, by state.

        A state without jobs is left out. Jobs that `recent` leaves out count as well.
        """
        found = (
            select(Job.state, func.count())
            .where(Job.owner_id == owner_id, col(Job.state).in_(LIVE_STATES))
            .group_by(col(Job.state))
        )
        with self.database.read() as session:
            return {JobState(state): count for state, count in session.exec(found)}

    def dismiss(self, owner_id: str, *job_ids: str) -> None:
        """Hide ended jobs from the Create page. Their images stay in the gallery.

        Jobs that are queued, running or another user's are skipped.
        """
        with self.database.write() as session:
            self._dismiss(session, owner_id, job_ids)

    def _dismiss(
        self, session: Session, owner_id: str, job_ids: tuple[str, ...], *, failed: bool = False
    ) -> int:
        """Mark the user's ended jobs as dismissed, and return the number of marked jobs.

        Jobs that are queued, running or already dismissed are skipped. With `failed`, jobs with an image are
        skipped as well.
        """
        state = col(Job.state)
        return row_count(
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
