"""A move arrives whole or says what didn't, goes on where it was cut off, and changes nothing here."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest
from sqlalchemy import delete, func, update
from sqlmodel import col, select

from core import bootstrap, errors
from core.accounts.api_tokens import ApiTokens
from core.accounts.audit_log import AuditLog
from core.accounts.users import Accounts
from core.database.database import Database
from core.database.models import AuditEntry, Image, Installation, JobState, Scope, User
from core.maintenance.transfer import Place, Transfer, opened
from core.settings import Settings, load_settings
from core.storage import data_folder
from core.storage.folder import FolderStorage
from core.storage.keys import thumbnail_key
from core.storage.s3 import open_s3
from core.storage.storage import Storage
from tests.support.app_process import ROOT
from tests.support.servers import TEMPLATE, PostgresServer, S3Server
from tests.support.sign_in import ticket_of
from tests.support.stored_images import (
    Shelf,
    a_shelf,
    environment,
    installation,
    operator_command,
    run_operator_command,
)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return installation(tmp_path / "data 1% #2")


@pytest.fixture
def shelf(settings: Settings) -> Iterator[Shelf]:
    with closing(Database(f"sqlite:///{settings.data_dir / 'atelier.db'}")) as database:
        yield a_shelf(database, FolderStorage(settings.data_dir / "files"))


@pytest.fixture
def new_database(postgres: PostgresServer) -> Iterator[str]:
    with postgres.fresh() as url:
        yield url


def snapshot(folder: Path) -> dict[str, str]:
    """All files and their bytes, what SQLite and the locks keep beside the database aside."""
    passing = ("-wal", "-shm", ".lock")
    return {
        str(path.relative_to(folder)): sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(passing)
    }


def arrived(shelf: Shelf, url: str, storage: Storage) -> int:
    with closing(Database(url)) as database:
        return Shelf(database, storage, shelf.user).all_right()


def test_everything_moves_to_postgresql_and_a_bucket(
    settings: Settings, shelf: Shelf, new_database: str, s3: S3Server, bucket_name: str
) -> None:
    images = shelf.images(5)
    shelf.job(JobState.UNKNOWN)
    shelf.database.close()
    before = snapshot(settings.data_dir)
    target = s3.settings(f"{bucket_name}/all")
    said = run_operator_command(
        "transfer",
        *("--to-database", new_database, "--to-storage", target["storage_url"]),
        **{name: value for name, value in target.items() if name != "storage_url"},
        data_dir=settings.data_dir,
    )
    assert said.returncode == 0, said.stderr
    assert "Everything arrived" in said.stdout
    assert "Verifying images: 5 of 5" in said.stderr
    assert snapshot(settings.data_dir) == before
    bucket = open_s3(load_settings(**target))
    assert arrived(shelf, new_database, bucket) == 5
    assert bucket.get(thumbnail_key(images[0].id)) == shelf.storage.get(thumbnail_key(images[0].id))
    studio = bootstrap.build(load_settings(database_url=new_database, **target))
    page = studio.gallery.page(shelf.user.id).images
    studio.close()
    assert {image.id for image in page} == {image.id for image in images}


def test_either_part_moves_alone(settings: Settings, shelf: Shelf, new_database: str, tmp_path: Path) -> None:
    shelf.images(3)
    upload = shelf.file(f"uploads/{shelf.user.id}/{'0' * 43}.png", b"to be worked from")
    with opened(settings, new_database, None) as transfer:
        transfer.run()
    assert arrived(shelf, new_database, shelf.storage) == 3
    other = FolderStorage(tmp_path / "other")
    Transfer(Place(shelf.database, shelf.storage), Place(shelf.database, other)).run()
    assert Shelf(shelf.database, other, shelf.user).all_right() == 3
    assert other.get(upload) == b"to be worked from"


def test_a_move_that_was_killed_goes_on(
    settings: Settings, shelf: Shelf, new_database: str, s3: S3Server, bucket_name: str
) -> None:
    shelf.images(40)
    shelf.database.close()
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
    said = run_operator_command("transfer", *to, **env)
    assert said.returncode == 0, said.stderr
    assert snapshot(settings.data_dir) == before
    bucket = open_s3(load_settings(**s3.settings(bucket_name)))
    assert arrived(shelf, new_database, bucket) == 40


def trail(database: Database) -> list[dict[str, object]]:
    with database.read() as session:
        return [entry.model_dump() for entry in session.exec(select(AuditEntry).order_by(AuditEntry.id))]


def test_the_audit_trail_and_tokens_move_also_when_the_move_is_run_again(
    settings: Settings, shelf: Shelf, new_database: str
) -> None:
    accounts = Accounts(shelf.database)
    user = accounts.signed_in(accounts.redeem_ticket(ticket_of(accounts, shelf.user.username)))
    assert user
    token = ApiTokens(shelf.database, AuditLog(shelf.database)).make(user, "script", [Scope.READ], None)
    before = trail(shelf.database)
    shelf.database.close()
    for _ in range(2):
        with opened(settings, new_database, None) as transfer:
            transfer.run()
    with closing(Database(new_database)) as database:
        assert trail(database) == before
        assert [entry["action"] for entry in before].count("token made") == 1
        assert ApiTokens(database, AuditLog(database)).signed_in(token)
        with pytest.raises(errors.DatabaseError), database.write() as session:
            session.execute(delete(AuditEntry))


def test_files_that_are_there_are_not_copied_again(shelf: Shelf, tmp_path: Path) -> None:
    shelf.images(20)
    other = Counting(tmp_path / "other")
    transfer = Transfer(Place(shelf.database, shelf.storage), Place(shelf.database, other))
    transfer.run()
    first, other.puts = other.puts, 0
    transfer.run()
    assert (first, other.puts) == (40, 0)


class Counting(FolderStorage):
    puts = 0

    def put(self, key: str, data: bytes) -> None:
        self.puts += 1
        super().put(key, data)


def test_bytes_that_arrived_otherwise_are_copied_once_more(shelf: Shelf, tmp_path: Path) -> None:
    image, *_ = shelf.images(2)
    other = FolderStorage(tmp_path / "other")
    other.put(image.file_key, b"half of it")
    Transfer(Place(shelf.database, shelf.storage), Place(shelf.database, other)).run()
    assert Shelf(shelf.database, other, shelf.user).all_right() == 2


def test_what_is_missing_or_damaged_here_is_named(
    shelf: Shelf, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, damaged, _ = shelf.images(3)
    shelf.storage.delete(missing.file_key)
    shelf.storage.put(damaged.file_key, b"x")
    target = Place(shelf.database, FolderStorage(tmp_path / "other"))
    with pytest.raises(errors.TransferIncomplete, match="Not everything"):
        Transfer(Place(shelf.database, shelf.storage), target).run()
    said = capsys.readouterr().out
    assert missing.file_key in said
    assert damaged.file_key in said


def test_rows_that_differ_at_the_end_are_named(
    settings: Settings, shelf: Shelf, new_database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    images = shelf.images(3)
    with opened(settings, new_database, None) as transfer:
        transfer.run()
    with closing(Database(new_database)) as database, database.write() as session:
        session.execute(update(Image).where(col(Image.id) == images[0].id).values(favourite=True))
    with (
        opened(settings, new_database, None) as transfer,
        pytest.raises(errors.TransferIncomplete),
    ):
        transfer.run()
    assert "table images: 3 rows here, 3 there, not alike" in capsys.readouterr().out


def test_a_target_of_other_people_is_refused_and_left_as_it_is(
    settings: Settings, shelf: Shelf, postgres: PostgresServer
) -> None:
    shelf.image()
    with postgres.fresh(TEMPLATE) as url:
        with closing(Database(url)) as database, database.write() as session:
            session.add(User(username="grace", display_name="Grace", password_hash="!"))
        with (
            opened(settings, url, None) as transfer,
            pytest.raises(errors.SettingsError, match="users that aren't here"),
        ):
            transfer.run()
        with closing(Database(url)) as database, database.read() as session:
            assert session.scalar(select(func.count()).select_from(User)) == 1


def test_a_target_that_was_only_started_takes_the_installations_key(
    settings: Settings, shelf: Shelf, postgres: PostgresServer
) -> None:
    shelf.image()
    with shelf.database.write() as session:
        session.execute(delete(Installation))
        session.add(Installation(id=1, secret="aa" * 32))
    with postgres.fresh(TEMPLATE) as url:
        with closing(Database(url)) as database, database.write() as session:
            session.add(Installation(id=1, secret="bb" * 32))
        with opened(settings, url, None) as transfer:
            transfer.run()
        with closing(Database(url)) as database, database.read() as session:
            assert session.exec(select(Installation.secret)).one() == "aa" * 32


def test_an_installation_that_is_at_work_is_refused(settings: Settings, new_database: str) -> None:
    lock = data_folder.lock_data_folder(settings.data_dir)
    with pytest.raises(errors.SettingsError, match="Another Atelier"), opened(settings, new_database, None):
        pass
    lock.release()


def test_the_source_cannot_be_written_to(settings: Settings, shelf: Shelf, new_database: str) -> None:
    shelf.database.close()
    with opened(settings, new_database, None) as transfer:
        with pytest.raises(errors.StorageReadOnly), transfer.source.database.write() as session:
            session.execute(delete(User))
        transfer.run()


def test_a_wrong_address_is_named_without_its_password(settings: Settings) -> None:
    said = run_operator_command(
        "transfer", "--to-database", "mysql://me:hunter2@there/db", data_dir=settings.data_dir
    )
    assert said.returncode == 1
    assert "DATABASE_URL" in said.stderr
    assert "hunter2" not in said.stderr
    assert run_operator_command("transfer", data_dir=settings.data_dir).returncode == 2


def test_queued_images_are_said_not_to_wait_at_both_places(
    settings: Settings, shelf: Shelf, new_database: str
) -> None:
    shelf.job(JobState.QUEUED)
    shelf.database.close()
    said = run_operator_command("transfer", "--to-database", new_database, data_dir=settings.data_dir)
    assert "1 images are still waiting: don't start Atelier here again" in said.stdout
