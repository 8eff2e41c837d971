"""The lock that a process holds on its database.

Without this lock, a second process on the same database could mistake the running jobs of the first process
for jobs that a crash has left behind.
"""

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
# Make PostgreSQL notice within about 11 s that the machine of a process no longer responds.
_KEEPALIVES = """
    SELECT set_config('tcp_keepalives_idle', '5', false),
        set_config('tcp_keepalives_interval', '2', false),
        set_config('tcp_keepalives_count', '3', false)
"""
_LIVE_PROCESSES = text("""
    SELECT objid::bigint FROM pg_locks
    WHERE locktype = 'advisory' AND objsubid = 2 AND granted AND classid::bigint = :kind
        AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
""")
log = structlog.get_logger(__name__)


class ProcessLock:
    """A lock that this process holds on a database, from `acquire` until `release`.

    `process_number` is a random number that identifies the process. On SQLite, the lock is a lock file beside
    the database file. On PostgreSQL, the lock consists of two advisory locks:

    - A lock on the database. If `shared` is True, several processes can hold it at the same time.
    - A lock on the process number. It shows other processes that this process is alive.

    PostgreSQL ends advisory locks when the connection breaks, so `renew` must be called every few seconds.
    """

    def __init__(self, database: Database, *, shared: bool = False) -> None:
        self._database = database
        self._shared = shared
        self._file: filelock.BaseFileLock | None = None
        self._connection: Connection | None = None
        self.process_number = random.randint(1, MAX_PROCESS_NUMBER)
        self.held = False

    def acquire(self) -> None:
        """Acquire the lock, without waiting.

        Raises SettingsError if another process holds the lock, and DatabaseError if the database fails.
        """
        self.held = self._lock_file() if self._database.is_sqlite else self._lock_server()
        if not self.held:
            alternative = "" if self._database.is_sqlite else ", or let both use the same STORAGE_URL"
            raise SettingsError(
                "Another Atelier is already using this database. Stop it, or set DATABASE_URL to another "
                f"database{alternative}."
            )

    def live_processes(self) -> frozenset[int]:
        """Return the process numbers of all processes that hold the lock, including this process.

        Raises DatabaseError if the database fails.
        """
        if self._database.is_sqlite:
            return frozenset((self.process_number,))
        with self._database.read() as session:
            held = session.execute(_LIVE_PROCESSES, {"kind": AdvisoryLock.PROCESS}).scalars()
            return frozenset((self.process_number, *held))

    def renew(self) -> None:
        """Check whether the lock was lost, and if so, try to acquire it again.

        Sets `held` to whether this process now holds the lock. A failure is logged and raises no error.
        """
        if self._database.is_sqlite or self._is_connected():
            return
        if self.held:
            log.error("process_lock_lost", consequence="no job is started until it is acquired again")
        self.held = False
        self._disconnect()
        try:
            self.held = self._lock_server()
        except DatabaseError as error:
            log.error("process_lock_not_acquired", code=error.code, details=error.details)
            return
        if self.held:
            log.warning("process_lock_acquired_again")
        else:
            log.error("process_lock_not_acquired", reason="another Atelier holds it")

    def release(self) -> None:
        self.held = False
        self._disconnect()
        if self._file:
            self._file.release()

    def _lock_file(self) -> bool:
        try:
            self._file = filelock.FileLock(f"{self._path()}.lock", thread_local=False)
            self._file.acquire(timeout=0)
        except filelock.Timeout:
            return False
        except OSError as error:
            raise DatabaseError(details=str(error)) from error
        return True

    def _path(self) -> Path:
        """Return the path of the database file, with symbolic links resolved."""
        with self._database.read() as session:
            listed = session.execute(text("SELECT file FROM pragma_database_list WHERE name = 'main'"))
            return Path(listed.scalar_one()).resolve()

    def _lock_server(self) -> bool:
        with translate_database_errors():
            connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            connection.execute(text(_KEEPALIVES))
            locked = self._try_locks(connection)
        if not locked:
            _close(connection)
            return False
        self._connection = connection
        return True

    def _try_locks(self, connection: Connection) -> bool:
        mode = "_shared" if self._shared else ""
        on_database = connection.scalar(
            text(f"SELECT pg_try_advisory_lock{mode}(:key)"), {"key": AdvisoryLock.OWNERSHIP}
        )
        on_number = connection.scalar(
            text("SELECT pg_try_advisory_lock(:kind, :number)"),
            {"kind": AdvisoryLock.PROCESS, "number": self.process_number},
        )
        return bool(on_database and on_number)

    def _is_connected(self) -> bool:
        """Whether the connection that holds the advisory locks still works."""
        try:
            return self._connection is not None and self._connection.scalar(text("SELECT true")) is True
        except SQLAlchemyError:
            return False

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _close(connection)


def _close(connection: Connection) -> None:
    """Release the advisory locks and close the connection.

    The connection isn't returned to the connection pool, because it would keep its locks there.
    """
    with suppress(SQLAlchemyError):
        # Unlock explicitly, because the server notices the end of a connection with a delay.
        connection.execute(text("SELECT pg_advisory_unlock_all()"))
    with suppress(SQLAlchemyError):
        connection.invalidate()
    connection.close()
