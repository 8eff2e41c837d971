"""`python -m core transfer`: copies an installation to another database, to another file storage, or both."""

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
from core.images.search_index import SearchIndex
from core.maintenance.command_line import (
    HELP_OPTIONS,
    OperatorCommand,
    check_current,
    data_folder,
    open_files,
    print_line,
    progress,
)
from core.maintenance.integrity import chunked
from core.maintenance.planted_contents import planted_key, planted_object
from core.settings import Settings, load_settings
from core.storage.data_folder import database_url, lock_data_folder
from core.storage.keys import Folder
from core.storage.s3 import open_s3
from core.storage.storage import Storage

# All folders except the folder of partial images, which a stopped installation never needs.
FOLDERS = tuple(folder for folder in Folder if folder is not Folder.PARTIALS)
# A table's checksum is the sum of its rows' hashes modulo this number. The two databases may sort the rows
# differently, which doesn't change the sum.
_CHECKSUM_MODULUS = 2**256
# How many files are copied in parallel. The bytes of all these files are in memory at the same time.
PARALLEL_FILES = 8
T = TypeVar("T")
R = TypeVar("R")
_Rows = Iterator[list[Row[Any]]]


@dataclass(frozen=True, slots=True)
class Location:
    """The database and the file storage of one installation."""

    database: Database
    storage: Storage


@dataclass(frozen=True, slots=True)
class TableSummary:
    """The number of rows in a table, and a checksum of their contents. Equal tables have equal summaries."""

    rows: int
    checksum: int


@dataclass(slots=True)
class Transfer:
    """Copies the rows, the files, or both from the installation `source` to `target`.

    If `source` and `target` share a database, no rows are copied. If they share a storage, no files are
    copied. `mismatches` counts the copies that differ from their originals.
    """

    source: Location
    target: Location
    mismatches: int = 0

    @property
    def _moves_rows(self) -> bool:
        return self.source.database is not self.target.database

    @property
    def _moves_files(self) -> bool:
        return self.source.storage is not self.target.storage

    def run(self) -> None:
        """Copy the rows and files, then compare the copies with the originals. Print each difference.

        Raises SettingsError before copying if the target database has users or jobs that the source doesn't
        have. Raises TransferIncomplete if a copy differs from its original.
        """
        if self._moves_rows:
            self._refuse_other_data()
            self._refuse_planted_keys()
            self._copy_rows()
        if self._moves_files:
            self._copy_files()
        if self._moves_rows:
            self._verify_rows()
        if self._moves_files:
            self._verify_files()
        if self.mismatches:
            raise errors.TransferIncomplete(details=f"{self.mismatches:,} problems, named above")

    def _refuse_other_data(self) -> None:
        """Raise SettingsError if the target database has users or jobs that the source doesn't have."""
        for kind in (User, Job):
            for page in _pages(self.target.database, _table(kind)):
                ids = {row.id for row in page}
                with self.source.database.read() as session:
                    own = set(session.scalars(select(col(kind.id)).where(col(kind.id).in_(ids))))
                if ids - own:
                    raise errors.SettingsError(
                        f"The new database holds {kind.__tablename__} that aren't here. Name an empty one."
                    )

    def _refuse_planted_keys(self) -> None:
        """Raise DatabaseDamaged if a key in the source's rows could name a file outside its folder."""
        if planted := planted_key(self.source.database):
            raise errors.DatabaseDamaged(details=planted)

    # Rows

    def _copy_rows(self) -> None:
        if not self.target.database.count(User):
            # If Atelier was started with the new database before, it has created a key there. Nothing uses
            # that key yet.
            with self.target.database.write() as session:
                session.execute(delete(Installation))
        SearchIndex(self.target.database).mark_incomplete()
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
            source, target = _summary(self.source.database, table), _summary(self.target.database, table)
            if source != target:
                self._report_mismatch(
                    f"table {table.name}: {source.rows:,} rows here and {target.rows:,} there differ"
                )

    # Files

    def _copy_files(self) -> None:
        for folder in FOLDERS:
            total = sum(1 for _ in self.source.storage.files(folder))
            with progress(f"Copying {folder}", total) as bar:
                for page in chunked(self.source.storage.files(folder), PARALLEL_FILES):
                    in_parallel(self._copy_file, [file.key for file in page])
                    bar.advance(len(page))

    def _copy_file(self, key: str) -> None:
        if not self.target.storage.exists(key):
            self.target.storage.put(key, self.source.storage.get(key))

    def _verify_files(self) -> None:
        """Read each image from the target's storage and compare its SHA-256 with the one in its row.

        If they differ, the file is copied once more. If they still differ, the file is reported as a
        mismatch.
        """
        rows = self.target.database
        with progress("Verifying images", rows.count(Image)) as bar:
            images = select(col(Image.id), col(Image.file_key), col(Image.sha256))
            for page in rows.row_pages(images, col(Image.id), size=PARALLEL_FILES):
                keys = {key: digest for _, key, digest in page}
                matches = in_parallel(self._matches, list(keys.items()))
                for key, is_match in zip(keys, matches, strict=True):
                    if not is_match:
                        self._report_mismatch(f"{key}: no file with the right hash")
                bar.advance(len(page))

    def _matches(self, file: tuple[str, str]) -> bool:
        key, digest = file
        return _hash(self.target.storage, key) == digest or self._copy_again(key, digest)

    def _copy_again(self, key: str, digest: str) -> bool:
        """Copy a file from the source to the target again. Return whether the copy has the right hash now.

        `digest` is the right hash: SHA-256 in hex. Returns False without copying if the source's file is
        missing or has another hash.
        """
        if _hash(self.source.storage, key) != digest:
            return False
        self.target.storage.put(key, self.source.storage.get(key))
        return _hash(self.target.storage, key) == digest

    def _report_mismatch(self, description: str) -> None:
        self.mismatches += 1
        print_line(f"wrong: {description}")


