"""A backup holds everything of one moment, also while the app works, and comes back whole or not at all."""

from __future__ import annotations

import io
import os
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
from core.accounts.users import Accounts
from core.common.clock import utc_now
from core.database.database import Database
from core.database.installation_key import installation_key
from core.database.models import Invite, Job, JobState, Scope, ShareLink, SignInSession, SignInTicket, User
from core.generation.ingest import Figures
from core.images.share_links import LIVES, ShareLinks
from core.maintenance.backup import back_up
from core.maintenance.backup_archive import MANIFEST, Writer, extract
from core.maintenance.restore import restore
from core.prompts.recipe import Recipe
from core.settings import Settings, load_settings
from core.storage.data_folder import lock_data_folder
from core.storage.folder import FolderStorage
from core.storage.keys import answer_figures_key, thumbnail_key
from tests.support.sign_in import ticket_of
from tests.support.stored_images import Shelf, a_shelf, installation, run_operator_command
from tests.support.waiting import until


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return installation(tmp_path / "data")


def shelf_of(folder: Path) -> Shelf:
    """The shelf of an installation that is there."""
    database = Database(f"sqlite:///{folder / 'atelier.db'}")
    with database.read() as session:
        user = session.exec(select(User)).first()
    return Shelf(database, FolderStorage(folder / "files"), user or User(username="nobody"))


@pytest.fixture
def shelf(settings: Settings) -> Iterator[Shelf]:
    with closing(Database(f"sqlite:///{settings.data_dir / 'atelier.db'}")) as database:
        yield a_shelf(database, FolderStorage(settings.data_dir / "files"))


@dataclass
class Way:
    """From the installation into a file and back into another folder."""

    settings: Settings
    file: Path
    folder: Path

    def there(self) -> None:
        back_up(self.settings, self.file)

    def back(self) -> Shelf:
        restore(load_settings(data_dir=self.folder), self.file)
        return shelf_of(self.folder)


@pytest.fixture
def way(settings: Settings, tmp_path: Path) -> Way:
    return Way(settings, tmp_path / "a?b%20.backup", tmp_path / "new")


def members(path: Path) -> list[str]:
    """As any tar reads them."""
    with tarfile.open(path) as tar:
        return tar.getnames()


def test_everything_comes_back(shelf: Shelf, way: Way) -> None:
    image, *_ = shelf.images(5)
    shelf.file("aside/some-job/0", b"damaged")
    upload = shelf.file(f"uploads/{shelf.user.id}/{'0' * 43}.png", b"to be worked from")
    way.there()
    assert stat.S_IMODE(way.file.stat().st_mode) == 0o600
    back = way.back()
    assert back.all_right() == 5
    assert back.storage.get("aside/some-job/0") == b"damaged"
    assert back.storage.get(upload) == b"to be worked from"
    assert back.gallery.get(shelf.user.id, image.id).sha256 == image.sha256
    secrets = [installation_key(database, lambda: None) for database in (shelf.database, back.database)]
    assert secrets[0] == secrets[1]
    assert [path for path in way.folder.rglob("*") if path.stat().st_mode & 0o077] == []
    assert sorted(path.name for path in way.file.parent.iterdir()) == ["a?b%20.backup", "data", "new"]


def test_thumbnails_are_left_out_and_made_again(shelf: Shelf, way: Way) -> None:
    image = shelf.image()
    way.there()
    assert not [name for name in members(way.file) if "thumbnails" in name]
    back = way.back()
    assert back.gallery.thumbnail(shelf.user.id, image.id) == shelf.storage.get(thumbnail_key(image.id))


