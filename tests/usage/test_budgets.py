"""Budgets are never exceeded, however many requests come at once, and nothing counts twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import SignedIn
from core.database.database import Database
from core.database.models import AuditEntry, Budget, Job, JobState, Usage, UsageKind, User
from core.generation.ingest import ResponseMetadata
from core.generation.job_queue import JobQueue, Limits
from core.prompts.recipe import Recipe
from core.provider import pricing
from core.provider.pricing import max_image_price
from core.settings import load_settings
from core.storage.keys import image_key, response_metadata_key
from core.usage.budget_limits import MAX_IMAGES_LIMIT, NO_LIMIT, BudgetKind, BudgetUse, Need, UserLimits
from core.usage.budgets import Budgets
from core.usage.usage_log import Call, Outcome, UsageLog
from tests.support.clock import Clock
from tests.support.crashing_worker import RECIPE
from tests.support.generation import Studio, at_a_moment
from tests.support.openai_service import Behaviour, plain_image
from tests.support.reconciliation import balance

# Its price is in the tables; that of RECIPE's model is known from its answers alone.
PRICED = replace(RECIPE, model="gpt-image-2.5-flare")
# By the price table, from the tokens that the loopback service answers with.
PAID = 6_100


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_studio(
    make_studio: Callable[..., Studio], database: Database, clock: Clock
) -> Callable[..., Studio]:
    """`open_studio(budget_day_images=7)`: jobs with these settings and the test's clock, run by the test."""

    def make(database: Database = database, **settings: Any) -> Studio:
        given = {"partial_images": 0} | settings
        studio, _ = at_a_moment(make_studio(database, started=False, settings=given))
        studio.jobs.clock = studio.jobs.worker.clock = studio.jobs.recovery.clock = clock
        studio.jobs.queue = JobQueue(database, Limits(64, 64), clock=clock)
        budgets = Budgets(database, load_settings(**given), AuditLog(database, clock=clock), clock=clock)
        studio.jobs.budgets = studio.jobs.worker.budgets = budgets
        return studio

    return make


@pytest.fixture
def admin(make_user: Callable[[str], User]) -> SignedIn:
    return SignedIn(make_user("root").id, "root", "Root", True, "-")


def estimate() -> int:
    """The estimate for PRICED and for each of `another`, in micro-USD."""
    known = pricing.estimate_image_price(PRICED.params())
    assert known
    assert known == pricing.estimate_image_price(another(1).params())
    return known


def dollars(micros: int) -> Decimal:
    return Decimal(micros) / 1_000_000


def another(number: int, recipe: Recipe = PRICED) -> Recipe:
    """Another prompt of the same length and price, so that it isn't taken for a double click."""
    return replace(recipe, prompt=f"a fox, number {number:03}")


def used(studio: Studio, user: User) -> dict[str, int]:
    return {line.kind.value: line.used for line in studio.jobs.budgets.statement(user.id).lines}


def sums(micros: int, images: int) -> dict[str, int]:
    """The same values for the day and the month."""
    return {"day_micros": micros, "month_micros": micros, "day_images": images, "month_images": images}


def accepted(attempts: list[Callable[[], object]]) -> int:
    """The number of concurrent actions that no budget refused."""
    ready = threading.Barrier(len(attempts))

    def attempt(action: Callable[[], object]) -> bool:
        ready.wait()
        try:
            action()
        except errors.BudgetSpent:
            return False
        return True

    with ThreadPoolExecutor(len(attempts)) as pool:
        return sum(pool.map(attempt, attempts))


# Many at once


ROOM_FOR_SEVEN = pytest.mark.parametrize(
    "room",
    [
        pytest.param(lambda: {"budget_day_images": 7}, id="images of a day"),
        pytest.param(lambda: {"budget_month_images": 7}, id="images of a month"),
        pytest.param(lambda: {"budget_day_usd": dollars(8 * estimate() - 1)}, id="money of a day"),
        pytest.param(lambda: {"budget_month_usd": dollars(7 * estimate())}, id="money of a month"),
    ],
)


