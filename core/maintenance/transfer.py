"""`python -m core transfer`: copies an installation to another database, another image store, or both."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

import click
from sqlalchemy import Row, Table, delete, func, select
from sqlalchemy.engine import make_url
from sqlmodel import col

from core import errors
from core.database.database import Database
from core.database.models import LIVE_STATES, Image, Installation, Job, User
from core.database.models import Table as Tables
from core.database.process_lock import ProcessLock
from core.maintenance.command_line import (
    HELP_OPTIONS,
    OperatorCommand,
    check_current,
    data_folder,
    open_files,
    progress,
    say,
)
from core.maintenance.integrity import pages
from core.settings import Settings, load_settings
from core.storage.data_folder import database_url, lock_data_folder
from core.storage.keys import Folder
from core.storage.s3 import open_s3
from core.storage.storage import Storage

# All but pictures on their way: what is moved has stopped.
FOLDERS = tuple(folder for folder in Folder if folder is not Folder.PARTIALS)
# Row hashes are added up, so that the order in which an engine gives the rows doesn't matter.
_SUM = 2**256
# So many pictures are in memory together.
FILES_AT_ONCE = 8
T = TypeVar("T")
R = TypeVar("R")
_Rows = Iterator[list[Row[Any]]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an installation is kept."""

    database: Database
    storage: Storage


@dataclass(frozen=True, slots=True)
class TableFigures:
    """What a table holds: how many rows, and a sum over their contents."""

    rows: int
    total: int


@dataclass(slots=True)
class Transfer:
    """Copies from `source` to `target` what they don't share. `wrong` counts what didn't arrive."""

    source: Place
    target: Place
    wrong: int = 0

    @property
    def _moves_rows(self) -> bool:
        return self.source.database is not self.target.database

    @property
    def _moves_files(self) -> bool:
        return self.source.storage is not self.target.storage

    def run(self) -> None:
        """Raises SettingsError for a target that holds something else, or TransferIncomplete at the end."""
        if self._moves_rows:
            self._refuse_others()
            self._copy_rows()
        if self._moves_files:
            self._copy_files()
        if self._moves_rows:
            self._verify_rows()
        if self._moves_files:
            self._verify_files()
        if self.wrong:
            raise errors.TransferIncomplete(details=f"{self.wrong:,} problems, named above")

    def _refuse_others(self) -> None:
        """A target with users or jobs that aren't here is somebody else's, or has been used since."""
        for kind in (User, Job):
            for page in _pages(self.target.database, _table(kind)):
                ids = {row.id for row in page}
                with self.source.database.read() as session:
                    own = set(session.scalars(select(col(kind.id)).where(col(kind.id).in_(ids))))
                if ids - own:
                    raise errors.SettingsError(
                        f"The new database holds {kind.__tablename__} that aren't here. Name an empty one."
                    )

    # Rows

    def _copy_rows(self) -> None:
        if not self.target.database.count(User):
            # A start of Atelier has made a key there that nothing hangs on yet.
            with self.target.database.write() as session:
                session.execute(delete(Installation))
        for table in Tables.metadata.sorted_tables:
            with progress(f"Copying {table.name}", self.source.database.count(table)) as bar:
                for page in _pages(self.source.database, table):
                    self._insert(table, page)
                    bar.advance(len(page))

    def _insert(self, table: Table, page: list[Row[Any]]) -> None:
        with self.target.database.write() as session:
            session.execute(
                self.target.database.insert(table).on_conflict_do_nothing(),
                [dict(row._mapping) for row in page],
            )

    def _verify_rows(self) -> None:
        for table in Tables.metadata.sorted_tables:
            here, there = (_figures(place.database, table) for place in (self.source, self.target))
            if here != there:
                self._say_wrong(
                    f"table {table.name}: {here.rows:,} rows here, {there.rows:,} there, not alike"
                )

    # Files

    def _copy_files(self) -> None:
        for folder in FOLDERS:
            total = sum(1 for _ in self.source.storage.files(folder))
            with progress(f"Copying {folder}", total) as bar:
                for page in pages(self.source.storage.files(folder), FILES_AT_ONCE):
                    at_once(self._copy_file, [file.key for file in page])
                    bar.advance(len(page))

    def _copy_file(self, key: str) -> None:
        if not self.target.storage.exists(key):
            self.target.storage.put(key, self.source.storage.get(key))

    def _verify_files(self) -> None:
        """Each picture, read back from the target, against the hash in its row there."""
        rows = self.target.database
        with progress("Verifying images", rows.count(Image)) as bar:
            found = select(col(Image.id), col(Image.file_key), col(Image.sha256))
            for page in rows.row_pages(found, col(Image.id), size=FILES_AT_ONCE):
                keys = {key: digest for _, key, digest in page}
                arrived = at_once(self._has_arrived, list(keys.items()))
                for key, right in zip(keys, arrived, strict=True):
                    if not right:
                        self._say_wrong(f"{key}: no file with the right hash")
                bar.advance(len(page))

    def _has_arrived(self, file: tuple[str, str]) -> bool:
        key, digest = file
        return _hash(self.target.storage, key) == digest or self._mend(key, digest)

    def _mend(self, key: str, digest: str) -> bool:
        """Copy once more what arrived otherwise; False when it is missing or damaged here as well."""
        if _hash(self.source.storage, key) != digest:
            return False
        self.target.storage.put(key, self.source.storage.get(key))
        return _hash(self.target.storage, key) == digest

    def _say_wrong(self, what: str) -> None:
        self.wrong += 1
        say(f"wrong: {what}")


