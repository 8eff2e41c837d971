"""What was submitted is made once, paid once and kept, whatever happens to the page or the process."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event
from sqlmodel import select

from core import bootstrap, errors
from core.client import ImageClient
from core.database import Database
from core.gallery import Gallery
from core.jobs import Jobs, JobView
from core.models import Image, Job, JobState, Usage, User, new_id
from core.offline import OfflineTransport
from core.recipe import Recipe
from core.settings import load_settings
from core.storage import Storage
from core.usage import UsageLog
from core.worker import Worker, answer_key, image_key
from tests.crashing import RECIPE, Plan
from tests.openai_service import REQUEST_ID, Behaviour, OpenAIService, openai_service, picture
from tests.polling import until
from tests.process import ROOT

# For promises that don't depend on the engine of the database.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def shared_service() -> Iterator[OpenAIService]:
    with openai_service() as service:
        yield service


@pytest.fixture
def service(shared_service: OpenAIService) -> OpenAIService:
    shared_service.reset()
    return shared_service


@dataclass
class Studio:
    """Jobs at the loopback service, and what they left in the tables."""

    database: Database
    folder: Path
    service: OpenAIService
    storage: Storage
    settings: dict[str, Any] = field(default_factory=lambda: {"partial_images": 0})
    jobs: Jobs = field(init=False)

    def __post_init__(self) -> None:
        settings = load_settings(openai_base_url=self.service.base_url, **self.settings)
        gallery, usage = Gallery(self.database, self.storage), UsageLog(self.database)
        worker = Worker(self.database, self.storage, gallery, usage, ImageClient(settings), b"secret")
        self.jobs = Jobs(self.database, self.storage, worker, f"sqlite:///{self.folder / 'queue.db'}")

    def close(self) -> None:
        self.jobs.stop(grace_seconds=0)
        self.jobs.worker.client.close()

    def rows(self, table: Any) -> list[Any]:
        with self.database.read() as session:
            return list(session.exec(select(table)))

    def job(self) -> JobView:
        """The only job there is."""
        (row,) = self.rows(Job)
        return next(view for view in self.jobs.recent(row.owner_id) if view.id == row.id)

    def ended(self) -> JobView:
        return until(lambda: (job := self.job()).finished_at and job)

    def paid(self) -> int:
        return len(self.service.asked("/images/generations"))


@pytest.fixture
def make_studio(tmp_path: Path, service: OpenAIService, storage: Storage) -> Iterator[Callable[..., Studio]]:
    made: list[Studio] = []

    def make(database: Database, *, started: bool = True, **changes: Any) -> Studio:
        fields = {"folder": tmp_path, "service": service, "storage": storage, **changes}
        studio = Studio(database, **fields)
        made.append(studio)
        if started:
            studio.jobs.start()
        return studio

    yield make
    for studio in made:
        studio.close()


@pytest.fixture
def studio(make_studio: Callable[..., Studio], database: Database) -> Studio:
    return make_studio(database)


# Done


def test_a_job_ends_with_image_and_usage_at_once(studio: Studio, user: User, storage: Storage) -> None:
    batch = studio.jobs.submit(user.id, RECIPE, 1)
    job = studio.ended()
    assert (job.state, job.batch_id, job.error) == (JobState.DONE, batch, None)
    (image,), (call,) = studio.rows(Image), studio.rows(Usage)
    assert job.image_ids == (image.id,)
    assert (image.owner_id, image.job_id, image.prompt) == (user.id, job.id, RECIPE.prompt)
    assert storage.get(image.file_key) == picture(RECIPE.prompt, "1024x1024")
    assert (call.outcome, call.kind, call.job_id, call.images) == ("ok", "generate", job.id, 1)
    assert (call.request_id, call.input_tokens, call.output_tokens) == (REQUEST_ID, 20, 200)
    assert call.price_micros == image.price_micros
    assert studio.paid() == 1
    until(lambda: not storage.exists(answer_key(job.id)))


def test_row_usage_and_end_are_one_commit(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.usage = BrokenUsage(database)
    studio.jobs.submit(user.id, RECIPE, 1)
    with pytest.raises(ZeroDivisionError):
        studio.jobs.worker.run(studio.job().id)
    assert studio.job().state == JobState.RUNNING
    assert studio.rows(Image) == []


class BrokenUsage(UsageLog):
    def record(self, *_: object) -> None:
        raise ZeroDivisionError


@ON_SQLITE
def test_a_batch_is_many_jobs_each_with_one_image(studio: Studio, user: User) -> None:
    batch = studio.jobs.submit(user.id, RECIPE, 3)
    views = until(
        lambda: (found := studio.jobs.recent(user.id)) and all(not v.is_live for v in found) and found
    )
    assert [(view.batch_id, view.position, view.state) for view in views] == [
        (batch, position, JobState.DONE) for position in range(3)
    ]
    assert len({view.image_ids for view in views}) == 3
    assert studio.paid() == 3


def test_the_offline_engine_makes_it_too(sqlite_database: Database, storage: Storage, tmp_path: Path) -> None:
    with sqlite_database.write() as session:
        user = User(username="ada", display_name="Ada", password_hash="!")
        session.add(user)
    client = ImageClient(load_settings(), transport=OfflineTransport(seed=1))
    gallery, usage = Gallery(sqlite_database, storage), UsageLog(sqlite_database)
    url = f"sqlite:///{tmp_path / 'queue.db'}"
    worker = Worker(sqlite_database, storage, gallery, usage, client, b"s", offline=True)
    jobs = Jobs(sqlite_database, storage, worker, url)
    jobs.submit(user.id, Recipe(prompt="a fox", model="offline-painter", size="256x256"), 1)
    (job,) = jobs.recent(user.id)
    worker.run(job.id)
    (job,) = jobs.recent(user.id)
    assert job.state == JobState.DONE
    image = gallery.get(user.id, job.image_ids[0])
    assert (image.offline, image.price_micros, image.width) == (True, 0, 256)
    client.close()


# Once


def test_clicks_at_once_are_one_batch(studio: Studio, user: User) -> None:
    with ThreadPoolExecutor(8) as pool:
        batches = set(pool.map(lambda _: studio.jobs.submit(user.id, RECIPE, 1), range(8)))
    assert len(batches) == 1
    assert studio.ended().state == JobState.DONE
    assert studio.paid() == 1


@ON_SQLITE
def test_two_people_with_one_recipe_get_one_each(studio: Studio, user: User, other_user: User) -> None:
    first, second = (studio.jobs.submit(owner.id, RECIPE, 1) for owner in (user, other_user))
    assert first != second
    for owner in (user, other_user):
        until(lambda owner=owner: studio.jobs.recent(owner.id)[0].image_ids)
    assert studio.paid() == 2


@ON_SQLITE
def test_another_recipe_is_another_batch(studio: Studio, user: User) -> None:
    first = studio.jobs.submit(user.id, RECIPE, 1)
    assert studio.jobs.submit(user.id, replace(RECIPE, prompt="an owl"), 1) != first


def test_a_job_that_is_run_at_once_by_many_is_paid_once(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.submit(user.id, RECIPE, 1)
    job = studio.job()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: studio.jobs.worker.run(job.id), range(8)))
    assert studio.job().state == JobState.DONE
    assert studio.paid() == 1


# Partial pictures


@ON_SQLITE
def test_partial_pictures_are_the_owners_while_the_job_runs(
    make_studio: Callable[..., Studio], database: Database, storage: Storage, user: User, other_user: User
) -> None:
    with openai_service() as service:
        service.script("stall")
        studio = make_studio(database, settings={"partial_images": 2}, service=service)
        studio.jobs.submit(user.id, RECIPE, 1)
        job = until(lambda: (job := studio.job()).partials and job)
        assert studio.jobs.partial(user.id, job.id, 0).startswith(b"\x89PNG")
        for owner, number in ((other_user.id, 0), (user.id, 9), (user.id, -1)):
            with pytest.raises(errors.ImageNotFound):
                studio.jobs.partial(owner, job.id, number)
    assert studio.ended().id == job.id
    with pytest.raises(errors.ImageNotFound):
        studio.jobs.partial(user.id, job.id, 0)
    until(lambda: not storage.list(f"partials/{job.id}"))


@pytest.mark.parametrize("job_id", ["", "made-up", "../secret", "\0", "x" * 500])
def test_a_made_up_job_is_not_found(
    make_studio: Callable[..., Studio], database: Database, user: User, job_id: str
) -> None:
    jobs = make_studio(database, started=False).jobs
    for verb in (lambda: jobs.partial(user.id, job_id, 0), lambda: jobs.retry(user.id, job_id)):
        with pytest.raises(errors.ImageNotFound):
            verb()


# Failures


@pytest.mark.parametrize(
    ("behaviour", "expected", "state", "outcome"),
    [
        pytest.param("moderation", errors.PromptBlocked, JobState.FAILED, "failed", id="blocked"),
        pytest.param("quota spent", errors.QuotaSpent, JobState.FAILED, "failed", id="quota"),
        pytest.param("html", errors.BadAnswer, JobState.FAILED, "failed", id="a web page"),
        pytest.param("dropped", errors.OutcomeUnknown, JobState.UNKNOWN, "unknown", id="line cut"),
        pytest.param("gateway timeout", errors.OutcomeUnknown, JobState.UNKNOWN, "unknown", id="gateway"),
    ],
)
def test_a_failure_is_kept_with_all_that_helps(
    make_studio: Callable[..., Studio],
    database: Database,
    user: User,
    behaviour: str,
    expected: type[errors.ImageError],
    state: JobState,
    outcome: str,
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script(behaviour)
    studio.jobs.submit(user.id, RECIPE, 1)
    studio.jobs.worker.run(studio.job().id)
    job = studio.job()
    assert job.state == state
    assert job.error is not None
    assert job.error.code == expected.code
    assert job.error.suggestions == expected.suggestions
    assert job.error.retryable == expected.retryable
    assert job.error.details
    (call,) = studio.rows(Usage)
    assert (call.outcome, call.error_code, call.images) == (outcome, expected.code, 0)
    assert studio.rows(Image) == []
    assert studio.paid() == 1


def test_an_unreachable_service_is_no_unknown_outcome(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.client = ImageClient(load_settings(openai_base_url="http://127.0.0.1:9/v1"))
    studio.jobs.submit(user.id, RECIPE, 1)
    studio.jobs.worker.run(studio.job().id)
    assert (studio.job().state, studio.job().error.code) == (JobState.FAILED, "IMG-GEN-CONN-001")
    studio.jobs.worker.client.close()


def test_a_fault_before_the_call_leaves_is_no_unknown_outcome(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    with database.write() as session:
        session.add(Job(id="j", batch_id="b", owner_id=user.id, request={"model": "m", "mood": "later"}))
    studio.jobs.worker.run("j")
    (job,), (call,) = studio.rows(Job), studio.rows(Usage)
    assert (job.state, job.error["code"]) == (JobState.FAILED, "IMG-GEN-FAIL-001")
    assert call.outcome == "failed"
    assert studio.paid() == 0


def test_a_fault_of_ours_during_the_call_is_an_unknown_outcome(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.client = ImageClient(
        load_settings(openai_base_url="http://x.invalid"), transport=Broken()
    )
    studio.jobs.submit(user.id, RECIPE, 1)
    studio.jobs.worker.run(studio.job().id)
    assert studio.job().state == JobState.UNKNOWN
    studio.jobs.worker.client.close()


class Broken(OfflineTransport):
    def handle_request(self, request: object) -> Any:
        raise ZeroDivisionError


def test_a_claim_that_fails_is_made_again(
    make_studio: Callable[..., Studio], sqlite_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.worker.RETRY_KEEP_SECONDS", (0.05,))
    user = a_user(sqlite_database)
    studio = make_studio(sqlite_database, started=False)
    studio.jobs.submit(user.id, RECIPE, 1)
    job = studio.job()
    with sqlite_database.read() as session:
        session.connection().exec_driver_sql("PRAGMA query_only=ON")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(studio.jobs.worker.run, job.id)
        assert not running.done()
        with sqlite_database.read() as session:
            session.connection().exec_driver_sql("PRAGMA query_only=OFF")
        running.result(30)
    assert studio.job().state == JobState.DONE
    assert studio.paid() == 1


def test_a_damaged_picture_is_kept_aside(
    make_studio: Callable[..., Studio], database: Database, storage: Storage, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script(Behaviour(raw=b'{"data": [{"b64_json": "bm90IGEgcGljdHVyZQ=="}]}'))
    studio.jobs.submit(user.id, RECIPE, 1)
    studio.jobs.worker.run(studio.job().id)
    job = studio.job()
    assert (job.state, job.error.code) == (JobState.FAILED, errors.BadImage.code)
    assert storage.get(f"aside/{job.id}/0") == b"not a picture"
    assert studio.rows(Image) == []
    assert studio.rows(Usage)[0].outcome == "failed"


def test_every_picture_of_an_answer_is_kept(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script("extra images")
    studio.jobs.submit(user.id, RECIPE, 1)
    studio.jobs.worker.run(studio.job().id)
    images, (call,) = studio.rows(Image), studio.rows(Usage)
    assert len(images) == len(studio.job().image_ids) == call.images == 3
    assert call.price_micros == pytest.approx(sum(image.price_micros for image in images), abs=3)


class FullStorage(Storage):
    """A disk that has no room for `refusals` writes."""

    def __init__(self, root: Path, refusals: int, kind: str) -> None:
        super().__init__(root)
        self.refusals, self.kind = refusals, kind

    def put(self, key: str, data: bytes) -> None:
        if self.refusals and key.startswith(self.kind):
            self.refusals -= 1
            raise errors.StorageFull
        super().put(key, data)


@pytest.mark.parametrize("kind", ["images", "answers"])
def test_a_full_disk_after_the_answer_loses_nothing(
    make_studio: Callable[..., Studio],
    database: Database,
    tmp_path: Path,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr("core.worker.RETRY_KEEP_SECONDS", (0.01,))
    storage = FullStorage(tmp_path / "files", 2, kind)
    studio = make_studio(database, started=False, storage=storage)
    studio.jobs.submit(user.id, RECIPE, 1)
    studio.jobs.worker.run(studio.job().id)
    assert storage.refusals == 0
    assert studio.job().state == JobState.DONE
    assert studio.paid() == len(studio.rows(Image)) == 1


def test_a_queue_that_takes_no_job_fails_it_unpaid(
    make_studio: Callable[..., Studio], sqlite_database: Database, tmp_path: Path
) -> None:
    user = a_user(sqlite_database)
    studio = make_studio(sqlite_database)
    with sqlite3.connect(tmp_path / "queue.db", timeout=30) as queue:
        queue.execute("ALTER TABLE workflow_status RENAME TO gone")
    studio.jobs.submit(user.id, RECIPE, 1)
    assert (studio.job().state, studio.job().error.code) == (JobState.FAILED, errors.DatabaseError.code)
    with sqlite3.connect(tmp_path / "queue.db", timeout=30) as queue:
        queue.execute("ALTER TABLE gone RENAME TO workflow_status")
    studio.jobs.retry(user.id, studio.job().id)
    until(lambda: studio.rows(Image))
    assert studio.paid() == 1


# The user's word


def test_a_failed_job_is_tried_again_once_also_by_clicks_at_once(studio: Studio, user: User) -> None:
    studio.service.script("moderation")
    studio.jobs.submit(user.id, RECIPE, 1)
    failed = studio.ended()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: studio.jobs.retry(user.id, failed.id), range(6)))
    (again,) = until(lambda: [view for view in studio.jobs.recent(user.id) if view.image_ids])
    assert again.id != failed.id
    assert again.recipe == failed.recipe
    assert [view.id for view in studio.jobs.recent(user.id)] == [again.id]
    assert studio.paid() == 2


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.DONE])
def test_only_an_ended_job_without_image_is_tried_again(
    make_studio: Callable[..., Studio], database: Database, user: User, state: JobState
) -> None:
    studio = make_studio(database, started=False)
    job = a_job(database, user, state)
    with pytest.raises(errors.ImageGenerationError):
        studio.jobs.retry(user.id, job.id)
    assert len(studio.rows(Job)) == 1


def test_nobody_elses_job_can_be_touched(
    make_studio: Callable[..., Studio], database: Database, user: User, other_user: User
) -> None:
    studio = make_studio(database, started=False)
    failed, queued = a_job(database, user, JobState.FAILED), a_job(database, user, JobState.QUEUED)
    with pytest.raises(errors.ImageNotFound):
        studio.jobs.retry(other_user.id, failed.id)
    assert not studio.jobs.cancel(other_user.id, queued.id)
    studio.jobs.dismiss(other_user.id, failed.id)
    assert {view.state for view in studio.jobs.recent(user.id)} == {JobState.FAILED, JobState.QUEUED}
    assert studio.jobs.recent(other_user.id) == ()


@pytest.mark.parametrize("state", list(JobState))
def test_only_a_queued_job_can_be_cancelled(
    make_studio: Callable[..., Studio], database: Database, user: User, state: JobState
) -> None:
    studio = make_studio(database, started=False)
    job = a_job(database, user, state)
    assert studio.jobs.cancel(user.id, job.id) is (state == JobState.QUEUED)
    (row,) = studio.rows(Job)
    assert row.state == (JobState.CANCELLED if state == JobState.QUEUED else state)
    if state == JobState.QUEUED:
        studio.jobs.worker.run(job.id)
        assert studio.paid() == 0


def test_ended_jobs_can_be_let_go_and_running_ones_not(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    jobs = [a_job(database, user, state) for state in JobState]
    studio.jobs.dismiss(user.id, *(job.id for job in jobs))
    assert {view.state for view in studio.jobs.recent(user.id)} == {JobState.QUEUED, JobState.RUNNING}


# After the end of the process


@ON_SQLITE
def test_what_was_queued_when_the_app_stopped_is_made_at_the_next_start(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    first = make_studio(database)
    first.jobs.worker.stopping.set()  # the queue goes on handing out work while the app is ending
    first.jobs.submit(user.id, RECIPE, 1)
    until(lambda: _handed_out(first.folder / "queue.db"))
    first.close()
    assert first.job().state == JobState.QUEUED
    second = make_studio(database)
    assert second.ended().state == JobState.DONE
    assert second.paid() == 1


@ON_SQLITE
def test_stopping_says_whether_a_call_is_still_running(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    with openai_service() as service:
        service.script("silent")
        studio = make_studio(database, service=service)
        studio.jobs.submit(user.id, RECIPE, 1)
        until(service.requests.copy)
        assert not studio.jobs.stop(grace_seconds=0)
    assert studio.ended().state == JobState.DONE
    until(studio.jobs.stop)


def _handed_out(queue: Path) -> bool:
    with sqlite3.connect(queue) as connection:
        states = [row[0] for row in connection.execute("SELECT status FROM workflow_status")]
    return "SUCCESS" in states


@pytest.mark.parametrize(
    ("database_url", "moment", "state", "images", "paid"),
    [
        pytest.param("sqlite", "queued", JobState.DONE, 1, 1, id="before it was taken up"),
        pytest.param("sqlite", "leaving", JobState.UNKNOWN, 0, 0, id="before the call left"),
        pytest.param("sqlite", "never", JobState.UNKNOWN, 0, 1, id="during the call"),
        pytest.param("sqlite", "bytes", JobState.DONE, 1, 1, id="after the bytes"),
        pytest.param("sqlite", "answer", JobState.DONE, 1, 1, id="before the row"),
        pytest.param("sqlite", "committed", JobState.DONE, 1, 1, id="after the commit"),
        pytest.param("postgresql", "never", JobState.UNKNOWN, 0, 1, id="PostgreSQL, during the call"),
        pytest.param("postgresql", "answer", JobState.DONE, 1, 1, id="PostgreSQL, before the row"),
    ],
    indirect=["database_url"],
)
def test_a_killed_process_loses_no_image_and_pays_for_none_twice(
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
    if moment == "never":
        studio.service.script(Behaviour(stall="middle"))
    url = database.url.render_as_string(hide_password=False)
    plan = Plan(url, str(tmp_path), studio.service.base_url, user.id, moment)
    with subprocess.Popen(plan.arguments, cwd=ROOT) as worker:
        if moment == "never":
            until(lambda: studio.rows(Job) and studio.job().partials)
            worker.kill()
        assert worker.wait(60) == -signal.SIGKILL
    studio.jobs.start()
    job = studio.ended()
    assert job.state == state
    assert len(studio.rows(Image)) == len(job.image_ids) == images
    assert studio.paid() == paid
    assert [call.outcome for call in studio.rows(Usage)] == ["ok" if images else "unknown"]
    if images:
        assert studio.storage.get(image_key(job.id, 0)) == picture(RECIPE.prompt, "1024x1024")
    else:
        assert job.error is not None
        assert job.error.retryable
    with pytest.raises(errors.ImageNotFound):
        studio.jobs.partial(user.id, job.id, 0)


def test_a_damaged_queue_file_says_what_to_do(
    make_studio: Callable[..., Studio], sqlite_database: Database, tmp_path: Path
) -> None:
    (tmp_path / "queue.db").write_bytes(b"not a database" * 1000)
    studio = make_studio(sqlite_database, started=False)
    with pytest.raises(errors.DatabaseDamaged, match=r"queue\.db.*aside"):
        studio.jobs.start()


def test_a_full_disk_at_the_start_is_not_a_damaged_queue(
    make_studio: Callable[..., Studio], sqlite_database: Database, capfd: pytest.CaptureFixture[str]
) -> None:
    bootstrap.configure_logging("INFO")
    studio = make_studio(sqlite_database, started=False)
    with no_room_for_tables(), pytest.raises(errors.StorageFull):
        studio.jobs.start()
    said = "".join(capfd.readouterr())
    assert "disk is full" in said
    assert "Traceback" not in said
    studio.jobs.start()  # once there is room


@contextmanager
def no_room_for_tables() -> Iterator[None]:
    """New files of SQLite may have a few pages, as on a disk that is nearly full."""

    def limit(connection: sqlite3.Connection, _record: object) -> None:
        connection.execute("PRAGMA max_page_count = 10")

    event.listen(Engine, "connect", limit)
    try:
        yield
    finally:
        event.remove(Engine, "connect", limit)


def a_user(database: Database) -> User:
    with database.write() as session:
        user = User(username="ada", display_name="Ada", password_hash="!")
        session.add(user)
    return user


def a_job(database: Database, user: User, state: JobState) -> Job:
    with database.write() as session:
        job = Job(id=new_id(), batch_id=new_id(), owner_id=user.id, state=state, request=RECIPE.to_json())
        session.add(job)
    return job