@ROOM_FOR_SEVEN
def test_twenty_concurrent_clicks_never_exceed_a_budget(
    open_studio: Callable[..., Studio], database: Database, user: User, room: Callable[[], dict[str, Any]]
) -> None:
    """On two connections to one database, like two replicas."""
    with closing(Database(database.url.render_as_string(hide_password=False))) as second:
        studios = [open_studio(each, **room()) for each in (database, second)]
        clicks = [
            lambda number=number: studios[number % 2].jobs.submit(user.id, [another(number)])
            for number in range(20)
        ]
        assert accepted(clicks) == 7
        assert len(studios[0].rows(Job)) == 7


@ROOM_FOR_SEVEN
def test_twenty_concurrent_retries_never_exceed_a_budget(
    open_studio: Callable[..., Studio], user: User, room: Callable[[], dict[str, Any]]
) -> None:
    open_handed = open_studio()
    open_handed.service.script(*["moderation"] * 20)
    for number in range(20):
        open_handed.jobs.submit(user.id, [another(number)])
        open_handed.work()
    failed = [job.id for job in open_handed.rows(Job)]
    studio = open_studio(**room())
    assert accepted([lambda job_id=job_id: studio.jobs.retry(user.id, job_id) for job_id in failed]) == 7
    rows = studio.rows(Job)
    assert [job.state for job in rows].count(JobState.QUEUED) == 7
    assert sum(job.dismissed_at is not None for job in rows) == 7


def test_a_batch_is_submitted_completely_or_not_at_all(
    open_studio: Callable[..., Studio], user: User
) -> None:
    studio = open_studio(budget_day_images=3)
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(user.id, [PRICED] * 4)
    assert studio.rows(Job) == []
    studio.jobs.submit(user.id, [PRICED] * 3)


def test_a_double_click_submits_one_batch(open_studio: Callable[..., Studio], user: User) -> None:
    studio = open_studio(budget_day_images=1)
    first = studio.jobs.submit(user.id, [PRICED])
    assert studio.jobs.submit(user.id, [PRICED]) == first


# What counts


def test_live_jobs_count_their_reservation_and_finished_ones_their_price(
    open_studio: Callable[..., Studio], user: User
) -> None:
    studio = open_studio()
    studio.jobs.submit(user.id, [PRICED])
    assert used(studio, user) == sums(estimate(), 1)
    job = studio.jobs.claim()
    assert job
    assert used(studio, user) == sums(estimate(), 1)
    studio.jobs.worker.run(job)
    assert used(studio, user) == sums(PAID, 1)


@pytest.mark.parametrize("behaviour", ["moderation", "quota spent", "key rejected"])
def test_a_failed_job_counts_nothing(open_studio: Callable[..., Studio], user: User, behaviour: str) -> None:
    """Incident 14: a failed job that still counted against the quota."""
    studio = open_studio(budget_day_images=1, budget_day_usd=dollars(estimate()))
    studio.service.script(behaviour)
    studio.jobs.submit(user.id, [PRICED])
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(user.id, [another(1)])
    studio.work()
    assert studio.job().state == JobState.FAILED
    assert used(studio, user) == sums(0, 0)
    studio.jobs.submit(user.id, [PRICED])


def with_picture(encoded: str) -> Callable[[bytes], bytes]:
    """Replaces the image in a response."""

    def spoil(answer: bytes) -> bytes:
        return json.dumps(json.loads(answer) | {"data": [{"b64_json": encoded}]}).encode()

    return spoil


def without_usage(answer: bytes) -> bytes:
    return json.dumps({name: value for name, value in json.loads(answer).items() if name != "usage"}).encode()


# Base64 of what is no picture, and what is no base64.
DAMAGED, UNREADABLE = with_picture("aGVsbG8gd29ybGQ="), with_picture("!!!")


@pytest.mark.parametrize(
    ("behaviour", "priced"),
    [
        pytest.param(Behaviour(plain=True, corrupt=DAMAGED), True, id="damaged"),
        pytest.param(
            Behaviour(plain=True, corrupt=lambda answer: without_usage(DAMAGED(answer))),
            False,
            id="damaged, without a price",
        ),
        pytest.param(Behaviour(plain=True, corrupt=UNREADABLE), True, id="unreadable"),
        pytest.param(
            Behaviour(plain=True, corrupt=lambda answer: without_usage(UNREADABLE(answer))),
            False,
            id="unreadable, without a price",
        ),
        pytest.param("html", False, id="a web page"),
        pytest.param("server error", False, id="a fault of the service's"),
    ],
)
def test_a_failure_that_may_have_been_charged_counts_money_and_an_image(
    open_studio: Callable[..., Studio], user: User, behaviour: Behaviour | str, priced: bool
) -> None:
    studio = open_studio(budget_day_images=1)
    studio.service.script(behaviour)
    studio.jobs.submit(user.id, [PRICED])
    studio.work()
    assert studio.job().state == JobState.FAILED
    assert used(studio, user) == sums(PAID if priced else estimate(), 1)
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(user.id, [another(1)])


