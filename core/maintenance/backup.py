"""`python -m core backup FILE`: writes everything of an installation on one machine into one file."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import click
from sqlalchemy import delete, select
from sqlmodel import col

from core import errors
from core.database.database import Database
from core.database.engines import sqlite_url
from core.database.models import LIVE_STATES, Image, Job, JobState
from core.maintenance.backup_archive import Writer
from core.maintenance.command_line import (
    HELP_OPTIONS,
    OperatorCommand,
    data_folder,
    disk_faults,
    progress,
    say,
)
from core.settings import Settings, load_settings
from core.storage.data_folder import DATABASE, FILES, SECRET, database_url
from core.storage.folder import FolderStorage, flush_folder
from core.storage.keys import Folder, job_folder
from core.storage.storage import Storage

# Of these the bytes may be there without a row, and can still be entered.
OPEN_STATES = (*LIVE_STATES, JobState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Made:
    """What a backup holds; `missing` images have a row and no file, here as well."""

    files: int
    missing: int


@dataclass(slots=True)
class _Packing:
    """The files of one moment's rows on their way into the archive."""

    rows: Database
    live: Database
    storage: Storage
    archive: Writer
    missing: int = 0

    def pack(self) -> None:
        images = select(col(Image.id), col(Image.file_key))
        with progress("Images", self.rows.count(Image)) as bar:
            for image_id, key in chain.from_iterable(self.rows.row_pages(images, col(Image.id))):
                self._pack_image(image_id, key)
                bar.advance()
        open_jobs = select(col(Job.id)).where(col(Job.state).in_(OPEN_STATES))
        for (job_id,) in chain.from_iterable(self.rows.row_pages(open_jobs, col(Job.id))):
            self._pack_open(job_id)
        for folder in (Folder.UPLOADS, Folder.ASIDE):
            for file in self.storage.files(folder):
                self._pack(file.key)

    def _pack_image(self, image_id: str, key: str) -> None:
        if self._pack(key):
            return
        if self._is_live(image_id):
            self.missing += 1
        else:  # deleted for good since the moment of the backup
            with self.rows.write() as session:
                session.execute(delete(Image).where(col(Image.id) == image_id))

    def _pack_open(self, job_id: str) -> None:
        """The figures first: they are written last, so that where they are, all pictures are."""
        for folder in (Folder.ANSWERS, Folder.IMAGES):
            for key in self.storage.list(job_folder(folder, job_id)):
                self._pack(key)

    def _pack(self, key: str) -> bool:
        """Whether there is such a file."""
        try:
            data = self.storage.get(key)
        except errors.FileDamaged:
            return False
        self.archive.add(f"{FILES}/{key}", data)
        return True

    def _is_live(self, image_id: str) -> bool:
        with self.live.read() as session:
            return session.execute(select(col(Image.id)).where(col(Image.id) == image_id)).first() is not None


def back_up(settings: Settings, target: Path, *, force: bool = False) -> Made:
    """Write the backup, which appears under its name only when it is whole.

    Raises SettingsError, BackupError, DatabaseError or StorageError.
    """
    folder = data_folder(settings)
    source = _database_file(settings, folder)
    target = target.expanduser().resolve()
    if target.is_dir() or (target.exists() and not force):
        raise errors.BackupError(f"{target} already exists. Choose another file name, or add --force.")
    with disk_faults(target.parent), _beside(target) as part:
        _copy_database(source, part / DATABASE)
        with (
            closing(Database(sqlite_url(source))) as live,
            Writer(part / "backup") as archive,
        ):
            made = _pack(part, folder, live, archive)
        (part / "backup").replace(target)
        flush_folder(target.parent)
    return made


def _pack(part: Path, folder: Path, live: Database, archive: Writer) -> Made:
    with closing(Database(sqlite_url(part / DATABASE))) as rows:
        packing = _Packing(rows, live, FolderStorage(folder / FILES), archive)
        packing.pack()
    files = archive.count
    # Only now: rows may have been taken out of it.
    archive.add_file(DATABASE, part / DATABASE)
    if (folder / SECRET).is_file():
        archive.add_file(SECRET, folder / SECRET)
    return Made(files, packing.missing)


def _database_file(settings: Settings, folder: Path) -> Path:
    """The database's file. Raises SettingsError for an installation that isn't of one machine."""
    with closing(Database(database_url(settings, folder))) as database:
        path = Path(database.url.database or "").resolve()
        if not database.is_sqlite or settings.storage_url:
            raise errors.SettingsError(
                "This installation isn't on one machine alone: back up PostgreSQL with pg_dump, "
                "and a bucket with its own versioning.",
                suggestions=("See the README, “Keeping it”.",),
            )
    if not path.is_file():
        raise errors.SettingsError(f"DATABASE_URL: {path} doesn't exist. Name Atelier's own database.")
    return path


def _copy_database(source: Path, copy: Path) -> None:
    """One moment of the database, by SQLite's own means: also of one that is being written to."""
    copy.touch(mode=0o600)
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(copy)) as new,
        ):
            old.backup(new)
            (found,) = new.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
        words = f"There is no space left in {copy.parent}." if full else "The database can't be read now."
        raise errors.BackupError(words, details=str(error)) from error
    except sqlite3.DatabaseError as error:
        raise errors.DatabaseDamaged(details=str(error)) from error
    if found != "ok":
        raise errors.DatabaseDamaged(details=str(found))


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A private folder on the disk of `target`, gone afterwards."""
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", suffix=".part", dir=target.parent) as part:
        yield Path(part)


@click.command("backup", cls=OperatorCommand, context_settings=HELP_OPTIONS)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def command(file: Path, *, force: bool) -> None:
    """Write everything of an installation on one machine into FILE.

    FILE holds the database, the images, the uploads, damaged responses and the installation's key. Keep it
    as safe as the data folder itself. Atelier may be running meanwhile. Restore it with
    `python -m core restore FILE`.

    With PostgreSQL or a bucket, use pg_dump and the bucket's versioning instead.
    """
    made = back_up(load_settings(), file, force=force)
    say(f"{file} holds the database and {made.files:,} files.")
    if made.missing:
        say(
            f"{made.missing:,} images have no file, here and in the backup: python -m core doctor lists them."
        )
