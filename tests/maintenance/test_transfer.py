"""A transfer is complete or lists what is missing, can be continued, and never changes its source."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import delete, func, text, update
from sqlmodel import col, select

from core import bootstrap, errors
from core.accounts.api_tokens import ApiTokens
from core.accounts.audit_log import AuditLog
from core.database.database import Database
from core.database.models import AuditEntry, Image, Installation, JobState, Scope, User
from core.images.search_index import SearchIndex
from core.maintenance.transfer import Location, Transfer, open_transfer
from core.settings import Settings, load_settings
from core.storage import data_folder
from core.storage.folder import FolderStorage
from core.storage.keys import thumbnail_key
from core.storage.s3 import open_s3
from core.storage.storage import Storage
from tests.support.app_process import ROOT
from tests.support.servers import PostgresDatabases, PostgresServer, S3Server
from tests.support.sign_in import accounts_in, ticket_of
from tests.support.stored_images import (
    StoredImages,
    create_installation,
    environment,
    images_of_new_user,
    operator_command,
    run_operator_command,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return create_installation(tmp_path / "data 1% #2")


@pytest.fixture
def stored(settings: Settings) -> Iterator[StoredImages]:
    with closing(Database(f"sqlite:///{settings.data_dir / 'atelier.db'}")) as database:
        yield images_of_new_user(database, FolderStorage(settings.data_dir / "files"))


@pytest.fixture
def new_database(postgres: PostgresServer) -> Iterator[str]:
    with postgres.fresh() as url:
        yield url


def snapshot(folder: Path) -> dict[str, str]:
    """The hash of each file, without SQLite's temporary files and the locks."""
    temporary = ("-wal", "-shm", ".lock")
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(temporary)
    }


def count_whole(stored: StoredImages, url: str, storage: Storage) -> int:
    with closing(Database(url)) as database:
        return StoredImages(database, storage, stored.user).count_whole()


def test_everything_is_copied_to_postgresql_and_a_bucket(
    settings: Settings, stored: StoredImages, new_database: str, s3: S3Server, bucket_name: str
) -> None:
    images = stored.images(5)
    stored.job(JobState.UNKNOWN)
    stored.database.close()
    before = snapshot(settings.data_dir)
    target = s3.settings(f"{bucket_name}/all")
    result = run_operator_command(
        "transfer",
        *("--to-database", new_database, "--to-storage", target["storage_url"]),
        **{name: value for name, value in target.items() if name != "storage_url"},
        data_dir=settings.data_dir,
    )
    assert result.returncode == 0, result.stderr
    assert "Everything arrived" in result.stdout
    assert "Verifying images: 5 of 5" in result.stderr
    assert snapshot(settings.data_dir) == before
    bucket = open_s3(load_settings(**target))
    assert count_whole(stored, new_database, bucket) == 5
    assert bucket.get(thumbnail_key(images[0].id)) == stored.storage.get(thumbnail_key(images[0].id))
    studio = bootstrap.build(load_settings(database_url=new_database, **target))
    page = studio.gallery.page(stored.user.id).images
    studio.close()
    assert {image.id for image in page} == {image.id for image in images}


def test_the_database_or_the_files_can_be_copied_alone(
    settings: Settings, stored: StoredImages, new_database: str, tmp_path: Path
) -> None:
    stored.images(3)
    upload = stored.file(f"uploads/{stored.user.id}/{'0' * 43}.png", b"an upload")
    with open_transfer(settings, new_database, None) as transfer:
        transfer.run()
    assert count_whole(stored, new_database, stored.storage) == 3
    other = FolderStorage(tmp_path / "other")
    Transfer(Location(stored.database, stored.storage), Location(stored.database, other)).run()
    assert StoredImages(stored.database, other, stored.user).count_whole() == 3
    assert other.get(upload) == b"an upload"


