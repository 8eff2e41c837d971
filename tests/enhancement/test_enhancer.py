"""Every call to the service is recorded with its price, and no call exceeds a budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from decimal import Decimal
from threading import Barrier

import pytest
from sqlalchemy import update
from sqlmodel import col

from core import errors
from core.database.database import Database
from core.database.models import Usage, User
from core.enhancement.runs import MAX_CONCURRENT_PER_USER, Enhancements
from core.provider.pricing import max_text_price, text_price
from core.responses.parsing import TokenCount as Tokens
from core.settings import DEFAULT_TEXT_MODEL
from core.usage.usage_log import UsageLog
from tests.support.clock import Clock
from tests.support.enhancements import (
    DRAFT,
    FOX,
    count_calls,
    enhanced_text,
    ignore,
    request_number,
    spent_today,
    wait_for_end,
)
from tests.support.generation import ON_SQLITE
from tests.support.openai_service import HELLO, REQUEST_ID, Behaviour, OpenAIService
from tests.support.waiting import until


def test_a_flagged_description_is_not_sent(
    open_enhancements: Callable[..., Enhancements],
    service: OpenAIService,
    calls: Callable[[], list[Usage]],
    user: User,
) -> None:
    moderated = open_enhancements(moderation="on")
    moderated.start(user.id, replace(FOX, base_prompt="a fox [[flagged:hate]]"), DRAFT)
    error = wait_for_end(moderated, user).error
    assert isinstance(error, errors.PromptFlagged)
    assert error.categories == ("hate",)
    assert [seen.path for seen in service.requests] == ["/v1/moderations"]
    assert calls() == []


def test_a_successful_call_is_recorded_with_tokens_and_price(
    enhancements: Enhancements, user: User, calls: Callable[[], list[Usage]]
) -> None:
    enhancements.start(user.id, FOX, DRAFT)
    run = wait_for_end(enhancements, user)
    (call,) = until(calls)
    assert (call.user_id, call.kind, call.outcome, call.error_code) == (user.id, "enhance", "ok", None)
    assert (call.request_id, call.input_tokens, call.offline) == (REQUEST_ID, 400, False)
    assert run.result is not None
    assert call.price_micros == run.result.price_micros
    assert call.model == run.result.model


FAILURES = {
    "key rejected": errors.ApiKeyRejected,
    "moderation": errors.PromptBlocked,
    "refusal": errors.EnhancementRefused,
    "length": errors.EnhancementTooLong,
    "html": errors.WebPageReceived,
}


@pytest.mark.parametrize("behaviour", FAILURES)
def test_a_failed_call_is_recorded(
    enhancements: Enhancements,
    service: OpenAIService,
    user: User,
    calls: Callable[[], list[Usage]],
    behaviour: str,
) -> None:
    service.script(behaviour)
    enhancements.start(user.id, FOX, DRAFT)
    error = wait_for_end(enhancements, user).error
    assert type(error) is FAILURES[behaviour]
    (call,) = calls()
    assert (call.outcome, call.error_code) == ("failed", FAILURES[behaviour].code)


HIGHEST_PRICE = max_text_price(DEFAULT_TEXT_MODEL, FOX)


@pytest.mark.parametrize(
    ("behaviour", "counted"),
    [
        pytest.param("length", "price", id="text cut off at the length limit"),
        pytest.param("refusal", "price", id="refused by the model"),
        pytest.param("empty", "price", id="empty text"),
        pytest.param(Behaviour(finish="length", usage=False), "highest", id="no usage reported"),
        pytest.param("html", "highest", id="web page"),
        pytest.param("truncated", "highest", id="response cut off"),
        pytest.param("moderation", "nothing", id="prompt blocked"),
        pytest.param("key rejected", "nothing", id="key rejected"),
    ],
)
def test_a_failed_call_counts_its_price_or_its_highest_likely_price(
    open_enhancements: Callable[..., Enhancements],
    database: Database,
    service: OpenAIService,
    clock: Clock,
    user: User,
    calls: Callable[[], list[Usage]],
    behaviour: Behaviour | str,
    counted: str,
) -> None:
    service.script(behaviour)
    enhancements = open_enhancements()
    enhancements.start(user.id, FOX, DRAFT)
    assert wait_for_end(enhancements, user).error
    (call,) = calls()
    price = text_price(DEFAULT_TEXT_MODEL, Tokens(call.input_tokens, call.output_tokens))
    assert (call.outcome, call.price_micros) == ("failed", price)
    expected = {"price": price, "highest": HIGHEST_PRICE, "nothing": 0}[counted]
    assert spent_today(database, user, clock) == expected
    assert (price is None) == (counted != "price")


def test_a_call_is_recorded_before_it_is_sent_and_counted_once(
    enhancements: Enhancements,
    database: Database,
    service: OpenAIService,
    clock: Clock,
    user: User,
    calls: Callable[[], list[Usage]],
) -> None:
    service.script(Behaviour(latency=2))
    enhancements.start(user.id, FOX, DRAFT)
    until(lambda: service.requests_to("/chat/completions"))
    (reserved,) = calls()
    assert (reserved.outcome, reserved.price_micros) == ("unknown", None)
    assert reserved.reserved_micros == HIGHEST_PRICE
    assert spent_today(database, user, clock) == HIGHEST_PRICE
    wait_for_end(enhancements, user)
    (ended,) = calls()
    assert (ended.id, ended.outcome, ended.started_at) == (reserved.id, "ok", reserved.started_at)
    assert 0 < spent_today(database, user, clock) < (HIGHEST_PRICE or 0)
    totals = UsageLog(database).totals(user.id, clock.now)
    assert (totals.calls, totals.priced_micros, totals.unpriced_calls) == (1, ended.price_micros, 0)


def test_a_cached_text_needs_no_budget(
    open_enhancements: Callable[..., Enhancements],
    database: Database,
    service: OpenAIService,
    clock: Clock,
    user: User,
) -> None:
    enhanced_text(open_enhancements(), user)
    paid = spent_today(database, user, clock)
    without_budget = open_enhancements(budget_day_usd=0)
    assert HELLO in enhanced_text(without_budget, user)
    assert HELLO in without_budget.submit(user.id, FOX, ignore).result(timeout=30).text
    assert (count_calls(service), spent_today(database, user, clock)) == (1, paid)


def test_a_model_without_a_price_is_refused_once_the_budget_is_spent(
    open_enhancements: Callable[..., Enhancements], service: OpenAIService, user: User
) -> None:
    within_budget = open_enhancements(text_model="another-writer", budget_day_usd=1)
    assert HELLO in within_budget.submit(user.id, FOX, ignore).result(timeout=30).text
    spent = open_enhancements(text_model="another-writer", budget_day_usd=0)
    with pytest.raises(errors.BudgetSpent):
        spent.submit(user.id, request_number(1), ignore)
    assert count_calls(service) == 1


def test_of_twenty_concurrent_requests_only_those_within_the_budget_are_sent(
    open_enhancements: Callable[..., Enhancements],
    database: Database,
    service: OpenAIService,
    clock: Clock,
    user: User,
) -> None:
    """Four processes, each with one run and MAX_CONCURRENT_PER_USER requests of programs."""
    service.script(Behaviour(usage=False), always=True)
    highest_price = max_text_price(DEFAULT_TEXT_MODEL, request_number(0)) or 0
    budget = Decimal(8 * highest_price - 1) / 1_000_000
    processes = [open_enhancements(budget_day_usd=budget) for _ in range(20 // (MAX_CONCURRENT_PER_USER + 1))]
    ready = Barrier(20)

    def succeeds(number: int) -> bool:
        process, by_program = processes[number % len(processes)], number >= len(processes)
        ready.wait()
        try:
            if by_program:
                return process.submit(user.id, request_number(number), ignore).exception(timeout=60) is None
            process.start(user.id, request_number(number), DRAFT)
        except errors.BudgetSpent:
            return False
        return wait_for_end(process, user).error is None

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(succeeds, range(20))) == 7
    assert count_calls(service) == 7
    assert spent_today(database, user, clock) == 7 * highest_price


@pytest.fixture
def busy_database(database: Database, user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """A database that another transaction keeps locked for writers."""
    monkeypatch.setattr("core.database.engines.BUSY_TIMEOUT_MS", 50)
    with (
        closing(Database(database.url.render_as_string(hide_password=False))) as busy,
        database.write() as session,
    ):
        session.execute(update(User).where(col(User.id) == user.id).values(display_name="Busy"))
        yield busy


@ON_SQLITE
def test_without_a_budget_the_call_is_sent_even_if_the_database_is_busy(
    open_enhancements: Callable[..., Enhancements], busy_database: Database, user: User
) -> None:
    assert HELLO in open_enhancements(busy_database).submit(user.id, FOX, ignore).result(timeout=30).text


@ON_SQLITE
@pytest.mark.parametrize("kind", ["budget_day_usd", "budget_month_images"])
def test_with_a_budget_no_call_is_sent_while_the_database_is_busy(
    open_enhancements: Callable[..., Enhancements],
    busy_database: Database,
    service: OpenAIService,
    user: User,
    kind: str,
) -> None:
    text = open_enhancements(busy_database, **{kind: 1}).submit(user.id, FOX, ignore)
    with pytest.raises(errors.DatabaseBusy):
        text.result(timeout=30)
    assert count_calls(service) == 0
