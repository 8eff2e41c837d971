"""Which process a database belongs to: two of them would take each other's running jobs for lost ones."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import filelock
import structlog
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from core.database import AdvisoryLock, Database, translated
from core.errors import DatabaseError, SettingsError

log = structlog.get_logger(__name__)


class Ownership:
    """This process's claim to a database, from `take` to `release`.

    On PostgreSQL it is an advisory lock, which lives as long as its connection and is lost when the server
    restarts: `keep`, called again and again, takes it anew. On SQLite it is a lock file beside the database.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._file: filelock.BaseFileLock | None = None
        self._connection: Connection | None = None
        self.held = False

    def take(self) -> None:
        """Raises SettingsError when another process has the database, or DatabaseError."""
        self.held = self._take_file() if self._database.is_sqlite else self._take_lock()
        if not self.held:
            raise SettingsError(
                "Another Atelier is already using this database. "
                "Stop it, or set DATABASE_URL to another database."
            )

    def keep(self) -> None:
        """Take the lock again if it was lost; `held` says whether work may go on."""
        if self._database.is_sqlite or self._is_alive():
            return
        if self.held:
            log.error("the hold on the database was lost; no job is begun until it is taken again")
        self.held = False
        self._let_go()
        try:
            self.held = self._take_lock()
        except DatabaseError as error:
            log.error("the database can't be reached", code=error.code, details=error.details)
            return
        if self.held:
            log.warning("the database is held again")
        else:
            log.error("another Atelier holds the database; this one begins no job")

    def release(self) -> None:
        self.held = False
        self._let_go()
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

    def _take_lock(self) -> bool:
        with translated():
            connection = self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            taken = connection.scalar(
                text("SELECT pg_try_advisory_lock(:key)"), {"key": AdvisoryLock.OWNERSHIP}
            )
        if not taken:
            connection.close()
            return False
        self._connection = connection
        return True

    def _is_alive(self) -> bool:
        """Whether the connection that holds the lock still stands."""
        try:
            return self._connection is not None and self._connection.scalar(text("SELECT true")) is True
        except SQLAlchemyError:
            return False

    def _let_go(self) -> None:
        """Close the connection for good: one that went back to the pool would keep the lock."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(SQLAlchemyError):
                # The server notices the end of a connection only a moment later.
                connection.execute(text("SELECT pg_advisory_unlock_all()"))
            with suppress(SQLAlchemyError):
                connection.invalidate()
            connection.close()
