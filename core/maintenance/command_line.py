"""What the command line modules share: the installation they work on, how they speak, and a progress bar."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from core import errors
from core.common.logging import configure_logging
from core.database.database import Database
from core.settings import Settings
from core.storage.data_folder import DATABASE, FILES, database_url
from core.storage.folder import FolderStorage
from core.storage.s3 import S3Storage, config_of
from core.storage.storage import Storage

FAILED = 1
# Hides the app's routine log events from the person who runs a command.
LOG_LEVEL = "WARNING"
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
# Where no terminal draws a bar, a line is written each time another tenth is done.
TENTHS = 10
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Progress:
    """How far a piece of work has come: a bar on a terminal, else a line now and then, on stderr."""

    def __init__(self, label: str, total: int, bar: Callable[[int], None] | None) -> None:
        self._label = label
        self._total = total
        self._bar = bar
        self._done = 0

    def advance(self, steps: int = 1) -> None:
        before, self._done = self._done, self._done + steps
        if self._bar:
            self._bar(steps)
        elif self._tenth(before) != self._tenth(self._done):
            click.echo(f"{self._label}: {self._done:,} of {self._total:,}", err=True)

    def _tenth(self, done: int) -> int:
        return done * TENTHS // max(self._total, 1)


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """Shows how much of `total` steps is done; more steps than that are no error."""
    if not sys.stderr.isatty():
        yield Progress(label, total, None)
        return
    with click.progressbar(length=total, label=label, show_pos=True, file=sys.stderr) as bar:
        yield Progress(label, total, bar.update)


def say(line: str) -> None:
    """Write a line of the answer; a bar that is being drawn makes room for it."""
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    click.echo(line)


class OperatorCommand(click.Command):
    """A subcommand of `python -m core`. It reports an error with its code and advice, and exits with 1."""

    def invoke(self, ctx: click.Context) -> Any:
        configure_logging(LOG_LEVEL)
        try:
            return super().invoke(ctx)
        except errors.ImageError as error:
            click.echo(errors.terminal_message(error), err=True)
            ctx.exit(FAILED)


def run_by_old_name(command: click.Command) -> None:
    """Run `python -m core.NAME`, as the command was called before, and name the new way on stderr."""
    new_name = f"python -m core {command.name}"
    click.echo(
        f"python -m core.{command.name} is deprecated and goes with the next release. Use: {new_name}",
        err=True,
    )
    command(prog_name=new_name)


def data_folder(settings: Settings) -> Path:
    """The folder of an installation that is there. Raises SettingsError."""
    folder = settings.data_dir.expanduser().resolve()
    if not settings.database_url and not (folder / DATABASE).is_file():
        raise errors.SettingsError(f"DATA_DIR: there is no database in {folder}. Name Atelier's own folder.")
    return folder


def open_database(settings: Settings, folder: Path) -> Database:
    """The installation's database, as it is. Raises SettingsError when another version made it."""
    database = Database(database_url(settings, folder))
    try:
        check_current(database)
    except errors.ImageError:
        database.close()
        raise
    return database


def check_current(database: Database) -> None:
    """Raise SettingsError for tables that aren't those of this version."""
    if not database.is_current():
        raise errors.SettingsError(
            "The database is from another version of Atelier. Start Atelier once to bring it up to date.",
            suggestions=("Start Atelier, stop it, then try again.",),
        )


def open_files(settings: Settings, folder: Path) -> Storage:
    """The installation's files, as they are: nothing is written to try them."""
    if settings.storage_url:
        return S3Storage(settings.storage_url, config_of(settings))
    return FolderStorage(folder / FILES)


@contextmanager
def disk_faults(folder: Path) -> Iterator[None]:
    """Says the faults of a disk that a command writes to in our words."""
    try:
        yield
    except OSError as error:
        full = error.errno in _NO_ROOM
        words = f"There is no space left in {folder}." if full else f"{folder} can't be used for this."
        raise errors.BackupError(words, details=str(error)) from error
