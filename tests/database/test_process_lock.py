"""The process lock: one process per database, and a process that lost the lock starts no job."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from core import bootstrap, errors
from core.database.database import Database
from core.database.models import JobState, User
from core.database.process_lock import ProcessLock
from core.settings import load_settings
from core.studio import Studio as App
from tests.support.generation import ON_SQLITE, Studio, a_job
from tests.support.waiting import until

ON_POSTGRES = pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)


@pytest.fixture
def owner_of() -> Iterator[Callable[[str], ProcessLock]]:
    """`owner_of(database_url)`: the lock of another process."""
    made: list[tuple[Database, ProcessLock]] = []

    def make(url: str) -> ProcessLock:
        database = Database(url)
        made.append((database, ProcessLock(database)))
        return made[-1][1]

    yield make
    for database, process_lock in made:
        process_lock.release()
        database.close()


def cut_off(database: Database) -> None:
    """Ends the connection that holds the lock, as a restart of the server does."""
    with database.write() as session:
        session.execute(text("SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory'"))


def test_a_database_has_one_owner_at_a_time(
    database_url: str, owner_of: Callable[[str], ProcessLock]
) -> None:
    first, second = owner_of(database_url), owner_of(database_url)
    first.acquire()
    first.renew()
    assert first.held
    with pytest.raises(errors.SettingsError, match="DATABASE_URL"):
        second.acquire()
    assert not second.held
    first.release()
    second.acquire()
    assert second.held


@pytest.mark.parametrize("name", ["link.db", "folder/../atelier.db", "file:{}/atelier.db?uri=true"])
def test_a_link_to_a_database_is_the_same_database(
    owner_of: Callable[[str], ProcessLock], tmp_path: Path, name: str
) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.db").symlink_to(tmp_path / "atelier.db")
    owner_of(f"sqlite:///{tmp_path / 'atelier.db'}").acquire()
    path = name.format(tmp_path) if name.startswith("file:") else str(tmp_path / name)
    with pytest.raises(errors.SettingsError, match="already using"):
        owner_of(f"sqlite:///{path}").acquire()


@ON_POSTGRES
def test_a_lost_lock_is_acquired_again(
    database: Database, database_url: str, owner_of: Callable[[str], ProcessLock]
) -> None:
    first, second = owner_of(database_url), owner_of(database_url)
    first.acquire()
    cut_off(database)
    first.renew()
    assert first.held
    with pytest.raises(errors.SettingsError):
        second.acquire()


@ON_POSTGRES
def test_a_lock_lost_to_another_process_is_not_held_until_it_is_free(
    database: Database, database_url: str, owner_of: Callable[[str], ProcessLock]
) -> None:
    first, second = owner_of(database_url), owner_of(database_url)
    first.acquire()
    cut_off(database)
    second.acquire()
    for _ in range(2):
        first.renew()
        assert not first.held
    second.release()
    first.renew()
    assert first.held


def test_an_unreachable_database_can_not_be_locked(owner_of: Callable[[str], ProcessLock]) -> None:
    lost = owner_of("postgresql://127.0.0.1:9/none?connect_timeout=1")
    with pytest.raises(errors.DatabaseError):
        lost.acquire()
    lost.renew()
    assert not lost.held


def test_a_file_that_can_not_be_locked_raises_database_error(
    owner_of: Callable[[str], ProcessLock], tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(errors.DatabaseError):
        owner_of(f"sqlite:///{tmp_path / 'file' / 'atelier.db'}").acquire()


@ON_SQLITE
def test_a_process_without_the_lock_starts_no_job(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database)
    studio.jobs.may_claim = lambda: False
    a_job(database, user, JobState.QUEUED)
    assert studio.jobs.claim() is None
    assert (studio.job().state, studio.paid()) == (JobState.QUEUED, 0)
    studio.jobs.may_claim = lambda: True
    assert studio.ended().state == JobState.DONE


@pytest.fixture
def build(tmp_path: Path, empty_database_url: str) -> Iterator[Callable[[str], App]]:
    """`build(name)`: an app with its own data folder on the shared database."""
    built: list[App] = []

    def make(name: str) -> App:
        settings = load_settings(data_dir=tmp_path / name, database_url=empty_database_url)
        built.append(bootstrap.build(settings))
        return built[-1]

    yield make
    for app in built:
        app.close()


def test_two_apps_with_separate_folders_can_not_share_a_database(build: Callable[[str], App]) -> None:
    first = build("one")
    for _ in range(2):
        with pytest.raises(errors.SettingsError, match="already using this database"):
            build("two")
    first.close()
    build("two")


@pytest.mark.parametrize("empty_database_url", ["postgresql"], indirect=True)
def test_the_running_app_renews_its_lock(
    build: Callable[[str], App], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.bootstrap.PROCESS_LOCK_SECONDS", 0.05)
    app = build("one")
    before = app.process_lock._connection
    cut_off(app.database)
    until(lambda: app.process_lock.held and app.process_lock._connection is not before)