def test_an_image_deleted_for_good_meanwhile_is_out_of_the_backup(
    shelf: Shelf, way: Way, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, gone = shelf.images(2)
    shelf.gallery.trash(shelf.user.id, gone.id)
    take = FolderStorage.get

    def purge_then_take(storage: FolderStorage, key: str) -> bytes:
        sum(shelf.gallery.purge(utc_now() + timedelta(days=31)))
        return take(storage, key)

    monkeypatch.setattr(FolderStorage, "get", purge_then_take)
    way.there()
    monkeypatch.undo()
    back = way.back()
    assert back.all_right() == 1
    assert back.gallery.get(shelf.user.id, kept.id)


def test_a_row_without_a_file_is_said_and_stays(shelf: Shelf, way: Way) -> None:
    missing, _ = shelf.images(2)
    shelf.storage.delete(missing.file_key)
    assert back_up(way.settings, way.file).missing == 1
    assert way.back().gallery.get(shelf.user.id, missing.id)


def test_a_backup_taken_while_images_are_made_is_whole(tmp_path: Path, way: Way) -> None:
    studio = bootstrap.build(load_settings(data_dir=way.settings.data_dir))
    user = studio.accounts.create_user("ada", "!")
    recipe = Recipe(prompt="a fox", model="offline-painter")
    studio.jobs.submit(user.id, recipe, 12)
    until(lambda: len(studio.gallery.page(user.id).images) >= 2)
    for number in range(3):
        file, folder = tmp_path / f"{number}.backup", tmp_path / f"back-{number}"
        back_up(way.settings, file)
        restore(load_settings(data_dir=folder), file)
        back = shelf_of(folder)
        assert 2 <= back.all_right() <= 12
        _check_settles(folder, user)
    until(lambda: len(studio.gallery.page(user.id).images) == 12)
    studio.close()


def _check_settles(folder: Path, user: User) -> None:
    """What was restored starts; nothing is bought, and each job has its picture or says that nobody knows."""
    studio = bootstrap.build(load_settings(data_dir=folder))
    states = [job.state for job in studio.jobs.recent(user.id)]
    made = studio.gallery.page(user.id).images
    studio.close()
    assert len(states) == 12
    assert set(states) <= {JobState.DONE, JobState.UNKNOWN}
    assert states.count(JobState.DONE) == len(made)
    assert shelf_of(folder).all_right() == len(made)


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_what_was_waiting_is_not_bought_again_by_itself(shelf: Shelf, way: Way, state: JobState) -> None:
    job = shelf.job(state)
    way.there()
    back = way.back()
    with back.database.read() as session:
        row = session.get(Job, job.id)
    error = (row and row.error) or {}
    assert row
    assert (row.state, error["code"]) == (JobState.UNKNOWN, errors.OutcomeUnknown.code)
    assert "when the backup was taken" in error["message"]


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING])
def test_what_had_arrived_is_entered_at_the_start(shelf: Shelf, way: Way, state: JobState) -> None:
    job = shelf.job(state)
    key = shelf.bytes_of(job)
    shelf.storage.put(answer_figures_key(job), Figures(count=1, price_micros=9).to_bytes())
    way.there()
    assert way.back().state(job) == JobState.RUNNING
    studio = bootstrap.build(load_settings(data_dir=way.folder))
    (image,) = studio.gallery.page(shelf.user.id).images
    studio.close()
    assert (image.file_key, image.price_micros) == (key, 9)


def test_no_session_or_link_of_the_backup_comes_to_life_again(shelf: Shelf, way: Way) -> None:
    accounts = Accounts(shelf.database)
    token = accounts.redeem_ticket(ticket_of(accounts, "ada"))
    signed_in = accounts.signed_in(token)
    assert signed_in
    ticket_of(accounts, "ada")
    accounts.invite(replace(signed_in, is_admin=True))
    reset = accounts.recovery("ada")
    api_token = ApiTokens(shelf.database, AuditLog(shelf.database)).make(
        signed_in, "script", [Scope.READ], None
    )
    ShareLinks(shelf.database, AuditLog(shelf.database)).create(signed_in, shelf.image().id, LIVES[0])
    way.there()
    back = way.back()
    restored = Accounts(back.database)
    assert restored.signed_in(token) is None
    assert ApiTokens(back.database, AuditLog(back.database)).signed_in(api_token) is None
    with pytest.raises(errors.ResetInvalid):
        restored.check_reset(reset)
    ended = (SignInSession, SignInTicket, Invite, ShareLink)
    with back.database.read() as session:
        assert not any(session.exec(select(table)).all() for table in ended)


# What is refused


def test_a_file_that_is_there_is_replaced_only_with_force(shelf: Shelf, way: Way) -> None:
    way.file.write_bytes(b"precious")
    with pytest.raises(errors.BackupError, match="--force"):
        way.there()
    assert way.file.read_bytes() == b"precious"
    back_up(way.settings, way.file, force=True)
    assert MANIFEST in members(way.file)


def test_a_folder_that_is_not_empty_is_moved_aside_only_with_force(shelf: Shelf, way: Way) -> None:
    shelf.image()
    way.there()
    way.folder.mkdir()
    (way.folder / "precious").write_bytes(b"x")
    settings = load_settings(data_dir=way.folder)
    with pytest.raises(errors.BackupError, match="isn't empty"):
        restore(settings, way.file)
    aside = restore(settings, way.file, force=True)
    assert aside
    assert (aside / "precious").read_bytes() == b"x"
    assert shelf_of(way.folder).all_right() == 1


def test_an_empty_folder_is_filled(shelf: Shelf, way: Way) -> None:
    way.there()
    way.folder.mkdir()
    way.back()


def test_a_folder_in_which_atelier_works_is_refused(shelf: Shelf, way: Way) -> None:
    way.there()
    lock = lock_data_folder(way.settings.data_dir)
    with pytest.raises(errors.SettingsError, match="Another Atelier"):
        restore(way.settings, way.file, force=True)
    lock.release()


def test_other_installations_are_told_what_to_use(tmp_path: Path, way: Way) -> None:
    url = "postgresql://nobody@127.0.0.1:1/none"
    with pytest.raises(errors.SettingsError, match="pg_dump"):
        back_up(load_settings(data_dir=way.settings.data_dir, database_url=url), way.file)
    with pytest.raises(errors.BackupError, match="There is no file"):
        restore(load_settings(data_dir=way.folder), tmp_path / "nothing")
    assert not way.file.exists()


def test_a_damaged_database_makes_no_backup(way: Way) -> None:
    path = way.settings.data_dir / "atelier.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:8192] + os.urandom(len(whole) - 8192))
    with pytest.raises((errors.DatabaseError, errors.BackupError)):
        way.there()
    assert not way.file.exists()


