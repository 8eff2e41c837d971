"""`python -m core restore FILE`: restores a backup into the data folder, which the setting DATA_DIR names."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict
from pathlib import Path

import click
from sqlalchemy import delete, func, update
from sqlmodel import Session, col, select

from core import errors
from core.common.clock import utc_now
from core.database.database import Database
from core.database.engines import sqlite_url
from core.database.models import (
    LIVE_STATES,
    ApiToken,
    Invite,
    Job,
    JobState,
    PasswordReset,
    ShareLink,
    SignInSession,
    SignInTicket,
)
from core.errors.stored import StoredError
from core.maintenance.backup_archive import count_members, extract
from core.maintenance.command_line import (
    HELP_OPTIONS,
    OperatorCommand,
    print_line,
    progress,
    translate_disk_errors,
)
from core.maintenance.planted_contents import planted_key, planted_object
from core.settings import Settings, load_settings
from core.storage.data_folder import DATABASE, FILES, LOCK, lock_data_folder
from core.storage.folder import flush_folder
from core.storage.keys import Folder

# The number of a job's attempt, with which an image file's name begins. A number of six digits fits into the
# column of the database.
_ATTEMPT = re.compile(r"[0-9]{1,6}")


def restore(settings: Settings, backup: Path, *, force: bool = False) -> Path | None:
    """Restore the file `backup` into the data folder.

    If `force` is True, the old contents of the data folder are moved to another folder. Returns the path of
    that folder, or None if the data folder was empty. Raises SettingsError, BackupError or DatabaseError if
    the backup can't be restored. The data folder is then unchanged.
    """
    for name in ("database_url", "storage_url"):
        if getattr(settings, name):
            raise errors.SettingsError(
                f"{name.upper()} is set, but a backup is restored into DATA_DIR: unset it."
            )
    if not backup.is_file():
        raise errors.BackupError(f"There is no file {backup}.")
    folder = settings.data_dir.expanduser().resolve()
    with (
        translate_disk_errors(folder.parent),
        _locked(folder, force=force),
        _staging_folder(folder) as staged,
    ):
        _unpack(backup, staged)
        _refuse_planted(planted_object(staged / DATABASE))
        _clear_access_and_jobs(staged)
        return _put_in_place(staged, folder)


@contextmanager
def _locked(folder: Path, *, force: bool) -> Iterator[None]:
    """Lock the data folder `folder` until the block ends, so that no other process of Atelier uses it.

    Raises BackupError if `folder` is a file, or if it has contents and `force` is False. Raises BackupError
    if the contents would have to be moved, but the folder is a separate disk.
    """
    if folder.exists() and not folder.is_dir():
        raise errors.BackupError(f"DATA_DIR: {folder} is a file.")
    occupied = any(_contents(folder))
    if occupied and not force:
        raise errors.BackupError(
            f"DATA_DIR: {folder} isn't empty. Name another folder, or add --force to move its contents aside."
        )
    if occupied and os.path.ismount(folder):
        raise errors.BackupError(f"DATA_DIR: {folder} is a separate disk: move its contents aside yourself.")
    with ExitStack() as held:
        if folder.exists():
            held.callback(lock_data_folder(folder).release)
        yield


def _contents(folder: Path) -> Iterator[Path]:
    """Yield the paths of the files and folders in `folder`, except its lock file."""
    if folder.is_dir():
        yield from (path for path in folder.iterdir() if path.name != LOCK)


@contextmanager
def _staging_folder(folder: Path) -> Iterator[Path]:
    """Create a private temporary folder on the same disk as `folder`, and yield its path.

    The backup is extracted there, and moved to `folder` once it is complete. The end of the block removes
    what remains of the temporary folder.
    """
    parent = folder if os.path.ismount(folder) else folder.parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f"{folder.name}.", suffix=".part", dir=parent) as temporary:
        staged = Path(temporary) / "data"
        staged.mkdir(mode=0o700)
        yield staged


def _unpack(backup: Path, staged: Path) -> None:
    with progress("Files", count_members(backup)) as bar:
        for _ in extract(backup, staged):
            bar.advance()
    if not (staged / DATABASE).is_file():
        raise errors.BackupDamaged(details="it has no database")
    (staged / FILES).mkdir(mode=0o700, exist_ok=True)


def _refuse_planted(planted: str | None) -> None:
    """Raise BackupDamaged if there is a description of something that Atelier has not put into a database."""
    if planted:
        raise errors.BackupDamaged(details=planted)


def _clear_access_and_jobs(staged: Path) -> None:
    """Migrate the extracted database in the folder `staged`, revoke all access, and end the unfinished jobs.

    Deletes all sessions, sign-in tickets, API tokens, password reset links, share links and unused
    invitations.
    """
    with closing(Database(sqlite_url(staged / DATABASE))) as database:
        database.migrate()
        _refuse_planted(planted_key(database))
        with database.write() as session:
            for table in (SignInSession, SignInTicket, PasswordReset, ApiToken, ShareLink):
                session.execute(delete(table))
            session.execute(delete(Invite).where(col(Invite.used_by).is_(None)))
            _stop_open_jobs(session, staged / FILES / Folder.IMAGES)


def _stop_open_jobs(session: Session, images: Path) -> None:
    """Change the state of each job that was queued or running when the backup was taken.

    A job without files in the folder `images` becomes "outcome unknown", so that its image isn't bought again
    automatically. A job with files becomes "running". Atelier adds those files to the gallery at its next
    start.
    """
    for job_id in session.exec(select(Job.id).where(col(Job.state).in_(LIVE_STATES))).all():
        job = update(Job).where(col(Job.id) == job_id)
        if attempt := _latest_attempt(images / job_id):
            started = func.coalesce(col(Job.started_at), col(Job.created_at))
            values = {"state": JobState.RUNNING, "attempts": attempt, "started_at": started}
        else:
            error = asdict(StoredError.of(_outcome_unknown()))
            values = {"state": JobState.UNKNOWN, "finished_at": utc_now(), "error": error}
        session.execute(job.values(due_at=None, process=None, **values))


def _latest_attempt(images: Path) -> int:
    """Return the number of the last attempt that has a file in the folder `images`, or 0 if there is none.

    `images` is the folder of one job's image files. Their names begin with the number of the attempt.
    """
    names = (path.name.partition("-")[0] for path in images.glob("*"))
    return max((int(name) for name in names if _ATTEMPT.fullmatch(name)), default=0)


def _outcome_unknown() -> errors.OutcomeUnknown:
    return errors.OutcomeUnknown(
        "Outcome unknown: this was waiting or being made when the backup was taken.",
        details="it may have been made and charged after the restored backup was taken",
    )


def _put_in_place(staged: Path, folder: Path) -> Path | None:
    _flush_folders(staged)
    if os.path.ismount(folder):
        # Move the database last: until then the half-filled folder is no installation.
        for path in sorted(staged.iterdir(), key=lambda path: path.name == DATABASE):
            path.rename(folder / path.name)
        flush_folder(folder)
        return None
    aside = _move_aside(folder) if any(_contents(folder)) else None
    if aside is None and folder.exists():
        (folder / LOCK).unlink(missing_ok=True)
        folder.rmdir()
    try:
        staged.rename(folder)
    except OSError:
        if aside:
            aside.rename(folder)
        raise
    flush_folder(folder.parent)
    return aside


def _move_aside(folder: Path) -> Path:
    aside = folder.with_name(f"{folder.name}.before-{utc_now():%Y%m%d-%H%M%S-%f}")
    folder.rename(aside)
    return aside


def _flush_folders(root: Path) -> None:
    for path, _, _ in os.walk(root, topdown=False):
        flush_folder(Path(path))


@click.command("restore", cls=OperatorCommand, context_settings=HELP_OPTIONS)
@click.argument("file", type=click.Path(path_type=Path), metavar="FILE")
@click.option("--force", is_flag=True, help="Move the current contents of DATA_DIR aside first.")
def command(file: Path, *, force: bool) -> None:
    """Restore a backup from FILE into DATA_DIR.

    DATA_DIR must be empty or missing. With --force, its old contents are moved to another folder, and nothing
    is deleted. The whole backup is checked before DATA_DIR is changed.

    Everybody must sign in again afterwards. Images that were waiting or being made at the time of the backup
    aren't bought again automatically, because they may have been made since.
    """
    settings = load_settings()
    aside = restore(settings, file, force=force)
    print_line(f"{settings.data_dir} holds the contents of {file}. Thumbnails are made again as needed.")
    if aside:
        print_line(f"The previous contents are in {aside}.")
