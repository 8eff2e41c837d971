"""The doctor names what doesn't fit, mends what can be mended, and loses nothing that was paid for."""

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
from core.generation.ingest import Figures
from core.maintenance import doctor
from core.settings import Settings, load_settings
from core.storage.folder import FolderStorage
from core.storage.keys import answer_figures_key, partial_key, thumbnail_key
from core.usage.usage_log import Call, Outcome, UsageLog
from tests.support.app_process import AppProcess
from tests.support.stored_images import Shelf, a_shelf, installation, run_operator_command, stray_key


@pytest.fixture
def settings(tmp_path: Path, database_url: str) -> Settings:
    """An installation's, with its database on either engine."""
    folder = installation(tmp_path / "data").data_dir
    return load_settings(data_dir=folder, database_url=database_url)


@pytest.fixture
def shelf(settings: Settings) -> Iterator[Shelf]:
    with closing(Database(settings.database_url or "")) as database:
        yield a_shelf(database, FolderStorage(settings.data_dir / "files"))


def examine(settings: Settings, *, repair: bool = False) -> int:
    with doctor.opened(settings, repair=repair) as opened:
        return opened.examine()


def test_a_whole_installation_is_in_order(
    settings: Settings, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.images(3)
    assert examine(settings) == 0
    assert capsys.readouterr().out == "Everything is in order.\n"


def test_each_kind_of_damage_is_listed_and_nothing_is_changed(
    settings: Settings, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, altered, bare = shelf.images(3)
    shelf.storage.delete(missing.file_key)
    shelf.storage.put(altered.file_key, b"other bytes")
    shelf.storage.delete(thumbnail_key(bare.id))
    job = shelf.job()
    waiting = shelf.bytes_of(shelf.job(JobState.UNKNOWN))
    orphan, left = shelf.file(stray_key(job.id, 1)), shelf.file(partial_key(job.id, 0))
    before = shelf.listed()
    assert examine(settings) == 1
    said = capsys.readouterr().out
    assert shelf.listed() == before
    for words in (
        f"row without a file: {missing.file_key}, image {missing.id} “” of ada",
        f"wrong hash: {altered.file_key}, image {altered.id} “” of ada",
        f"missing thumbnail: {bare.file_key}, image {bare.id}",
        f"file without a row, of a job without an image: {waiting}",
        f"file without a row: {orphan}",
        f"left over: {left}",
    ):
        assert f"found: {words}" in said
    assert "mended" not in said


def test_repair_mends_what_can_be_mended_and_names_what_remains(
    settings: Settings, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    missing, bare, *_ = shelf.images(4)
    shelf.storage.delete(missing.file_key)
    shelf.storage.delete(thumbnail_key(bare.id))
    job = shelf.job()
    removed = {shelf.file(stray_key(job.id, 1)), shelf.file(partial_key(job.id, 0), old=False)}
    removed |= {
        shelf.file(answer_figures_key(job), old=False),
        shelf.file(thumbnail_key(new_id()), old=False),
    }
    young = shelf.file(stray_key(shelf.job().id, 0), old=False)
    assert examine(settings, repair=True) == 1
    said = capsys.readouterr().out
    assert removed.isdisjoint(shelf.listed())
    assert {young, thumbnail_key(bare.id)} < set(shelf.listed())
    assert f"found: row without a file: {missing.file_key}" in said
    assert f"found: file without a row: {young}" in said

    shelf.storage.put(missing.file_key, shelf.storage.get(bare.file_key))
    shelf.storage.delete(young)
    assert examine(settings) == 1  # that is another picture's file
    assert "wrong hash" in capsys.readouterr().out


def test_repair_that_mends_everything_says_so(settings: Settings, shelf: Shelf) -> None:
    image = shelf.image()
    shelf.storage.delete(thumbnail_key(image.id))
    assert examine(settings, repair=True) == 0
    assert examine(settings) == 0


@pytest.mark.parametrize("state", [JobState.UNKNOWN, JobState.FAILED, JobState.CANCELLED])
def test_a_paid_picture_that_was_never_entered_comes_into_the_gallery(
    settings: Settings, shelf: Shelf, state: JobState
) -> None:
    job = shelf.job(state)
    key = shelf.bytes_of(job)
    answer = Figures(count=1, price_micros=7_000, input_tokens=5)
    shelf.storage.put(answer_figures_key(job), answer.to_bytes())
    assert examine(settings, repair=True) == 0
    (image,) = shelf.gallery.page(shelf.user.id).images
    assert (image.file_key, image.price_micros, image.prompt) == (key, 7_000, "a fox in the snow")
    assert shelf.state(job) == JobState.DONE
    assert shelf.all_right() == 1
    assert examine(settings, repair=True) == 0
    assert len(shelf.gallery.page(shelf.user.id).images) == 1


def test_two_pictures_of_one_job_are_entered_and_counted_once(settings: Settings, shelf: Shelf) -> None:
    job = shelf.job(JobState.UNKNOWN)
    for number in (0, 1):
        shelf.file(stray_key(job.id, number), shelf.storage.get(shelf.image(colour=number).file_key))
    unknown = _call(job.id, shelf, Outcome.UNKNOWN)
    assert examine(settings, repair=True) == 0
    with shelf.database.read() as session:
        (call,) = session.exec(select(Usage).where(Usage.job_id == job.id)).all()
    assert (call.outcome, call.images, call.id == unknown) == (Outcome.OK, 2, False)


def _call(job_id: str, shelf: Shelf, outcome: Outcome) -> str:
    """The usage row of the call of which nobody knew the outcome."""
    with shelf.database.read() as session:
        job = session.get(Job, job_id)
    assert job
    UsageLog(shelf.database).record_now(
        Call(job.owner_id, UsageKind.GENERATE, "m", False, job.created_at, 1.0, outcome, job_id=job_id)
    )
    with shelf.database.read() as session:
        return session.exec(select(Usage.id)).one()


def test_damaged_bytes_of_an_unknown_job_are_put_aside(settings: Settings, shelf: Shelf) -> None:
    job = shelf.job(JobState.UNKNOWN)
    key = shelf.file(stray_key(job.id, 0), b"no picture", old=False)
    examine(settings, repair=True)
    assert shelf.storage.get(f"aside/{job.id}/1-0") == b"no picture"
    assert shelf.state(job) == JobState.FAILED
    assert key in shelf.listed()


def test_repair_without_any_row_removes_nothing(
    settings: Settings, shelf: Shelf, capsys: pytest.CaptureFixture[str]
) -> None:
    shelf.images(3)
    with shelf.database.write() as session:
        session.execute(delete(Image))
    shelf.age_all()
    before = shelf.listed()
    assert examine(settings, repair=True) == 1
    assert shelf.listed() == before
    assert "Nothing was removed" in capsys.readouterr().out


def test_the_doctor_works_while_the_app_runs(tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app:
        with closing(Database(f"sqlite:///{app.data_dir / 'atelier.db'}")) as database:
            shelf = a_shelf(database, FolderStorage(app.data_dir / "files"))
            images = shelf.images(3)
            shelf.storage.delete(images[0].file_key)
        said = run_operator_command("doctor", "--repair", data_dir=app.data_dir)
        assert said.returncode == 1
        assert f"row without a file: {images[0].file_key}" in said.stdout
        assert "Images: 3 of 3" in said.stderr
        assert app.stop() in (0, -15)


def test_a_folder_without_a_database_and_one_of_another_version_are_named(tmp_path: Path) -> None:
    said = run_operator_command("doctor", data_dir=tmp_path / "nothing")
    assert (said.returncode, "IMG-SET-001" in said.stderr) == (1, True)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "atelier.db").touch()
    said = run_operator_command("doctor", data_dir=tmp_path / "old")
    assert (said.returncode, "Start Atelier once" in said.stderr) == (1, True)