def test_a_failure_of_the_offline_engine_counts_nothing(
    open_studio: Callable[..., Studio], user: User
) -> None:
    studio = open_studio()
    studio.jobs.worker.offline = True
    studio.service.script("html")
    studio.jobs.submit(user.id, [replace(RECIPE, model="offline-painter")])
    studio.work()
    assert studio.job().state == JobState.FAILED
    assert used(studio, user) == sums(0, 0)


@pytest.mark.parametrize("every", [False, True], ids=["one", "all"])
def test_a_cancelled_job_counts_nothing(open_studio: Callable[..., Studio], user: User, every: bool) -> None:
    studio = open_studio(budget_day_images=1, budget_month_usd=dollars(estimate()))
    studio.jobs.submit(user.id, [PRICED])
    if every:
        assert studio.jobs.cancel_waiting(user.id) == 1
    else:
        assert studio.jobs.cancel(user.id, studio.job().id) == JobState.CANCELLED
    assert used(studio, user) == sums(0, 0)
    studio.jobs.submit(user.id, [PRICED])


def test_an_unknown_outcome_counts_its_reservation(open_studio: Callable[..., Studio], user: User) -> None:
    studio = open_studio(budget_day_images=1)
    studio.service.script("dropped")
    studio.jobs.submit(user.id, [PRICED])
    studio.work()
    job = studio.job()
    assert job.state == JobState.UNKNOWN
    assert used(studio, user) == sums(estimate(), 1)
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.retry(user.id, job.id)
    assert [view.id for view in studio.jobs.recent(user.id)] == [job.id]


def test_an_unfinished_image_of_the_offline_engine_counts_nothing(
    open_studio: Callable[..., Studio], user: User
) -> None:
    studio = open_studio()
    studio.jobs.worker.offline = True
    studio.service.script("dropped")
    studio.jobs.submit(user.id, [PRICED])
    studio.work()
    assert used(studio, user)["day_images"] == 0


def test_a_late_response_counts_once(open_studio: Callable[..., Studio], user: User) -> None:
    studio = open_studio()
    studio.service.script("dropped")
    studio.jobs.submit(user.id, [PRICED])
    job = studio.jobs.claim()
    assert job
    studio.jobs.worker.run(job)
    studio.storage.put(image_key(job, 0), plain_image(PRICED.prompt, "1024x1024"))
    studio.storage.put(response_metadata_key(job), ResponseMetadata(count=1, price_micros=7).to_bytes())
    studio.jobs.recovery.adopt_late_images()
    assert studio.job().state == JobState.DONE
    assert used(studio, user) == sums(7, 1)


def test_an_automatic_retry_keeps_its_one_reservation(
    open_studio: Callable[..., Studio], user: User, clock: Clock
) -> None:
    studio = open_studio(budget_day_images=1)
    studio.service.script("rate limit", "rate limit")
    studio.jobs.submit(user.id, [PRICED])
    for _ in range(2):
        studio.work()
        assert used(studio, user) == sums(estimate(), 1)
        clock.forward(seconds=7)
    studio.work()
    assert studio.job().state == JobState.DONE
    assert used(studio, user) == sums(PAID, 1)


def test_each_resent_call_that_may_have_been_charged_counts(
    open_studio: Callable[..., Studio], user: User, clock: Clock
) -> None:
    studio = open_studio()
    studio.jobs.worker.resend_unknown = True
    studio.service.script("dropped")
    studio.jobs.submit(user.id, [PRICED])
    studio.work()
    assert used(studio, user) == sums(2 * estimate(), 2)
    clock.forward(minutes=5)
    studio.work()
    assert used(studio, user) == sums(estimate() + PAID, 2)


