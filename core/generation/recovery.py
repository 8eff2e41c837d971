"""Recovery: ends the jobs of processes that stopped, and adds the images that they had received."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlmodel import col, select

from core import errors
from core.common.clock import utc_now
from core.database.database import Database
from core.database.models import Job, JobState
from core.generation.worker import Worker
from core.storage.spool import SpooledCall

# For this long after a job ended without an image, its response is still looked for.
LATE_RESPONSE_AGE = timedelta(hours=12)
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Recovery:
    """Ends orphaned jobs: jobs that are marked as running, but whose process no longer exists.

    `live_processes` returns the numbers of the running processes. If `shared` is True, several processes use
    one database. A process then counts as stopped only if it is missing at two calls of `settle_orphans` in a
    row, because a restart of the database makes all processes look stopped for a moment.
    """

    database: Database
    worker: Worker
    live_processes: Callable[[], frozenset[int]] = frozenset
    shared: bool = False
    clock: Callable[[], datetime] = utc_now
    _missing_before: frozenset[int | None] = frozenset()
    _unreadable_sizes: dict[SpooledCall, int] = field(default_factory=dict)

    def settle_orphans(self) -> None:
        """End the running jobs whose process has stopped, and add spooled responses to the gallery.

        Raises StorageError or DatabaseError.
        """
        missing_before, self._missing_before = self._missing_before, frozenset()
        running = self._running_jobs()
        # Read the processes after the jobs. A process is listed before it starts a job, so none is missed.
        missing = frozenset(job.process for job in running) - self.live_processes()
        gone = missing & missing_before if self.shared else missing
        self._missing_before = missing
        for job in running:
            if job.process in gone:
                self.worker.settle(job)
        self._adopt_spooled()

    def _adopt_spooled(self) -> None:
        """Add the responses in the spool to the gallery, if their job isn't running in a live process.

        Such a response stays in the spool if the process was killed before it removed the file, or if another
        process has ended the job because this one couldn't be reached.
        """
        with self.database.read() as session:
            found = [(call, session.get(Job, call.job_id)) for call in self.worker.spool.calls()]
        # As in `settle_orphans`: read the processes after the jobs.
        live = self.live_processes()
        for call, job in found:
            if job is not None and not _is_in_flight(call, job, live):
                self._adopt_response(call, job)

    def _adopt_response(self, call: SpooledCall, job: Job) -> None:
        """Add the spooled response to `call` of `job` to the gallery, and remove it from the spool.

        If no image can be read, a complete response is stored for an administrator. An incomplete one may
        still be arriving: it stays in the spool, and is read again once it has grown.
        """
        spooled = self.worker.spool.read(call)
        if spooled is None or self._unreadable_sizes.get(call) == len(spooled.body):
            return
        # The job may have been called again since. The response belongs to the job as it was at `call`.
        job_at_call = Job(**job.model_dump() | {"attempts": call.attempt, "started_at": spooled.started_at})
        adopted = self._adopt(job_at_call)
        if not adopted and not spooled.complete:
            self._unreadable_sizes[call] = len(spooled.body)
            return
        if not adopted:
            self.worker.set_spooled_aside(job_at_call)
        self.worker.spool.remove(call)

    def adopt_late_images(self) -> None:
        """Add images to the gallery that arrived, or can be downloaded, after their job ended.

        Only jobs that ended in the last LATE_RESPONSE_AGE are checked. If the storage fails for one job, the
        error is logged, and the next job is checked.
        """
        since = self.clock() - LATE_RESPONSE_AGE
        ended = col(Job.state).in_((JobState.UNKNOWN, JobState.FAILED))
        with self.database.read() as session:
            recent = list(session.exec(select(Job).where(ended, col(Job.finished_at) > since)))
        jobs = [job for job in recent if job.state == JobState.UNKNOWN or _awaits_download(job)]
        for job in jobs:
            try:
                self.adopt([job])
            except errors.StorageError as error:
                # Continue with the other jobs.
                log.error("late_response_unreadable", job_id=job.id, details=error.details)

    def adopt(self, jobs: Sequence[Job]) -> None:
        """Add the received responses to those of `jobs` that ended without an image to the gallery.

        Other jobs are skipped. Raises StorageError or DatabaseError.
        """
        for job in jobs:
            if job.state in (JobState.UNKNOWN, JobState.FAILED) and self._adopt(job):
                self.worker.ingest.remove_working_files(job)

    def _adopt(self, job: Job) -> bool:
        try:
            return self.worker.adopt(job)
        except errors.ImageNotDownloaded as error:
            log.warning("image_not_downloaded", job_id=job.id, details=error.details)
            return False

    def _running_jobs(self) -> list[Job]:
        running = select(Job).where(Job.state == JobState.RUNNING).order_by(col(Job.created_at))
        with self.database.read() as session:
            return list(session.exec(running))


def _is_in_flight(call: SpooledCall, job: Job, live_processes: frozenset[int]) -> bool:
    """Return whether a live process is waiting for the response to `call`."""
    running = job.state == JobState.RUNNING and job.process in live_processes
    return running and job.attempts == call.attempt


def _awaits_download(job: Job) -> bool:
    return (job.error or {}).get("code") == errors.ImageNotDownloaded.code
