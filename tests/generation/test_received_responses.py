"""A received response becomes an image despite a kill, an unreachable storage, a timeout or a stop."""

from __future__ import annotations

import base64
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import update
from sqlmodel import col

from core import errors
from core.common.clock import utc_now
from core.database.database import Database
from core.database.models import Image, Job, JobState, Usage, User
from core.generation.job_queue import Limits
from core.storage.folder import FolderStorage
from core.storage.keys import unreadable_response_key
from core.storage.spool import SPOOL_AGE, Spool, SpooledCall
from tests.support.crashing_worker import RECIPE
from tests.support.generation import ON_SQLITE, Studio, a_job
from tests.support.openai_service import Behaviour, plain_image
from tests.support.waiting import until

PNG = plain_image(RECIPE.prompt, "1024x1024")
ENCODED = base64.b64encode(PNG).decode()
JSON_BODY = json.dumps({"data": [{"b64_json": ENCODED}]}).encode()
EVENT = json.dumps({"type": "image_generation.completed", "b64_json": ENCODED})
STREAM_BODY = f"data: {EVENT}\n\n".encode()
JSON_HEADERS = {"content-type": "application/json", "x-request-id": "req_1"}
STREAM_HEADERS = {"content-type": "text/event-stream"}


class AwayStorage(FolderStorage):
    """A storage that can't be reached for images while `away` is true."""

    away = True

    def put(self, key: str, data: bytes) -> None:
        if self.away and key.startswith("images/"):
            raise errors.StorageUnreachable
        super().put(key, data)


