"""Files without a row go when they are old, and never because rows could not be read."""

from __future__ import annotations

import os
import shutil
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import delete, update
from sqlmodel import col

from core import bootstrap, errors
from core.accounts.audit_log import AuditLog
from core.common.clock import utc_now
from core.common.ids import new_id
from core.database.database import Database
from core.database.models import Image, JobState, User
from core.images.gallery import Gallery
from core.maintenance.integrity import KEPT, Inventory, pages
from core.settings import load_settings
from core.storage.folder import FolderStorage
from core.storage.keys import answer_figures_key, partial_key, thumbnail_key
from tests.support.images import plain_png
from tests.support.stored_images import Shelf, a_shelf, stray_key
from tests.support.waiting import until


@pytest.fixture
def shelf(database: Database, storage: FolderStorage) -> Shelf:
    return a_shelf(database, storage)


@pytest.fixture
def inventory(shelf: Shelf) -> Inventory:
    return Inventory(shelf.database, shelf.storage, shelf.gallery)


def clean(inventory: Inventory) -> None:
    for _ in inventory.clean():
        pass


def test_the_files_of_jobs_that_the_database_does_not_know_stay(shelf: Shelf, inventory: Inventory) -> None:
    """It may be an older copy, or the bucket another installation's as well."""
    shelf.images(5)
    strange = shelf.file(stray_key(new_id(), 0))
    clean(inventory)
    assert strange in shelf.listed()


def test_a_whole_picture_of_another_call_of_a_job_stays(shelf: Shelf, inventory: Inventory) -> None:
    image = shelf.image()
    other = shelf.file(stray_key(image.job_id, 1), plain_png())
    clean(inventory)
    assert other in shelf.listed()


@pytest.mark.parametrize("state", [JobState.DONE, JobState.CANCELLED], ids=str)
def test_an_old_original_without_a_row_goes(shelf: Shelf, inventory: Inventory, state: JobState) -> None:
    kept = shelf.image()
    job_id = shelf.job(state).id
    old, young = (shelf.file(stray_key(job_id, n), old=n == 0) for n in (0, 1))
    clean(inventory)
    assert old not in shelf.listed()
    assert {young, kept.file_key, thumbnail_key(kept.id)} == set(shelf.listed())


def test_the_files_of_a_deleted_image_whose_removal_was_cut_off_go(
    shelf: Shelf, inventory: Inventory
) -> None:
    kept, gone = shelf.images(2)
    shelf.forget(gone)
    shelf.age_all()
    clean(inventory)
    assert set(shelf.listed()) == {kept.file_key, thumbnail_key(kept.id)}


def test_a_file_goes_at_seven_days_and_not_before(shelf: Shelf) -> None:
    shelf.image()
    key, now = shelf.file(stray_key(shelf.job().id, 0), old=False), utc_now()
    for age, there in ((KEPT - timedelta(minutes=1), True), (KEPT + timedelta(minutes=1), False)):
        clean(Inventory(shelf.database, shelf.storage, shelf.gallery, clock=lambda age=age: now + age))
        assert (key in shelf.listed()) is there


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.UNKNOWN])
def test_what_was_paid_for_and_can_still_be_entered_stays(
    shelf: Shelf, inventory: Inventory, state: JobState
) -> None:
    shelf.image()
    job = shelf.job(state)
    files = {shelf.bytes_of(job), shelf.file(answer_figures_key(job))}
    clean(inventory)
    assert files < set(shelf.listed())


def test_a_whole_picture_of_a_failed_job_stays_and_a_damaged_one_goes(
    shelf: Shelf, inventory: Inventory
) -> None:
    shelf.image()
    whole = shelf.bytes_of(shelf.job(JobState.FAILED))
    damaged = shelf.file(stray_key(shelf.job(JobState.FAILED).id, 0), b"no picture")
    clean(inventory)
    assert whole in shelf.listed()
    assert damaged not in shelf.listed()


def test_what_is_left_over_goes_and_what_runs_or_was_put_aside_stays(
    shelf: Shelf, inventory: Inventory
) -> None:
    shelf.image()
    shelf.age_all()
    kept = set(shelf.listed())
    running, done = shelf.job(JobState.RUNNING), shelf.job()
    kept |= {shelf.file(partial_key(running.id, 0)), shelf.file(f"aside/{done.id}/0")}
    kept |= {shelf.file("images/not-ours"), shelf.file("elsewhere/file")}
    for key in (partial_key(done.id, 0), answer_figures_key(done), thumbnail_key(new_id())):
        shelf.file(key)
    clean(inventory)
    assert set(shelf.listed()) == kept


def test_a_hidden_file_of_another_program_ends_no_round(shelf: Shelf, inventory: Inventory) -> None:
    shelf.image()
    assert isinstance(shelf.storage, FolderStorage)
    stranger = shelf.storage.root / "images" / ".DS_Store"
    stranger.write_bytes(b"x")
    gone = shelf.file(stray_key(shelf.job().id, 0))
    clean(inventory)
    assert stranger.exists()
    assert gone not in shelf.listed()


def test_without_any_row_nothing_is_removed(shelf: Shelf, inventory: Inventory) -> None:
    shelf.images(3)
    with shelf.database.write() as session:
        session.execute(delete(Image))
    shelf.age_all()
    before = shelf.listed()
    clean(inventory)
    assert shelf.listed() == before


def test_the_pictures_of_somebody_who_may_not_come_any_more_stay(shelf: Shelf, inventory: Inventory) -> None:
    """Accounts are withdrawn and never deleted: no picture is left without an owner."""
    image = shelf.image()
    with shelf.database.write() as session:
        session.execute(update(User).values(withdrawn_at=utc_now()))
    shelf.age_all()
    clean(inventory)
    assert {image.file_key, thumbnail_key(image.id)} == set(shelf.listed())
    assert shelf.gallery.original(image.owner_id, image.id)


