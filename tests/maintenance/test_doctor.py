"""The doctor lists each problem, repairs what it can, and never loses a paid image."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete
from sqlmodel import select

from core.common.ids import new_id
from core.database.database import Database
from core.database.models import Image, Job, JobState, Usage, UsageKind
from core.generation.ingest import ResponseMetadata
from core.maintenance.doctor import open_doctor
from core.settings import Settings, load_settings
from core.storage.folder import FolderStorage
from core.storage.keys import partial_key, response_metadata_key, thumbnail_key
from core.usage.usage_log import Call, Outcome, UsageLog
from tests.support.app_process import AppProcess
from tests.support.stored_images import (
    StoredImages,
    create_installation,
    images_of_new_user,
    run_operator_command,
    stray_key,
)


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """The settings of an installation, once on SQLite and once on PostgreSQL."""
    folder = create_installation(tmp_path / "data").data_dir
    return load_settings(data_dir=folder, database_url=database_url)


@pytest.fixture
def stored(settings: Settings) -> Iterator[StoredImages]:
    with closing(Database(settings.database_url or "")) as database:
        yield images_of_new_user(database, FolderStorage(settings.data_dir / "files"))


def examine(settings: Settings, *, repair: bool = False) -> int:
    with open_doctor(settings, repair=repair) as doctor:
        return doctor.examine()


def test_an_intact_installation_is_in_order(
    settings: Settings, stored: StoredImages, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.images(3)
    assert examine(settings) == 0
    assert capsys.readouterr().out == "Everything is in order.\n"


def test_each_problem_is_listed_and_nothing_is_changed_without_repair(
    settings: Settings, stored: StoredImages, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, altered, no_thumbnail = stored.images(3)
    stored.storage.delete(missing.file_key)
    stored.storage.put(altered.file_key, b"other bytes")
    stored.storage.delete(thumbnail_key(no_thumbnail.id))
    job = stored.job()
    unrecorded = stored.image_file(stored.job(JobState.UNKNOWN))
    orphan, leftover = stored.file(stray_key(job.id, 1)), stored.file(partial_key(job.id, 0))
    before = stored.all_keys()
    assert examine(settings) == 1
    output = capsys.readouterr().out
    assert stored.all_keys() == before
    for words in (
        f"row without a file: {missing.file_key}, image {missing.id} “” of ada",
        f"wrong hash: {altered.file_key}, image {altered.id} “” of ada",
        f"missing thumbnail: {no_thumbnail.file_key}, image {no_thumbnail.id}",
        f"paid image without a row: {unrecorded}",
        f"file without a row: {orphan}",
        f"file that is no longer needed: {leftover}",
    ):
        assert f"found: {words}" in output
    assert "repaired" not in output


def test_repair_fixes_what_it_can_and_lists_the_rest(
    settings: Settings, stored: StoredImages, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, no_thumbnail, *_ = stored.images(4)
    stored.storage.delete(missing.file_key)
    stored.storage.delete(thumbnail_key(no_thumbnail.id))
    job = stored.job()
    removed = {stored.file(stray_key(job.id, 1)), stored.file(partial_key(job.id, 0), old=False)}
    removed |= {
        stored.file(response_metadata_key(job), old=False),
        stored.file(thumbnail_key(new_id()), old=False),
    }
    young = stored.file(stray_key(stored.job().id, 0), old=False)
    assert examine(settings, repair=True) == 1
    output = capsys.readouterr().out
    assert removed.isdisjoint(stored.all_keys())
    assert {young, thumbnail_key(no_thumbnail.id)} < set(stored.all_keys())
    assert f"found: row without a file: {missing.file_key}" in output
    assert f"found: file without a row: {young}" in output

    stored.storage.put(missing.file_key, stored.storage.get(no_thumbnail.file_key))
    stored.storage.delete(young)
    assert examine(settings) == 1  # the file now holds another image's bytes
    assert "wrong hash" in capsys.readouterr().out


def test_repair_exits_with_0_when_nothing_remains(settings: Settings, stored: StoredImages) -> None:
    image = stored.image()
    stored.storage.delete(thumbnail_key(image.id))
    assert examine(settings, repair=True) == 0
    assert examine(settings) == 0


@pytest.mark.parametrize("state", [JobState.UNKNOWN, JobState.FAILED, JobState.CANCELLED])
def test_a_paid_image_without_a_row_is_added_to_the_gallery(
    settings: Settings, stored: StoredImages, state: JobState
) -> None:
    job = stored.job(state)
    key = stored.image_file(job)
    figures = ResponseMetadata(count=1, price_micros=7_000, input_tokens=5)
    stored.storage.put(response_metadata_key(job), figures.to_bytes())
    assert examine(settings, repair=True) == 0
    (image,) = stored.gallery.page(stored.user.id).images
    assert (image.file_key, image.price_micros, image.prompt) == (key, 7_000, "a fox in the snow")
    assert stored.state(job) == JobState.DONE
    assert stored.count_whole() == 1
    assert examine(settings, repair=True) == 0
    assert len(stored.gallery.page(stored.user.id).images) == 1


def test_two_images_of_one_job_are_added_and_counted_once(settings: Settings, stored: StoredImages) -> None:
    job = stored.job(JobState.UNKNOWN)
    for number in (0, 1):
        stored.file(stray_key(job.id, number), stored.storage.get(stored.image(colour=number).file_key))
    unknown = _record_call(job.id, stored, Outcome.UNKNOWN)
    assert examine(settings, repair=True) == 0
    with stored.database.read() as session:
        (call,) = session.exec(select(Usage).where(Usage.job_id == job.id)).all()
    assert (call.outcome, call.images, call.id == unknown) == (Outcome.OK, 2, False)


def _record_call(job_id: str, stored: StoredImages, outcome: Outcome) -> str:
    """Record a call with this outcome; returns the id of its usage row."""
    with stored.database.read() as session:
        job = session.get(Job, job_id)
    assert job
    UsageLog(stored.database).record_now(
        Call(job.owner_id, UsageKind.GENERATE, "m", False, job.created_at, 1.0, outcome, job_id=job_id)
    )
    with stored.database.read() as session:
        return session.exec(select(Usage.id)).one()


def test_a_damaged_image_of_an_unknown_job_is_copied_aside(settings: Settings, stored: StoredImages) -> None:
    job = stored.job(JobState.UNKNOWN)
    key = stored.file(stray_key(job.id, 0), b"not an image", old=False)
    examine(settings, repair=True)
    assert stored.storage.get(f"aside/{job.id}/1-0") == b"not an image"
    assert stored.state(job) == JobState.FAILED
    assert key in stored.all_keys()


def test_repair_removes_nothing_when_there_are_no_rows(
    settings: Settings, stored: StoredImages, capsys: pytest.CaptureFixture[str]
) -> None:
    stored.images(3)
    with stored.database.write() as session:
        session.execute(delete(Image))
    stored.age_all()
    before = stored.all_keys()
    assert examine(settings, repair=True) == 1
    assert stored.all_keys() == before
    assert "Nothing was removed" in capsys.readouterr().out


def test_the_doctor_works_while_the_app_runs(tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app:
        with closing(Database(f"sqlite:///{app.data_dir / 'atelier.db'}")) as database:
            stored = images_of_new_user(database, FolderStorage(app.data_dir / "files"))
            images = stored.images(3)
            stored.storage.delete(images[0].file_key)
        result = run_operator_command("doctor", "--repair", data_dir=app.data_dir)
        assert result.returncode == 1
        assert f"row without a file: {images[0].file_key}" in result.stdout
        assert "Images: 3 of 3" in result.stderr
        assert app.stop() in (0, -15)


def test_a_missing_database_and_one_of_another_version_are_reported(tmp_path: Path) -> None:
    result = run_operator_command("doctor", data_dir=tmp_path / "nothing")
    assert (result.returncode, "IMG-SET-001" in result.stderr) == (1, True)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "atelier.db").touch()
    result = run_operator_command("doctor", data_dir=tmp_path / "old")
    assert (result.returncode, "Start Atelier once" in result.stderr) == (1, True)