def test_an_unknown_outcome_is_resent_once_and_then_reported(
    open_studio: Callable[..., Studio], user: User, clock: Clock
) -> None:
    studio = open_studio()
    studio.jobs.worker.resend_unknown = True
    # What was refused without charge on the way takes nothing from it, and gives nothing.
    studio.service.script("rate limit", "dropped", "rate limit", "dropped")
    studio.jobs.submit(user.id, [PRICED])
    while studio.job().is_live:
        studio.work()
        clock.forward(minutes=5)
    assert (studio.job().state, studio.paid()) == (JobState.UNKNOWN, 4)
    assert used(studio, user) == sums(2 * estimate(), 2)


@pytest.mark.parametrize(
    "budget",
    [
        pytest.param(lambda: {"budget_day_images": 1}, id="images"),
        pytest.param(lambda: {"budget_month_usd": dollars(2 * estimate() - 1)}, id="money"),
    ],
)
def test_an_unknown_outcome_is_resent_only_if_the_budgets_cover_it(
    open_studio: Callable[..., Studio], user: User, budget: Callable[[], dict[str, Any]]
) -> None:
    studio = open_studio(**budget())
    studio.jobs.worker.resend_unknown = True
    studio.service.script("dropped")
    studio.jobs.submit(user.id, [PRICED])
    studio.work()
    assert studio.job().state == JobState.UNKNOWN
    assert studio.paid() == 1
    assert used(studio, user) == sums(estimate(), 1)


def test_twenty_concurrent_resends_never_exceed_a_budget(
    open_studio: Callable[..., Studio], user: User
) -> None:
    studio = open_studio(budget_day_images=27)
    studio.jobs.worker.resend_unknown = True
    studio.jobs.submit(user.id, [PRICED] * 20)
    running = [job for _ in range(20) if (job := studio.jobs.claim())]
    accepted([lambda job=job: studio.jobs.worker.settle(job) for job in running])
    states = [job.state for job in studio.rows(Job)]
    assert (states.count(JobState.QUEUED), states.count(JobState.UNKNOWN)) == (7, 13)
    assert used(studio, user)["day_images"] == 27


def test_a_response_without_a_price_counts_its_reservation(
    open_studio: Callable[..., Studio], user: User
) -> None:
    studio = open_studio()
    studio.service.script(Behaviour(plain=True, corrupt=without_usage))
    studio.jobs.submit(user.id, [PRICED])
    studio.work()
    (call,) = studio.rows(Usage)
    assert (call.outcome, call.price_micros) == (Outcome.OK, None)
    assert used(studio, user) == sums(estimate(), 1)


def test_without_a_published_price_the_likely_maximum_is_reserved(
    open_studio: Callable[..., Studio], user: User
) -> None:
    likely = max_image_price(RECIPE.params())
    assert likely
    studio = open_studio(budget_day_usd=dollars(2 * likely))
    studio.jobs.submit(user.id, [RECIPE] * 2)
    assert used(studio, user) == sums(2 * likely, 2)
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(user.id, [another(1, RECIPE)])
    studio.work()
    assert used(studio, user) == sums(PAID + likely, 2)


def test_a_model_without_a_price_is_refused_once_the_money_is_spent(
    open_studio: Callable[..., Studio], user: User, clock: Clock
) -> None:
    studio = open_studio(budget_day_usd=dollars(PAID))
    foreign = replace(RECIPE, model="another-painter")
    studio.jobs.submit(user.id, [foreign] * 2)
    assert used(studio, user) == sums(0, 2)
    UsageLog(studio.database).record_now(a_call(user, clock.now, price_micros=PAID, images=0))
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(user.id, [another(1, foreign)])


def test_a_free_image_is_never_refused_for_money(open_studio: Callable[..., Studio], user: User) -> None:
    studio = open_studio(budget_day_usd=0, budget_day_images=2)
    offline = replace(RECIPE, model="offline-painter")
    studio.jobs.submit(user.id, [offline] * 2)
    assert used(studio, user) == sums(0, 2)
    with pytest.raises(errors.BudgetSpent, match="image budget is used up"):
        studio.jobs.submit(user.id, [another(1, offline)])


def test_a_saved_call_counts_nothing(open_studio: Callable[..., Studio], user: User, clock: Clock) -> None:
    studio = open_studio()
    call = a_call(user, clock.now, price_micros=0, outcome=Outcome.SAVED, images=0)
    UsageLog(studio.database).record_now(replace(call, saved_micros=500))
    assert used(studio, user) == sums(0, 0)


