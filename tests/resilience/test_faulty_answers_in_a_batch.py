"""One answer of a batch is an error or garbage: its own job says so, and the others are made."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core import errors
from core.database.database import Database
from core.database.models import Job, JobState, User
from core.generation.worker import TRANSIENT_ERRORS
from tests.support import batches, garbled_answers
from tests.support.generation import ON_SQLITE, Studio, at_a_moment
from tests.support.openai_service import ERRORS, FAULTS, Behaviour
from tests.support.reconciliation import Books
from tests.support.waiting import until

COUNT = 4
STRUCK = 2
GOOD = Behaviour(latency=0.02)
STREAMED = {"partial_images": 2}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("core.generation.dispatcher.POLL_SECONDS", 0.05)


def struck(studio: Studio, user: User, behaviour: Behaviour | str) -> str:
    """The prompt of the job whose call was struck in the middle of a batch, when the rest has ended."""
    studio.service.script(GOOD, always=True)
    studio.service.script(*[GOOD] * STRUCK, behaviour)
    batches.submit(studio, user, COUNT)
    until(lambda: studio.paid() >= COUNT)
    prompt = str(studio.service.requests_to("/images/generations")[STRUCK].body["prompt"])
    until(lambda: all(job.state == JobState.DONE for job in others(studio, prompt)))
    return prompt


def others(studio: Studio, prompt: str) -> list[Job]:
    return [job for told, job in batches.by_prompt(studio).items() if told != prompt]


def books_of(studio: Studio, user: User, behaviour: Behaviour | str) -> tuple[Job, Books]:
    prompt = struck(studio, user, behaviour)
    batches.all_ended(studio)
    return batches.by_prompt(studio)[prompt], batches.balance_of(studio)


# Errors

REFUSED: dict[str, type[errors.ImageError]] = {
    "key rejected": errors.ApiKeyRejected,
    "organisation unverified": errors.OrganisationUnverified,
    "model forbidden": errors.ModelUnavailable,
    "model unknown": errors.ModelUnavailable,
    "region": errors.RegionUnsupported,
    "forbidden": errors.ServiceAccessDenied,
    "quota spent": errors.QuotaSpent,
    "credit spent": errors.QuotaSpent,
    "billing limit": errors.BillingLimitReached,
    "rate limit": errors.RateLimited,
    "rate limit passing": errors.RateLimited,
    "slow down": errors.RateLimited,
    "overloaded": errors.ServiceBusy,
    "server error": errors.ServiceFailed,
    "server error without code": errors.ServiceFailed,
    "gateway": errors.ServiceFailed,
    "gateway timeout": errors.ResponseTimeout,
    "moderation": errors.PromptBlocked,
    "content policy": errors.PromptBlocked,
    "content filter": errors.ContentFiltered,
    "image user error": errors.NotDrawable,
    "invalid size": errors.InvalidParameter,
    "unknown parameter": errors.ParameterRefused,
    "too long": errors.PromptTooLong,
    "too large": errors.RequestTooLarge,
    "no such path": errors.ServiceAddressWrong,
    "moved": errors.ServiceAddressWrong,
    "teapot": errors.ImageGenerationError,
}
# Sent once more without what is complained of.
SOFTENED = ("unverified to stream", "unsupported parameter", "unsupported value")
FAULTY: dict[str, type[errors.ImageError]] = {
    "truncated": errors.ResponseTruncated,
    "dropped": errors.ResponseLost,
    "stall": errors.ResponseTimeout,
    "silent": errors.ResponseTimeout,
    "drip": errors.ResponseTimeout,
    "drip of JSON": errors.ResponseTimeout,
    "html": errors.WebPageReceived,
    "malformed": errors.BadResponse,
    "not an object": errors.BadResponse,
    "no images": errors.NoImage,
    "error frame": errors.PromptBlocked,
    "flat error frame": errors.ServiceFailed,
}
# Given up in time: long enough for the good answers beside it on a busy machine.
ENDLESS = {"stall", "silent", "drip", "drip of JSON"}
PATIENCE = 3
HARMLESS = {"plain": 1, "extra images": 3}
ABOUT_TEXT = {"refusal", "length", "content filter", "empty", "fenced", "prose"}
PASSES = [name for name, kind in REFUSED.items() if issubclass(kind, TRANSIENT_ERRORS)]


def test_every_error_and_fault_of_the_service_is_tried() -> None:
    assert {*REFUSED, *SOFTENED} == set(ERRORS)
    assert {*FAULTY, *HARMLESS} == set(FAULTS) - ABOUT_TEXT


@ON_SQLITE
@pytest.mark.parametrize("name", [*(name for name in REFUSED if name not in PASSES), *FAULTY])
def test_an_error_in_a_batch_is_one_jobs_own(
    make_studio: Callable[..., Studio], database: Database, user: User, name: str
) -> None:
    kind = (REFUSED | FAULTY)[name]
    patience = {"image_timeout": PATIENCE} if name in ENDLESS else {}
    job, books = books_of(make_studio(database, settings=STREAMED | patience), user, name)
    assert job.state == (JobState.UNKNOWN if issubclass(kind, errors.OutcomeUnknown) else JobState.FAILED)
    assert (job.error or {})["code"] == kind.code
    assert (books.amiss, books.unknown) == ({}, ())
    assert (books.calls, books.images) == (COUNT, COUNT - 1)


@ON_SQLITE
@pytest.mark.parametrize("name", PASSES)
def test_what_passes_by_itself_is_called_again_when_it_is_due(
    make_studio: Callable[..., Studio], database: Database, user: User, name: str
) -> None:
    studio, clock = at_a_moment(make_studio(database, started=False, settings=STREAMED))
    studio.jobs.start()
    prompt = struck(studio, user, name)
    until(lambda: batches.by_prompt(studio)[prompt].state == JobState.QUEUED)
    assert (batches.by_prompt(studio)[prompt].error or {})["code"] == REFUSED[name].code
    assert studio.paid() == COUNT
    clock.forward(seconds=60)
    batches.all_ended(studio)
    books = batches.balance_of(studio)
    assert batches.states(studio) == [JobState.DONE] * COUNT
    assert (books.amiss, books.unknown, books.calls) == ({}, (), COUNT + 1)


@ON_SQLITE
@pytest.mark.parametrize("name", SOFTENED)
def test_what_can_be_done_without_is_left_out(
    make_studio: Callable[..., Studio], database: Database, user: User, name: str
) -> None:
    job, books = books_of(make_studio(database, settings=STREAMED), user, name)
    assert (job.state, books.amiss, books.unknown, books.calls) == (JobState.DONE, {}, (), COUNT + 1)


@ON_SQLITE
@pytest.mark.parametrize("name", HARMLESS)
def test_an_answer_of_another_form_is_kept_whole(
    make_studio: Callable[..., Studio], database: Database, user: User, name: str
) -> None:
    job, books = books_of(make_studio(database, settings=STREAMED), user, name)
    assert (job.state, books.amiss, books.unknown) == (JobState.DONE, {}, ())
    assert books.images == COUNT - 1 + HARMLESS[name]


@ON_SQLITE
def test_beside_the_pictures_that_can_be_read_the_answer_is_kept_for_the_one_that_can_not(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    two = Behaviour(plain=True, extra_images=1, corrupt=lambda good: good.replace(b'"}]', b'%"}]'))
    job, books = books_of(make_studio(database), user, two)
    assert (job.state, books.amiss, books.images) == (JobState.DONE, {}, COUNT)
    assert books.aside


# Garbage


@ON_SQLITE
@pytest.mark.parametrize("name", garbled_answers.WHOLE)
def test_a_picture_that_came_whole_is_made_whatever_lies_around_it(
    make_studio: Callable[..., Studio], database: Database, user: User, name: str
) -> None:
    job, books = books_of(make_studio(database, settings=STREAMED), user, garbled_answers.WHOLE[name])
    assert (job.state, books.amiss, books.unknown) == (JobState.DONE, {}, ())
    assert (books.calls, books.images) == (COUNT, books.delivered)


@ON_SQLITE
@pytest.mark.parametrize("name", [*garbled_answers.UNREADABLE, *garbled_answers.NO_IMAGE])
def test_what_came_whole_and_can_not_be_read_is_kept_aside(
    make_studio: Callable[..., Studio], database: Database, user: User, name: str
) -> None:
    behaviour = (garbled_answers.UNREADABLE | garbled_answers.NO_IMAGE)[name]
    job, books = books_of(make_studio(database, settings=STREAMED), user, behaviour)
    assert job.state in (JobState.FAILED, JobState.UNKNOWN)
    assert (books.amiss, books.unknown) == ({}, ())
    assert (books.calls, books.delivered, books.images) == (COUNT, COUNT, COUNT - 1)
    assert books.aside


@ON_SQLITE
@pytest.mark.parametrize("name", garbled_answers.NO_FILE)
def test_what_is_no_file_is_an_error_and_kept_aside_as_it_came(
    make_studio: Callable[..., Studio], database: Database, user: User, name: str
) -> None:
    job, books = books_of(make_studio(database, settings=STREAMED), user, garbled_answers.NO_FILE[name])
    assert job.state in (JobState.FAILED, JobState.UNKNOWN)
    assert (books.amiss, books.unknown) == ({}, ())
    assert (books.calls, books.delivered, books.images) == (COUNT, COUNT - 1, COUNT - 1)
    assert books.aside
