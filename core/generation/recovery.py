"""Recovers the jobs of processes that stopped: adopts answers that are on disk, ends the other jobs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlmodel import col, select

from core import errors
from core.common.clock import utc_now
from core.database.database import Database
from core.database.models import Job, JobState
from core.generation.worker import Worker

# How long after a job was given up an answer to its call is still looked for.
LATE_ANSWER_AGE = timedelta(hours=12)
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Recovery:
    """Settles orphaned jobs: jobs marked as running whose process no longer exists.

    `live_processes` returns the numbers of the processes that hold the database. With `shared`, where several
    processes work on one database, a process counts as gone after two sweeps without it: a restart of the
    database drops the holds of all processes for a moment.
    """

    database: Database
    worker: Worker
    live_processes: Callable[[], frozenset[int]] = frozenset
    shared: bool = False
    clock: Callable[[], datetime] = utc_now
    _missing_before: frozenset[int | None] = frozenset()

    def settle_orphans(self) -> None:
        """Settle the jobs of processes that are gone. Raises StorageError or DatabaseError."""
        missing_before, self._missing_before = self._missing_before, frozenset()
        running = self._running_jobs()
        # Read the processes after the jobs: a process has its number before it starts a job.
        missing = frozenset(job.process for job in running) - self.live_processes()
        gone = missing & missing_before if self.shared else missing
        self._missing_before = missing
        for job in running:
            if job.process in gone:
                self.worker.settle(job)

    def adopt_late_answers(self) -> None:
        """Adopt answers that were stored after their job was given up as unknown."""
        since = self.clock() - LATE_ANSWER_AGE
        with self.database.read() as session:
            unknown = select(Job).where(Job.state == JobState.UNKNOWN, col(Job.finished_at) > since)
            jobs = list(session.exec(unknown))
        for job in jobs:
            try:
                self.adopt([job])
            except errors.StorageError as error:
                # One unreadable answer must not hold up the others.
                log.error("late_answer_unreadable", job_id=job.id, details=error.details)

    def adopt(self, jobs: Sequence[Job]) -> None:
        """Put the stored answers of `jobs` with an unknown outcome into the gallery. Raises StorageError."""
        for job in jobs:
            if job.state == JobState.UNKNOWN and self.worker.ingest.adopt(job):
                self.worker.ingest.remove_working_files(job)

    def _running_jobs(self) -> list[Job]:
        running = select(Job).where(Job.state == JobState.RUNNING).order_by(col(Job.created_at))
        with self.database.read() as session:
            return list(session.exec(running))