def test_an_enhancement_costs_money_and_is_no_image(
    open_studio: Callable[..., Studio], user: User, clock: Clock
) -> None:
    studio = open_studio(budget_day_usd=dollars(1_000))
    usage = UsageLog(studio.database)
    enhanced = a_call(user, clock.now, kind=UsageKind.ENHANCE, price_micros=999, images=0)
    usage.record_now(enhanced)
    assert used(studio, user) == sums(999, 0)
    for covered in (None, 1):
        studio.jobs.budgets.check_enhancement(user.id, covered)
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.budgets.check_enhancement(user.id, 2)
    usage.record_now(replace(enhanced, price_micros=1))
    for uncovered in (None, 1):
        with pytest.raises(errors.BudgetSpent):
            studio.jobs.budgets.check_enhancement(user.id, uncovered)


def test_another_users_calls_and_jobs_count_nothing_here(
    open_studio: Callable[..., Studio], user: User, other_user: User
) -> None:
    studio = open_studio(budget_day_images=2)
    studio.jobs.submit(other_user.id, [PRICED] * 2)
    studio.work()
    assert used(studio, user) == sums(0, 0)
    studio.jobs.submit(user.id, [PRICED] * 2)
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(other_user.id, [another(1)])


def test_the_sums_equal_those_of_the_usage_log(
    open_studio: Callable[..., Studio], user: User, clock: Clock
) -> None:
    studio = open_studio()
    behaviours = ["moderation", "dropped", "rate limit", "html", "extra images", "server error"]
    studio.service.script(*behaviours)
    for number in range(12):
        studio.jobs.submit(user.id, [another(number)])
    while any(job.state in (JobState.QUEUED, JobState.RUNNING) for job in studio.rows(Job)):
        clock.forward(seconds=10)
        if job := studio.jobs.claim():
            studio.jobs.worker.run(job)
    books = balance(studio.database, studio.storage, studio.service.requests)
    assert books.amiss == {}
    states = [job.state for job in studio.rows(Job)]
    # A web page and a fault of the service's may have been charged; a refused prompt was not.
    lost = states.count(JobState.UNKNOWN) + states.count(JobState.FAILED) - 1
    paid = sum(call.price_micros or 0 for call in studio.rows(Usage))
    assert (lost, states.count(JobState.FAILED)) == (3, 3)
    assert used(studio, user) == sums(paid + lost * estimate(), books.images + lost)


def test_exactly_the_remaining_budget_can_be_used(open_studio: Callable[..., Studio], user: User) -> None:
    """Reservations are neither lost nor counted twice in any state of a job."""
    studio = open_studio(budget_day_images=5)
    studio.service.script("moderation", "dropped", "plain")
    studio.jobs.submit(user.id, [PRICED] * 4)
    for _ in range(3):
        studio.work()
    studio.jobs.cancel_waiting(user.id)
    (day,) = [line for line in lines(studio, user) if line.kind is BudgetKind.DAY_IMAGES]
    assert (day.used, day.left) == (2, 3)
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(user.id, [another(1)] * 4)
    studio.jobs.submit(user.id, [another(1)] * 3)


def lines(studio: Studio, user: User) -> tuple[BudgetUse, ...]:
    return studio.jobs.budgets.statement(user.id).lines


# Days and months


def a_call(user: User, at: datetime, **changes: Any) -> Call:
    call = Call(
        user_id=user.id, kind=UsageKind.GENERATE, model="m", offline=False, started_at=at, seconds=1,
        outcome=Outcome.OK, price_micros=10, images=1,
    )  # fmt: skip
    return replace(call, **changes)


