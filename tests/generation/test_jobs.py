"""A submitted job is run once, paid for once and kept, whatever happens to the page or the process."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlmodel import Session

from core import errors
from core.accounts.audit_log import AuditLog
from core.database.database import Database
from core.database.models import ErrorCount, Image, Job, JobState, Usage, User
from core.generation.job_queue import JobQueue
from core.generation.jobs import Jobs
from core.generation.recovery import Recovery
from core.generation.views import Batches
from core.generation.worker import CALL_RETRY_SECONDS, Worker
from core.images.gallery import Gallery
from core.offline.transport import OfflineTransport
from core.prompts.recipe import Recipe
from core.provider.client import ServiceClient
from core.settings import load_settings
from core.storage.folder import FolderStorage
from core.storage.keys import thumbnail_key
from core.storage.spool import Spool
from core.storage.storage import Storage
from core.usage.budgets import Budgets
from core.usage.error_counts import ErrorCounts
from core.usage.usage_log import Call, UsageLog
from tests.support.crashing_worker import RECIPE
from tests.support.generation import ON_BOTH_STORES, ON_SQLITE, Studio, a_job, at_a_moment
from tests.support.images import plain_png
from tests.support.openai_service import REQUEST_ID, Behaviour, ErrorRow, openai_service, plain_image
from tests.support.waiting import until


@pytest.fixture
def studio(make_studio: Callable[..., Studio], database: Database) -> Studio:
    return make_studio(database)


# A finished job


@ON_BOTH_STORES
def test_a_finished_job_has_its_image_and_usage(studio: Studio, user: User, storage: Storage) -> None:
    batch = studio.jobs.submit(user.id, [RECIPE])
    job = studio.ended()
    assert (job.state, job.batch_id, job.error) == (JobState.DONE, batch, None)
    (image,), (call,) = studio.rows(Image), studio.rows(Usage)
    assert job.image_ids == (image.id,)
    assert (image.owner_id, image.job_id, image.prompt) == (user.id, job.id, RECIPE.prompt)
    assert storage.get(image.file_key) == plain_image(RECIPE.prompt, "1024x1024")
    assert (call.outcome, call.kind, call.job_id, call.images) == ("ok", "generate", job.id, 1)
    assert (call.request_id, call.input_tokens, call.output_tokens) == (REQUEST_ID, 20, 200)
    assert call.price_micros == image.price_micros
    assert studio.paid() == 1
    until(lambda: storage.list(f"answers/{job.id}") == ())
    assert storage.exists(thumbnail_key(image.id))


def test_image_usage_and_end_are_committed_together(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.usage = BrokenUsage(database, refusals=2)
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    assert studio.job().state == JobState.UNKNOWN
    assert studio.rows(Image) == []
    assert [call.outcome for call in studio.rows(Usage)] == ["unknown"]


def test_a_transient_database_fault_loses_no_image(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.usage = BrokenUsage(database, refusals=1)
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    (image,), (call,) = studio.rows(Image), studio.rows(Usage)
    assert (studio.job().state, studio.job().image_ids) == (JobState.DONE, (image.id,))
    assert (call.outcome, call.request_id, studio.paid()) == ("ok", REQUEST_ID, 1)


@pytest.mark.parametrize("revised", ["a cat \\ud83d", "\\udc31 a cat", "a \\u0000 cat"])
def test_no_revised_prompt_loses_an_image(
    make_studio: Callable[..., Studio], database: Database, user: User, revised: str
) -> None:
    studio = make_studio(database, started=False)
    data = base64.b64encode(plain_image(RECIPE.prompt, "1024x1024")).decode()
    answer = f'{{"data": [{{"b64_json": "{data}", "revised_prompt": "{revised}"}}]}}'
    studio.service.script(Behaviour(raw=answer.encode()))
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    (image,) = studio.rows(Image)
    assert (studio.job().state, "cat" in image.revised_prompt) == (JobState.DONE, True)


class BrokenUsage(UsageLog):
    """A usage log that fails `refusals` times."""

    def __init__(self, database: Database, refusals: int) -> None:
        super().__init__(database)
        self.refusals = refusals

    def record(self, session: Session, call: Call) -> None:
        if self.refusals:
            self.refusals -= 1
            raise ZeroDivisionError
        super().record(session, call)


@pytest.mark.parametrize("behaviour", ["", "moderation"])
def test_an_own_fault_after_the_call_leaves_no_job_running(
    make_studio: Callable[..., Studio], database: Database, user: User, behaviour: str
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.usage = BrokenUsage(database, refusals=100)
    if behaviour:
        studio.service.script(behaviour)
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    job = studio.job()
    assert (job.state, job.error.code) == (JobState.UNKNOWN, errors.OutcomeUnknown.code)
    assert "ZeroDivisionError" in job.error.details


def test_a_job_waiting_for_the_store_at_shutdown_is_settled_at_the_next_start(
    make_studio: Callable[..., Studio], database: Database, tmp_path: Path, user: User
) -> None:
    studio = make_studio(database, started=False, storage=FullStorage(tmp_path / "files", 1, "answers"))
    studio.jobs.submit(user.id, [RECIPE])
    job = studio.jobs.claim()
    assert job
    studio.jobs.worker.stopping.set()
    with pytest.raises(errors.StorageFull):
        studio.jobs.worker.run(job)
    assert studio.job().state == JobState.RUNNING
    second = make_studio(database)
    assert second.job().state == JobState.DONE
    assert second.paid() == len(second.rows(Image)) == 1


@ON_SQLITE
def test_a_token_count_too_large_for_its_column_is_unknown(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    usage = f'"usage": {{"input_tokens": {2**31}, "output_tokens": -1}}'
    answer = base64.b64encode(plain_image(RECIPE.prompt, "1024x1024")).decode()
    studio.service.script(Behaviour(raw=f'{{"data": [{{"b64_json": "{answer}"}}], {usage}}}'.encode()))
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    (call,) = studio.rows(Usage)
    assert (call.input_tokens, call.output_tokens, call.price_micros) == (None, None, None)
    assert studio.job().state == JobState.DONE


@ON_SQLITE
def test_a_batch_is_many_jobs_each_with_one_image(studio: Studio, user: User) -> None:
    batch = studio.jobs.submit(user.id, [RECIPE] * 3)
    views = until(
        lambda: (found := studio.jobs.recent(user.id)) and all(not v.is_live for v in found) and found
    )
    assert [(view.batch_id, view.position, view.state) for view in views] == [
        (batch, position, JobState.DONE) for position in range(3)
    ]
    assert len({view.image_ids for view in views}) == 3
    assert studio.paid() == 3


def test_the_offline_engine_runs_a_job_end_to_end(
    sqlite_database: Database, storage: Storage, tmp_path: Path
) -> None:
    with sqlite_database.write() as session:
        user = User(username="ada", display_name="Ada", password_hash="!")
        session.add(user)
    client = ServiceClient(load_settings(), transport=OfflineTransport(seed=1))
    gallery, usage = Gallery(sqlite_database, storage, AuditLog(sqlite_database)), UsageLog(sqlite_database)
    budgets, failures = (
        Budgets(sqlite_database, load_settings(), AuditLog(sqlite_database)),
        ErrorCounts(sqlite_database),
    )
    worker = Worker(
        sqlite_database, storage, Spool(tmp_path / "spool"), gallery, usage, budgets, client, b"s", failures,
        offline=True,
    )  # fmt: skip
    jobs = Jobs(
        sqlite_database,
        storage,
        worker,
        JobQueue(sqlite_database),
        budgets,
        Recovery(sqlite_database, worker),
    )
    jobs.submit(user.id, [Recipe(prompt="a fox", model="offline-painter", size="256x256")])
    claimed = jobs.claim()
    assert claimed
    worker.run(claimed)
    (job,) = jobs.recent(user.id)
    assert job.state == JobState.DONE
    image = gallery.get(user.id, job.image_ids[0])
    assert (image.offline, image.price_micros, image.width) == (True, 0, 256)
    client.close()


# Submitting and claiming once


def test_simultaneous_clicks_are_one_batch(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio, clock = at_a_moment(make_studio(database, started=False))
    with ThreadPoolExecutor(8) as pool:
        for number in range(20):
            clock.now += timedelta(seconds=1)
            recipe = replace(RECIPE, prompt=f"fox {number}")
            batches = set(pool.map(lambda _, recipe=recipe: studio.jobs.submit(user.id, [recipe]), range(8)))
            assert len(batches) == 1
    assert len(studio.rows(Job)) == 20


@ON_SQLITE
def test_two_users_with_the_same_recipe_get_a_batch_each(
    studio: Studio, user: User, other_user: User
) -> None:
    first, second = (studio.jobs.submit(owner.id, [RECIPE]) for owner in (user, other_user))
    assert first != second
    for owner in (user, other_user):
        until(lambda owner=owner: studio.jobs.recent(owner.id)[0].image_ids)
    assert studio.paid() == 2


@ON_SQLITE
def test_another_recipe_is_another_batch(studio: Studio, user: User) -> None:
    first = studio.jobs.submit(user.id, [RECIPE])
    assert studio.jobs.submit(user.id, [replace(RECIPE, prompt="an owl")]) != first


def test_a_job_is_claimed_once_by_many_at_the_same_time(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.submit(user.id, [RECIPE])
    with ThreadPoolExecutor(8) as pool:
        claimed = [job for job in pool.map(lambda _: studio.jobs.claim(), range(8)) if job]
    assert [job.id for job in claimed] == [studio.job().id]
    studio.jobs.worker.run(claimed[0])
    assert studio.job().state == JobState.DONE
    assert studio.paid() == 1


# Partial images


@ON_BOTH_STORES
@ON_SQLITE
def test_partial_images_are_shown_to_the_owner_while_the_job_runs(
    make_studio: Callable[..., Studio],
    database: Database,
    storage: Storage,
    user: User,
    other_user: User,
) -> None:
    with openai_service() as service:
        service.script("stall")
        studio = make_studio(database, settings={"partial_images": 2}, service=service)
        studio.jobs.submit(user.id, [RECIPE])
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
def test_an_unknown_job_is_not_found(
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
        pytest.param("html", errors.WebPageReceived, JobState.FAILED, "failed", id="a web page"),
        pytest.param("dropped", errors.ResponseLost, JobState.UNKNOWN, "unknown", id="line cut"),
        pytest.param("gateway timeout", errors.ResponseTimeout, JobState.UNKNOWN, "unknown", id="gateway"),
    ],
)
def test_a_failed_job_keeps_its_error_in_full(
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
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
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


def test_an_own_fault_before_the_call_is_no_unknown_outcome(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    with database.write() as session:
        session.add(Job(id="j", batch_id="b", owner_id=user.id, request={"model": "m", "mood": "later"}))
    studio.work()
    (job,), (call,) = studio.rows(Job), studio.rows(Usage)
    assert (job.state, job.error["code"]) == (JobState.FAILED, "IMG-GEN-VERSION-001")
    assert call.outcome == "failed"
    assert studio.paid() == 0


def test_an_own_fault_during_the_call_is_an_unknown_outcome(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.client = ServiceClient(
        load_settings(openai_base_url="http://x.invalid"), transport=Broken()
    )
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    assert studio.job().state == JobState.UNKNOWN
    studio.jobs.worker.client.close()


class Broken(OfflineTransport):
    def handle_request(self, request: object) -> Any:
        raise ZeroDivisionError


@ON_BOTH_STORES
def test_a_damaged_image_is_stored_for_the_administrator(
    make_studio: Callable[..., Studio], database: Database, storage: Storage, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script(Behaviour(raw=b'{"data": [{"b64_json": "bm90IGEgcGljdHVyZQ=="}]}'))
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    job = studio.job()
    assert (job.state, job.error.code) == (JobState.FAILED, errors.BadImage.code)
    assert storage.get(f"aside/{job.id}/1-0") == b"not a picture"
    assert studio.rows(Image) == []
    assert studio.rows(Usage)[0].outcome == "failed"


@ON_BOTH_STORES
def test_every_image_of_an_answer_is_kept(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script("extra images")
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    images, (call,) = studio.rows(Image), studio.rows(Usage)
    assert len(images) == len(studio.job().image_ids) == call.images == 3
    assert call.price_micros == pytest.approx(sum(image.price_micros for image in images), abs=3)


@ON_SQLITE
@pytest.mark.parametrize("count", [12, 101])
def test_more_images_than_asked_for_are_all_in_the_gallery_in_their_order(
    make_studio: Callable[..., Studio], database: Database, user: User, count: int
) -> None:
    images = [plain_png(colour=(number, 0, 0)) for number in range(count)]
    items = [{"b64_json": base64.b64encode(image).decode()} for image in images]
    studio = make_studio(database, started=False)
    studio.service.script(Behaviour(raw=json.dumps({"data": items}).encode()))
    batch_id = studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    gallery = studio.jobs.worker.gallery
    assert [gallery.original(user.id, image_id) for image_id in studio.job().image_ids] == images
    found = Batches(database).find(user.id, batch_id)
    assert [image.id for image in found.images] == list(studio.job().image_ids)
    assert gallery.count(user.id) == count


FAILURE = {"code": "partial_failure", "message": "1 of 2 images failed"}
GOOD_ITEM = {"b64_json": base64.b64encode(plain_png()).decode()}


@ON_SQLITE
@pytest.mark.parametrize(
    ("body", "error", "details"),
    [
        pytest.param(
            {"data": [GOOD_ITEM], "error": FAILURE}, errors.ServiceFailed, "images failed", id="error"
        ),
        pytest.param(
            {"data": [GOOD_ITEM, {"b64_json": "bm90IGEgcGljdHVyZQ=="}]},
            errors.BadImage,
            "not an image in a known format",
            id="damaged image",
        ),
    ],
)
def test_an_image_is_kept_and_the_error_beside_it_is_told(
    make_studio: Callable[..., Studio],
    database: Database,
    user: User,
    body: dict[str, Any],
    error: type[errors.ImageError],
    details: str,
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script(Behaviour(raw=json.dumps(body).encode()))
    batch_id = studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    job, (image,), (call,) = studio.job(), studio.rows(Image), studio.rows(Usage)
    assert (job.state, job.image_ids, job.error.code) == (JobState.DONE, (image.id,), error.code)
    assert details in job.error.details
    assert (call.outcome, call.error_code) == ("ok", error.code)
    found = Batches(database).find(user.id, batch_id)
    assert (found.failures, found.errors) == ((), (job.error,))
    assert [(row.code, row.count) for row in studio.rows(ErrorCount)] == [(error.code, 1)]


@ON_SQLITE
def test_what_a_response_held_beside_an_error_is_set_aside_and_not_paid_again(
    make_studio: Callable[..., Studio], database: Database, storage: Storage, user: User
) -> None:
    body = b'{"data": [{"b64_json": "%%"}], "error": {"code": "rate_limit_exceeded"}}'
    studio = make_studio(database, started=False)
    studio.service.script(Behaviour(raw=body))
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    job = studio.job()
    assert (job.state, job.error.code, job.error.charged) == (JobState.FAILED, errors.RateLimited.code, None)
    assert storage.get(f"aside/{job.id}/answer-1") == body


class FullStorage(FolderStorage):
    """A store that refuses `refusals` writes for lack of space."""

    def __init__(self, root: Path, refusals: int, kind: str) -> None:
        super().__init__(root)
        self.refusals, self.kind = refusals, kind

    def put(self, key: str, data: bytes) -> None:
        if self.refusals and key.startswith(self.kind):
            self.refusals -= 1
            raise errors.StorageFull
        super().put(key, data)


class ForgetfulStorage(FullStorage):
    """A store that loses a file before it is renamed to its key."""

    def put(self, key: str, data: bytes) -> None:
        try:
            super().put(key, data)
        except errors.StorageFull as error:
            raise errors.FileDamaged from error


@ON_SQLITE
def test_a_paid_image_is_kept_when_storing_its_file_fails_at_first(
    make_studio: Callable[..., Studio],
    database: Database,
    tmp_path: Path,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("core.generation.worker.STORE_RETRY_SECONDS", (0.01,))
    storage = ForgetfulStorage(tmp_path / "files", 2, "images")
    studio = make_studio(database, started=False, storage=storage)
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    assert studio.paid() == len(studio.rows(Image)) == 1


@pytest.mark.parametrize("kind", ["images", "answers"])
def test_a_full_disk_after_the_answer_loses_nothing(
    make_studio: Callable[..., Studio],
    database: Database,
    tmp_path: Path,
    user: User,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    monkeypatch.setattr("core.generation.worker.STORE_RETRY_SECONDS", (0.01,))
    storage = FullStorage(tmp_path / "files", 2, kind)
    studio = make_studio(database, started=False, storage=storage)
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    assert storage.refusals == 0
    assert studio.job().state == JobState.DONE
    assert studio.paid() == len(studio.rows(Image)) == 1


# Retries of transient failures


@pytest.mark.parametrize(
    ("behaviour", "expected", "pause"),
    [
        pytest.param("rate limit", errors.RateLimited, 7, id="as the service says"),
        pytest.param("overloaded", errors.ServiceBusy, CALL_RETRY_SECONDS[0], id="overloaded"),
    ],
)
def test_a_transient_refusal_is_retried_after_a_wait(
    make_studio: Callable[..., Studio],
    database: Database,
    user: User,
    behaviour: str,
    expected: type[errors.ImageError],
    pause: float,
) -> None:
    studio, clock = at_a_moment(make_studio(database, started=False))
    studio.service.script(behaviour)
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    job = studio.job()
    assert job.error is not None
    assert (job.state, job.error.code) == (JobState.QUEUED, expected.code)
    assert job.due_at == clock.now + timedelta(seconds=pause)
    assert studio.jobs.claim() is None
    clock.forward(seconds=pause)
    studio.work()
    job = studio.job()
    assert (job.state, job.error, studio.paid()) == (JobState.DONE, None, 2)
    assert [call.outcome for call in studio.rows(Usage)] == ["failed", "ok"]


@ON_SQLITE
def test_an_unreachable_service_is_retried_and_given_up_in_the_end(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio, clock = at_a_moment(make_studio(database, started=False))
    studio.jobs.worker.client = ServiceClient(load_settings(openai_base_url="http://127.0.0.1:9/v1"))
    studio.jobs.submit(user.id, [RECIPE])
    for pause in CALL_RETRY_SECONDS:
        studio.work()
        assert studio.job().due_at == clock.now + timedelta(seconds=pause)
        clock.forward(seconds=pause)
    studio.work()
    job = studio.job()
    assert (job.state, job.error and job.error.code) == (JobState.FAILED, "IMG-GEN-CONN-001")
    studio.jobs.worker.client.close()


@pytest.mark.parametrize(
    "behaviour", ["quota spent", "moderation", "key rejected", "server error", "dropped"]
)
def test_no_other_failure_is_retried(
    make_studio: Callable[..., Studio], database: Database, user: User, behaviour: str
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script(behaviour)
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    assert not studio.job().is_live
    assert studio.paid() == 1


@ON_SQLITE
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("retry_after", ["0", "-5", "nan", "inf", "601", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_a_retry_wait_that_makes_no_sense_is_replaced_by_the_usual_ones(
    make_studio: Callable[..., Studio], database: Database, user: User, status: int, retry_after: str
) -> None:
    studio, clock = at_a_moment(make_studio(database, started=False))
    studio.service.script(*[ErrorRow(status, {"message": "Slow."}, {"Retry-After": retry_after})] * 2)
    studio.jobs.submit(user.id, [RECIPE])
    for pause in CALL_RETRY_SECONDS[:2]:
        studio.work()
        assert studio.job().due_at == clock.now + timedelta(seconds=pause)
        assert studio.jobs.claim() is None
        clock.forward(seconds=pause)
    studio.work()
    assert studio.job().state == JobState.DONE


@ON_SQLITE
def test_a_job_whose_clock_is_set_back_waits_no_longer_than_its_pause(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio, clock = at_a_moment(make_studio(database, started=False))
    studio.service.script("overloaded")
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    clock.forward(hours=-1)
    studio.work()
    assert studio.job().state == JobState.DONE


@ON_SQLITE
def test_a_job_that_waits_for_its_retry_can_be_cancelled(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script("rate limit")
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    assert studio.jobs.cancel(user.id, studio.job().id) == JobState.CANCELLED
    assert studio.job().state == JobState.CANCELLED


@pytest.mark.parametrize(
    ("fault", "state"),
    [
        ("rate limit", JobState.CANCELLED),
        ("moderation", JobState.FAILED),
        ("dropped", JobState.UNKNOWN),
        (None, JobState.DONE),
    ],
)
def test_a_job_cancelled_during_its_call_is_not_called_again(
    make_studio: Callable[..., Studio], database: Database, user: User, fault: str | None, state: JobState
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.resend_unknown = True
    if fault:
        studio.service.script(fault)
    studio.jobs.submit(user.id, [RECIPE])
    running = JobQueue(database).claim()
    assert running
    assert studio.jobs.cancel(user.id, running.id) == JobState.RUNNING
    studio.jobs.worker.run(running)
    assert studio.job().state == state
    assert len(studio.rows(Usage)) == 1
    assert studio.jobs.claim() is None


@pytest.mark.parametrize("resend", [False, True])
def test_an_unknown_outcome_is_resent_only_with_the_setting(
    make_studio: Callable[..., Studio], database: Database, user: User, resend: bool
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.worker.resend_unknown = resend
    studio.service.script("dropped")
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    job = studio.job()
    assert job.error is not None
    assert job.error.code == errors.ResponseLost.code
    assert job.state == (JobState.QUEUED if resend else JobState.UNKNOWN)
    assert [call.outcome for call in studio.rows(Usage)] == ["unknown"]


# Retry, cancel and dismiss


def test_simultaneous_clicks_retry_a_failed_job_once(studio: Studio, user: User) -> None:
    studio.service.script("moderation")
    studio.jobs.submit(user.id, [RECIPE])
    failed = studio.ended()
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: studio.jobs.retry(user.id, failed.id), range(6)))
    (again,) = until(lambda: [view for view in studio.jobs.recent(user.id) if view.image_ids])
    assert again.id != failed.id
    assert again.recipe == failed.recipe
    assert [view.id for view in studio.jobs.recent(user.id)] == [again.id]
    assert studio.paid() == 2


@pytest.mark.parametrize("state", [JobState.QUEUED, JobState.RUNNING, JobState.DONE])
def test_only_a_job_that_ended_without_image_can_be_retried(
    make_studio: Callable[..., Studio], database: Database, user: User, state: JobState
) -> None:
    studio = make_studio(database, started=False)
    job = a_job(database, user, state)
    with pytest.raises(errors.JobNotRetryable):
        studio.jobs.retry(user.id, job.id)
    assert len(studio.rows(Job)) == 1


def test_another_users_job_is_not_found(
    make_studio: Callable[..., Studio], database: Database, user: User, other_user: User
) -> None:
    studio = make_studio(database, started=False)
    failed, queued = a_job(database, user, JobState.FAILED), a_job(database, user, JobState.QUEUED)
    with pytest.raises(errors.ImageNotFound):
        studio.jobs.retry(other_user.id, failed.id)
    with pytest.raises(errors.ImageNotFound):
        studio.jobs.cancel(other_user.id, queued.id)
    studio.jobs.dismiss(other_user.id, failed.id)
    assert {view.state for view in studio.jobs.recent(user.id)} == {JobState.FAILED, JobState.QUEUED}
    assert studio.jobs.recent(other_user.id) == ()


@pytest.mark.parametrize("state", list(JobState))
def test_only_a_queued_job_can_be_cancelled(
    make_studio: Callable[..., Studio], database: Database, user: User, state: JobState
) -> None:
    studio = make_studio(database, started=False)
    job = a_job(database, user, state)
    after = JobState.CANCELLED if state == JobState.QUEUED else state
    assert studio.jobs.cancel(user.id, job.id) == after
    (row,) = studio.rows(Job)
    assert row.state == (JobState.CANCELLED if state == JobState.QUEUED else state)
    assert studio.jobs.claim() is None


def test_only_ended_jobs_can_be_dismissed(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    jobs = [a_job(database, user, state) for state in JobState]
    studio.jobs.dismiss(user.id, *(job.id for job in jobs))
    assert {view.state for view in studio.jobs.recent(user.id)} == {JobState.QUEUED, JobState.RUNNING}


# Shutdown and restart


@ON_BOTH_STORES
@ON_SQLITE
def test_jobs_queued_at_shutdown_run_after_the_next_start(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    first = make_studio(database)
    first.close()
    first.jobs.submit(user.id, [RECIPE])
    assert first.jobs.claim() is None
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
        studio.jobs.submit(user.id, [RECIPE])
        until(service.requests.copy)
        assert not studio.jobs.stop(grace_seconds=0)
        assert studio.jobs.claim() is None
    assert studio.ended().state == JobState.DONE
    assert studio.jobs.stop()


# Large batches


def test_cancelling_all_ends_queued_jobs_and_lets_running_ones_finish(
    make_studio: Callable[..., Studio], database: Database, user: User, other_user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.submit(user.id, [replace(RECIPE, prompt=f"fox {number}") for number in range(5)])
    studio.jobs.submit(other_user.id, [RECIPE] * 2)
    running = JobQueue(database).claim()
    assert running
    assert studio.jobs.counts(user.id) == {JobState.RUNNING: 1, JobState.QUEUED: 4}
    assert studio.jobs.cancel_waiting(user.id) == 4
    assert studio.jobs.counts(user.id) == {JobState.RUNNING: 1}
    assert studio.jobs.counts(other_user.id) == {JobState.QUEUED: 2}
    studio.jobs.worker.run(running)
    states = [view.state for view in studio.jobs.recent(user.id)]
    assert states == [JobState.DONE] + [JobState.CANCELLED] * 4


def test_recent_jobs_always_include_the_live_ones(
    make_studio: Callable[..., Studio], database: Database, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.generation.jobs.MAX_RECENT", 4)
    studio = make_studio(database, started=False)
    studio.jobs.submit(user.id, [replace(RECIPE, prompt=f"fox {number}") for number in range(4)])
    running = JobQueue(database).claim()
    assert running
    for _ in range(6):
        a_job(database, user, JobState.DONE)
    states = [view.state for view in studio.jobs.recent(user.id)]
    assert states.count(JobState.RUNNING) == 1
    assert states.count(JobState.QUEUED) == 3
