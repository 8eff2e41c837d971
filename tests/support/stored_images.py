"""Images with their rows, jobs and files, the damage that can come to them, and the commands that mend it."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import delete
from sqlmodel import col, select

from core.accounts.audit_log import AuditLog
from core.common.ids import new_id
from core.database.database import Database
from core.database.installation_key import installation_key
from core.database.models import Image, Job, JobState, User
from core.images.gallery import Gallery
from core.images.image_files import thumbnail, verify_image
from core.maintenance.integrity import KEPT
from core.settings import Settings, load_settings
from core.storage.folder import FolderStorage
from core.storage.keys import image_key, thumbnail_key
from core.storage.storage import Storage
from tests.support.app_process import ROOT
from tests.support.crashing_worker import RECIPE
from tests.support.images import plain_png


def stray_key(job_id: str, number: int = 0) -> str:
    """Where a picture of the first call of a job would be."""
    return f"images/{job_id}/1-{number}"


OLD = KEPT.total_seconds() + 60


@dataclass
class Shelf:
    """What one user's finished and unfinished jobs left."""

    database: Database
    storage: Storage
    user: User

    @property
    def gallery(self) -> Gallery:
        return Gallery(self.database, self.storage, AuditLog(self.database))

    def job(self, state: JobState = JobState.DONE) -> Job:
        with self.database.write() as session:
            job = Job(id=new_id(), batch_id=new_id(), owner_id=self.user.id, state=state, attempts=1)
            job.request = RECIPE.to_json()
            session.add(job)
        return job

    def image(self, *, colour: int = 0) -> Image:
        """A picture, whole: job, file, row and thumbnail."""
        job, data = self.job(), plain_png(8, 8, (colour % 256, colour // 256 % 256, 7))
        key = image_key(job, 0)
        self.storage.put(key, data)
        with self.database.write() as session:
            image = self.gallery.add(
                session,
                owner_id=self.user.id,
                job_id=job.id,
                recipe=RECIPE,
                picture=verify_image(data),
                file_key=key,
                index=0,
                file_bytes=len(data),
            )
        self.storage.put(thumbnail_key(image.id), thumbnail(data))
        return image

    def images(self, count: int) -> list[Image]:
        return [self.image(colour=number) for number in range(count)]

    def file(self, key: str, data: bytes = b"x", *, old: bool = True) -> str:
        """A file without a row, `old` enough to be removed."""
        self.storage.put(key, data)
        if old:
            self.age(key)
        return key

    def bytes_of(self, job: Job, *, old: bool = True) -> str:
        """A whole picture that came for a job and was never entered."""
        return self.file(image_key(job, 0), plain_png(), old=old)

    def age(self, *keys: str) -> None:
        assert isinstance(self.storage, FolderStorage)
        for key in keys:
            os.utime(self.storage.root / key, (time.time() - OLD,) * 2)

    def age_all(self) -> None:
        self.age(*self.listed())

    def listed(self) -> list[str]:
        """All files, whatever folder they are in."""
        assert isinstance(self.storage, FolderStorage)
        paths = (path for path in self.storage.root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.storage.root).as_posix() for path in paths)

    def forget(self, image: Image) -> None:
        """Remove the row alone."""
        with self.database.write() as session:
            session.execute(delete(Image).where(col(Image.id) == image.id))

    def state(self, job: Job) -> str:
        with self.database.read() as session:
            return session.exec(select(Job.state).where(Job.id == job.id)).one()

    def all_right(self) -> int:
        """How many images there are; each has a file with the right hash."""
        with self.database.read() as session:
            rows = session.exec(select(Image)).all()
        for image in rows:
            assert sha256(self.storage.get(image.file_key)).hexdigest() == image.sha256
        return len(rows)


def a_shelf(database: Database, storage: Storage, name: str = "ada") -> Shelf:
    with database.write() as session:
        user = User(username=name, display_name=name.title(), password_hash="!")
        session.add(user)
    return Shelf(database, storage, user)


def installation(folder: Path) -> Settings:
    """The settings of an installation that has been started once in `folder`."""
    folder.mkdir(mode=0o700)
    database = Database(f"sqlite:///{folder / 'atelier.db'}")
    database.migrate()
    installation_key(database, lambda: None)
    database.close()
    (folder / "files").mkdir()
    return load_settings(data_dir=folder)


def operator_command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "core", *arguments]


def run_operator_command(*arguments: str, **env: Any) -> subprocess.CompletedProcess[str]:
    """Run `python -m core ARGUMENTS` with `env` as its settings."""
    return subprocess.run(
        operator_command(*arguments),
        cwd=ROOT,
        env=environment(**env),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def environment(**env: Any) -> dict[str, str]:
    return os.environ | {name.upper(): str(value) for name, value in env.items()}
