"""Views: jobs and batches in the form in which pages and API responses show them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlmodel import col, select

from core import errors
from core.common.text import storable_text
from core.database.database import Database
from core.database.models import LIVE_STATES, Image, Job, JobState
from core.errors.stored import StoredError
from core.generation.job_queue import QueuePosition
from core.prompts.recipe import Recipe

ENDED_WITHOUT_IMAGE = (JobState.FAILED, JobState.UNKNOWN, JobState.CANCELLED)


@dataclass(frozen=True, slots=True)
class Batch:
    """All jobs of one order, with their images. Images in the trash are included."""

    id: str
    jobs: tuple[JobView, ...]
    images: tuple[Image, ...]

    @property
    def is_live(self) -> bool:
        return any(job.is_live for job in self.jobs)

    @property
    def state(self) -> JobState:
        """The state of the whole batch.

        While a job is queued or running, it is RUNNING if a job has started, else QUEUED. Afterwards, it is
        DONE if there is at least one image, else the state of the first job.
        """
        if self.is_live:
            running = any(job.started_at for job in self.jobs)
            return JobState.RUNNING if running else JobState.QUEUED
        return JobState.DONE if self.images else self.jobs[0].state

    @property
    def price(self) -> int | None:
        """The cost of the batch in micro-USD, None if a part of it is unknown."""
        prices = [image.price_micros for image in self.images]
        unknown = None in prices or any(error.charged is not False for error in self.failures)
        return None if unknown else sum(price or 0 for price in prices)

    @property
    def seconds(self) -> float:
        """The seconds from the submission of the batch to the latest end of a job. 0 if no job has ended."""
        ends = [job.finished_at for job in self.jobs if job.finished_at]
        return (max(ends) - min(job.created_at for job in self.jobs)).total_seconds() if ends else 0.0

    @property
    def errors(self) -> tuple[StoredError, ...]:
        """The `failures`, and the errors that came beside an image."""
        beside = (job.error for job in self.jobs if job.image_ids and not job.is_live)
        return (*self.failures, *(error for error in beside if error))

    @property
    def failures(self) -> tuple[StoredError, ...]:
        """One error for each job that ended without an image."""
        return tuple(
            job.error or StoredError.of(_reason_without_error(job))
            for job in self.jobs
            if not job.is_live and not job.image_ids
        )


def _reason_without_error(job: JobView) -> errors.ImageError:
    """Return an error for a job that ended without an image, if its row has no error."""
    return errors.JobCancelled() if job.state == JobState.CANCELLED else errors.ImageNotFound()


class Batches:
    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, owner_id: str, batch_id: str) -> Batch:
        """Return the user's batch. Raises ImageNotFound if this user has no such batch."""
        with self._database.read() as session:
            jobs = session.exec(
                select(Job)
                .where(Job.batch_id == storable_text(batch_id), Job.owner_id == owner_id)
                .order_by(col(Job.position))
            ).all()
            images = session.exec(
                select(Image)
                .where(Image.owner_id == owner_id, col(Image.job_id).in_([job.id for job in jobs]))
                .order_by(col(Image.created_at))
            ).all()
        if not jobs:
            raise errors.ImageNotFound
        by_job = {job.id: [image for image in images if image.job_id == job.id] for job in jobs}
        views = tuple(view_of(job, tuple(image.id for image in by_job[job.id])) for job in jobs)
        return Batch(jobs[0].batch_id, views, tuple(image for job in jobs for image in by_job[job.id]))


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as pages show it.

    - `partials`: the number of previews that have arrived for the last call.
    - `attempts`: the number of calls that have started.
    - `image_ids`: the ids of the job's images, once the job is done.
    - `queue_position`: the job's position in the queue, if it is queued.
    - `error`: the last failure. A queued job with an error waits until `due_at` for its next call. A done job
      with an error has an image, and the error came beside it.
    """

    id: str
    batch_id: str
    position: int
    state: JobState
    recipe: Recipe
    partials: int
    attempts: int
    error: StoredError | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    due_at: datetime | None = None
    image_ids: tuple[str, ...] = ()
    queue_position: QueuePosition | None = None

    @property
    def is_live(self) -> bool:
        return self.state in LIVE_STATES

    def elapsed(self, now: datetime) -> float:
        """Return the seconds from the start of the job's last call to the end of the job.

        If the job hasn't ended, the seconds are counted to `now`. If no call has started, they are counted
        from the job's submission.
        """
        return ((self.finished_at or now) - (self.started_at or self.created_at)).total_seconds()


def view_of(job: Job, image_ids: tuple[str, ...], position: QueuePosition | None = None) -> JobView:
    return JobView(
        id=job.id,
        batch_id=job.batch_id,
        position=job.position,
        state=JobState(job.state),
        recipe=Recipe.from_any_version(job.request),
        partials=job.partials,
        attempts=job.attempts,
        error=StoredError.from_json(job.error) if job.error else None,
        created_at=job.created_at,
        started_at=job.started_at,
        finished_at=job.finished_at,
        due_at=job.due_at,
        image_ids=image_ids,
        queue_position=position,
    )
