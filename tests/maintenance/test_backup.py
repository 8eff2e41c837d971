"""A backup is a consistent snapshot, even of a running app, and is restored completely or not at all."""

from __future__ import annotations

import io
import os
import sqlite3
import stat
import tarfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlmodel import select

from core import bootstrap, errors
from core.accounts.api_tokens import ApiTokens
from core.accounts.audit_log import AuditLog
from core.common.clock import utc_now
from core.database.database import Database
from core.database.installation_key import installation_key
from core.database.models import Invite, Job, JobState, Scope, ShareLink, SignInSession, SignInTicket, User
from core.generation.ingest import ResponseMetadata
from core.images.share_links import LIFETIMES, ShareLinks
from core.maintenance.backup import back_up
from core.maintenance.backup_archive import MANIFEST, BackupWriter, extract
from core.maintenance.restore import restore
from core.prompts.recipe import Recipe
from core.settings import Settings, load_settings
from core.storage.data_folder import lock_data_folder
from core.storage.folder import FolderStorage
from core.storage.keys import response_metadata_key, thumbnail_key
from tests.support.sign_in import accounts_in, ticket_of
from tests.support.stored_images import (
    StoredImages,
    create_installation,
    images_of_new_user,
    run_operator_command,
)
from tests.support.waiting import until


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return create_installation(tmp_path / "data")


def stored_in(folder: Path) -> StoredImages:
    """The first user's images in an existing installation."""
    database = Database(f"sqlite:///{folder / 'atelier.db'}")
    with database.read() as session:
        user = session.exec(select(User)).first()
    return StoredImages(database, FolderStorage(folder / "files"), user or User(username="nobody"))


@pytest.fixture
def stored(settings: Settings) -> Iterator[StoredImages]:
    with closing(Database(f"sqlite:///{settings.data_dir / 'atelier.db'}")) as database:
        yield images_of_new_user(database, FolderStorage(settings.data_dir / "files"))


@dataclass
class RoundTrip:
    """Backs up an installation to `file` and restores it into `folder`."""

    settings: Settings
    file: Path
    folder: Path

    def back_up(self) -> None:
        back_up(self.settings, self.file)

    def restore(self) -> StoredImages:
        restore(load_settings(data_dir=self.folder), self.file)
        return stored_in(self.folder)


@pytest.fixture
def round_trip(settings: Settings, tmp_path: Path) -> RoundTrip:
    return RoundTrip(settings, tmp_path / "a?b%20.backup", tmp_path / "new")


def members(path: Path) -> list[str]:
    """The member names, as a standard tar reader sees them."""
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_everything_is_restored(stored: StoredImages, round_trip: RoundTrip) -> None:
    image, *_ = stored.images(5)
    stored.file("aside/some-job/0", b"damaged")
    upload = stored.file(f"uploads/{stored.user.id}/{'0' * 43}.png", b"an upload")
    round_trip.back_up()
    assert stat.S_IMODE(round_trip.file.stat().st_mode) == 0o600
    restored = round_trip.restore()
    assert restored.count_whole() == 5
    assert restored.storage.get("aside/some-job/0") == b"damaged"
    assert restored.storage.get(upload) == b"an upload"
    assert restored.gallery.get(stored.user.id, image.id).sha256 == image.sha256
    secrets = [installation_key(database, lambda: None) for database in (stored.database, restored.database)]
    assert secrets[0] == secrets[1]
    assert [path for path in round_trip.folder.rglob("*") if path.stat().st_mode & 0o077] == []
    assert sorted(path.name for path in round_trip.file.parent.iterdir()) == ["a?b%20.backup", "data", "new"]


def test_thumbnails_are_left_out_and_made_again_after_the_restore(
    stored: StoredImages, round_trip: RoundTrip
) -> None:
    image = stored.image()
    round_trip.back_up()
    assert not [name for name in members(round_trip.file) if "thumbnails" in name]
    restored = round_trip.restore()
    assert restored.gallery.thumbnail(stored.user.id, image.id) == stored.storage.get(thumbnail_key(image.id))


