"""The database, the disk or the bucket fails in the middle of a batch: nothing is lost, and it goes on."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from pathlib import Path

import psycopg
import pytest
import structlog

from core import bootstrap, errors
from core.database.database import Database
from core.database.models import JobState, User
from core.settings import load_settings
from core.storage.folder import FolderStorage
from core.storage.s3 import S3Storage
from tests.support import batches
from tests.support.crashing_worker import RECIPE
from tests.support.generation import ON_SQLITE, Studio, a_user
from tests.support.lossy_connection import lossy_line
from tests.support.openai_service import Behaviour, OpenAIService
from tests.support.servers import PostgresServer, S3Server, postgres_server
from tests.support.waiting import until

STREAMED = {"partial_images": 1}
ON_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorter pauses between one try and the next; the tries themselves take what they take."""
    monkeypatch.setattr("core.generation.dispatcher.POLL_SECONDS", 0.05)
    monkeypatch.setattr("core.generation.worker.STORE_RETRY_SECONDS", (0.05,))


@pytest.fixture
def logged() -> Iterator[list[structlog.typing.EventDict]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


def codes(logged: list[structlog.typing.EventDict]) -> set[str]:
    return {str(line["code"]) for line in list(logged) if "code" in line}


def begin(studio: Studio, user: User) -> None:
    """A batch in its middle: some images are made, some calls are under way, some jobs wait."""
    studio.service.script(Behaviour(latency=0.1, pause=0.1), always=True)
    batches.submit(studio, user)
    batches.under_way(studio)


def answered(studio: Studio) -> bool:
    """Whether all calls that have left have brought their pictures."""
    return all(seen.delivered for seen in list(studio.service.requests))


# The database is locked


@contextmanager
def locked(database: Database) -> Iterator[None]:
    """What a backup, a change of the tables or somebody's forgotten console does."""
    if database.is_sqlite:
        with closing(sqlite3.connect(str(database.url.database), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            yield
    else:
        address = database.url.set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(address) as other:
            other.execute("LOCK TABLE jobs, images IN ACCESS EXCLUSIVE MODE")
            yield


def test_a_short_lock_is_waited_for(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, settings=STREAMED)
    begin(studio, user)
    with locked(database):
        until(lambda: answered(studio))
    batches.all_done(studio)


@pytest.mark.parametrize(
    "patience",
    [pytest.param(10_000, id="10 s", marks=pytest.mark.proof), pytest.param(200, id="again and again")],
)
def test_a_lock_that_outlasts_all_patience_is_said_and_outlasted(
    database_url: str,
    make_studio: Callable[..., Studio],
    at_work: ExitStack,
    logged: list[structlog.typing.EventDict],
    monkeypatch: pytest.MonkeyPatch,
    patience: int,
) -> None:
    monkeypatch.setattr("core.database.engines.BUSY_TIMEOUT_MS", patience)
    database = Database(database_url)
    at_work.callback(database.close)
    user = a_user(database)
    studio = make_studio(database)
    begin(studio, user)
    with locked(database):
        with pytest.raises(errors.DatabaseBusy):
            studio.jobs.submit(user.id, [RECIPE])
        until(lambda: answered(studio))
        until(lambda: errors.DatabaseBusy.code in codes(logged))
    batches.all_done(studio)


# PostgreSQL is restarted


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """One that a test may stop, when it starts it again."""
    with postgres_server() as server:
        yield server


@pytest.fixture
def own_database_url(own_postgres: PostgresServer) -> Iterator[str]:
    with own_postgres.fresh() as url:
        yield url


@contextmanager
def stopped(server: PostgresServer, mode: str) -> Iterator[None]:
    server.stop(mode)
    try:
        yield
    finally:
        server.start()


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_restart_of_postgresql_is_outlasted(
    own_postgres: PostgresServer,
    own_database_url: str,
    service: OpenAIService,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    mode: str,
) -> None:
    monkeypatch.setattr("core.bootstrap.PROCESS_LOCK_SECONDS", 0.1)
    monkeypatch.setattr("core.bootstrap.SWEEP_SECONDS", 0.1)
    settings = load_settings(
        data_dir=tmp_path / "data",
        database_url=own_database_url,
        openai_base_url=service.base_url,
        partial_images=1,
    )
    with closing(bootstrap.build(settings)) as app:
        studio = Studio(app.database, tmp_path, service, app.storage)
        studio.jobs = app.jobs
        user = a_user(app.database)
        begin(studio, user)
        with stopped(own_postgres, mode):
            with pytest.raises(errors.DatabaseError):
                app.jobs.submit(user.id, [RECIPE])
            until(lambda: answered(studio))
        batches.all_done(studio)


@ON_POSTGRES
@pytest.mark.parametrize("each", [2, 3])
def test_a_commit_whose_confirmation_was_lost_costs_nothing(
    make_studio: Callable[..., Studio],
    database: Database,
    user: User,
    at_work: ExitStack,
    monkeypatch: pytest.MonkeyPatch,
    each: int,
) -> None:
    # Longer than a refused call waits for its next one, which is then under way.
    monkeypatch.setattr("core.generation.worker.STORE_RETRY_SECONDS", (0.6,))
    url = database.url.render_as_string(hide_password=False)
    line, address = at_work.enter_context(lossy_line(url, each=each, most=10))
    across = Database(address.render_as_string(hide_password=False))
    at_work.callback(across.close)
    studio = make_studio(database, started=False)
    studio.service.script(Behaviour(latency=0.5), always=True)
    studio.service.script(*["rate limit passing"] * 4)
    batches.submit(studio, user)
    make_studio(across)
    batches.all_ended(studio)
    books = batches.balance_of(studio)
    assert (books.amiss, books.unknown, books.images) == ({}, (), 8)
    assert batches.states(studio) == [JobState.DONE] * 8
    assert books.calls == 12
    assert line.broken == 10 or line.commits < 10 * each


# The disk is full


@contextmanager
def full(disk: Path) -> Iterator[None]:
    ballast = disk / "ballast"
    with ballast.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(1 << 12))
    yield
    ballast.unlink()


@ON_SQLITE
@pytest.mark.parametrize(
    "rows_too", [pytest.param(False, id="files"), pytest.param(True, id="files and rows")]
)
def test_a_full_disk_is_outlasted(
    make_studio: Callable[..., Studio],
    make_disk: Callable[[str], Path],
    database_url: str,
    at_work: ExitStack,
    logged: list[structlog.typing.EventDict],
    rows_too: bool,
) -> None:
    disk = make_disk("8m")
    database = Database(f"sqlite:///{disk / 'atelier.db'}" if rows_too else database_url)
    at_work.callback(database.close)
    # Nobody may work on a disk that is taken away.
    with closing(at_work):
        database.migrate()
        user = a_user(database)
        studio = make_studio(database, settings=STREAMED, storage=FolderStorage(disk / "files"))
        begin(studio, user)
        with full(disk):
            with pytest.raises(errors.StorageFull):
                studio.storage.put("images/probe/0", bytes(1 << 16))
            until(lambda: answered(studio))
            until(lambda: errors.StorageFull.code in codes(logged))
        batches.all_done(studio)


# S3 is gone


@pytest.mark.parametrize(
    "seconds", [pytest.param(0, id="shortly"), pytest.param(10, id="10 s", marks=pytest.mark.proof)]
)
@ON_SQLITE
def test_a_bucket_that_is_gone_is_outlasted(
    make_studio: Callable[..., Studio],
    database: Database,
    user: User,
    s3: S3Server,
    bucket: S3Storage,
    logged: list[structlog.typing.EventDict],
    seconds: float,
) -> None:
    studio = make_studio(database, settings=STREAMED, storage=bucket)
    begin(studio, user)
    s3.stop()
    try:
        back = time.monotonic() + seconds
        with pytest.raises(errors.StorageUnreachable):
            bucket.list("images")
        until(lambda: errors.StorageUnreachable.code in codes(logged))
        until(lambda: answered(studio))
        until(lambda: time.monotonic() >= back)
    finally:
        s3.start()
    batches.all_done(studio)
