"""A process says whether it is alive and ready, also while what it needs is away."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.testclient import TestClient

from core import bootstrap, errors
from core.settings import load_settings
from core.studio import Studio
from core.web import health
from core.web.health import Readiness, health_routes
from tests.support.servers import PostgresServer, S3Server, postgres_server
from tests.support.waiting import until

SECRET = "postgresql://me:hunter2@db"


@pytest.fixture(autouse=True)
def always_fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 0.0)


def client_of(readiness: Readiness) -> TestClient:
    return TestClient(Starlette(routes=health_routes(readiness)))


def checks(check: Callable[[], None]) -> Readiness:
    return Readiness(lambda: {errors.StorageUnreachable: check})


def code_of(client: TestClient) -> str | None:
    """The code of the reason why the process isn't ready, or None if it is."""
    assert client.get("/healthz").json() == {"status": "alive"}
    response = client.get("/readyz")
    if response.status_code == 200:
        assert response.json() == {"status": "ready"}
        return None
    assert response.status_code == 503
    assert response.json()["error"]["details"] == ""
    return str(response.json()["error"]["code"])


# The parts of the app


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    """A server that the tests stop."""
    with postgres_server() as server:
        yield server


def test_a_process_is_not_ready_while_postgresql_is_stopped(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    with own_postgres.fresh() as url, running(tmp_path, database_url=url) as (_, client):
        assert code_of(client) is None
        own_postgres.stop("immediate")
        try:
            assert code_of(client) == "IMG-DATA-CONN-001"
        finally:
            own_postgres.start()
        until(lambda: code_of(client) is None)


def test_a_process_is_not_ready_while_the_bucket_is_away(
    tmp_path: Path, s3: S3Server, bucket_settings: dict[str, str]
) -> None:
    with running(tmp_path, **bucket_settings) as (_, client):
        assert code_of(client) is None
        s3.stop()
        try:
            assert code_of(client) == "IMG-STORE-CONN-001"
        finally:
            s3.start()
        until(lambda: code_of(client) is None)


def test_a_process_is_not_ready_without_its_folder(tmp_path: Path) -> None:
    with running(tmp_path) as (studio, client):
        files = studio.settings.data_dir / "files"
        files.rename(tmp_path / "elsewhere")
        assert code_of(client) == "IMG-STORE-001"
        (tmp_path / "elsewhere").rename(files)
        assert code_of(client) is None


def test_a_process_is_not_ready_on_the_tables_of_another_version(tmp_path: Path) -> None:
    with running(tmp_path) as (studio, client):
        with studio.database.write() as session:
            session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
        assert code_of(client) == "IMG-DATA-VERSION-001"


@contextmanager
def running(folder: Path, **settings: str) -> Iterator[tuple[Studio, TestClient]]:
    studio = bootstrap.build(load_settings(_env_file=None, data_dir=folder / "data", **settings))
    try:
        yield studio, client_of(Readiness(lambda: studio.readiness_checks))
    finally:
        studio.close()


# The checks themselves


def test_nothing_that_a_failure_says_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise errors.DatabaseError(f"no {SECRET}", details=SECRET, suggestions=(SECRET,))

    response = client_of(checks(fail)).get("/readyz")
    assert response.json()["error"]["code"] == "IMG-DATA-001"
    assert "hunter2" not in response.text
    assert "not_ready" in capsys.readouterr().out


def test_a_bug_in_a_check_means_not_ready() -> None:
    def fail() -> None:
        raise ZeroDivisionError(SECRET)

    assert code_of(client_of(checks(fail))) == "IMG-STORE-CONN-001"


def test_a_check_that_does_not_end_means_not_ready_and_is_not_started_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "MAX_WAIT_SECONDS", 0.05)
    started, release = [], threading.Event()

    def hang() -> None:
        started.append(1)
        release.wait(60)

    client = client_of(checks(hang))
    assert [code_of(client) for _ in range(3)] == ["IMG-STORE-CONN-001"] * 3
    assert len(started) == 1
    release.set()
    until(lambda: code_of(client) is None)


def test_many_requests_share_one_check(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "FRESH_SECONDS", 60.0)
    started: list[int] = []
    client = client_of(checks(lambda: started.append(1)))
    assert [code_of(client) for _ in range(50)] == [None] * 50
    assert len(started) == 1
