"""`python -m core backup FILE`: writes the database, the files and the key of an installation into one file.

This works only for an installation on one machine: its database is SQLite, and its files are in the local
data folder.
"""

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
from core.maintenance.backup_archive import BackupWriter
from core.maintenance.command_line import (
    HELP_OPTIONS,
    OperatorCommand,
    data_folder,
    print_line,
    progress,
    translate_disk_errors,
)
from core.settings import Settings, load_settings
from core.storage.data_folder import DATABASE, FILES, SECRET, database_url
from core.storage.folder import FolderStorage, flush_folder
from core.storage.keys import Folder, job_folder
from core.storage.storage import Storage

# A job in one of these states may have image files that have no row yet. They can still be added to the
# gallery.
OPEN_STATES = (*LIVE_STATES, JobState.UNKNOWN)


@dataclass(frozen=True, slots=True)
class BackupSummary:
    """The content of a backup: the number of `files`, and the number of `missing` images.

    A missing image has a row in the database but no file. Its file is missing in the installation, too.
    """

    files: int
    missing: int


@dataclass(slots=True)
class _BackupRun:
    """Adds the files of one installation to the backup file `archive`.

    `live` is the installation's database, which may change during the backup. `snapshot` is a copy of it,
    made when the backup began. The snapshot becomes a part of the backup. `missing` counts the images without
    a file.
    """

    snapshot: Database
    live: Database
    storage: Storage
    archive: BackupWriter
    missing: int = 0

    def add_files(self) -> None:
        images = select(col(Image.id), col(Image.file_key))
        with progress("Images", self.snapshot.count(Image)) as bar:
            for image_id, key in chain.from_iterable(self.snapshot.row_pages(images, col(Image.id))):
                self._add_image(image_id, key)
                bar.advance()
        open_jobs = select(col(Job.id)).where(col(Job.state).in_(OPEN_STATES))
        for (job_id,) in chain.from_iterable(self.snapshot.row_pages(open_jobs, col(Job.id))):
            self._add_open_job(job_id)
        for folder in (Folder.UPLOADS, Folder.QUARANTINE):
            for file in self.storage.files(folder):
                self._add(file.key)

    def _add_image(self, image_id: str, key: str) -> None:
        if self._add(key):
            return
        if self._is_still_live(image_id):
            self.missing += 1
        else:  # the image was deleted for good after the snapshot was made
            with self.snapshot.write() as session:
                session.execute(delete(Image).where(col(Image.id) == image_id))

    def _add_open_job(self, job_id: str) -> None:
        """Add the stored files of a job whose images may not have rows yet: a job in one of the OPEN_STATES.

        The record of the service's response is added before the image files. Atelier writes the record after
        all of the response's image files. So a backup that has the record also has the image files.
        """
        for folder in (Folder.RESPONSES, Folder.IMAGES):
            for key in self.storage.list(job_folder(folder, job_id)):
                self._add(key)

    def _add(self, key: str) -> bool:
        """Add the file with the storage key `key` to the backup. Return False if there is no such file."""
        try:
            data = self.storage.get(key)
        except errors.FileDamaged:
            return False
        self.archive.add(f"{FILES}/{key}", data)
        return True

    def _is_still_live(self, image_id: str) -> bool:
        with self.live.read() as session:
            return session.execute(select(col(Image.id)).where(col(Image.id) == image_id)).first() is not None


def back_up(settings: Settings, target: Path, *, force: bool = False) -> BackupSummary:
    """Write a backup of the installation to the file `target`. Return what the backup contains.

    The backup is written to a temporary file, which is renamed to `target` once it is complete. Raises
    BackupError if `target` exists and `force` is False, or if the disk is full. Raises SettingsError if the
    installation uses PostgreSQL or a bucket, or has no database. Raises DatabaseError or StorageError if the
    installation's data can't be read.
    """
    folder = data_folder(settings)
    source = _database_file(settings, folder)
    target = target.expanduser().resolve()
    if target.is_dir() or (target.exists() and not force):
        raise errors.BackupError(f"{target} already exists. Choose another file name, or add --force.")
    with translate_disk_errors(target.parent), _temporary_folder(target) as temporary:
        _copy_database(source, temporary / DATABASE)
        with (
            closing(Database(sqlite_url(source))) as live,
            BackupWriter(temporary / "backup") as archive,
        ):
            summary = _fill(temporary, folder, live, archive)
        (temporary / "backup").replace(target)
        flush_folder(target.parent)
    return summary