@pytest.mark.parametrize(
    ("now", "before", "day", "month"),
    [
        pytest.param(datetime(2026, 5, 7, 23, 59, 59, tzinfo=UTC), timedelta(hours=23), 1, 1, id="one day"),
        pytest.param(datetime(2026, 5, 7, tzinfo=UTC), timedelta(0), 1, 1, id="midnight"),
        pytest.param(datetime(2026, 5, 7, tzinfo=UTC), timedelta(seconds=1), 0, 1, id="the day before"),
        pytest.param(datetime(2026, 5, 1, tzinfo=UTC), timedelta(seconds=1), 0, 0, id="the month before"),
        pytest.param(datetime(2027, 1, 1, tzinfo=UTC), timedelta(seconds=1), 0, 0, id="the year before"),
        pytest.param(datetime(2024, 2, 29, 12, tzinfo=UTC), timedelta(days=28), 0, 1, id="a leap day"),
    ],
)
def test_a_call_counts_in_the_day_and_month_in_which_it_was_sent(
    open_studio: Callable[..., Studio],
    user: User,
    clock: Clock,
    now: datetime,
    before: timedelta,
    day: int,
    month: int,
) -> None:
    studio = open_studio()
    clock.now = now
    UsageLog(studio.database).record_now(a_call(user, now - before))
    assert used(studio, user) == {
        "day_micros": 10 * day,
        "month_micros": 10 * month,
        "day_images": day,
        "month_images": month,
    }


@pytest.mark.parametrize(
    ("now", "tomorrow", "next_month"),
    [
        ("2026-11-25T13:00:00+00:00", "2026-11-26T00:00:00+00:00", "2026-12-01T00:00:00+00:00"),
        ("2026-12-31T23:59:59+00:00", "2027-01-01T00:00:00+00:00", "2027-01-01T00:00:00+00:00"),
        ("2026-01-31T00:00:00+00:00", "2026-02-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"),
        ("2028-02-28T12:00:00+00:00", "2028-02-29T00:00:00+00:00", "2028-03-01T00:00:00+00:00"),
    ],
)
def test_budgets_reset_at_midnight_and_with_the_month(
    open_studio: Callable[..., Studio], user: User, clock: Clock, now: str, tomorrow: str, next_month: str
) -> None:
    clock.now = datetime.fromisoformat(now)
    renewed = {line.kind: line.renews_at.isoformat() for line in lines(open_studio(), user)}
    assert renewed[BudgetKind.DAY_MICROS] == renewed[BudgetKind.DAY_IMAGES] == tomorrow
    assert renewed[BudgetKind.MONTH_MICROS] == renewed[BudgetKind.MONTH_IMAGES] == next_month


def test_at_midnight_the_daily_budget_resets_but_not_the_monthly_one(
    open_studio: Callable[..., Studio], user: User, clock: Clock
) -> None:
    studio = open_studio(budget_day_images=1, budget_month_images=2)
    for number in range(2):
        studio.jobs.submit(user.id, [another(number)])
        studio.work()
        with pytest.raises(errors.BudgetSpent):
            studio.jobs.submit(user.id, [another(9)])
        clock.forward(days=1)
    with pytest.raises(errors.BudgetSpent, match=r"This month's .* 01 Jun 2026, 00:00 UTC"):
        studio.jobs.submit(user.id, [another(9)])
    clock.now = datetime(2026, 6, 1, tzinfo=UTC)
    studio.jobs.submit(user.id, [another(9)])


def test_a_job_queued_over_midnight_counts_in_the_new_day(
    open_studio: Callable[..., Studio], user: User, clock: Clock
) -> None:
    studio = open_studio()
    clock.now = datetime(2026, 5, 31, 23, 59, tzinfo=UTC)
    studio.jobs.submit(user.id, [PRICED] * 2)
    running = studio.jobs.claim()
    assert running
    clock.forward(minutes=1)
    assert used(studio, user) == sums(estimate(), 1)
    studio.jobs.worker.run(running)
    studio.work()
    assert used(studio, user) == sums(PAID, 1)
    clock.now = datetime(2026, 5, 31, 23, 59, tzinfo=UTC)
    assert used(studio, user)["day_images"] == 2  # seen from before midnight, both


# What an administrator sets


def test_an_administrator_changes_one_users_budget(
    open_studio: Callable[..., Studio], user: User, other_user: User, admin: SignedIn
) -> None:
    studio = open_studio(budget_day_images=1)
    budgets = studio.jobs.budgets
    budgets.change(admin, user.id, UserLimits(day_images=2))
    studio.jobs.submit(user.id, [PRICED] * 2)
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(other_user.id, [PRICED] * 2)
    budgets.change(admin, user.id, UserLimits(day_images=0))
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(user.id, [another(1)])
    budgets.change(admin, user.id, UserLimits(day_images=NO_LIMIT))
    studio.jobs.submit(user.id, [another(2)] * 4)
    budgets.change(admin, user.id, UserLimits())
    with pytest.raises(errors.BudgetSpent):
        studio.jobs.submit(user.id, [another(3)])


