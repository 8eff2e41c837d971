"""Which processes a database belongs to: one that knew nothing of another would take its jobs for lost."""

from __future__ import annotations

import random
from contextlib import suppress
from pathlib import Path

import filelock
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from core.database.database import AdvisoryLock, Database, translate_database_errors
from core.errors import DatabaseError, SettingsError

MAX_PROCESS_NUMBER = 2**31 - 1
# The server, too, must notice soon that the machine of a process is gone.
_KEEPALIVES = """
    SELECT set_config('tcp_keepalives_idle', '5', false),
        set_config('tcp_keepalives_interval', '2', false),
        set_config('tcp_keepalives_count', '3', false)
"""
_HELD = text("""
    SELECT objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid::bigint = :kind
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")
log = structlog.get_logger(__name__)


class ProcessLock:
    """This process's claim to a database, from `take` to `release`, under a `number` of its own.

    On PostgreSQL it is two advisory locks: one on the database, which `shared` processes hold together, and
    one on the number, by which the others see that this one lives. They live as long as their connection and
    are lost when the server restarts: `keep`, called again and again, takes them anew. On SQLite it is a lock
    file beside the database.
    """

    def __init__(self, database: Database, *, shared: bool = False) -> None:
        self._database = database
        self._shared = shared
        self._file: filelock.BaseFileLock | None = None
        self._connection: Connection | None = None
        self.process_number = random.randint(1, MAX_PROCESS_NUMBER)
        self.held = False

    def acquire(self) -> None:
        """Raises SettingsError when another process has the database, or DatabaseError."""
        self.held = self._take_file() if self._database.is_sqlite else self._take_locks()
        if not self.held:
            together = "" if self._database.is_sqlite else ", or let both keep their files in one STORAGE_URL"
            raise SettingsError(
                "Another Atelier is already using this database. Stop it, or set DATABASE_URL to another "
                f"database{together}."
            )

    def live_processes(self) -> frozenset[int]:
        """The numbers of all processes that have this database now, and this one's. Raises DatabaseError."""
        if self._database.is_sqlite:
            return frozenset((self.process_number,))
        with self._database.read() as session:
            held = session.execute(_HELD, {"kind": AdvisoryLock.PROCESS}).scalars()
            return frozenset((self.process_number, *held))

    def renew(self) -> None:
        """Take the lock again if it was lost; `held` says whether work may go on."""
        if self._database.is_sqlite or self._is_alive():
            return
        if self.held:
            log.error("the hold on the database was lost; no job is begun until it is taken again")
        self.held = False
        self._disconnect()
        try:
            self.held = self._take_locks()
        except DatabaseError as error:
            log.error("the database can't be reached", code=error.code, details=error.details)
            return
        if self.held:
            log.warning("the database is held again")
        else:
            log.error("another Atelier holds the database; this one begins no job")

    def release(self) -> None:
        self.held = False
        self._disconnect()
        if self._file:
            self._file.release()

    def _take_file(self) -> bool:
        try:
            self._file = filelock.FileLock(f"{self._path()}.lock", thread_local=False)
            self._file.acquire(timeout=0)
        except filelock.Timeout:
            return False
        except OSError as error:
            raise DatabaseError(details=str(error)) from error
        return True

    def _path(self) -> Path:
        """The database's own file, by whatever other name it was given."""
        with self._database.read() as session:
            listed = session.execute(text("SELECT file FROM pragma_database_list WHERE name = 'main'"))
            return Path(listed.scalar_one()).resolve()

    def _take_locks(self) -> bool:
        with translate_database_errors():
            connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text(_KEEPALIVES))
            taken = self._try_locks(connection)
        if not taken:
            _close(connection)
            return False
        self._connection = connection
        return True

    def _try_locks(self, connection: Connection) -> bool:
        together = "_shared" if self._shared else ""
        whole = connection.scalar(
            text(f"SELECT pg_try_advisory_lock{together}(:key)"), {"key": AdvisoryLock.OWNERSHIP}
        )
        own = connection.scalar(
            text("SELECT pg_try_advisory_lock(:kind, :number)"),
            {"kind": AdvisoryLock.PROCESS, "number": self.process_number},
        )
        return bool(whole and own)

    def _is_alive(self) -> bool:
        """Whether the connection that holds the lock still stands."""
        try:
            return self._connection is not None and self._connection.scalar(text("SELECT true")) is True
        except SQLAlchemyError:
            return False

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)


def _close(connection: Connection) -> None:
    """Close for good: a connection that went back to the pool would keep its locks."""
    with suppress(SQLAlchemyError):
        # The server notices the end of a connection only a moment later.
        connection.execute(text("SELECT pg_advisory_unlock_all()"))
    with suppress(SQLAlchemyError):
        connection.invalidate()
    connection.close()