def test_an_image_deleted_for_good_during_the_backup_is_left_out(
    stored: StoredImages, round_trip: RoundTrip, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = stored.images(2)
    stored.gallery.trash(stored.user.id, gone.id)
    get = FolderStorage.get

    def purge_then_get(storage: FolderStorage, key: str) -> bytes:
        sum(stored.gallery.purge(utc_now() + timedelta(days=31)))
        return get(storage, key)

    monkeypatch.setattr(FolderStorage, "get", purge_then_get)
    round_trip.back_up()
    monkeypatch.undo()
    restored = round_trip.restore()
    assert restored.count_whole() == 1
    assert restored.gallery.get(stored.user.id, kept.id)


def test_a_row_without_a_file_is_counted_and_kept(stored: StoredImages, round_trip: RoundTrip) -> None:
    missing, _ = stored.images(2)
    stored.storage.delete(missing.file_key)
    assert back_up(round_trip.settings, round_trip.file).missing == 1
    assert round_trip.restore().gallery.get(stored.user.id, missing.id)


def test_a_backup_taken_while_images_are_made_is_consistent(tmp_path: Path, round_trip: RoundTrip) -> None:
    studio = bootstrap.build(load_settings(data_dir=round_trip.settings.data_dir))
    user = studio.registration.create_user("ada", "!")
    recipe = Recipe(prompt="a fox", model="offline-painter")
    studio.jobs.submit(user.id, [recipe] * 12)
    until(lambda: len(studio.gallery.page(user.id).images) >= 2)
    for number in range(3):
        file, folder = tmp_path / f"{number}.backup", tmp_path / f"back-{number}"
        back_up(round_trip.settings, file)
        restore(load_settings(data_dir=folder), file)
        restored = stored_in(folder)
        assert 2 <= restored.count_whole() <= 12
        _check_settles(folder, user)
    until(lambda: len(studio.gallery.page(user.id).images) == 12)
    studio.close()


def _check_settles(folder: Path, user: User) -> None:
    """Start the restored app: nothing is bought again, and each job is done or has an unknown outcome."""
    studio = bootstrap.build(load_settings(data_dir=folder))
    states = [job.state for job in studio.jobs.recent(user.id)]
    made = studio.gallery.page(user.id).images
    studio.close()
    assert len(states) == 12
    assert set(states) <= {JobState.DONE, JobState.UNKNOWN}
    assert states.count(JobState.DONE) == len(made)
    assert stored_in(folder).count_whole() == len(made)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_an_open_job_is_not_bought_again_automatically(
    stored: StoredImages, round_trip: RoundTrip, state: JobState
) -> None:
    job = stored.job(state)
    round_trip.back_up()
    restored = round_trip.restore()
    with restored.database.read() as session:
        row = session.get(Job, job.id)
    error = (row and row.error) or {}
    assert row
    assert (row.state, error["code"]) == (JobState.UNKNOWN, errors.OutcomeUnknown.code)
    assert "when the backup was taken" in error["message"]


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_an_image_file_of_an_open_job_is_recorded_at_the_start(
    stored: StoredImages, round_trip: RoundTrip, state: JobState
) -> None:
    job = stored.job(state)
    key = stored.image_file(job)
    stored.storage.put(response_metadata_key(job), ResponseMetadata(count=1, price_micros=9).to_bytes())
    round_trip.back_up()
    assert round_trip.restore().state(job) == JobState.RUNNING
    studio = bootstrap.build(load_settings(data_dir=round_trip.folder))
    (image,) = studio.gallery.page(stored.user.id).images
    studio.close()
    assert (image.file_key, image.price_micros) == (key, 9)


def test_no_session_token_or_link_of_the_backup_works_again(
    stored: StoredImages, round_trip: RoundTrip
) -> None:
    accounts = accounts_in(stored.database)
    token = accounts.sessions.redeem_ticket(ticket_of(accounts, "ada"))
    signed_in = accounts.sessions.authenticate(token)
    assert signed_in
    ticket_of(accounts, "ada")
    accounts.registration.create_invite(replace(signed_in, is_admin=True))
    reset = accounts.passwords.create_reset_as_operator("ada")
    api_token = ApiTokens(stored.database, AuditLog(stored.database)).create(
        signed_in, "script", [Scope.READ], None
    )
    ShareLinks(stored.database, AuditLog(stored.database)).create(signed_in, stored.image().id, LIFETIMES[0])
    round_trip.back_up()
    restored = round_trip.restore()
    accounts = accounts_in(restored.database)
    assert accounts.sessions.authenticate(token) is None
    assert ApiTokens(restored.database, AuditLog(restored.database)).authenticate(api_token) is None
    with pytest.raises(errors.ResetInvalid):
        accounts.passwords.check_reset(reset)
    removed = (SignInSession, SignInTicket, Invite, ShareLink)
    with restored.database.read() as session:
        assert not any(session.exec(select(table)).all() for table in removed)


# What is refused


def test_an_existing_file_is_replaced_only_with_force(stored: StoredImages, round_trip: RoundTrip) -> None:
    round_trip.file.write_bytes(b"precious")
    with pytest.raises(errors.BackupError, match="--force"):
        round_trip.back_up()
    assert round_trip.file.read_bytes() == b"precious"
    back_up(round_trip.settings, round_trip.file, force=True)
    assert MANIFEST in members(round_trip.file)


def test_a_nonempty_folder_is_moved_aside_only_with_force(
    stored: StoredImages, round_trip: RoundTrip
) -> None:
    stored.image()
    round_trip.back_up()
    round_trip.folder.mkdir()
    (round_trip.folder / "precious").write_bytes(b"x")
    settings = load_settings(data_dir=round_trip.folder)
    with pytest.raises(errors.BackupError, match="isn't empty"):
        restore(settings, round_trip.file)
    aside = restore(settings, round_trip.file, force=True)
    assert aside
    assert (aside / "precious").read_bytes() == b"x"
    assert stored_in(round_trip.folder).count_whole() == 1


def test_an_empty_folder_is_accepted(stored: StoredImages, round_trip: RoundTrip) -> None:
    round_trip.back_up()
    round_trip.folder.mkdir()
    round_trip.restore()


def test_the_folder_of_a_running_atelier_is_refused(stored: StoredImages, round_trip: RoundTrip) -> None:
    round_trip.back_up()
    lock = lock_data_folder(round_trip.settings.data_dir)
    with pytest.raises(errors.SettingsError, match="Another Atelier"):
        restore(round_trip.settings, round_trip.file, force=True)
    lock.release()


def test_an_installation_on_postgresql_is_told_to_use_pg_dump(tmp_path: Path, round_trip: RoundTrip) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    with pytest.raises(errors.SettingsError, match="pg_dump"):
        back_up(load_settings(data_dir=round_trip.settings.data_dir, database_url=url), round_trip.file)
    with pytest.raises(errors.BackupError, match="There is no file"):
        restore(load_settings(data_dir=round_trip.folder), tmp_path / "nothing")
    assert not round_trip.file.exists()


def test_a_damaged_database_makes_no_backup(round_trip: RoundTrip) -> None:
    path = round_trip.settings.data_dir / "atelier.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    with pytest.raises((errors.DatabaseError, errors.BackupError)):
        round_trip.back_up()
    assert not round_trip.file.exists()


def test_a_full_disk_leaves_no_partial_backup(
    stored: StoredImages, round_trip: RoundTrip, make_disk: Callable[[str], Path]
) -> None:
    stored.images(3)
    disk = make_disk("256k")
    with pytest.raises(errors.BackupError, match="no space"):
        back_up(round_trip.settings, disk / "backup")
    assert list(disk.iterdir()) == []


def test_the_commands_back_up_and_restore(stored: StoredImages, round_trip: RoundTrip) -> None:
    stored.images(2)
    result = run_operator_command("backup", str(round_trip.file), data_dir=round_trip.settings.data_dir)
    assert (result.returncode, "2 files" in result.stdout) == (0, True)
    result = run_operator_command("restore", str(round_trip.file), data_dir=round_trip.folder)
    assert result.returncode == 0, result.stderr
    assert stored_in(round_trip.folder).count_whole() == 2
    result = run_operator_command("restore", str(round_trip.file), data_dir=round_trip.folder)
    assert (result.returncode, errors.BackupError.code in result.stderr) == (1, True)


# Damaged and malicious archives


def refused(round_trip: RoundTrip) -> str:
    """Assert that the restore is refused and leaves no files; returns the error's details."""
    with pytest.raises(errors.BackupDamaged) as caught:
        round_trip.restore()
    assert not round_trip.folder.exists()
    assert not [path for path in round_trip.folder.parent.iterdir() if path.name.endswith(".part")]
    return caught.value.details


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.99])
def test_a_truncated_file_is_refused(stored: StoredImages, round_trip: RoundTrip, share: float) -> None:
    stored.images(2)
    round_trip.back_up()
    whole = round_trip.file.read_bytes()
    round_trip.file.write_bytes(whole[: int(len(whole) * share)])
    refused(round_trip)


