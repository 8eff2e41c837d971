"""Finds what somebody may have planted in a foreign database: triggers, views, and keys outside the storage.

Atelier runs SQL on a restored or copied database, and reads files under the keys in it. A trigger or a key
that somebody else has put there would act with Atelier's rights.
"""

from __future__ import annotations

import re
import sqlite3
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import select

from core.database.database import Database, upgrade
from core.database.engines import sqlite_url
from core.database.models import Image, Job, ShareLink, Table, User
from core.errors import DatabaseDamaged, DatabaseVersionMismatch
from core.storage.keys import Folder

_REVISION = re.compile("[0-9]{4}")
_ID = re.compile(r"[\w-][\w.-]*", re.ASCII)
_KEY = re.compile(rf"{Folder.IMAGES}(?:/[\w-][\w.-]*)+", re.ASCII)
# SQLite's own statistics.
_STATISTICS = re.compile("sqlite_stat[0-9]")
_MAX_SHOWN = 100
_Objects = dict[str, "_Object"]


@dataclass(frozen=True, slots=True)
class _Object:
    """A table, index, trigger or view. `text` is its SQL; for a table, its columns."""

    kind: str
    table: str
    text: str


def planted_object(path: Path) -> str | None:
    """Return a description of the first object in a SQLite file that Atelier doesn't create, or None.

    Nothing in the file is run. Compares the file with an empty database of the same version. Raises
    DatabaseVersionMismatch if this version of Atelier doesn't know that version, and DatabaseDamaged if the
    file is damaged.
    """
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?immutable=1", uri=True)) as connection:
            connection.execute("PRAGMA trusted_schema = OFF")
            found, revision = _objects(connection), _revision(connection)
    except sqlite3.DatabaseError as error:
        raise DatabaseDamaged(details=str(error)) from error
    expected = _expected(revision)
    for name, each in found.items():
        if expected.get(name) != each and not _STATISTICS.fullmatch(name):
            return f"it has a foreign {each.kind}: {name[:_MAX_SHOWN]!r}"
    return None


def planted_key(database: Database) -> str | None:
    """Return a description of the first id or key that could name a file outside its folder, or None."""
    for table, name, form in (
        (User, "id", _ID),
        (Job, "id", _ID),
        (Image, "id", _ID),
        (Image, "job_id", _ID),
        (ShareLink, "image_id", _ID),
        (Image, "file_key", _KEY),
    ):
        columns = Table.metadata.tables[str(table.__tablename__)].columns
        query = select(columns["id"], columns[name].label("key"))
        for page in database.row_pages(query, columns["id"]):
            for _, key in page:
                if not form.fullmatch(str(key)):
                    return f"{columns[name]} isn't a key of Atelier's: {str(key)[:_MAX_SHOWN]!r}"
    return None


def _expected(revision: str | None) -> _Objects:
    """Return the objects of an empty database of this version, none if `revision` is None."""
    if revision is None:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "empty.db"
        with closing(Database(sqlite_url(path))) as empty, empty.engine.begin() as connection:
            upgrade(connection, revision)
        with closing(sqlite3.connect(path)) as connection:
            return _objects(connection)


def _revision(connection: sqlite3.Connection) -> str | None:
    """Return the number of the last migration, or None if there are no tables. Don't trust other text."""
    table = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'alembic_version'"
    if not connection.execute(table).fetchone():
        return None
    (revision,) = connection.execute("SELECT version_num FROM alembic_version").fetchone() or ("",)
    if not isinstance(revision, str) or not _REVISION.fullmatch(revision):
        raise DatabaseVersionMismatch(details=f"version {str(revision)[:_MAX_SHOWN]!r}")
    return revision


def _objects(connection: sqlite3.Connection) -> _Objects:
    rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master").fetchall()
    return {name: _Object(kind, table, _text(connection, kind, name, sql)) for kind, name, table, sql in rows}


def _text(connection: sqlite3.Connection, kind: str, name: str, sql: str | None) -> str:
    """Return the SQL on one line. The SQL of a table depends on the libraries, so return its columns instead.

    A virtual or generated part of a table is named as such.
    """
    sql = " ".join((sql or "").split())
    if kind != "table" or not sql.upper().startswith("CREATE TABLE"):
        return sql
    columns = connection.execute("SELECT name, hidden FROM pragma_table_xinfo(?)", (name,)).fetchall()
    return repr(sorted(columns))
