"""A process that ended in the middle of its work: what it had paid for is kept, and nothing stays stuck."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from app import EXIT_CANT_START
from core import bootstrap, errors
from core.database.database import Database
from core.database.models import Image, Job, JobState, Usage, User
from core.generation.ingest import ResponseMetadata
from core.settings import load_settings
from core.storage.folder import FolderStorage
from core.storage.keys import image_key, response_metadata_key
from core.storage.s3 import S3Storage
from pages.ui.error_panel import cost_text
from tests.support.app_process import AppProcess
from tests.support.crashing_worker import RECIPE, Plan
from tests.support.generation import ON_SQLITE, Studio, a_job, run_until_killed
from tests.support.openai_service import plain_image


@pytest.mark.parametrize(
    ("database_url", "storage", "moment", "state", "images", "paid"),
    [
        pytest.param("sqlite", "folder", "queued", JobState.DONE, 1, 1, id="before it was taken up"),
        pytest.param("sqlite", "folder", "leaving", JobState.UNKNOWN, 0, 0, id="before the call left"),
        pytest.param("sqlite", "folder", "never", JobState.UNKNOWN, 0, 1, id="during the call"),
        pytest.param("sqlite", "folder", "received", JobState.DONE, 1, 1, id="before the bytes are stored"),
        pytest.param("sqlite", "folder", "bytes", JobState.DONE, 1, 1, id="after the bytes"),
        pytest.param("sqlite", "folder", "answer", JobState.DONE, 1, 1, id="before the row"),
        pytest.param("sqlite", "folder", "committed", JobState.DONE, 1, 1, id="after the commit"),
        pytest.param("postgresql", "folder", "never", JobState.UNKNOWN, 0, 1, id="PostgreSQL, in the call"),
        pytest.param("postgresql", "folder", "answer", JobState.DONE, 1, 1, id="PostgreSQL, before the row"),
        pytest.param("sqlite", "bucket", "never", JobState.UNKNOWN, 0, 1, id="bucket, during the call"),
        pytest.param("sqlite", "bucket", "received", JobState.DONE, 1, 1, id="bucket, before the bytes"),
        pytest.param("sqlite", "bucket", "bytes", JobState.DONE, 1, 1, id="bucket, after the bytes"),
        pytest.param("postgresql", "bucket", "answer", JobState.DONE, 1, 1, id="bucket, before the row"),
    ],
    indirect=["database_url", "storage"],
)
def test_a_killed_process_loses_no_image_and_pays_for_none_twice(
    request: pytest.FixtureRequest,
    make_studio: Callable[..., Studio],
    database: Database,
    tmp_path: Path,
    user: User,
    moment: str,
    state: JobState,
    images: int,
    paid: int,
) -> None:
    studio = make_studio(database, started=False)
    url = database.url.render_as_string(hide_password=False)
    in_bucket = isinstance(studio.storage, S3Storage)
    bucket = request.getfixturevalue("bucket_settings") if in_bucket else None
    plan = Plan(url, str(tmp_path), studio.service.base_url, user.id, moment, bucket)
    run_until_killed(studio, plan)
    studio.jobs.start()
    job = studio.ended()
    assert job.state == state
    assert len(studio.rows(Image)) == len(job.image_ids) == images
    assert studio.paid() == paid
    assert [call.outcome for call in studio.rows(Usage)] == ["ok" if images else "unknown"]
    if images:
        (image,) = studio.rows(Image)
        assert studio.storage.get(image.file_key) == plain_image(RECIPE.prompt, "1024x1024")
    else:
        assert job.error is not None
        assert not job.error.retryable
    with pytest.raises(errors.ImageNotFound):
        studio.jobs.partial(user.id, job.id, 0)


# What was left is settled job by job


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.generation.worker.SETTLE_RETRY_SECONDS", (0.01, 0.01))


def left_running(studio: Studio, user: User) -> Job:
    """A job whose process died when its picture and the answer's figures were on disk."""
    job = a_job(studio.database, user, JobState.RUNNING)
    studio.storage.put(image_key(job, 0), plain_image(RECIPE.prompt, "1024x1024"))
    studio.storage.put(
        response_metadata_key(job), ResponseMetadata(count=1, request_id="req_1", price_micros=7).to_bytes()
    )
    return job


def states(studio: Studio) -> dict[str, str]:
    return {job.id: job.state for job in studio.rows(Job)}


