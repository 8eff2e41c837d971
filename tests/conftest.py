"""What every test stands on: a scrubbed environment, both databases, an empty store, two users."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from playwright.sync_api import Browser, sync_playwright

from core.accounts.audit_log import AuditLog
from core.database.database import Database
from core.database.models import User
from core.images.gallery import Gallery
from core.settings import Settings, load_settings
from core.storage.folder import open_folder
from core.storage.s3 import S3Storage, open_s3
from core.storage.storage import Storage
from tests.support import chromium
from tests.support.app_process import AppProcess
from tests.support.generation import Studio
from tests.support.images import plain_png
from tests.support.openai_service import OpenAIService, openai_service
from tests.support.servers import (
    TEMPLATE,
    PostgresDatabases,
    PostgresServer,
    S3Server,
    postgres_server,
    s3_server,
)

_FOREIGN = (
    "OPENAI_",
    "AZURE_",
    "AWS_",
    "RCLONE_",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "NO_PROXY",
    "STREAMLIT_",
    "UVICORN_",
)
# The longest files, in the order in which they begin: each is one worker's, and a long one that began last
# would keep the other worker waiting.
LONGEST_FIRST = (
    "test_random_kills.py",
    "test_deployment.py",
    "test_accessibility.py",
    "test_with_service.py",
    "test_hostile_text.py",
)


# A busy machine is no failure, and nothing is left in the working folder.
hypothesis.settings.register_profile("atelier", deadline=None, database=None)
hypothesis.settings.register_profile("long", deadline=None, database=None, max_examples=3_000)


# Tests that import from here load this file once more: the profile that was asked for stays.
if hypothesis.settings.get_current_profile_name() != "long":
    hypothesis.settings.load_profile("atelier")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many inputs the fuzzers have tried. With the long profile, also of each parser, and the kills."""
    reports = [report for reports in terminalreporter.stats.values() for report in reports]
    found = [
        (report.nodeid, dict(report.user_properties))
        for report in reports
        if getattr(report, "when", "") == "teardown"
    ]
    long = hypothesis.settings.get_current_profile_name() == "long"
    counts = sorted((name, noted["inputs"]) for name, noted in found if noted.get("inputs"))
    if counts:
        terminalreporter.section("inputs fuzzed")
        for name, count in counts if long else ():
            terminalreporter.write_line(f"{count:>9,}  {name}")
        terminalreporter.write_line(f"{sum(count for _, count in counts):>9,}  in all")
    for name, noted in found:
        if long and "counted" in noted:
            terminalreporter.section(name)
            terminalreporter.write_line(noted["counted"])


@pytest.fixture(scope="session")
def empty_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("empty")


@pytest.fixture(autouse=True)
def scrubbed_environment(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, empty_folder: Path
) -> Iterator[None]:
    """No setting, key or proxy of this machine reaches a test, and none finds a `.env`.

    A test without a folder of its own works in one that stays empty: a new one for each takes a third of the
    time of a short test.
    """
    settings = {name.upper() for name in Settings.model_fields}
    for name in list(os.environ):
        if name.upper() in settings or name.upper().startswith(_FOREIGN):
            monkeypatch.delenv(name)
    has_own_folder = "tmp_path" in request.fixturenames
    monkeypatch.chdir(request.getfixturevalue("tmp_path") if has_own_folder else empty_folder)
    yield
    written = os.listdir(empty_folder)
    assert has_own_folder or not written, f"a test without `tmp_path` has written {written}"


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresServer]:
    """One server with a migrated template database; with pytest-xdist, one for each worker."""
    with postgres_server() as server:
        server.run(f"CREATE DATABASE {TEMPLATE}")
        _migrate(server.url(TEMPLATE))
        yield server