def test_a_killed_transfer_continues(
    settings: Settings, stored: StoredImages, new_database: str, s3: S3Server, bucket_name: str
) -> None:
    stored.images(40)
    stored.database.close()
    before, env = snapshot(settings.data_dir), s3.environment(bucket_name)
    to = ("--to-database", new_database, "--to-storage", env.pop("STORAGE_URL"))
    run = operator_command("transfer", *to)
    env |= {"DATA_DIR": str(settings.data_dir)}
    for moment in ("Copying jobs", "Copying images: 8 of", "Copying thumbnails", "Verifying"):
        with subprocess.Popen(
            run, cwd=ROOT, env=environment(**env), stderr=subprocess.PIPE, text=True
        ) as process:
            assert process.stderr
            next(line for line in process.stderr if moment in line)
            process.kill()
        assert process.returncode == -signal.SIGKILL
    result = run_operator_command("transfer", *to, **env)
    assert result.returncode == 0, result.stderr
    assert snapshot(settings.data_dir) == before
    bucket = open_s3(load_settings(**s3.settings(bucket_name)))
    assert count_whole(stored, new_database, bucket) == 40


def audit_entries(database: Database) -> list[dict[str, object]]:
    with database.read() as session:
        return [entry.model_dump() for entry in session.exec(select(AuditEntry).order_by(AuditEntry.id))]


def test_the_audit_log_and_tokens_are_copied_once_when_the_transfer_is_repeated(
    settings: Settings, stored: StoredImages, new_database: str
) -> None:
    accounts = accounts_in(stored.database)
    user = accounts.sessions.authenticate(
        accounts.sessions.redeem_ticket(ticket_of(accounts, stored.user.username))
    )
    assert user
    token = ApiTokens(stored.database, AuditLog(stored.database)).create(user, "script", [Scope.READ], None)
    before = audit_entries(stored.database)
    stored.database.close()
    for _ in range(2):
        with open_transfer(settings, new_database, None) as transfer:
            transfer.run()
    with closing(Database(new_database)) as database:
        assert audit_entries(database) == before
        assert [entry["action"] for entry in before].count("token made") == 1
        assert ApiTokens(database, AuditLog(database)).authenticate(token)
        with pytest.raises(errors.DatabaseError), database.write() as session:
            session.execute(delete(AuditEntry))


def test_existing_files_are_not_copied_again(stored: StoredImages, tmp_path: Path) -> None:
    stored.images(20)
    other = CountingStorage(tmp_path / "other")
    transfer = Transfer(Location(stored.database, stored.storage), Location(stored.database, other))
    transfer.run()
    first, other.puts = other.puts, 0
    transfer.run()
    assert (first, other.puts) == (40, 0)


class CountingStorage(FolderStorage):
    puts = 0

    def put(self, key: str, data: bytes) -> None:
        self.puts += 1
        super().put(key, data)


def test_a_file_that_arrived_damaged_is_copied_again(stored: StoredImages, tmp_path: Path) -> None:
    image, *_ = stored.images(2)
    other = FolderStorage(tmp_path / "other")
    other.put(image.file_key, b"half of it")
    Transfer(Location(stored.database, stored.storage), Location(stored.database, other)).run()
    assert StoredImages(stored.database, other, stored.user).count_whole() == 2