def test_an_altered_image_is_refused(stored: StoredImages, round_trip: RoundTrip) -> None:
    image = stored.image()
    round_trip.back_up()
    whole, image_bytes = round_trip.file.read_bytes(), stored.storage.get(image.file_key)
    round_trip.file.write_bytes(whole.replace(image_bytes, image_bytes[:-1] + b"\0"))
    assert "was altered" in refused(round_trip)


def test_any_changed_byte_is_detected_or_harmless(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    with BackupWriter(folder / "backup") as archive:
        archive.add("atelier.db", b"rows" * 200)
        archive.add("files/images/0123/0", b"image")
    whole = (folder / "backup").read_bytes()

    @hypothesis_settings(max_examples=300, suppress_health_check=list(HealthCheck))
    @given(at=st.integers(0, len(whole) - 1), value=st.integers(0, 255))
    def change(at: int, value: int) -> None:
        into = tmp_path_factory.mktemp("out")
        (into / "backup").write_bytes(whole[:at] + bytes([value]) + whole[at + 1 :])
        try:
            found = {member.name for member in extract(into / "backup", into / "data")}
        except errors.BackupDamaged:
            return
        assert found == {"atelier.db", "files/images/0123/0"}
        assert (into / "data/atelier.db").read_bytes() == b"rows" * 200
        assert (into / "data/files/images/0123/0").read_bytes() == b"image"

    change()


def header(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, "/etc/passwd", size
    return member.tobuf(tarfile.GNU_FORMAT)


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(header("../outside"), id="parent folder"),
        pytest.param(header("/etc/passwd"), id="absolute"),
        pytest.param(header("files/images/../../../outside"), id="parent folder inside"),
        pytest.param(header("files/images/.hidden"), id="hidden"),
        pytest.param(header("files/else/where"), id="another folder"),
        pytest.param(header("files/images/x/0", tarfile.SYMTYPE), id="symbolic link"),
        pytest.param(header("files/images/x/0", tarfile.LNKTYPE), id="hard link"),
        pytest.param(header("files/images/x/0", tarfile.CHRTYPE), id="device"),
        pytest.param(header("files/images/x/0", tarfile.FIFOTYPE), id="pipe"),
        pytest.param(header("files/images/x", tarfile.DIRTYPE), id="folder"),
        pytest.param(header("files/images/x/0", tarfile.GNUTYPE_SPARSE), id="sparse"),
        pytest.param(header("files/images/x/0", tarfile.XHDTYPE), id="extended header"),
        pytest.param(header("files/images/x/0", size=2**40), id="a terabyte"),
        pytest.param(header("files/images/x/0", size=-512), id="negative size"),
        pytest.param(header("secret.key"), id="not in the manifest"),
        pytest.param(b"\xff" * 512, id="no header"),
    ],
)
def test_a_member_that_no_backup_has_is_refused(
    stored: StoredImages, round_trip: RoundTrip, block: bytes
) -> None:
    stored.image()
    round_trip.back_up()
    round_trip.file.write_bytes(block + round_trip.file.read_bytes())
    refused(round_trip)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"PK\3\4" + bytes(600), bytes(10240), os.urandom(5000)],
    ids=lambda data: str(len(data)),
)
def test_a_file_of_another_kind_is_refused(round_trip: RoundTrip, data: bytes) -> None:
    round_trip.file.write_bytes(data)
    refused(round_trip)