def test_a_full_disk_leaves_no_half_backup(shelf: Shelf, way: Way, make_disk: Callable[[str], Path]) -> None:
    shelf.images(3)
    disk = make_disk("256k")
    with pytest.raises(errors.BackupError, match="no space"):
        back_up(way.settings, disk / "backup")
    assert list(disk.iterdir()) == []


def test_the_commands_go_there_and_back(shelf: Shelf, way: Way) -> None:
    shelf.images(2)
    said = run_operator_command("backup", str(way.file), data_dir=way.settings.data_dir)
    assert (said.returncode, "2 files" in said.stdout) == (0, True)
    said = run_operator_command("restore", str(way.file), data_dir=way.folder)
    assert said.returncode == 0, said.stderr
    assert shelf_of(way.folder).all_right() == 2
    said = run_operator_command("restore", str(way.file), data_dir=way.folder)
    assert (said.returncode, errors.BackupError.code in said.stderr) == (1, True)


# Archives that are damaged or evil


def refused(way: Way) -> str:
    """Why the file is refused; nothing of it stays."""
    with pytest.raises(errors.BackupDamaged) as caught:
        way.back()
    assert not way.folder.exists()
    assert not [path for path in way.folder.parent.iterdir() if path.name.endswith(".part")]
    return caught.value.details


@pytest.mark.parametrize("share", [0, 0.1, 0.5, 0.9, 0.99])
def test_a_file_that_was_cut_off_is_refused(shelf: Shelf, way: Way, share: float) -> None:
    shelf.images(2)
    way.there()
    whole = way.file.read_bytes()
    way.file.write_bytes(whole[: int(len(whole) * share)])
    refused(way)


def test_an_altered_picture_is_refused(shelf: Shelf, way: Way) -> None:
    image = shelf.image()
    way.there()
    whole, picture = way.file.read_bytes(), shelf.storage.get(image.file_key)
    way.file.write_bytes(whole.replace(picture, picture[:-1] + b"\0"))
    assert "was altered" in refused(way)


def test_any_changed_byte_is_found_or_changes_nothing(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    folder = tmp_path_factory.mktemp("archive")
    with Writer(folder / "backup") as archive:
        archive.add("atelier.db", b"rows" * 200)
        archive.add("files/images/0123/0", b"picture")
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
        assert (into / "data/files/images/0123/0").read_bytes() == b"picture"

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
        pytest.param(header("secret.key"), id="not in the list"),
        pytest.param(b"\xff" * 512, id="no header"),
    ],
)
def test_what_no_backup_has_is_refused(shelf: Shelf, way: Way, block: bytes) -> None:
    shelf.image()
    way.there()
    way.file.write_bytes(block + way.file.read_bytes())
    refused(way)


@pytest.mark.parametrize(
    "data",
    [b"", b"x", b"PK\3\4" + bytes(600), bytes(10240), os.urandom(5000)],
    ids=lambda data: str(len(data)),
)
def test_a_file_of_another_kind_is_refused(way: Way, data: bytes) -> None:
    way.file.write_bytes(data)
    refused(way)


@pytest.mark.parametrize(
    "listed",
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
def test_a_list_that_does_not_fit_is_refused(way: Way, listed: bytes) -> None:
    with tarfile.open(way.file, "w") as tar:
        member = tarfile.TarInfo(MANIFEST)
        member.size = len(listed)
        tar.addfile(member, io.BytesIO(listed))
    refused(way)


def test_a_backup_of_a_newer_atelier_is_named(shelf: Shelf, way: Way) -> None:
    with shelf.database.write() as session:
        session.connection().exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    way.there()
    with pytest.raises(errors.DatabaseError, match="another version"):
        way.back()
    assert not way.folder.exists()


def test_rows_written_during_the_copy_do_no_harm(shelf: Shelf, way: Way) -> None:
    """Another thread adds images all the time; each backup has the files of the rows it has."""
    going = True

    def add() -> None:
        number = 0
        while going:
            shelf.image(colour=(number := number + 1))

    writer = Thread(target=add)
    writer.start()
    try:
        for number in range(5):
            file = way.file.with_name(f"{number}")
            back_up(way.settings, file)
            folder = way.folder.with_name(f"n{number}")
            restore(load_settings(data_dir=folder), file)
            shelf_of(folder).all_right()
    finally:
        going = False
        writer.join()


@pytest.mark.parametrize(
    "name", ["../outside", "/etc/outside", "files/images/../../../outside", "files/thumbnails/x", "other"]
)
def test_a_name_that_no_backup_has_is_refused_also_where_the_list_has_it(way: Way, name: str) -> None:
    with Writer(way.file) as archive:
        archive.add(name, b"x")
    assert "doesn't belong in a backup" in refused(way)


def test_a_member_that_is_there_twice_is_refused(way: Way) -> None:
    with Writer(way.file) as archive:
        archive.add("files/images/x/0", b"first")
        archive.add("files/images/x/0", b"second")
    assert "twice" in refused(way)