def test_files_missing_or_damaged_in_the_source_are_listed(
    stored: StoredImages, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, damaged, _ = stored.images(3)
    stored.storage.delete(missing.file_key)
    stored.storage.put(damaged.file_key, b"x")
    target = Location(stored.database, FolderStorage(tmp_path / "other"))
    with pytest.raises(errors.TransferIncomplete, match="Not everything"):
        Transfer(Location(stored.database, stored.storage), target).run()
    output = capsys.readouterr().out
    assert missing.file_key in output
    assert damaged.file_key in output


def test_a_table_that_differs_at_the_end_is_listed(
    settings: Settings, stored: StoredImages, new_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images = stored.images(3)
    with open_transfer(settings, new_database, None) as transfer:
        transfer.run()
    with closing(Database(new_database)) as database, database.write() as session:
        session.execute(update(Image).where(col(Image.id) == images[0].id).values(favourite=True))
    with (
        open_transfer(settings, new_database, None) as transfer,
        pytest.raises(errors.TransferIncomplete),
    ):
        transfer.run()
    assert "table images: 3 rows here and 3 there differ" in capsys.readouterr().out


def test_a_target_with_other_users_is_refused_and_left_unchanged(
    settings: Settings, stored: StoredImages, postgres_databases: PostgresDatabases
) -> None:
    stored.image()
    with postgres_databases.lend() as url:
        with closing(Database(url)) as database, database.write() as session:
            session.add(User(username="grace", display_name="Grace", password_hash="!"))
        with (
            open_transfer(settings, url, None) as transfer,
            pytest.raises(errors.SettingsError, match="users that aren't here"),
        ):
            transfer.run()
        with closing(Database(url)) as database, database.read() as session:
            assert session.scalar(select(func.count()).select_from(User)) == 1


def test_a_target_that_was_only_started_receives_the_sources_key(
    settings: Settings, stored: StoredImages, postgres_databases: PostgresDatabases
) -> None:
    stored.image()
    with stored.database.write() as session:
        session.execute(delete(Installation))
        session.add(Installation(id=1, secret="aa" * 32))
    with postgres_databases.lend() as url:
        with closing(Database(url)) as database, database.write() as session:
            session.add(Installation(id=1, secret="bb" * 32))
        with open_transfer(settings, url, None) as transfer:
            transfer.run()
        with closing(Database(url)) as database, database.read() as session:
            assert session.exec(select(Installation.secret)).one() == "aa" * 32
            # The empty database's search index was complete, and doesn't have the copied images.
            assert not SearchIndex(database).is_complete(session)


def test_a_running_installation_is_refused(settings: Settings, new_database: str) -> None:
    lock = data_folder.lock_data_folder(settings.data_dir)
    with (
        pytest.raises(errors.SettingsError, match="Another Atelier"),
        open_transfer(settings, new_database, None),
    ):
        pass
    lock.release()


def test_the_source_is_opened_read_only(settings: Settings, stored: StoredImages, new_database: str) -> None:
    stored.database.close()
    with open_transfer(settings, new_database, None) as transfer:
        with pytest.raises(errors.StorageReadOnly), transfer.source.database.write() as session:
            session.execute(delete(User))
        transfer.run()


def test_a_wrong_url_is_reported_without_its_password(settings: Settings) -> None:
    result = run_operator_command(
        "transfer", "--to-database", "mysql://me:hunter2@there/db", data_dir=settings.data_dir
    )
    assert result.returncode == 1
    assert "DATABASE_URL" in result.stderr
    assert "hunter2" not in result.stderr
    assert run_operator_command("transfer", data_dir=settings.data_dir).returncode == 2


def test_the_operator_is_warned_of_images_still_waiting(
    settings: Settings, stored: StoredImages, new_database: str
) -> None:
    stored.job(JobState.QUEUED)
    stored.database.close()
    result = run_operator_command("transfer", "--to-database", new_database, data_dir=settings.data_dir)
    assert "1 images are still waiting: don't start Atelier here again" in result.stdout


@pytest.mark.parametrize(
    "statement",
    [
        pytest.param("CREATE TRIGGER extra AFTER INSERT ON jobs BEGIN SELECT 1; END", id="trigger"),
        pytest.param("UPDATE images SET file_key = '../../outside'", id="key"),
    ],
)
def test_a_database_with_planted_contents_is_not_copied(
    settings: Settings, stored: StoredImages, new_database: str, statement: str
) -> None:
    stored.image()
    with stored.database.write() as session:
        session.execute(text(statement))
    stored.database.close()
    with (
        pytest.raises(errors.DatabaseDamaged),
        open_transfer(settings, new_database, None) as transfer,
    ):
        transfer.run()
    with closing(Database(new_database)) as database:
        assert not database.is_current() or not database.count(User)
