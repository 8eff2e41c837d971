"""The engine, its transactions, and bringing the tables up to date, on SQLite and PostgreSQL."""

from __future__ import annotations

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
from core.database.engines import postgres_engine, sqlite_engine
from core.database.models import Table

if TYPE_CHECKING:
    from alembic.config import Config


MIGRATIONS = Path(__file__).parent / "migrations"
# Rows that are in memory together where all of a table are gone through.
ROWS_PER_PAGE = 500
AnySelect = Select[*tuple[Any, ...]]
AnyRow = Row[*tuple[Any, ...]]
_FAULTS: tuple[tuple[str, type[errors.ImageError]], ...] = (
    ("malformed", errors.DatabaseDamaged),
    ("not a database", errors.DatabaseDamaged),
    ("disk is full", errors.StorageFull),
    ("ioerr_shmsize", errors.StorageFull),  # no room for the index of the write-ahead log
    ("readonly database", errors.StorageReadOnly),
    ("disk i/o error", errors.StorageError),
    ("locked", errors.DatabaseBusy),
    ("lock timeout", errors.DatabaseBusy),
    ("no space left", errors.StorageFull),
    ("queuepool limit", errors.DatabaseBusy),
    ("unable to open database file", errors.DatabaseUnreachable),
    ("connection failed", errors.DatabaseUnreachable),
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
    """What only one PostgreSQL session does at a time. The numbers are arbitrary, and fixed for ever."""

    MIGRATION = 7_346_115
    ACCOUNTS = 7_346_116
    SUBMISSION = 7_346_117
    OWNERSHIP = 7_346_118
    QUEUE = 7_346_119
    PROCESS = 7_346_120


class Database:
    """Sessions over one engine. Readers see a snapshot; writers take the lock at their first statement.

    Raises DatabaseError or StorageError (never SQLAlchemy's own) when the engine fails.
    """

    def __init__(self, url: str) -> None:
        self.url = make_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        self.engine = sqlite_engine(url) if self.is_sqlite else postgres_engine(url)
        self._writer = self.engine.execution_options(atelier_write=True)
        # PostgreSQL's default is a new snapshot at each statement.
        self._reader = (
            self.engine
            if self.is_sqlite
            else self.engine.execution_options(isolation_level="REPEATABLE READ")
        )

    @contextmanager
    def read(self) -> Iterator[Session]:
        with translate_database_errors(), Session(self._reader, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction that commits at the end of the block, or not at all."""
        with (
            translate_database_errors(),
            Session(self._writer, expire_on_commit=False) as session,
            session.begin(),
        ):
            yield session

    def lock(self, transaction: Session | Connection, lock: AdvisoryLock) -> None:
        """Keep others out until `transaction` ends; SQLite's writers queue from their first statement on."""
        if self.is_sqlite:
            transaction.execute(text("SELECT 1"))
        else:
            transaction.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": lock})

    def insert(self, table: TableClause | type[Table]) -> sqlite.Insert | postgresql.Insert:
        """An INSERT that can say what happens where the row is there already, which both engines know."""
        return sqlite.insert(table) if self.is_sqlite else postgresql.insert(table)

    def migrate(self) -> None:
        """Bring the tables up to the newest revision; waits for another process that is doing so.

        Alembic is loaded only for tables that are older or newer: at nearly every start they are neither.
        """
        with translate_database_errors(), self._writer.connect() as connection:
            if not self.is_sqlite:
                # Another process may take its time over a large table.
                connection.execute(text("SET LOCAL lock_timeout = 0"))
            self.lock(connection, AdvisoryLock.MIGRATION)
            if _revision_of(connection) != newest_revision():
                _upgrade(connection)
            connection.commit()

    def is_current(self) -> bool:
        """Whether the tables are those of this version."""
        with translate_database_errors(), self.engine.connect() as connection:
            return _revision_of(connection) == newest_revision()

    def row_pages(
        self, found: AnySelect, *keys: ColumnElement[Any] | Mapped[Any], size: int = ROWS_PER_PAGE
    ) -> Iterator[list[AnyRow]]:
        """The rows of `found` in the order of `keys`, which are among its columns and together unique.

        Each page is read by itself: what comes or goes meanwhile holds up nobody.
        """
        rest = found.order_by(*keys).limit(size)
        page = self._page(rest)
        while page:
            yield page
            last = tuple(page[-1]._mapping[key] for key in keys)
            page = self._page(rest.where(tuple_(*keys) > last)) if len(page) == size else []

    def _page(self, found: AnySelect) -> list[AnyRow]:
        with self.read() as session:
            return list(session.execute(found).all())

    def count(self, table: FromClause | type[Table]) -> int:
        """How many rows a table has."""
        with self.read() as session:
            return int(session.execute(select(func.count()).select_from(table)).scalar_one())

    def close(self) -> None:
        self.engine.dispose()


def newest_revision() -> str:
    """The last of the migrations: their files begin with their numbers."""
    return max(path.name for path in (MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]


def _revision_of(connection: Connection) -> str | None:
    """Which revision the tables are at, None where there are none."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    revision: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return revision


def _upgrade(connection: Connection) -> None:
    from alembic import command  # noqa: PLC0415
    from alembic.util import CommandError  # noqa: PLC0415

    try:
        command.upgrade(alembic_config(connection), "head")
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
    """Say the engine's faults in our own errors: DatabaseError, or StorageError for the disk's.

    Also a decorator.
    """
    try:
        yield
    except (DBAPIError, PoolTimeout) as error:
        raise _fault(error)(details=str(getattr(error, "orig", None) or error)) from error


def _fault(error: SQLAlchemyError) -> type[errors.ImageError]:
    cause = getattr(error, "orig", None) or error
    said = f"{getattr(cause, 'sqlite_errorname', '')} {cause}".casefold()
    return next((fault for words, fault in _FAULTS if words in said), errors.DatabaseError)