@pytest.mark.parametrize(
    "manifest",
    [
        pytest.param(b'{"format": "atelier backup", "version": 2}\n', id="another version"),
        pytest.param(b'{"format": "other", "version": 1}\n', id="another format"),
        pytest.param(b"[" * 100_000, id="deep"),
        pytest.param(b"[1]\n", id="no object"),
        pytest.param(b'{"format": "atelier backup", "version": 1}\n', id="no end"),
        pytest.param(b'{"format": "atelier backup", "version": 1}\n{"members": 1}\n', id="another count"),
        pytest.param(
            b'{"format": "atelier backup", "version": 1}\n{"members": 0}\n', id="without a database"
        ),
    ],
)
def test_a_wrong_manifest_is_refused(round_trip: RoundTrip, manifest: bytes) -> None:
    with tarfile.open(round_trip.file, "w") as tar:
        member = tarfile.TarInfo(MANIFEST)
        member.size = len(manifest)
        tar.addfile(member, io.BytesIO(manifest))
    refused(round_trip)


def test_a_backup_of_a_newer_atelier_is_refused(stored: StoredImages, round_trip: RoundTrip) -> None:
    with stored.database.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    round_trip.back_up()
    with pytest.raises(errors.DatabaseError, match="another version"):
        round_trip.restore()
    assert not round_trip.folder.exists()


