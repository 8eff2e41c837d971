"""Transactions, locks, migrations and error translation, for SQLite and PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    Row,
    Select,
    TableClause,
    func,
    inspect,
    select,
    text,
    tuple_,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Mapped
from sqlmodel import Session

from core import errors
from core.database.engines import BUSY_TIMEOUT_MS, postgres_engine, sqlite_engine
from core.database.models import Table

if TYPE_CHECKING:
    from alembic.config import Config


MIGRATIONS = Path(__file__).parent / "migrations"
# The number of rows that are held in memory while a whole table is read.
ROWS_PER_PAGE = 500
# Under this key, a session keeps the turns that it has taken. They end with its transaction.
_TURNS = "turns"
AnySelect = Select[*tuple[Any, ...]]
AnyRow = Row[*tuple[Any, ...]]
# Maps a part of the driver's error text to our error class. The first match wins.
_ERRORS_BY_TEXT: tuple[tuple[str, type[errors.ImageError]], ...] = (
    ("malformed", errors.DatabaseDamaged),
    ("not a database", errors.DatabaseDamaged),
    ("disk is full", errors.StorageFull),
    ("ioerr_shmsize", errors.StorageFull),  # no disk space for the index of the write-ahead log
    ("readonly database", errors.StorageReadOnly),
    ("disk i/o error", errors.StorageError),
    ("locked", errors.DatabaseBusy),
    ("lock timeout", errors.DatabaseBusy),
    ("idle-in-transaction timeout", errors.DatabaseBusy),
    ("no space left", errors.StorageFull),
    ("queuepool limit", errors.DatabaseBusy),
    ("unable to open database file", errors.DatabaseUnreachable),
    ("connection failed", errors.DatabaseUnreachable),
    ("connection is bad", errors.DatabaseUnreachable),
    ("connection timeout", errors.DatabaseUnreachable),
    ("connection is lost", errors.DatabaseUnreachable),
    ("connection is closed", errors.DatabaseUnreachable),
    ("server closed the connection", errors.DatabaseUnreachable),
    ("terminating connection", errors.DatabaseUnreachable),
    ("failed to resolve host", errors.DatabaseUnreachable),
    ("could not receive data", errors.DatabaseUnreachable),
    ("consuming input failed", errors.DatabaseUnreachable),
)


class AdvisoryLock(IntEnum):
    """Keys of PostgreSQL's advisory locks. The numbers are arbitrary and must never change."""

    MIGRATION = 7_346_115
    ACCOUNTS = 7_346_116
    SUBMISSION = 7_346_117
    OWNERSHIP = 7_346_118
    QUEUE = 7_346_119
    PROCESS = 7_346_120