def test_one_users_limit_leaves_the_others_as_the_settings_say(
    open_studio: Callable[..., Studio], user: User, admin: SignedIn
) -> None:
    studio = open_studio(budget_day_usd=2, budget_month_images=5)
    budgets = studio.jobs.budgets
    own = UserLimits(month_micros=7_000_000, month_images=NO_LIMIT)
    budgets.change(admin, user.id, own)
    assert budgets.user_limits(user.id) == own
    limits = {line.kind: line.limit for line in lines(studio, user)}
    assert limits == {
        BudgetKind.DAY_MICROS: 2_000_000,
        BudgetKind.MONTH_MICROS: 7_000_000,
        BudgetKind.DAY_IMAGES: None,
        BudgetKind.MONTH_IMAGES: None,
    }


def test_a_change_is_audited_with_the_earlier_limits(
    open_studio: Callable[..., Studio], user: User, admin: SignedIn
) -> None:
    studio = open_studio()
    budgets = studio.jobs.budgets
    budgets.change(admin, user.id, UserLimits(day_micros=2_500_000, day_images=NO_LIMIT))
    budgets.change(admin, user.id, UserLimits(day_images=1_000))
    first, second = sorted(studio.rows(AuditEntry), key=lambda entry: "$2.50, now" in entry.details)
    for entry in (first, second):
        assert (entry.action, entry.actor_id, entry.subject) == (
            Action.BUDGET_CHANGE,
            admin.user_id,
            user.username,
        )
    assert first.details == (
        "Money per day: as in the settings, now $2.50; Images per day: as in the settings, now no limit"
    )
    assert second.details == (
        "Money per day: $2.50, now as in the settings; Images per day: no limit, now 1,000"
    )


def test_no_member_changes_a_budget_not_even_their_own(
    open_studio: Callable[..., Studio], user: User, other_user: User
) -> None:
    studio = open_studio(budget_day_images=1)
    member = SignedIn(user.id, user.username, user.display_name, False, "-")
    for whose in (user.id, other_user.id):
        with pytest.raises(errors.NotAllowed):
            studio.jobs.budgets.change(member, whose, UserLimits(day_images=NO_LIMIT))
    assert studio.rows(Budget) == studio.rows(AuditEntry) == []


@pytest.mark.parametrize("user_id", ["made-up", "", "\udfff", "x\0"], ids=ascii)
def test_an_unknown_user_gets_no_budget(
    open_studio: Callable[..., Studio], admin: SignedIn, user_id: str
) -> None:
    studio = open_studio()
    with pytest.raises(errors.NotAllowed):
        studio.jobs.budgets.change(admin, user_id, UserLimits(day_images=1))


@pytest.mark.parametrize("which", BudgetKind)
@pytest.mark.parametrize("limit", [-2, MAX_IMAGES_LIMIT * 1_000_000 + 1])
def test_an_impossible_limit_is_refused(
    open_studio: Callable[..., Studio], user: User, admin: SignedIn, which: BudgetKind, limit: int
) -> None:
    studio = open_studio()
    with pytest.raises(errors.InvalidParameter) as refused:
        studio.jobs.budgets.change(admin, user.id, replace(UserLimits(), **{which.value: limit}))
    assert refused.value.field == which
    assert studio.rows(Budget) == studio.rows(AuditEntry) == []


def test_concurrent_changes_of_a_budget_are_serialised(
    open_studio: Callable[..., Studio], user: User, admin: SignedIn
) -> None:
    studio = open_studio()
    changes = [
        lambda limit=limit: studio.jobs.budgets.change(admin, user.id, UserLimits(day_images=limit))
        for limit in range(8)
    ]
    assert accepted(changes) == 8
    assert len(studio.rows(Budget)) == 1


# What is said


