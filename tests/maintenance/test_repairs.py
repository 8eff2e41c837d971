"""Repairs: old files without a row are removed, but never because the rows can't be read."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
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
from core.maintenance.integrity import ORPHAN_RETENTION, IntegrityCheck, chunked
from core.maintenance.repairs import Repairs
from core.settings import load_settings
from core.storage.folder import FolderStorage
from core.storage.keys import partial_key, response_metadata_key, thumbnail_key
from tests.support.images import plain_png
from tests.support.stored_images import StoredImages, images_of_new_user, stray_key
from tests.support.waiting import until


@pytest.fixture
def stored(database: Database, storage: FolderStorage) -> StoredImages:
    return images_of_new_user(database, storage)


def repairs_of(stored: StoredImages, clock: Callable[[], datetime] = utc_now) -> Repairs:
    return Repairs(IntegrityCheck(stored.database, stored.storage, clock), stored.gallery)


@pytest.fixture
def repairs(stored: StoredImages) -> Repairs:
    return repairs_of(stored)


def remove_orphans(repairs: Repairs) -> None:
    for _ in repairs.remove_orphans():
        pass


def test_files_of_unknown_jobs_are_kept(stored: StoredImages, repairs: Repairs) -> None:
    """The database may be an older copy, or the bucket may be shared with another installation."""
    stored.images(5)
    unknown = stored.file(stray_key(new_id(), 0))
    remove_orphans(repairs)
    assert unknown in stored.all_keys()


def test_a_whole_image_of_another_attempt_is_kept(stored: StoredImages, repairs: Repairs) -> None:
    image = stored.image()
    other = stored.file(stray_key(image.job_id, 1), plain_png())
    remove_orphans(repairs)
    assert other in stored.all_keys()


@pytest.mark.parametrize("state", [JobState.DONE, JobState.CANCELLED], ids=str)
def test_an_old_original_without_a_row_is_removed(
    stored: StoredImages, repairs: Repairs, state: JobState
) -> None:
    kept = stored.image()
    job_id = stored.job(state).id
    old, young = (stored.file(stray_key(job_id, n), old=n == 0) for n in (0, 1))
    remove_orphans(repairs)
    assert old not in stored.all_keys()
    assert {young, kept.file_key, thumbnail_key(kept.id)} == set(stored.all_keys())


def test_the_files_of_a_deleted_image_are_removed_after_an_interrupted_removal(
    stored: StoredImages, repairs: Repairs
) -> None:
    kept, gone = stored.images(2)
    stored.delete_row(gone)
    stored.age_all()
    remove_orphans(repairs)
    assert set(stored.all_keys()) == {kept.file_key, thumbnail_key(kept.id)}


def test_an_orphan_is_removed_after_seven_days_and_not_before(stored: StoredImages) -> None:
    stored.image()
    key, now = stored.file(stray_key(stored.job().id, 0), old=False), utc_now()
    minute = timedelta(minutes=1)
    for age, kept in ((ORPHAN_RETENTION - minute, True), (ORPHAN_RETENTION + minute, False)):
        remove_orphans(repairs_of(stored, clock=lambda age=age: now + age))
        assert (key in stored.all_keys()) is kept


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.UNKNOWN])
def test_a_paid_image_that_can_still_be_recorded_is_kept(
    stored: StoredImages, repairs: Repairs, state: JobState
) -> None:
    stored.image()
    job = stored.job(state)
    files = {stored.image_file(job), stored.file(response_metadata_key(job))}
    remove_orphans(repairs)
    assert files < set(stored.all_keys())


def test_a_whole_image_of_a_failed_job_is_kept_and_a_damaged_one_removed(
    stored: StoredImages, repairs: Repairs
) -> None:
    stored.image()
    whole = stored.image_file(stored.job(JobState.FAILED))
    damaged = stored.file(stray_key(stored.job(JobState.FAILED).id, 0), b"not an image")
    remove_orphans(repairs)
    assert whole in stored.all_keys()
    assert damaged not in stored.all_keys()


def test_leftovers_are_removed_but_not_files_of_running_jobs_or_damaged_responses(
    stored: StoredImages, repairs: Repairs
) -> None:
    stored.image()
    stored.age_all()
    kept = set(stored.all_keys())
    running, done = stored.job(JobState.RUNNING), stored.job()
    kept |= {stored.file(partial_key(running.id, 0)), stored.file(f"aside/{done.id}/0")}
    kept |= {stored.file("images/not-ours"), stored.file("elsewhere/file")}
    for key in (partial_key(done.id, 0), response_metadata_key(done), thumbnail_key(new_id())):
        stored.file(key)
    remove_orphans(repairs)
    assert set(stored.all_keys()) == kept


def test_a_hidden_file_of_another_program_does_not_stop_the_removal(
    stored: StoredImages, repairs: Repairs
) -> None:
    stored.image()
    assert isinstance(stored.storage, FolderStorage)
    hidden = stored.storage.root / "images" / ".DS_Store"
    hidden.write_bytes(b"x")
    gone = stored.file(stray_key(stored.job().id, 0))
    remove_orphans(repairs)
    assert hidden.exists()
    assert gone not in stored.all_keys()


def test_nothing_is_removed_when_there_are_no_rows(stored: StoredImages, repairs: Repairs) -> None:
    stored.images(3)
    with stored.database.write() as session:
        session.execute(delete(Image))
    stored.age_all()
    before = stored.all_keys()
    remove_orphans(repairs)
    assert stored.all_keys() == before


def test_the_images_of_a_withdrawn_user_are_kept(stored: StoredImages, repairs: Repairs) -> None:
    """Accounts are withdrawn and never deleted, so every image keeps its owner."""
    image = stored.image()
    with stored.database.write() as session:
        session.execute(update(User).values(withdrawn_at=utc_now()))
    stored.age_all()
    remove_orphans(repairs)
    assert {image.file_key, thumbnail_key(image.id)} == set(stored.all_keys())
    assert stored.gallery.original(image.owner_id, image.id)


def test_a_user_with_images_cannot_be_deleted(stored: StoredImages) -> None:
    image = stored.image()
    with pytest.raises(errors.DatabaseError), stored.database.write() as session:
        session.execute(delete(User).where(col(User.id) == image.owner_id))
    assert stored.gallery.original(image.owner_id, image.id)


def test_nothing_is_removed_when_the_rows_belong_to_other_files(
    stored: StoredImages, repairs: Repairs, capsys: pytest.CaptureFixture[str]
) -> None:
    for image in stored.images(3)[:2]:
        stored.delete_row(image)
    stored.age_all()
    before = stored.all_keys()
    remove_orphans(repairs)
    assert stored.all_keys() == before
    assert "orphan_removal_skipped" in capsys.readouterr().out


def test_nothing_is_removed_when_the_rows_vanish_after_the_check(
    stored: StoredImages, repairs: Repairs
) -> None:
    stored.image()
    stored.file(stray_key(stored.job().id, 0))
    before, steps = stored.all_keys(), repairs.remove_orphans()
    for _ in range(2):  # the pages of images and of thumbnails, which is everything
        next(steps)
    with stored.database.write() as session:
        session.execute(delete(Image))
    with pytest.raises(errors.DatabaseError, match="no images at all"):
        list(steps)
    assert stored.all_keys() == before


@pytest.mark.parametrize("swapped", ["empty", "no tables", "damaged"])
def test_nothing_is_removed_when_the_database_cannot_be_read(
    tmp_path: Path, sqlite_template: Path, storage: FolderStorage, swapped: str
) -> None:
    """The database file is replaced, as after copying the wrong one."""
    path = tmp_path / "atelier.db"
    shutil.copy(sqlite_template, path)
    with closing(Database(f"sqlite:///{path}")) as database:
        stored = images_of_new_user(database, storage)
        stored.images(3)
        stored.age_all()
    before = stored.all_keys()
    _swap(path, sqlite_template, swapped)
    with closing(Database(f"sqlite:///{path}")) as database:
        repairs = Repairs(IntegrityCheck(database, storage), Gallery(database, storage, AuditLog(database)))
        if swapped == "empty":
            remove_orphans(repairs)
        else:
            with pytest.raises(errors.DatabaseError):
                remove_orphans(repairs)
    assert stored.all_keys() == before


def _swap(path: Path, empty: Path, how: str) -> None:
    if how == "empty":
        shutil.copy(empty, path)
    elif how == "no tables":
        path.write_bytes(b"")
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[:4096] + os.urandom(len(whole) - 4096))


def test_an_app_started_with_a_swapped_database_removes_nothing(
    tmp_path: Path, sqlite_template: Path
) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    studio = bootstrap.build(settings)
    stored = images_of_new_user(studio.database, studio.storage)
    stored.images(3)
    stored.age_all()
    before = stored.all_keys()
    studio.close()
    shutil.copy(sqlite_template, tmp_path / "data" / "atelier.db")
    studio = bootstrap.build(settings)
    for _ in range(3):
        remove_orphans(Repairs(IntegrityCheck(studio.database, studio.storage), studio.gallery))
    studio.close()
    assert stored.all_keys() == before


def test_a_started_app_removes_orphans_and_makes_missing_thumbnails(tmp_path: Path) -> None:
    settings = load_settings(data_dir=tmp_path / "data")
    studio = bootstrap.build(settings)
    stored = images_of_new_user(studio.database, studio.storage)
    image = stored.image()
    studio.storage.delete(thumbnail_key(image.id))
    orphan = stored.file(stray_key(stored.job().id, 0))
    studio.close()
    studio = bootstrap.build(settings)
    until(lambda: orphan not in stored.all_keys() and thumbnail_key(image.id) in stored.all_keys())
    studio.close()


def test_two_processes_may_repair_at_the_same_time(stored: StoredImages, repairs: Repairs) -> None:
    image = stored.image()
    stored.storage.delete(thumbnail_key(image.id))
    stored.file(stray_key(stored.job().id, 0))
    for chore in (repairs.remove_orphans, repairs.make_thumbnails):
        rounds = [chore(), chore()]
        while rounds:
            rounds = [each for each in rounds if next(each, "end") is None]
    assert set(stored.all_keys()) == {image.file_key, thumbnail_key(image.id)}


def test_missing_thumbnails_are_made_even_when_other_originals_are_damaged(
    stored: StoredImages, repairs: Repairs
) -> None:
    images = stored.images(4)
    for image in images:
        stored.storage.delete(thumbnail_key(image.id))
    stored.storage.delete(images[0].file_key)
    stored.storage.put(images[1].file_key, b"not an image")
    for _ in repairs.make_thumbnails():
        pass
    made = {key for key in stored.all_keys() if key.startswith("thumbnails/")}
    assert made == {thumbnail_key(image.id) for image in images[2:]}


def test_all_pages_of_rows_and_files_are_checked(
    stored: StoredImages, repairs: Repairs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.maintenance.integrity.ROWS_PER_PAGE", 3)
    stored.images(10)
    orphans = {stored.file(stray_key(stored.job().id, 0), plain_png()) for _ in range(7)}
    assert sum(page.count for page in repairs.check.rows()) == 10
    assert {f.key for page in repairs.check.files() for f in page.findings} == orphans
    remove_orphans(repairs)
    assert stored.count_whole() == 10
    assert len(stored.all_keys()) == 20


@pytest.mark.parametrize(("count", "expected"), [(0, []), (4, [2, 2]), (5, [2, 2, 1])])
def test_chunks_contain_every_item_once(count: int, expected: list[int]) -> None:
    assert [len(chunk) for chunk in chunked(range(count), 2)] == expected