def test_no_user_can_be_deleted_from_above_their_pictures(shelf: Shelf) -> None:
    image = shelf.image()
    with pytest.raises(errors.DatabaseError), shelf.database.write() as session:
        session.execute(delete(User).where(col(User.id) == image.owner_id))
    assert shelf.gallery.original(image.owner_id, image.id)


def test_with_another_installations_rows_nothing_is_removed(
    shelf: Shelf, inventory: Inventory, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in shelf.images(3)[:2]:
        shelf.forget(image)
    shelf.age_all()
    before = shelf.listed()
    clean(inventory)
    assert shelf.listed() == before
    assert "nothing is removed" in capsys.readouterr().out


def test_rows_that_vanish_between_looking_and_removing_cost_no_file(
    shelf: Shelf, inventory: Inventory
) -> None:
    shelf.image()
    shelf.file(stray_key(shelf.job().id, 0))
    before, round_ = shelf.listed(), inventory.clean()
    for _ in range(2):  # the pages of images and of thumbnails: all has been looked at
        next(round_)
    with shelf.database.write() as session:
        session.execute(delete(Image))
    with pytest.raises(errors.DatabaseError, match="no images at all"):
        list(round_)
    assert shelf.listed() == before


@pytest.mark.parametrize("swapped", ["empty", "no tables", "damaged"])
def test_a_database_that_cannot_be_read_costs_no_file(
    tmp_path: Path, sqlite_template: Path, storage: FolderStorage, swapped: str
) -> None:
    """The file itself is another one, as after a wrong copy."""
    path = tmp_path / "atelier.db"
    shutil.copy(sqlite_template, path)
    with closing(Database(f"sqlite:///{path}")) as database:
        shelf = a_shelf(database, storage)
        shelf.images(3)
        shelf.age_all()
    before = shelf.listed()
    _swap(path, sqlite_template, swapped)
    with closing(Database(f"sqlite:///{path}")) as database:
        inventory = Inventory(database, storage, Gallery(database, storage, AuditLog(database)))
        if swapped == "empty":
            clean(inventory)
        else:
            with pytest.raises(errors.DatabaseError):
                clean(inventory)
    assert shelf.listed() == before


def _swap(path: Path, empty: Path, how: str) -> None:
    if how == "empty":
        shutil.copy(empty, path)
    elif how == "no tables":
        path.write_bytes(b"")
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))


def test_a_started_app_with_a_swapped_database_removes_nothing(tmp_path: Path, sqlite_template: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    studio = bootstrap.build(settings)
    shelf = a_shelf(studio.database, studio.storage)
    shelf.images(3)
    shelf.age_all()
    before = shelf.listed()
    studio.close()
    shutil.copy(sqlite_template, tmp_path / "data" / "atelier.db")
    studio = bootstrap.build(settings)
    for _ in range(3):
        clean(Inventory(studio.database, studio.storage, studio.gallery))
    studio.close()
    assert shelf.listed() == before


def test_a_started_app_removes_old_files_and_makes_missing_thumbnails(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    studio = bootstrap.build(settings)
    shelf = a_shelf(studio.database, studio.storage)
    image = shelf.image()
    studio.storage.delete(thumbnail_key(image.id))
    orphan = shelf.file(stray_key(shelf.job().id, 0))
    studio.close()
    studio = bootstrap.build(settings)
    until(lambda: orphan not in shelf.listed() and thumbnail_key(image.id) in shelf.listed())
    studio.close()


def test_two_processes_may_clean_and_mend_at_once(shelf: Shelf, inventory: Inventory) -> None:
    image = shelf.image()
    shelf.storage.delete(thumbnail_key(image.id))
    shelf.file(stray_key(shelf.job().id, 0))
    for chore in (inventory.clean, inventory.thumbnails):
        rounds = [chore(), chore()]
        while rounds:
            rounds = [each for each in rounds if next(each, "end") is None]
    assert set(shelf.listed()) == {image.file_key, thumbnail_key(image.id)}


def test_a_missing_thumbnail_is_made_again_and_a_damaged_original_keeps_no_other(
    shelf: Shelf, inventory: Inventory
) -> None:
    images = shelf.images(4)
    for image in images:
        shelf.storage.delete(thumbnail_key(image.id))
    shelf.storage.delete(images[0].file_key)
    shelf.storage.put(images[1].file_key, b"no picture")
    for _ in inventory.thumbnails():
        pass
    made = {key for key in shelf.listed() if key.startswith("thumbnails/")}
    assert made == {thumbnail_key(image.id) for image in images[2:]}


def test_more_than_a_page_of_rows_and_files_is_compared(
    shelf: Shelf, inventory: Inventory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.maintenance.integrity.ROWS_PER_PAGE", 3)
    shelf.images(10)
    orphans = {shelf.file(stray_key(shelf.job().id, 0), plain_png()) for _ in range(7)}
    assert sum(checked.count for checked in inventory.rows()) == 10
    assert {f.key for checked in inventory.files() for f in checked.findings} == orphans
    clean(inventory)
    assert shelf.all_right() == 10
    assert len(shelf.listed()) == 20


@pytest.mark.parametrize(("count", "expected"), [(0, []), (4, [2, 2]), (5, [2, 2, 1])])
def test_pages_hold_everything_once(count: int, expected: list[int]) -> None:
    assert [len(page) for page in pages(range(count), 2)] == expected
