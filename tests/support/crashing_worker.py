"""A worker that kills itself at a chosen moment: `python -m tests.support.crashing_worker` and JSON.

It submits one image for `user_id` and works on it. `moment` is where it kills itself: "queued" before it
takes up work, "leaving" when the call is about to leave, "bytes" and "answer" when these are on disk,
"committed" after the commit. "never" works until somebody else ends it.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import asdict, dataclass, replace
from io import BytesIO
from pathlib import Path
from typing import Self

import httpx2
from PIL import Image

from core.accounts.audit_log import AuditLog
from core.database.database import Database
from core.generation.job_queue import JobQueue
from core.generation.jobs import Jobs
from core.generation.recovery import Recovery
from core.generation.worker import Worker
from core.images.gallery import Gallery
from core.images.uploads import Uploads
from core.prompts.recipe import Recipe
from core.provider.client import ServiceClient
from core.settings import load_settings
from core.storage.folder import FolderStorage
from core.storage.s3 import S3Storage, config_of
from core.storage.spool import Spool
from core.storage.storage import Storage
from core.usage.budgets import Budgets
from core.usage.error_counts import ErrorCounts
from core.usage.usage_log import UsageLog

RECIPE = Recipe(prompt="a fox in the snow", model="gpt-image-2", size="1024x1024", quality="low")
EDIT = replace(RECIPE, prompt="make it night")
LONGEST_LIFE = 60


@dataclass(frozen=True)
class Plan:
    database_url: str
    folder: str
    service_url: str
    user_id: str
    moment: str
    bucket: dict[str, str] | None = None
    # The upload from which to make it; without one it is made from words alone.
    edits: str = ""

    @property
    def recipe(self) -> Recipe:
        return replace(EDIT, references=(self.edits,)) if self.edits else RECIPE

    @property
    def arguments(self) -> list[str]:
        """The command that carries this plan out."""
        return [sys.executable, "-m", "tests.support.crashing_worker", json.dumps(asdict(self))]


def edit_source(storage: Storage, owner_id: str) -> str:
    """An upload to make an image from; its key."""
    picture = BytesIO()
    Image.new("RGB", (64, 48), "teal").save(picture, "PNG")
    return Uploads(storage, 1).store(owner_id, picture).key


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


class Transport(httpx2.HTTPTransport):
    def __init__(self, moment: str) -> None:
        super().__init__()
        self._moment = moment

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._moment == "leaving":
            die()
        return super().handle_request(request)


class Crashing(Storage):
    """What both kinds of store do when their moment has come."""

    _moment = ""

    def crash_at(self, moment: str) -> Self:
        self._moment = moment
        return self

    def put(self, key: str, data: bytes) -> None:
        if self._moment == "received" and key.startswith("images/"):
            die()
        super().put(key, data)
        if (self._moment, key.partition("/")[0]) in (("bytes", "images"), ("answer", "answers")):
            die()

    def delete(self, *keys: str) -> None:
        if self._moment == "committed":
            die()
        super().delete(*keys)


class CrashingFolder(Crashing, FolderStorage):
    pass


class CrashingBucket(Crashing, S3Storage):
    pass


def storage_of(plan: Plan) -> Storage:
    if plan.bucket is None:
        return CrashingFolder(Path(plan.folder) / "files").crash_at(plan.moment)
    settings = load_settings(**plan.bucket)
    return CrashingBucket(settings.storage_url or "", config_of(settings)).crash_at(plan.moment)


def jobs_of(storage: Storage, database: Database, client: ServiceClient, spool: Spool) -> Jobs:
    """The worker's parts, as the app puts them together."""
    gallery, usage = Gallery(database, storage, AuditLog(database)), UsageLog(database)
    budgets = Budgets(database, load_settings(), AuditLog(database))
    worker = Worker(
        database, storage, spool, gallery, usage, budgets, client, b"secret", ErrorCounts(database)
    )  # fmt: skip
    return Jobs(database, storage, worker, JobQueue(database), budgets, Recovery(database, worker))


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    signal.alarm(LONGEST_LIFE)
    settings = load_settings(openai_base_url=plan.service_url, partial_images=1)
    client = ServiceClient(settings, transport=Transport(plan.moment))
    spool = Spool(Path(plan.folder) / "spool")
    jobs = jobs_of(storage_of(plan), Database(plan.database_url), client, spool)
    if plan.moment == "queued":
        jobs.submit(plan.user_id, [plan.recipe])
        die()
    jobs.start()
    jobs.submit(plan.user_id, [plan.recipe])
    signal.pause()


if __name__ == "__main__":
    main()