def _fill(temporary: Path, folder: Path, live: Database, archive: BackupWriter) -> BackupSummary:
    with closing(Database(sqlite_url(temporary / DATABASE))) as snapshot:
        run = _BackupRun(snapshot, live, FolderStorage(folder / FILES), archive)
        run.add_files()
    files = archive.count
    # Add the database last, because `add_files` may have deleted rows from it.
    archive.add_file(DATABASE, temporary / DATABASE)
    if (folder / SECRET).is_file():
        archive.add_file(SECRET, folder / SECRET)
    return BackupSummary(files, run.missing)


def _database_file(settings: Settings, folder: Path) -> Path:
    """Return the path of the installation's SQLite database.

    Raises SettingsError if the file doesn't exist, or if the installation uses PostgreSQL or a bucket.
    """
    with closing(Database(database_url(settings, folder))) as database:
        path = Path(database.url.database or "").resolve()
        if not database.is_sqlite or settings.storage_url:
            raise errors.SettingsError(
                "This installation isn't on one machine: back up PostgreSQL with pg_dump, "
                "and a bucket with its own versioning.",
                suggestions=("See “Backup” in docs/operations.md.",),
            )
    if not path.is_file():
        raise errors.SettingsError(f"DATABASE_URL: {path} doesn't exist. Name Atelier's own database.")
    return path


def _copy_database(source: Path, copy: Path) -> None:
    """Copy the SQLite database `source` to the new file `copy`, as it is at one moment.

    Other processes may write to `source` meanwhile. Raises BackupError if the disk is full or `source` can't
    be read. Raises DatabaseDamaged if `source` is damaged.
    """
    copy.touch(mode=0o600)
    try:
        with (
            closing(sqlite3.connect(f"{source.as_uri()}?mode=ro", uri=True)) as old,
            closing(sqlite3.connect(copy)) as new,
        ):
            old.backup(new)
            (result,) = new.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as error:
        full = error.sqlite_errorcode == sqlite3.SQLITE_FULL
        message = f"There is no space left in {copy.parent}." if full else "The database can't be read now."
        raise errors.BackupError(message, details=str(error)) from error
    except sqlite3.DatabaseError as error:
        raise errors.DatabaseDamaged(details=str(error)) from error
    if result != "ok":
        raise errors.DatabaseDamaged(details=str(result))


@contextmanager
def _temporary_folder(target: Path) -> Iterator[Path]:
    """Create a temporary folder beside the file `target`, and yield its path.

    It is on the same disk as `target`, so a file in it can be renamed to `target`. The folder is removed when
    the block ends.
    """
    with tempfile.TemporaryDirectory(prefix=f"{target.name}.", suffix=".part", dir=target.parent) as path:
        yield Path(path)


@click.command("backup", cls=OperatorCommand, context_settings=HELP_OPTIONS)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--force", is_flag=True, help="Replace FILE if it exists.")
def command(file: Path, *, force: bool) -> None:
    """Back up an installation on one machine into FILE.

    FILE holds the database, the images, the uploads, damaged responses and the installation's key. Protect it
    as you protect the data folder. Atelier may run during the backup. To restore the backup, use `python -m
    core restore FILE`.

    With PostgreSQL or a bucket, use pg_dump and the bucket's versioning instead.
    """
    summary = back_up(load_settings(), file, force=force)
    print_line(f"{file} holds the database and {summary.files:,} files.")
    if summary.missing:
        print_line(f"{summary.missing:,} images have no file. To list them, run: python -m core doctor")
