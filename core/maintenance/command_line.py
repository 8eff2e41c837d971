"""Helpers of the operator commands: error messages, a progress display, and opening an installation.

An installation is one database with one storage of files, as the settings name them.
"""

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
# Routine log events below this level are hidden from the person who runs a command.
LOG_LEVEL = "WARNING"
HELP_OPTIONS = {"help_option_names": ["-h", "--help"]}
# If stderr isn't a terminal, progress is shown as one line for each tenth of the work.
TENTHS = 10
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Progress:
    """Shows on stderr how many of `total` steps are done.

    On a terminal it is a progress bar. Otherwise it is one line for each tenth of the steps. `bar` advances
    the progress bar by a number of steps; it is None if stderr isn't a terminal.
    """

    def __init__(self, label: str, total: int, bar: Callable[[int], None] | None) -> None:
        self._label = label
        self._total = total
        self._bar = bar
        self._done = 0

    def advance(self, steps: int = 1) -> None:
        before, self._done = self._done, self._done + steps
        if self._bar:
            self._bar(steps)
        elif self._tenths_of(before) != self._tenths_of(self._done):
            click.echo(f"{self._label}: {self._done:,} of {self._total:,}", err=True)

    def _tenths_of(self, done: int) -> int:
        return done * TENTHS // max(self._total, 1)


@contextmanager
def progress(label: str, total: int) -> Iterator[Progress]:
    """Show on stderr how many of `total` steps are done. Yields the Progress object that counts the steps.

    Counting more than `total` steps isn't an error. `label` names the work.
    """
    if not sys.stderr.isatty():
        yield Progress(label, total, None)
        return
    with click.progressbar(length=total, label=label, show_pos=True, file=sys.stderr) as bar:
        yield Progress(label, total, bar.update)


def print_line(line: str) -> None:
    """Print a line on stdout. If stderr is a terminal, first erase the progress bar's line there."""
    if sys.stderr.isatty():
        click.echo("\r\033[K", nl=False, err=True)
    click.echo(line)


class OperatorCommand(click.Command):
    """A subcommand of `python -m core`.

    If the command raises an ImageError, it prints the error's message, code and suggestions on stderr. The
    exit status is then 1.
    """

    def invoke(self, ctx: click.Context) -> Any:
        configure_logging(LOG_LEVEL)
        try:
            return super().invoke(ctx)
        except errors.ImageError as error:
            click.echo(errors.terminal_message(error), err=True)
            ctx.exit(FAILED)


def run_by_old_name(command: click.Command) -> None:
    """Run `command` after printing its new name on stderr.

    Call this if the user has started the command by its deprecated name, `python -m core.NAME`.
    """
    new_name = f"python -m core {command.name}"
    click.echo(
        f"python -m core.{command.name} is deprecated and goes with the next release. Use: {new_name}",
        err=True,
    )
    command(prog_name=new_name)


def data_folder(settings: Settings) -> Path:
    """Return the data folder of an existing installation, which the setting `data_dir` names.

    Raises SettingsError if the folder has no SQLite database and the setting `database_url` is empty.
    """
    folder = settings.data_dir.expanduser().resolve()
    if not settings.database_url and not (folder / DATABASE).is_file():
        raise errors.SettingsError(f"DATA_DIR: there is no database in {folder}. Name Atelier's own folder.")
    return folder


def open_database(settings: Settings, folder: Path) -> Database:
    """Open the installation's database without migrating it. The caller closes it.

    Raises SettingsError if another version of Atelier created the tables.
    """
    database = Database(database_url(settings, folder))
    try:
        check_current(database)
    except errors.ImageError:
        database.close()
        raise
    return database


def check_current(database: Database) -> None:
    """Raise SettingsError if the tables of `database` were created by another version of Atelier."""
    if not database.is_current():
        raise errors.SettingsError(
            "The database is from another version of Atelier. Start Atelier once to bring it up to date.",
            suggestions=("Start Atelier, stop it, then try again.",),
        )


def open_files(settings: Settings, folder: Path) -> Storage:
    """Open the installation's file storage: its S3 bucket, or the folder of files in `folder`.

    Doesn't test whether the files can be read or written.
    """
    if settings.storage_url:
        return S3Storage(settings.storage_url, config_of(settings))
    return FolderStorage(folder / FILES)


@contextmanager
def translate_disk_errors(folder: Path) -> Iterator[None]:
    """If the block raises an OSError, raise a BackupError in its place. The message names `folder`."""
    try:
        yield
    except OSError as error:
        full = error.errno in _DISK_FULL
        message = f"There is no space left in {folder}." if full else f"{folder} can't be used for this."
        raise errors.BackupError(message, details=str(error)) from error