class Database:
    """Opens transactions on one database, which is SQLite or PostgreSQL.

    A read transaction sees one snapshot of the data. On SQLite, a write transaction takes the database's
    write lock at its first statement. SQLAlchemy's errors are raised as DatabaseError or StorageError.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = sqlite_engine(url) if self.is_sqlite else postgres_engine(url)
        self._writer = self.engine.execution_options(atelier_write=True)
        # PostgreSQL's default isolation level takes a new snapshot for each statement.
        self._reader = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )
        self._turns = {lock: threading.Lock() for lock in AdvisoryLock}

    @contextmanager
    def read(self) -> Iterator[Session]:
        with translate_database_errors(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a write transaction and yield its session.

        The transaction commits at the end of the `with` block, and rolls back if an error is raised.
        """
        with translate_database_errors(), Session(self._writer, expire_on_commit=False) as session:
            try:
                with session.begin():
                    yield session
            finally:
                for turn in session.info.pop(_TURNS, {}).values():
                    turn.release()

    def lock(self, transaction: Session | Connection, lock: AdvisoryLock) -> None:
        """Take `lock` and hold it until `transaction` ends. Waits while another transaction holds it.

        SQLite has only one lock for all writers. On SQLite, this method takes that lock, so `transaction`
        must be a write transaction.
        """
        if self.is_sqlite:
            transaction.execute(text("SELECT 1"))
        else:
            if isinstance(transaction, Session):
                self._take_turn(transaction, lock)
            transaction.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock})

    def _take_turn(self, session: Session, lock: AdvisoryLock) -> None:
        """Wait until no other thread of this process holds `lock` or asks the server for it.

        The server hands a lock from one waiting connection to the next. If this process is frozen, each of
        its connections would get the lock and keep it for IDLE_TRANSACTION_MS. So only one of them asks.
        Raises DatabaseBusy after BUSY_TIMEOUT_MS.
        """
        taken = session.info.setdefault(_TURNS, {})
        if lock in taken:
            return
        if not self._turns[lock].acquire(timeout=BUSY_TIMEOUT_MS / 1000):
            raise errors.DatabaseBusy(details=f"no turn for the lock {lock.name}")
        taken[lock] = self._turns[lock]

    def insert(self, table: TableClause | type[Table]) -> sqlite.Insert | postgresql.Insert:
        """Return an INSERT statement for `table` in the database's dialect of SQL.

        The statement has the methods `on_conflict_do_nothing` and `on_conflict_do_update`.
        """
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def migrate(self) -> None:
        """Upgrade the tables to the newest migration. Waits while another process upgrades them.

        Alembic is imported only if an upgrade is needed, because the import would slow down every start.
        Raises DatabaseVersionMismatch if Alembic can't upgrade the tables, as when a newer release has
        created them.
        """
        with translate_database_errors(), self._writer.connect() as connection:
            if not self.is_sqlite:
                # Wait without limit: another process may be migrating a large table.
                connection.execute(text("SET LOCAL lock_timeout = 0"))
                # Alembic may take a while between two statements.
                connection.execute(text("SET LOCAL idle_in_transaction_session_timeout = '60s'"))
            self.lock(connection, AdvisoryLock.MIGRATION)
            if _revision_of(connection) != newest_revision():
                upgrade(connection)
            connection.commit()

    def is_current(self) -> bool:
        """Whether all migrations have been applied to the tables."""
        with translate_database_errors(), self.engine.connect() as connection:
            return _revision_of(connection) == newest_revision()

    def check_ready(self) -> None:
        """Raise DatabaseError if the database can't be read, or if its migrations aren't this version's."""
        if not self.is_current():
            raise errors.DatabaseVersionMismatch

    def row_pages(
        self, query: AnySelect, *keys: ColumnElement[Any] | Mapped[Any], size: int = ROWS_PER_PAGE
    ) -> Iterator[list[AnyRow]]:
        """Yield all rows of `query`, sorted by `keys`, as lists of at most `size` rows.

        `keys` are columns of `query` whose combined values are unique. Each list is read in its own
        transaction, so that a long read doesn't block writers.
        """
        rest = query.order_by(*keys).limit(size)
        page = self._page(rest)
        while page:
            yield page
            last = tuple(page[-1]._mapping[key] for key in keys)
            page = self._page(rest.where(tuple_(*keys) > last)) if len(page) == size else []

    def _page(self, query: AnySelect) -> list[AnyRow]:
        with self.read() as session:
            return list(session.execute(query).all())

    def count(self, table: FromClause | type[Table]) -> int:
        """Return the number of rows in `table`."""
        with self.read() as session:
            return int(session.execute(select(func.count()).select_from(table)).scalar_one())

    def close(self) -> None:
        self.engine.dispose()


def newest_revision() -> str:
    """Return the number of the newest migration, such as "0008".

    Each migration's file name begins with the migration's number.
    """
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]


def _revision_of(connection: Connection) -> str | None:
    """Return the number of the last migration that was applied to the tables.

    Returns None if the database has no tables yet.
    """
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def upgrade(connection: Connection, revision: str = "head") -> None:
    """Upgrade the tables to the migration `revision`. Raises DatabaseVersionMismatch if it is unknown."""
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        command.upgrade(alembic_config(connection), revision)
    except CommandError as error:
        raise errors.DatabaseVersionMismatch(details=str(error)) from error


def alembic_config(connection: Connection) -> Config:
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    return config


@contextmanager
def translate_database_errors() -> Iterator[None]:
    """Turn SQLAlchemy's errors into ours. Use this as a context manager or as a decorator.

    Raises StorageError if the disk is full, read-only or faulty, and DatabaseError for all other causes.
    """
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        raise _error_class(error)(details=str(getattr(error, "orig", None) or error)) from error


def _error_class(error: SQLAlchemyError) -> type[errors.ImageError]:
    cause = getattr(error, "orig", None) or error
    text = f"{getattr(cause, 'sqlite_errorname', '')} {cause}".casefold()
    return next((kind for fragment, kind in _ERRORS_BY_TEXT if fragment in text), errors.DatabaseError)