def test_a_refusal_says_what_is_left_and_when_the_budget_resets(
    open_studio: Callable[..., Studio], user: User
) -> None:
    studio = open_studio(budget_day_images=3)
    studio.jobs.submit(user.id, [PRICED])
    with pytest.raises(errors.BudgetSpent) as refused:
        studio.jobs.submit(user.id, [another(1)] * 5)
    error = refused.value
    assert error.message == (
        "You can make 2 more images today; this would make 5. The budget resets on 02 May 2026, 00:00 UTC."
    )
    assert (error.code, error.status, error.retryable) == ("IMG-GEN-BUDGET-001", 402, False)
    assert error.field == "budget"


@pytest.mark.parametrize(
    ("limit", "need", "words"),
    [
        (2_000_000, Need(4, 2_500_000), "has $2.00 left, and this would cost about $2.50"),
        (120, Need(1, 260), "has $0.0001 left, and this would cost about $0.0003"),
        (0, Need(1, 60), "is used up"),
        (0, Need(unpriced=True), "is used up"),
    ],
)
def test_a_refusal_states_money_in_dollars(limit: int, need: Need, words: str) -> None:
    line = BudgetUse(BudgetKind.MONTH_MICROS, limit, 0, datetime(2026, 6, 1, tzinfo=UTC))
    message = line.refusal(need).message
    assert message == f"This month's budget {words}. It resets on 01 Jun 2026, 00:00 UTC."


def test_of_several_spent_budgets_the_last_to_reset_is_named(
    open_studio: Callable[..., Studio], user: User
) -> None:
    studio = open_studio(budget_day_images=1, budget_month_usd=dollars(1))
    with pytest.raises(errors.BudgetSpent, match="This month's budget has"):
        studio.jobs.submit(user.id, [PRICED] * 2)


# How fast


@contextmanager
def plans_of(database: Database) -> Iterator[dict[str, str]]:
    """The query plan of each SELECT in the block, by its statement."""
    plans: dict[str, str] = {}
    explain = "EXPLAIN QUERY PLAN" if database.is_sqlite else "EXPLAIN"

    def note(connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        if statement.startswith("SELECT"):
            rows = connection.connection.cursor().execute(f"{explain} {statement}", parameters).fetchall()
            plans[statement] = "; ".join(str(row[-1]) for row in rows)

    event.listen(database.engine, "before_cursor_execute", note)
    yield plans
    event.remove(database.engine, "before_cursor_execute", note)


def fill(database: Database, users: list[User], now: datetime, count: int) -> None:
    """Adds calls and ended jobs in the order of time, alternating between the users."""
    jobs = [
        {
            "id": f"{number:032}", "batch_id": "b", "position": 0, "state": JobState.DONE, "partials": 0,
            "owner_id": users[number % len(users)].id, "request": {}, "attempts": 1,
            "created_at": now - timedelta(minutes=count - number), "reserved_micros": 5,
        }
        for number in range(count)
    ]  # fmt: skip
    calls = [
        {
            "id": job["id"], "user_id": job["owner_id"], "kind": UsageKind.GENERATE, "model": "m",
            "offline": False, "job_id": job["id"], "started_at": job["created_at"], "seconds": 1.0,
            "price_micros": 10, "images": 1, "outcome": Outcome.OK,
        }
        for job in jobs
    ]  # fmt: skip
    with database.write() as session:
        session.execute(insert(Job), jobs)
        session.execute(insert(Usage), calls)
    with database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("ANALYZE"))


def test_without_limits_nothing_is_summed(open_studio: Callable[..., Studio], user: User) -> None:
    studio = open_studio()
    with plans_of(studio.database) as plans:
        assert studio.jobs.budgets.refusal(user.id, Need(1)) is None
    assert len(plans) == 1
    assert not any("usage" in statement for statement in plans)


def test_a_users_month_is_found_by_its_indexes_among_everybodys_calls(
    open_studio: Callable[..., Studio], make_user: Callable[[str], User], clock: Clock
) -> None:
    studio, users = open_studio(), [make_user(f"user-{number}") for number in range(20)]
    fill(studio.database, users, clock.now, 4_000)
    with plans_of(studio.database) as plans:
        assert used(studio, users[0])["month_images"]
    (plan,) = [plan for statement, plan in plans.items() if "usage" in statement]
    for index in ("ix_usage_user", "ix_jobs_live"):
        assert index in plan, plan
    assert not any(words in plan for words in ("SCAN usage", "SCAN jobs", "Seq Scan")), plan