def test_rows_written_during_the_backup_do_no_harm(stored: StoredImages, round_trip: RoundTrip) -> None:
    """Another thread keeps adding images. Each backup has the files of all its rows."""
    running = True

    def add() -> None:
        number = 0
        while running:
            stored.image(colour=(number := number + 1))

    writer = Thread(target=add)
    writer.start()
    try:
        for number in range(5):
            file = round_trip.file.with_name(f"{number}")
            back_up(round_trip.settings, file)
            folder = round_trip.folder.with_name(f"n{number}")
            restore(load_settings(data_dir=folder), file)
            stored_in(folder).count_whole()
    finally:
        running = False
        writer.join()


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/outside", "files/images/../../../outside", "files/thumbnails/x", "other"]
)
def test_a_name_that_no_backup_has_is_refused_even_if_the_manifest_lists_it(
    round_trip: RoundTrip, name: str
) -> None:
    with BackupWriter(round_trip.file) as archive:
        archive.add(name, b"x")
    assert "doesn't belong in a backup" in refused(round_trip)


def test_a_member_that_occurs_twice_is_refused(round_trip: RoundTrip) -> None:
    with BackupWriter(round_trip.file) as archive:
        archive.add("files/images/x/0", b"first")
        archive.add("files/images/x/0", b"second")
    assert "twice" in refused(round_trip)


# Databases with contents that Atelier has not put there


@pytest.mark.parametrize(
    ("statement", "what"),
    [
        pytest.param(
            "CREATE TRIGGER extra AFTER INSERT ON jobs BEGIN DELETE FROM users; END", "trigger", id="trigger"
        ),
        pytest.param(
            "DROP TRIGGER audit_entries_UPDATE; CREATE TRIGGER audit_entries_UPDATE BEFORE UPDATE ON "
            "audit_entries BEGIN DELETE FROM users; END",
            "trigger",
            id="a changed trigger",
        ),
        pytest.param("CREATE VIEW extra AS SELECT * FROM users", "view", id="view"),
        pytest.param(
            "ALTER TABLE drafts RENAME TO kept; CREATE VIEW drafts AS SELECT * FROM kept",
            "",
            id="a view in place of a table",
        ),
        pytest.param("CREATE INDEX extra ON users (lower(username))", "index", id="index on an expression"),
        pytest.param("CREATE TABLE extra (id TEXT)", "table", id="table"),
        pytest.param(
            "ALTER TABLE drafts ADD COLUMN extra TEXT AS (upper(user_id))", "table", id="generated column"
        ),
        pytest.param("UPDATE alembic_version SET version_num = 'base'", None, id="no version"),
    ],
)
def test_a_database_with_planted_objects_is_refused(
    stored: StoredImages, round_trip: RoundTrip, statement: str, what: str | None
) -> None:
    stored.image()
    change_database(round_trip, statement)
    if what is None:
        with pytest.raises(errors.DatabaseVersionMismatch):
            round_trip.restore()
    else:
        assert f"a foreign {what}" in refused(round_trip)


@pytest.mark.parametrize(
    "key",
    ["../outside", "images/../../outside", "/etc/outside", "images\\..\\x", "images/a\0b", "other/x", ""],
)
def test_a_database_with_a_key_outside_the_images_is_refused(
    stored: StoredImages, round_trip: RoundTrip, key: str
) -> None:
    image = stored.image()
    with stored.database.write() as session:
        session.add(image)
        image.file_key = key
    stored.database.close()
    with BackupWriter(round_trip.file) as archive:
        archive.add("atelier.db", (round_trip.settings.data_dir / "atelier.db").read_bytes())
    assert "file_key" in refused(round_trip)


@pytest.mark.parametrize("table", ["users", "jobs", "images"])
def test_a_database_with_an_id_that_leaves_its_folder_is_refused(
    stored: StoredImages, round_trip: RoundTrip, table: str
) -> None:
    stored.image()
    change_database(round_trip, f"UPDATE {table} SET id = ?", "../../outside")
    assert "isn't a key" in refused(round_trip)


def change_database(round_trip: RoundTrip, statement: str, *values: str) -> None:
    """Back up, as somebody would who has changed the database meanwhile."""
    with closing(sqlite3.connect(round_trip.settings.data_dir / "atelier.db")) as connection:
        if values:
            connection.execute(statement, values)
        else:
            connection.executescript(statement)
        connection.commit()
    round_trip.back_up()