def in_parallel(work: Callable[[T], R], items: list[T]) -> list[R]:
    """Call `work` with each of `items` in a thread of its own. Return the results in the sequence of `items`.

    Threads help because a remote storage responds slowly. Pass only a few items, at least one.
    """
    with ThreadPoolExecutor(len(items)) as threads:
        return list(threads.map(work, items))


def _table(kind: type[Tables]) -> Table:
    return Tables.metadata.tables[str(kind.__tablename__)]


def _pages(database: Database, table: Table) -> _Rows:
    return database.row_pages(select(table), *table.primary_key.columns)


def _summary(database: Database, table: Table) -> TableSummary:
    rows, checksum = 0, 0
    for page in _pages(database, table):
        rows += len(page)
        checksum += sum(int.from_bytes(_row_hash(row)) for row in page)
    return TableSummary(rows, checksum % _CHECKSUM_MODULUS)


def _row_hash(row: Row[Any]) -> bytes:
    return sha256(json.dumps(dict(row._mapping), default=str, sort_keys=True).encode()).digest()


def _hash(storage: Storage, key: str) -> str:
    """Return the SHA-256 of the stored file `key` in hex. Return an empty string if the file is missing."""
    try:
        return sha256(storage.get(key)).hexdigest()
    except errors.FileDamaged:
        return ""


@contextmanager
def open_transfer(settings: Settings, to_database: str | None, to_storage: str | None) -> Iterator[Transfer]:
    """Yield a Transfer from the installation that `settings` names to another database, storage or both.

    `to_database` and `to_storage` are the URLs to copy to. If one of them is None, that part isn't copied.
    Until the block ends, other processes of Atelier can't use the data folder and the databases.
    """
    folder = data_folder(settings)
    changes = {"database_url": to_database, "storage_url": to_storage}
    target_settings = load_settings(**{name: value for name, value in changes.items() if value})
    with ExitStack() as stack:
        if folder.is_dir():
            stack.callback(lock_data_folder(folder).release)
        source = Location(_source_database(settings, folder, stack), open_files(settings, folder))
        database, storage = source.database, source.storage
        if to_storage:
            storage = open_s3(target_settings)
        if to_database:
            database = _target_database(database_url(target_settings, folder), stack)
        yield Transfer(source, Location(database, storage))


def _source_database(settings: Settings, folder: Path, stack: ExitStack) -> Database:
    database = stack.enter_context(closing(Database(_read_only(database_url(settings, folder)))))
    check_current(database)
    path = make_url(database_url(settings, folder)).database
    if database.is_sqlite and (planted := planted_object(Path(path or "").resolve())):
        raise errors.DatabaseDamaged(details=planted)
    _lock_database(database, stack)
    return database


def _read_only(url: str) -> str:
    """Return a URL that opens the same SQLite database read-only. Return a URL of PostgreSQL unchanged.

    Raises SettingsError if the file of the SQLite database doesn't exist.
    """
    address = make_url(url)
    if address.get_backend_name() != "sqlite":
        return url
    path = Path(address.database or "").resolve()
    if not path.is_file():
        raise errors.SettingsError(f"DATABASE_URL: {path} doesn't exist. Name Atelier's own database.")
    read_only = address.set(database=f"file:{quote(str(path))}", query={"mode": "ro", "uri": "true"})
    return read_only.render_as_string(hide_password=False)


def _target_database(url: str, stack: ExitStack) -> Database:
    database = stack.enter_context(closing(Database(url)))
    _lock_database(database, stack)
    database.migrate()
    return database


def _lock_database(database: Database, stack: ExitStack) -> None:
    process_lock = ProcessLock(database)
    stack.callback(process_lock.release)
    process_lock.acquire()


@click.command("transfer", cls=OperatorCommand, context_settings=HELP_OPTIONS)
@click.option("--to-database", metavar="URL", help="The DATABASE_URL to copy to.")
@click.option("--to-storage", metavar="URL", help="The STORAGE_URL to copy to.")
def command(to_database: str | None, to_storage: str | None) -> None:
    """Copy an installation to another database or file storage.

    Stop Atelier first. Name a new database with --to-database, a new storage with --to-storage, or both. The
    old installation, which the current settings name, isn't changed. If a transfer was interrupted, run the
    command again to continue it. At the end, the command compares every copied table with the original, and
    checks the hash of every copied image.

    Then start Atelier with the new settings. Don't start the old installation again. Otherwise both would
    generate the images that are still waiting.
    """
    if not to_database and not to_storage:
        raise click.UsageError("Name the target: --to-database, --to-storage, or both.")
    with open_transfer(load_settings(), to_database, to_storage) as transfer:
        transfer.run()
        _conclude(transfer)


def _conclude(transfer: Transfer) -> None:
    print_line("Everything arrived: every table and every image was compared.")
    with transfer.source.database.read() as session:
        waiting = select(func.count()).where(col(Job.state).in_(LIVE_STATES))
        count = int(session.execute(waiting).scalar_one())
    if count:
        print_line(
            f"{count:,} images are still waiting: don't start Atelier here again, or both would make them."
        )