def at_once(work: Callable[[T], R], items: list[T]) -> list[R]:
    """What `work` gives for each of the few `items`: a store that is far away takes its time with each."""
    with ThreadPoolExecutor(len(items)) as threads:
        return list(threads.map(work, items))


def _table(kind: type[Tables]) -> Table:
    return Tables.metadata.tables[str(kind.__tablename__)]


def _pages(database: Database, table: Table) -> _Rows:
    return database.row_pages(select(table), *table.primary_key.columns)


def _figures(database: Database, table: Table) -> TableFigures:
    rows, total = 0, 0
    for page in _pages(database, table):
        rows += len(page)
        total += sum(int.from_bytes(_row_hash(row)) for row in page)
    return TableFigures(rows, total % _SUM)


def _row_hash(row: Row[Any]) -> bytes:
    return sha256(json.dumps(dict(row._mapping), default=str, sort_keys=True).encode()).digest()


def _hash(storage: Storage, key: str) -> str:
    """The SHA-256 of a stored file, or '' when it isn't there."""
    try:
        return sha256(storage.get(key)).hexdigest()
    except errors.FileDamaged:
        return ""


@contextmanager
def opened(settings: Settings, to_database: str | None, to_storage: str | None) -> Iterator[Transfer]:
    """A transfer from what the settings name. Nobody else is at work at either place until it ends."""
    folder = data_folder(settings)
    changes = {"database_url": to_database, "storage_url": to_storage}
    target_settings = load_settings(**{name: value for name, value in changes.items() if value})
    with ExitStack() as held:
        if folder.is_dir():
            held.callback(lock_data_folder(folder).release)
        source = Place(_source_database(settings, folder, held), open_files(settings, folder))
        database, storage = source.database, source.storage
        if to_storage:
            storage = open_s3(target_settings)
        if to_database:
            database = _target_database(database_url(target_settings, folder), held)
        yield Transfer(source, Place(database, storage))


def _source_database(settings: Settings, folder: Path, held: ExitStack) -> Database:
    database = held.enter_context(closing(Database(_read_only(database_url(settings, folder)))))
    check_current(database)
    _own(database, held)
    return database


def _read_only(url: str) -> str:
    """The address of the same database, by which a file can't be written to."""
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return url
    path = Path(address.database or "").resolve()
    if not path.is_file():
        raise errors.SettingsError(f"DATABASE_URL: {path} doesn't exist. Name Atelier's own database.")
    read_only = address.set(database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    return read_only.render_as_string(hide_password=False)


def _target_database(url: str, held: ExitStack) -> Database:
    database = held.enter_context(closing(Database(url)))
    _own(database, held)
    database.migrate()
    return database


def _own(database: Database, held: ExitStack) -> None:
    process_lock = ProcessLock(database)
    held.callback(process_lock.release)
    process_lock.acquire()


@click.command("transfer", cls=OperatorCommand, context_settings=HELP_OPTIONS)
@click.option("--to-database", metavar="URL", help="The DATABASE_URL to copy to.")
@click.option("--to-storage", metavar="URL", help="The STORAGE_URL to copy to.")
def command(to_database: str | None, to_storage: str | None) -> None:
    """Copy an installation to another database or image store.

    Stop Atelier first, and name a new database, a new image store, or both. The source, which the current
    settings name, is only read. Run the command again to continue one that was interrupted. At the end every
    table is counted and compared, and every image is read back and its hash compared.

    Then start Atelier with the new settings. Don't start the old installation again: both would make the
    images that are still waiting.
    """
    if not to_database and not to_storage:
        raise click.UsageError("Name the target: --to-database, --to-storage, or both.")
    with opened(load_settings(), to_database, to_storage) as transfer:
        transfer.run()
        _conclude(transfer)


def _conclude(transfer: Transfer) -> None:
    say("Everything arrived: every table and every picture was compared.")
    with transfer.source.database.read() as session:
        waiting = select(func.count()).where(col(Job.state).in_(LIVE_STATES))
        count = int(session.execute(waiting).scalar_one())
    if count:
        say(f"{count:,} images are still waiting: don't start Atelier here again, or both would make them.")