@pytest.mark.parametrize(
    "figures",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b'{"count": 1, "revised', id="cut off"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"count": "many"}', id="wrong type"),
        pytest.param(b'{"count": 1, "mood": 2}', id="of another version"),
        pytest.param(b"\xff\xfe", id="not text"),
    ],
)
def test_damaged_figures_cost_no_picture_and_no_other_job(
    make_studio: Callable[..., Studio], database: Database, user: User, figures: bytes
) -> None:
    studio = make_studio(database, started=False)
    damaged, whole = left_running(studio, user), left_running(studio, user)
    studio.storage.put(response_metadata_key(damaged), figures)
    studio.jobs.start()
    assert states(studio) == {damaged.id: JobState.DONE, whole.id: JobState.DONE}
    prices = {image.job_id: image.price_micros for image in studio.rows(Image)}
    assert prices == {damaged.id: None, whole.id: 7}


def unreadable(studio: Studio, job: Job) -> None:
    """A link to itself: whoever opens it fails, root too, as on a damaged disk."""
    file = studio.storage.root / image_key(job, 0)
    file.unlink()
    file.symlink_to(file.name)


@ON_SQLITE
def test_a_picture_of_another_versions_job_is_kept_and_shown(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    job = left_running(studio, user)
    with studio.database.write() as session:
        session.execute(update(Job).where(col(Job.id) == job.id).values(request={"mood": "later"}))
    studio.jobs.start()
    (image,), (shown,) = studio.rows(Image), studio.jobs.recent(user.id)
    assert (shown.state, shown.image_ids) == (JobState.DONE, (image.id,))


@ON_SQLITE
@pytest.mark.usefixtures("quick")
def test_a_job_that_can_not_be_settled_ends_and_stops_nothing(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    damaged, whole = left_running(studio, user), left_running(studio, user)
    unreadable(studio, damaged)
    studio.jobs.start()
    assert states(studio) == {damaged.id: JobState.UNKNOWN, whole.id: JobState.DONE}
    assert studio.storage.exists(response_metadata_key(damaged))  # nothing that was paid for is thrown away
    assert {call.job_id: call.outcome for call in studio.rows(Usage)} == {
        damaged.id: "unknown",
        whole.id: "ok",
    }


@ON_SQLITE
def test_a_picture_of_the_offline_engine_that_is_cut_off_costs_nothing_and_says_so(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.offline = True
    a_job(database, user, JobState.RUNNING)
    studio.jobs.start()
    job = studio.job()
    assert job.error is not None
    assert (job.state, job.error.code) == (JobState.UNKNOWN, "IMG-GEN-UNKNOWN-001")
    assert "charged" not in job.error.message
    assert cost_text(job.error) == "This cost nothing."
    assert "free" in job.error.suggestions[0]


class FullStorage(FolderStorage):
    """A disk without any room left."""

    def put(self, key: str, data: bytes) -> None:
        raise errors.StorageFull


@pytest.mark.usefixtures("quick")
def test_a_full_disk_ends_the_start_and_loses_nothing(
    make_studio: Callable[..., Studio], database: Database, tmp_path: Path, user: User
) -> None:
    studio = make_studio(database, started=False)
    job = left_running(studio, user)
    studio.storage.delete(response_metadata_key(job))
    full = make_studio(database, started=False, storage=FullStorage(tmp_path / "files"))
    with pytest.raises(errors.StorageFull):
        full.jobs.start()
    assert states(studio) == {job.id: JobState.RUNNING}
    studio.jobs.start()
    assert states(studio) == {job.id: JobState.DONE}


@pytest.mark.parametrize("room", [0, 20, 32])
def test_an_app_on_a_full_disk_says_so_and_exits(
    tmp_path: Path, make_disk: Callable[[str], Path], room: int
) -> None:
    """`room` in KB is what the disk has left for an app that was cut off in the middle of a job."""
    disk = make_disk("4m")
    studio = bootstrap.build(load_settings(data_dir=disk / "data"))
    with studio.database.write() as session:
        user = User(username="ada", display_name="Ada", password_hash="!")
        session.add(user)
    job = a_job(studio.database, user, JobState.RUNNING)
    studio.storage.put(image_key(job, 0), plain_image(RECIPE.prompt, "1024x1024"))
    studio.close()
    fill(disk, leave=room * 1024)
    process = AppProcess(tmp_path, data_dir=disk / "data")
    process.spawn()
    assert process.wait() == EXIT_CANT_START
    assert errors.StorageFull.code in process.output
    assert "Traceback" not in process.output
    (disk / "ballast").unlink()
    with process:
        found = Database(f"sqlite:///{disk / 'data' / 'atelier.db'}")
        with found.read() as session:
            assert session.exec(select(Job.state)).all() == [JobState.DONE]
        found.close()


def fill(disk: Path, *, leave: int) -> None:
    """Take all room on `disk` but `leave` bytes."""
    room = os.statvfs(disk)
    (disk / "ballast").write_bytes(bytes(room.f_bavail * room.f_frsize - leave))