@pytest.fixture(scope="session")
def postgres_databases(postgres: PostgresServer) -> PostgresDatabases:
    """Empty, migrated databases on PostgreSQL, lent to one test after the other."""
    return PostgresDatabases(postgres)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated SQLite file."""
    path = tmp_path_factory.mktemp("sqlite") / "template.db"
    _migrate(f"sqlite:///{path}")
    return path


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a fresh, migrated database on either engine."""
    if request.param == "sqlite":
        path = tmp_path / "atelier.db"
        shutil.copy(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
    else:
        with request.getfixturevalue("postgres_databases").lend() as url:
            yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a database without any table on either engine."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
    else:
        with request.getfixturevalue("postgres").fresh() as url:
            yield url


@pytest.fixture
def at_work() -> Iterator[ExitStack]:
    """What works on a test's database, and is ended before that is closed."""
    with ExitStack() as work:
        yield work


@pytest.fixture
def database(database_url: str, at_work: ExitStack) -> Iterator[Database]:
    database = Database(database_url)
    yield database
    at_work.close()
    database.close()


@pytest.fixture
def sqlite_database(sqlite_template: Path, tmp_path: Path, at_work: ExitStack) -> Iterator[Database]:
    """For promises that only SQLite makes."""
    shutil.copy(sqlite_template, tmp_path / "only.db")
    database = Database(f"sqlite:///{tmp_path / 'only.db'}")
    yield database
    at_work.close()
    database.close()


@pytest.fixture
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty store: a folder, or what `ON_BOTH_STORES` asks for."""
    if getattr(request, "param", "folder") == "bucket":
        bucket: S3Storage = request.getfixturevalue("bucket")
        return bucket
    return open_folder(tmp_path / "files")


@pytest.fixture(scope="session")
def s3() -> Iterator[S3Server]:
    """One server; with pytest-xdist, one for each worker."""
    with s3_server() as server:
        yield server


@pytest.fixture
def bucket_name(s3: S3Server) -> Iterator[str]:
    """A fresh bucket."""
    with s3.fresh() as name:
        yield name


@pytest.fixture
def bucket_settings(s3: S3Server, bucket_name: str) -> dict[str, str]:
    """What names a prefix in a fresh bucket."""
    return s3.settings(f"{bucket_name}/all/of-it")


@pytest.fixture
def bucket(bucket_settings: dict[str, str]) -> S3Storage:
    return open_s3(load_settings(**bucket_settings))


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """`make_disk("128k")`: a real disk of that size; only root can mount one."""
    folder = tmp_path / "disk"

    def make(size: str) -> Path:
        folder.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"needs root to mount a small disk: {mounted.stderr.strip()}")
        return folder

    yield make
    if folder.is_mount():
        subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def gallery(database: Database, storage: Storage) -> Gallery:
    return Gallery(database, storage, AuditLog(database))


@pytest.fixture
def make_user(database: Database) -> Callable[[str], User]:
    def make(username: str) -> User:
        with database.write() as session:
            user = User(username=username, display_name=username.title(), password_hash="!")
            session.add(user)
        return user

    return make


@pytest.fixture
def user(make_user: Callable[[str], User]) -> User:
    return make_user("ada")


@pytest.fixture
def other_user(make_user: Callable[[str], User]) -> User:
    return make_user("grace")


@pytest.fixture(scope="session")
def shared_service() -> Iterator[OpenAIService]:
    with openai_service() as service:
        yield service


@pytest.fixture
def service(shared_service: OpenAIService) -> OpenAIService:
    shared_service.reset()
    return shared_service


@pytest.fixture
def make_studio(
    tmp_path: Path, service: OpenAIService, storage: Storage, at_work: ExitStack
) -> Callable[..., Studio]:
    def make(database: Database, *, started: bool = True, **changes: Any) -> Studio:
        fields = {"folder": tmp_path, "service": service, "storage": storage, **changes}
        studio = Studio(database, **fields)
        at_work.callback(studio.close)
        if started:
            studio.jobs.start()
        return studio

    return make


@pytest.fixture
def png() -> Callable[..., bytes]:
    """`png(width, height, colour)`: a plain picture."""
    return plain_png


def _migrate(url: str) -> None:
    database = Database(url)
    database.migrate()
    database.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real Chromium; without one the tests fail with the line that mends it.

    For one file's tests: while it is open, its event loop runs in this thread, where others' parts refuse to.
    """
    path = chromium.find()
    if path is None:
        pytest.fail(chromium.MEND)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=chromium.flags())
        yield running
        running.close()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    """The whole app on the offline engine, for one file's tests."""
    with AppProcess(tmp_path_factory.mktemp("app")) as process:
        yield process


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=_place_in_line)


def _place_in_line(item: pytest.Item) -> int:
    """The longest files first, then the browser's, then all others as they come."""
    if item.path.name in LONGEST_FIRST:
        return LONGEST_FIRST.index(item.path.name)
    return len(LONGEST_FIRST) + (item.path.parent.name != "browser")
