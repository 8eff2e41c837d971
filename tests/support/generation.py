"""Jobs at the loopback service, and what they left in the tables."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import select

from core.accounts.audit_log import AuditLog
from core.common.clock import utc_now
from core.common.ids import new_id
from core.database.database import Database
from core.database.models import Job, JobState, User
from core.generation.job_queue import JobQueue, Limits
from core.generation.jobs import Jobs
from core.generation.recovery import Recovery
from core.generation.views import JobView
from core.generation.worker import Worker
from core.images.gallery import Gallery
from core.provider.client import ServiceClient
from core.settings import load_settings
from core.storage.spool import Spool
from core.storage.storage import Storage
from core.usage.budgets import Budgets
from core.usage.error_counts import ErrorCounts
from core.usage.usage_log import UsageLog
from tests.support.app_process import ROOT
from tests.support.clock import Clock
from tests.support.crashing_worker import RECIPE, Plan
from tests.support.openai_service import Behaviour, OpenAIService
from tests.support.waiting import until

# For promises that don't depend on the engine of the database.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
ON_BOTH_STORES = pytest.mark.parametrize("storage", ["folder", "bucket"], indirect=True)


@dataclass
class Studio:
    database: Database
    folder: Path
    service: OpenAIService
    storage: Storage
    settings: dict[str, Any] = field(default_factory=lambda: {"partial_images": 0})
    limits: Limits = field(default_factory=Limits)
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        settings = load_settings(openai_base_url=self.service.base_url, **self.settings)
        gallery, usage = (
            Gallery(self.database, self.storage, AuditLog(self.database)),
            UsageLog(self.database),
        )
        budgets, client = Budgets(self.database, settings, AuditLog(self.database)), ServiceClient(settings)
        failures = ErrorCounts(self.database)
        worker = Worker(
            self.database, self.storage, Spool(self.folder / "spool"), gallery, usage, budgets, client,
            b"secret", failures, image_timeout=settings.image_timeout,
        )  # fmt: skip
        queue = JobQueue(self.database, self.limits)
        self.jobs = Jobs(
            self.database,
            self.storage,
            worker,
            queue,
            budgets,
            Recovery(self.database, worker),
            max_running=self.limits.at_once,
        )

    def close(self) -> None:
        self.jobs.stop(grace_seconds=10)  # a call that went on would be counted by the next test
        self.jobs.worker.client.close()

    def rows(self, table: Any) -> list[Any]:
        """All rows of `table`, the oldest first."""
        dates = [getattr(table, name) for name in ("created_at", "started_at") if hasattr(table, name)]
        with self.database.read() as session:
            return list(session.exec(select(table).order_by(*dates[:1])))

    def job(self) -> JobView:
        """The only job there is."""
        (row,) = self.rows(Job)
        return next(view for view in self.jobs.recent(row.owner_id) if view.id == row.id)

    def work(self) -> None:
        """Do the next job, here and now."""
        job = self.jobs.claim()
        assert job
        self.jobs.worker.run(job)

    def ended(self) -> JobView:
        return until(lambda: (job := self.job()).finished_at and job)

    def paid(self) -> int:
        return len(self.service.requests_to("/images/generations"))


def run_until_killed(studio: Studio, plan: Plan) -> None:
    """Carry out `plan` in a process that kills itself. If its moment is "never", kill it during its call."""
    never = plan.moment == "never"
    if never:
        studio.service.script(Behaviour(stall="middle"))
    with subprocess.Popen(plan.arguments, cwd=ROOT) as worker:
        if never:
            until(lambda: studio.rows(Job) and studio.job().partials)
            worker.kill()
        assert worker.wait(60) == -signal.SIGKILL


def a_user(database: Database) -> User:
    with database.write() as session:
        user = User(username="ada", display_name="Ada", password_hash="!")
        session.add(user)
    return user


def a_job(database: Database, user: User, state: JobState) -> Job:
    with database.write() as session:
        job = Job(id=new_id(), batch_id=new_id(), owner_id=user.id, state=state, request=RECIPE.to_json())
        session.add(job)
    return job


def at_a_moment(studio: Studio) -> tuple[Studio, Clock]:
    """The studio with a clock that stands still until it is moved."""
    clock = Clock()
    clock.now = utc_now()
    studio.jobs.clock = studio.jobs.worker.clock = studio.jobs.recovery.clock = clock
    studio.jobs.queue = JobQueue(studio.database, studio.limits, clock=clock)
    return studio, clock
