"""Stored images with their rows, jobs and files, ways to damage them, and the operator commands."""

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
from core.maintenance.integrity import ORPHAN_RETENTION
from core.settings import Settings, load_settings
from core.storage.folder import FolderStorage
from core.storage.keys import image_key, thumbnail_key
from core.storage.storage import Storage
from tests.support.app_process import ROOT
from tests.support.crashing_worker import RECIPE
from tests.support.images import plain_png


def stray_key(job_id: str, number: int = 0) -> str:
    """The key of an image file of the job's first attempt."""
    return f"images/{job_id}/1-{number}"


OLD_SECONDS = ORPHAN_RETENTION.total_seconds() + 60


@dataclass
class StoredImages:
    """The rows and files of one user's jobs and images."""

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
        """A complete image: job, file, row and thumbnail."""
        job, data = self.job(), plain_png(8, 8, (colour % 256, colour // 256 % 256, 7))
        key = image_key(job, 0)
        self.storage.put(key, data)
        with self.database.write() as session:
            image = self.gallery.add(
                session,
                owner_id=self.user.id,
                job_id=job.id,
                recipe=RECIPE,
                info=verify_image(data),
                file_key=key,
                index=0,
                file_bytes=len(data),
            )
        self.storage.put(thumbnail_key(image.id), thumbnail(data))
        return image

    def images(self, count: int) -> list[Image]:
        return [self.image(colour=number) for number in range(count)]

    def file(self, key: str, data: bytes = b"x", *, old: bool = True) -> str:
        """A file without a row; `old` means past ORPHAN_RETENTION."""
        self.storage.put(key, data)
        if old:
            self.age(key)
        return key

    def image_file(self, job: Job, *, old: bool = True) -> str:
        """A whole image file of a job, without a row."""
        return self.file(image_key(job, 0), plain_png(), old=old)

    def age(self, *keys: str) -> None:
        assert isinstance(self.storage, FolderStorage)
        for key in keys:
            os.utime(self.storage.root / key, (time.time() - OLD_SECONDS,) * 2)

    def age_all(self) -> None:
        self.age(*self.all_keys())

    def all_keys(self) -> list[str]:
        """The keys of all files in all folders, sorted."""
        assert isinstance(self.storage, FolderStorage)
        paths = (path for path in self.storage.root.rglob("*") if path.is_file())
        return sorted(path.relative_to(self.storage.root).as_posix() for path in paths)

    def delete_row(self, image: Image) -> None:
        """Delete the image's row but not its files."""
        with self.database.write() as session:
            session.execute(delete(Image).where(col(Image.id) == image.id))

    def state(self, job: Job) -> str:
        with self.database.read() as session:
            return session.exec(select(Job.state).where(Job.id == job.id)).one()

    def count_whole(self) -> int:
        """The number of images; asserts that each has a file with the right hash."""
        with self.database.read() as session:
            rows = session.exec(select(Image)).all()
        for image in rows:
            assert sha256(self.storage.get(image.file_key)).hexdigest() == image.sha256
        return len(rows)


def images_of_new_user(database: Database, storage: Storage, name: str = "ada") -> StoredImages:
    with database.write() as session:
        user = User(username=name, display_name=name.title(), password_hash="!")
        session.add(user)
    return StoredImages(database, storage, user)


def create_installation(folder: Path) -> Settings:
    """Create an installation in `folder`, as after its first start; returns its settings."""
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