class WaitingPreviews(FolderStorage):
    """A storage in which a preview isn't stored before `go` is set."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.go = threading.Event()
        self.put_previews = 0

    def put_preview(self, key: str, data: bytes) -> None:
        self.go.wait(60)
        super().put_preview(key, data)
        self.put_previews += 1


def spool_of(studio: Studio) -> Spool:
    return studio.jobs.worker.spool


def leave_in_spool(studio: Studio, job: Job, body: bytes, headers: dict[str, str], *, complete: bool) -> None:
    """Leave `body` in the spool, as a process does that is killed afterwards."""
    with spool_of(studio).open(SpooledCall(job.id, job.attempts), utc_now()) as file:
        file.begin(headers)
        file.write(body)
        if complete:
            file.finish()


def running_job(studio: Studio, user: User) -> Job:
    return a_job(studio.database, user, JobState.RUNNING)


@pytest.fixture
def stopped(make_studio: Callable[..., Studio], database: Database) -> Studio:
    return make_studio(database, started=False)


@pytest.mark.parametrize("complete", [True, False], ids=["to the end", "but for the end of the connection"])
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(JSON_BODY, JSON_HEADERS, id="json"),
        pytest.param(STREAM_BODY, STREAM_HEADERS, id="stream"),
    ],
)
def test_a_received_response_of_a_killed_process_is_an_image_after_the_start(
    stopped: Studio, user: User, body: bytes, headers: dict[str, str], *, complete: bool
) -> None:
    leave_in_spool(stopped, running_job(stopped, user), body, headers, complete=complete)
    stopped.jobs.recovery.settle_orphans()
    (image,) = stopped.rows(Image)
    assert stopped.job().state == JobState.DONE
    assert stopped.storage.get(image.file_key) == PNG
    assert [call.outcome for call in stopped.rows(Usage)] == ["ok"]
    assert (spool_of(stopped).calls(), stopped.paid()) == ((), 0)


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(JSON_BODY[:-5], JSON_HEADERS, id="json"),
        pytest.param(STREAM_BODY[:-5], STREAM_HEADERS, id="stream"),
    ],
)
@ON_SQLITE
def test_a_response_that_was_cut_by_a_kill_is_unknown_and_set_aside(
    stopped: Studio, user: User, body: bytes, headers: dict[str, str]
) -> None:
    job = running_job(stopped, user)
    leave_in_spool(stopped, job, body, headers, complete=False)
    stopped.jobs.recovery.settle_orphans()
    assert stopped.job().state == JobState.UNKNOWN
    assert stopped.storage.get(unreadable_response_key(job)) == body
    assert (spool_of(stopped).calls(), stopped.rows(Image)) == ((), [])


def test_a_response_that_could_not_be_stored_is_stored_at_the_next_start(
    make_studio: Callable[..., Studio], database: Database, tmp_path: Path, user: User
) -> None:
    storage = AwayStorage(tmp_path / "files")
    studio = make_studio(database, storage=storage)
    studio.jobs.submit(user.id, [RECIPE])
    until(lambda: spool_of(studio).calls() and spool_of(studio).read(spool_of(studio).calls()[0]).complete)
    assert not studio.jobs.stop(grace_seconds=0)
    storage.away = False
    second = make_studio(database)
    assert second.job().state == JobState.DONE
    assert second.paid() == len(second.rows(Image)) == 1


@ON_SQLITE
def test_a_stop_waits_for_a_response_that_is_still_to_be_stored(
    make_studio: Callable[..., Studio],
    database: Database,
    tmp_path: Path,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.generation.worker.STORE_RETRY_SECONDS", (0.05,))
    storage = AwayStorage(tmp_path / "files")
    studio = make_studio(database, storage=storage)
    studio.jobs.submit(user.id, [RECIPE])
    until(lambda: studio.paid() and spool_of(studio).calls())
    assert not studio.jobs._dispatcher.stop(0.2)
    storage.away = False
    assert studio.jobs.stop(grace_seconds=20)
    assert (studio.job().state, len(studio.rows(Image))) == (JobState.DONE, 1)


@ON_SQLITE
def test_a_late_response_is_kept_and_holds_up_no_other_job(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(
        database, settings={"partial_images": 0, "image_timeout": 0.2}, limits=Limits(at_once=1)
    )
    studio.service.script(Behaviour(hold="start"), Behaviour())
    studio.jobs.submit(user.id, [RECIPE])
    until(lambda: studio.job().state == JobState.UNKNOWN)
    assert studio.job().error.code == errors.ResponseTimeout.code
    studio.jobs.submit(user.id, [replace(RECIPE, prompt="another fox")])
    until(lambda: len(studio.rows(Image)) == 1)
    studio.service.let_go()
    until(lambda: len(studio.rows(Image)) == 2)
    assert until(lambda: {job.state for job in studio.rows(Job)} == {JobState.DONE})
    assert [call.outcome for call in studio.rows(Usage)] == ["ok", "ok"]
    assert studio.paid() == 2


@ON_SQLITE
def test_a_response_is_received_while_its_preview_waits_for_the_storage(
    make_studio: Callable[..., Studio], database: Database, tmp_path: Path, user: User
) -> None:
    storage = WaitingPreviews(tmp_path / "files")
    studio = make_studio(database, storage=storage, settings={"partial_images": 1})
    studio.jobs.submit(user.id, [RECIPE])
    assert studio.ended().state == JobState.DONE
    assert not storage.go.is_set()
    storage.go.set()
    until(lambda: storage.put_previews == 1 and not storage.list("partials"))


@ON_SQLITE
def test_an_image_is_made_without_a_spool_if_its_disk_fails(stopped: Studio, user: User) -> None:
    shutil.rmtree(stopped.folder / "spool")
    stopped.jobs.submit(user.id, [RECIPE])
    stopped.work()
    assert (stopped.job().state, len(stopped.rows(Image))) == (JobState.DONE, 1)


@ON_SQLITE
def test_a_call_that_still_runs_is_left_alone(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database)
    studio.service.script(Behaviour(hold="middle"))
    studio.jobs.submit(user.id, [RECIPE])
    until(lambda: spool_of(studio).calls())
    studio.jobs.recovery.live_processes = lambda: frozenset(job.process for job in studio.rows(Job))
    studio.jobs.recovery.settle_orphans()
    assert studio.job().state == JobState.RUNNING
    studio.service.let_go()
    assert studio.ended().state == JobState.DONE
    until(lambda: not spool_of(studio).calls())
    assert len(studio.rows(Image)) == 1


@pytest.mark.parametrize(
    ("further_attempts", "state"),
    [
        pytest.param(0, JobState.UNKNOWN, id="ended by another process"),
        pytest.param(1, JobState.QUEUED, id="to be sent again"),
        pytest.param(0, JobState.DONE, id="killed before the file was removed"),
    ],
)
def test_a_spooled_response_is_an_image_whatever_became_of_its_job(
    stopped: Studio, user: User, further_attempts: int, state: JobState
) -> None:
    job = running_job(stopped, user)
    if state == JobState.DONE:
        leave_in_spool(stopped, job, JSON_BODY, JSON_HEADERS, complete=True)
        stopped.jobs.recovery.settle_orphans()
    leave_in_spool(stopped, job, JSON_BODY, JSON_HEADERS, complete=True)
    attempts = job.attempts + further_attempts
    with stopped.database.write() as session:
        session.execute(update(Job).where(col(Job.id) == job.id).values(attempts=attempts, state=state))
    stopped.jobs.recovery.settle_orphans()
    assert len(stopped.rows(Image)) == 1
    assert spool_of(stopped).calls() == ()


@ON_SQLITE
def test_a_response_of_an_ended_job_that_is_still_arriving_is_kept_until_it_is_whole(
    stopped: Studio, user: User
) -> None:
    job = a_job(stopped.database, user, JobState.UNKNOWN)
    with spool_of(stopped).open(SpooledCall(job.id, job.attempts), utc_now()) as file:
        file.begin(JSON_HEADERS)
        file.write(JSON_BODY[:-5])
        for _ in range(2):
            stopped.jobs.recovery.settle_orphans()
        assert (stopped.job().state, len(spool_of(stopped).calls())) == (JobState.UNKNOWN, 1)
        file.write(JSON_BODY[-5:])
    stopped.jobs.recovery.settle_orphans()
    assert (stopped.job().state, spool_of(stopped).calls()) == (JobState.DONE, ())


@ON_SQLITE
def test_an_image_at_an_address_that_fails_for_a_while_is_downloaded_not_bought_again(
    make_studio: Callable[..., Studio],
    database: Database,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.provider.image_download.RETRY_PAUSES", (0.01,))
    studio = make_studio(database, started=False)
    studio.service.script(Behaviour(image_urls=("/pictures/missing.png",)))
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    assert studio.job().error.code == errors.ImageNotDownloaded.code
    studio.jobs.recovery.adopt_late_images()
    assert studio.job().state == JobState.FAILED
    (job,) = studio.rows(Job)
    body = studio.storage.get(unreadable_response_key(job)).replace(b"missing", b"there")
    studio.storage.put(unreadable_response_key(job), body)
    studio.jobs.retry(user.id, job.id)
    assert (studio.job().state, len(studio.rows(Image)), studio.paid()) == (JobState.DONE, 1, 1)


@ON_SQLITE
def test_a_kill_while_an_image_is_downloaded_leaves_no_unknown_outcome(
    stopped: Studio, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.provider.image_download.RETRY_PAUSES", (0.01,))
    for address in ("/pictures/missing.png", "/pictures/there.png"):
        body = json.dumps({"data": [{"url": f"{stopped.service.origin}{address}"}]}).encode()
        leave_in_spool(stopped, running_job(stopped, user), body, JSON_HEADERS, complete=True)
    stopped.jobs.recovery.settle_orphans()
    found = {job.state: job.error for job in stopped.rows(Job)}
    assert set(found) == {JobState.DONE, JobState.FAILED}
    assert found[JobState.FAILED]["code"] == errors.ImageNotDownloaded.code


@ON_SQLITE
def test_an_unreadable_response_is_read_again_before_another_image_is_bought(
    stopped: Studio, user: User
) -> None:
    job = a_job(stopped.database, user, JobState.FAILED)
    stopped.storage.put(unreadable_response_key(job), JSON_BODY)
    stopped.jobs.retry(user.id, job.id)
    assert (stopped.job().state, len(stopped.rows(Image)), len(stopped.rows(Job))) == (JobState.DONE, 1, 1)


@ON_SQLITE
def test_old_responses_are_removed_and_damaged_ones_harm_nothing(stopped: Studio, user: User) -> None:
    job = running_job(stopped, user)
    (stopped.folder / "spool" / f"{job.id}.0.complete").write_bytes(b"\xff not a response")
    (stopped.folder / "spool" / "what.ever").write_bytes(b"")
    stopped.jobs.recovery.settle_orphans()
    assert stopped.job().state == JobState.UNKNOWN
    leave_in_spool(stopped, Job(id="gone", batch_id="b", owner_id="o", request={}), b"", {}, complete=True)
    spool_of(stopped).remove_old()
    assert len(spool_of(stopped).calls()) == 1
    later = utc_now() + SPOOL_AGE + timedelta(hours=1)
    Spool(stopped.folder / "spool", clock=lambda: later).remove_old()
    assert spool_of(stopped).calls() == ()
