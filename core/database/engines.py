"""Builds the SQLAlchemy engine for SQLite or PostgreSQL, with its settings and timeouts."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url

BUSY_TIMEOUT_MS = 10_000
# PostgreSQL ends a transaction that waits this long for its process. That frees the locks of a process that
# is frozen or out of reach. A live process needs far less.
IDLE_TRANSACTION_MS = 4_000
POOL_SIZE = 20
# With these libpq options, a server that can't be reached causes an error within 20 s instead of hours.
CONNECTION_TIMEOUTS: dict[str, str | tuple[str, ...]] = {
    "connect_timeout": "10",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "20000",
}


def sqlite_engine(url: str) -> Engine:
    engine = create_engine(url, pool_size=POOL_SIZE, connect_args={"timeout": BUSY_TIMEOUT_MS / 1000})
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # Stop the driver from beginning transactions itself: `_begin_sqlite` needs BEGIN IMMEDIATE.
    connection.isolation_level = None
    _use_wal(connection)
    for pragma in ("synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        connection.execute(f"PRAGMA {pragma}")


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the SQLite file to WAL mode.

    SQLite's own timeout doesn't apply to this statement. While another connection holds the lock, the
    statement is therefore retried for up to BUSY_TIMEOUT_MS.
    """
    deadline = time.monotonic() + BUSY_TIMEOUT_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def _begin_sqlite(connection: Connection) -> None:
    write = connection.get_execution_options().get("atelier_write")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")


def postgres_engine(url: str) -> Engine:
    given = make_url(url)
    address = given.set(drivername="postgresql+psycopg", query=CONNECTION_TIMEOUTS | dict(given.query))
    engine = create_engine(address, pool_size=POOL_SIZE, pool_pre_ping=True)
    event.listen(engine, "connect", _prepare_postgres)
    return engine


def _prepare_postgres(connection: Any, _record: Any) -> None:
    """Limit how long a statement waits for a lock, and how long a transaction waits for its process.

    PostgreSQL has neither limit by default.
    """
    connection.autocommit = True
    connection.execute(f"SET lock_timeout = {BUSY_TIMEOUT_MS}")
    connection.execute(f"SET idle_in_transaction_session_timeout = {IDLE_TRANSACTION_MS}")
    connection.autocommit = False


def sqlite_url(path: Path) -> str:
    """Return the SQLAlchemy URL of the SQLite file `path`. Special characters in the path are escaped."""
    return URL.create("sqlite", database=str(path)).render_as_string()
