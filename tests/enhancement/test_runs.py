"""An enhancement is paid once, recorded always, and lost never, with or without a page that watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from dataclasses import replace
from decimal import Decimal
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import update
from sqlmodel import col, select

from core import errors
from core.accounts.audit_log import AuditLog
from core.database.database import Database
from core.database.models import CachedEnhancement, Usage, User
from core.enhancement.cache import EnhancementCache
from core.enhancement.drafts import Drafts, DraftState
from core.enhancement.enhancer import Enhancer
from core.enhancement.runs import MAX_CONCURRENT_PER_USER, EnhancementRun, Enhancements
from core.prompts.request import EnhancementLevel, PromptRequest
from core.provider.chat import EnhancedPrompt
from core.provider.client import ServiceClient
from core.provider.pricing import TokenCount as Tokens
from core.provider.pricing import max_text_price, text_price
from core.settings import DEFAULT_TEXT_MODEL, load_settings
from core.usage.budget_limits import BudgetKind
from core.usage.budgets import Budgets
from core.usage.usage_log import UsageLog
from tests.support.clock import Clock
from tests.support.generation import ON_SQLITE
from tests.support.openai_service import HELLO, REQUEST_ID, Behaviour, OpenAIService
from tests.support.waiting import until

FOX = PromptRequest(name="Juniper", traits=("red fox",), base_prompt="reading a book")
SECRET = b"installation"
DRAFT = "one draft"


@pytest.fixture
def drafts(database: Database) -> Drafts:
    return Drafts(database)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_enhancements(
    database: Database, service: OpenAIService, clock: Clock
) -> Iterator[Callable[..., Enhancements]]:
    """`open_enhancements(budget_day_usd=1)`: those of one process, by these settings."""
    with ExitStack() as work:

        def make(database: Database = database, **given: Any) -> Enhancements:
            settings = load_settings(
                openai_base_url=service.base_url, openai_api_key="sk-test-abcdefgh", **given
            )
            client = ServiceClient(settings, sleep=lambda _: None)
            work.callback(client.close)
            enhancer = Enhancer(
                client,
                UsageLog(database),
                EnhancementCache(database, clock=clock),
                Budgets(database, settings, AuditLog(database, clock=clock), clock=clock),
                model=settings.default_text_model,
                offline=False,
                secret=SECRET,
                clock=clock,
            )
            running = Enhancements(enhancer, Drafts(database), clock=clock)
            work.callback(running.close, grace_seconds=30)
            return running

        yield make


@pytest.fixture
def enhancements(open_enhancements: Callable[..., Enhancements]) -> Enhancements:
    return open_enhancements()


@pytest.fixture
def calls(database: Database) -> Callable[[], list[Usage]]:
    def rows() -> list[Usage]:
        with database.read() as session:
            return list(session.exec(select(Usage)))

    return rows


def finished(enhancements: Enhancements, user: User) -> EnhancementRun:
    """The enhancement under way, at its end."""

    def ended() -> EnhancementRun | None:
        run = enhancements.current(user.id)
        return run if run and not run.is_live else None

    return until(ended)


def test_a_flagged_description_is_not_sent(
    open_enhancements: Callable[..., Enhancements],
    service: OpenAIService,
    calls: Callable[[], list[Usage]],
    user: User,
) -> None:
    moderated = open_enhancements(moderation="on")
    moderated.start(user.id, replace(FOX, base_prompt="a fox [[flagged:hate]]"), DRAFT)
    error = finished(moderated, user).error
    assert isinstance(error, errors.PromptFlagged)
    assert error.categories == ("hate",)
    assert [seen.path for seen in service.requests] == ["/v1/moderations"]
    assert calls() == []


def test_the_text_streams_in_and_reaches_the_draft(
    enhancements: Enhancements, drafts: Drafts, service: OpenAIService, user: User
) -> None:
    drafts.save(user.id, DraftState(prompt="typed before", id=DRAFT))
    service.script(Behaviour(pause=0.3))
    enhancements.start(user.id, FOX, DRAFT)
    piece = until(lambda: (run := enhancements.current(user.id)) and run.is_live and run.text)
    run = finished(enhancements, user)
    assert run.error is None
    assert run.result is not None
    assert run.text == run.result.text
    assert run.text.startswith(piece)
    assert len(piece) < len(run.text)
    assert HELLO in run.text
    draft = drafts.load(user.id)
    assert (draft.prompt, draft.enhanced_prompt) == (run.text, run.text)
    assert "typed before" in {version.text for version in draft.versions}


def test_nobody_needs_to_watch(
    enhancements: Enhancements, drafts: Drafts, user: User, calls: Callable[[], list[Usage]]
) -> None:
    drafts.save(user.id, DraftState(id=DRAFT))
    enhancements.start(user.id, FOX, DRAFT)
    assert HELLO in until(lambda: drafts.load(user.id).prompt)
    assert [call.outcome for call in calls()] == ["ok"]


def test_a_text_for_another_draft_is_kept_and_replaces_nothing(
    enhancements: Enhancements, drafts: Drafts, service: OpenAIService, user: User
) -> None:
    drafts.save(user.id, DraftState(prompt="a reused prompt", id="another draft"))
    enhancements.start(user.id, FOX, DRAFT)
    run = finished(enhancements, user)
    draft = drafts.load(user.id)
    assert (draft.prompt, draft.enhanced_prompt, draft.variation) == ("a reused prompt", "", 0)
    assert draft.has_version(run.text)


def test_the_end_is_there_for_every_tab(enhancements: Enhancements, user: User) -> None:
    assert enhancements.current(user.id) is None
    enhancements.start(user.id, FOX, DRAFT)
    first = finished(enhancements, user)
    assert finished(enhancements, user) == first
    enhancements.start(user.id, FOX, DRAFT, rewrite=True)
    assert finished(enhancements, user).id != first.id


def test_starts_at_once_pay_once(enhancements: Enhancements, service: OpenAIService, user: User) -> None:
    service.script(Behaviour(latency=0.3))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: enhancements.start(user.id, FOX, DRAFT), range(8)))
    finished(enhancements, user)
    assert len(service.asked("/chat/completions")) == 1


def test_two_people_do_not_wait_for_each_other(
    enhancements: Enhancements, service: OpenAIService, user: User, other_user: User
) -> None:
    service.script(Behaviour(latency=5))
    enhancements.start(user.id, FOX, DRAFT)
    until(lambda: service.asked("/chat/completions"))
    enhancements.start(other_user.id, replace(FOX, name="Moss"), DRAFT)
    assert "Moss" in finished(enhancements, other_user).text
    first = enhancements.current(user.id)
    assert first is not None
    assert first.is_live
    tags = {seen.body.get("safety_identifier") for seen in service.asked("/chat/completions")}
    assert tags == {None}  # only OpenAI itself is told who asks


def test_a_finished_call_is_recorded_with_its_figures(
    enhancements: Enhancements, user: User, calls: Callable[[], list[Usage]]
) -> None:
    enhancements.start(user.id, FOX, DRAFT)
    run = finished(enhancements, user)
    (call,) = until(calls)
    assert (call.user_id, call.kind, call.outcome, call.error_code) == (user.id, "enhance", "ok", None)
    assert (call.request_id, call.input_tokens, call.offline) == (REQUEST_ID, 400, False)
    assert run.result is not None
    assert call.price_micros == run.result.price_micros
    assert call.model == run.result.model


def test_a_failure_leaves_the_draft(
    enhancements: Enhancements, drafts: Drafts, service: OpenAIService, user: User
) -> None:
    before = DraftState(name="Juniper", prompt="typed before")
    drafts.save(user.id, before)
    service.script("length")
    enhancements.start(user.id, FOX, DRAFT)
    assert finished(enhancements, user).result is None
    assert drafts.load(user.id) == before


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
    error = finished(enhancements, user).error
    assert type(error) is FAILURES[behaviour]
    (call,) = calls()
    assert (call.outcome, call.error_code) == ("failed", FAILURES[behaviour].code)


MOST = max_text_price(DEFAULT_TEXT_MODEL, FOX)


@pytest.mark.parametrize(
    ("behaviour", "counted"),
    [
        pytest.param("length", "price", id="cut off at its length"),
        pytest.param("refusal", "price", id="refused by the model"),
        pytest.param("empty", "price", id="empty"),
        pytest.param(Behaviour(finish="length", usage=False), "most", id="charged, without a price"),
        pytest.param("html", "most", id="a web page"),
        pytest.param("truncated", "most", id="broken off"),
        pytest.param("moderation", "nothing", id="blocked beforehand"),
        pytest.param("key rejected", "nothing", id="key rejected"),
    ],
)
def test_a_failed_call_counts_what_it_cost_or_may_have_cost(
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
    assert finished(enhancements, user).error
    (call,) = calls()
    price = text_price(DEFAULT_TEXT_MODEL, Tokens(call.input_tokens, call.output_tokens))
    assert (call.outcome, call.price_micros) == ("failed", price)
    assert spent(database, user, clock) == {"price": price, "most": MOST, "nothing": 0}[counted]
    assert (price is None) == (counted != "price")


def spent(database: Database, user: User, clock: Clock) -> int:
    """What counts of this user's money today, in micro-USD."""
    budgets = Budgets(database, load_settings(), AuditLog(database, clock=clock), clock=clock)
    statement = budgets.statement(user.id)
    return next(line.used for line in statement.lines if line.kind is BudgetKind.DAY_MICROS)


# What an enhancement reserves


def test_a_call_is_written_down_before_it_leaves_and_counted_once(
    enhancements: Enhancements,
    database: Database,
    service: OpenAIService,
    clock: Clock,
    user: User,
    calls: Callable[[], list[Usage]],
) -> None:
    service.script(Behaviour(latency=2))
    enhancements.start(user.id, FOX, DRAFT)
    until(lambda: service.asked("/chat/completions"))
    (begun,) = calls()
    assert (begun.outcome, begun.price_micros, begun.reserved_micros) == ("unknown", None, MOST)
    assert spent(database, user, clock) == MOST
    finished(enhancements, user)
    (ended,) = calls()
    assert (ended.id, ended.outcome, ended.started_at) == (begun.id, "ok", begun.started_at)
    assert 0 < spent(database, user, clock) < (MOST or 0)
    totals = UsageLog(database).totals(user.id, clock.now)
    assert (totals.calls, totals.priced_micros, totals.unpriced_calls) == (1, ended.price_micros, 0)


def test_what_costs_nothing_reserves_nothing(
    open_enhancements: Callable[..., Enhancements],
    database: Database,
    service: OpenAIService,
    clock: Clock,
    user: User,
) -> None:
    written(open_enhancements(), user)
    paid = spent(database, user, clock)
    broke = open_enhancements(budget_day_usd=0)
    assert HELLO in written(broke, user)
    assert HELLO in broke.submit(user.id, FOX, ignored).result(timeout=30)
    assert (asked(service), spent(database, user, clock)) == (1, paid)


def test_of_a_model_without_a_price_a_text_is_refused_once_the_money_is_spent(
    open_enhancements: Callable[..., Enhancements], service: OpenAIService, user: User
) -> None:
    foreign = {"text_model": "another-writer"}
    assert HELLO in open_enhancements(**foreign, budget_day_usd=1).submit(user.id, FOX, ignored).result(30)
    with pytest.raises(errors.BudgetSpent):
        open_enhancements(**foreign, budget_day_usd=0).submit(user.id, another(1), ignored).result(timeout=30)
    assert asked(service) == 1


def another(number: int) -> PromptRequest:
    """Another request, of the same length and price."""
    return replace(FOX, base_prompt=f"reading {number:03}")


def ignored(_piece: str) -> None:
    pass


def test_of_twenty_texts_at_once_as_many_are_asked_for_as_there_is_money(
    open_enhancements: Callable[..., Enhancements],
    database: Database,
    service: OpenAIService,
    clock: Clock,
    user: User,
) -> None:
    """In four processes, each with one of the Create page and as many of a program as it lets go at once."""
    service.script(Behaviour(usage=False), always=True)
    most = max_text_price(DEFAULT_TEXT_MODEL, another(0)) or 0
    room = Decimal(8 * most - 1) / 1_000_000
    processes = [open_enhancements(budget_day_usd=room) for _ in range(20 // (MAX_CONCURRENT_PER_USER + 1))]
    ready = Barrier(20)

    def ask(number: int) -> bool:
        here, program = processes[number % len(processes)], number // len(processes)
        ready.wait()
        try:
            if program:
                return here.submit(user.id, another(number), ignored).exception(timeout=60) is None
            here.start(user.id, another(number), DRAFT)
        except errors.BudgetSpent:
            return False
        return finished(here, user).error is None

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(ask, range(20))) == 7
    assert asked(service) == 7
    assert spent(database, user, clock) == 7 * most


@pytest.fixture
def busy(database: Database, user: User, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    """The database of a process in which nothing can be written."""
    monkeypatch.setattr("core.database.engines.BUSY_TIMEOUT_MS", 50)
    with (
        closing(Database(database.url.render_as_string(hide_password=False))) as locked,
        database.write() as session,
    ):
        session.execute(update(User).where(col(User.id) == user.id).values(display_name="Busy"))
        yield locked


@ON_SQLITE
def test_where_nothing_can_be_written_and_no_budget_holds_the_service_is_asked(
    open_enhancements: Callable[..., Enhancements], busy: Database, user: User
) -> None:
    assert HELLO in open_enhancements(busy).submit(user.id, FOX, ignored).result(timeout=30)


@ON_SQLITE
@pytest.mark.parametrize("kind", ["budget_day_usd", "budget_month_images"])
def test_where_nothing_can_be_written_and_a_budget_holds_nothing_is_asked(
    open_enhancements: Callable[..., Enhancements],
    busy: Database,
    service: OpenAIService,
    user: User,
    kind: str,
) -> None:
    text = open_enhancements(busy, **{kind: 1}).submit(user.id, FOX, ignored)
    with pytest.raises(errors.DatabaseBusy):
        text.result(timeout=30)
    assert asked(service) == 0


# Several at once for the same


def test_the_same_request_several_times_at_once_is_paid_once(
    enhancements: Enhancements, service: OpenAIService, user: User, calls: Callable[[], list[Usage]]
) -> None:
    service.script(Behaviour(latency=1, pause=0.1))
    heard: list[list[str]] = [[] for _ in range(MAX_CONCURRENT_PER_USER)]
    texts = [enhancements.submit(user.id, FOX, pieces.append) for pieces in heard]
    enhancements.start(user.id, FOX, DRAFT)
    written_here = finished(enhancements, user).text
    assert {text.result(timeout=30) for text in texts} == {written_here}
    assert {"".join(pieces) for pieces in heard} == {"".join(heard[0])}
    assert asked(service) == 1
    outcomes = ["ok", *["saved"] * MAX_CONCURRENT_PER_USER]
    until(lambda: sorted(call.outcome for call in calls()) == outcomes)


def test_another_take_and_another_user_wait_for_nobody(
    enhancements: Enhancements, service: OpenAIService, user: User, other_user: User
) -> None:
    service.script(*[Behaviour(latency=1)] * 3)
    texts = [enhancements.submit(each.id, FOX, ignored) for each in (user, other_user)]
    enhancements.start(user.id, FOX, DRAFT, rewrite=True)
    finished(enhancements, user)
    assert all(HELLO in text.result(timeout=30) for text in texts)
    assert asked(service) == 3


def test_whoever_gives_up_takes_no_text_from_the_others(
    enhancements: Enhancements, service: OpenAIService, user: User
) -> None:
    service.script(Behaviour(latency=1))
    first, second = (enhancements.submit(user.id, FOX, ignored) for _ in range(2))
    first.cancel()
    assert HELLO in second.result(timeout=30)
    assert asked(service) == 1


def test_a_failure_is_told_to_all_who_wait_and_recorded_once(
    enhancements: Enhancements, service: OpenAIService, user: User, calls: Callable[[], list[Usage]]
) -> None:
    service.script(Behaviour(latency=1, finish="length"))
    texts = [enhancements.submit(user.id, FOX, ignored) for _ in range(3)]
    failures = {type(text.exception(timeout=30)) for text in texts}
    assert failures == {errors.EnhancementTooLong}
    assert [call.outcome for call in calls()] == ["failed"]
    assert HELLO in enhancements.submit(user.id, FOX, ignored).result(timeout=30)


def test_after_a_failure_one_may_try_again(
    enhancements: Enhancements, service: OpenAIService, user: User, calls: Callable[[], list[Usage]]
) -> None:
    service.script("moderation")
    enhancements.start(user.id, FOX, DRAFT)
    assert finished(enhancements, user).error
    enhancements.start(user.id, FOX, DRAFT)
    assert finished(enhancements, user).result
    until(lambda: sorted(call.outcome for call in calls()) == ["failed", "ok"])


# The same request within a day


def written(enhancements: Enhancements, user: User, request: PromptRequest = FOX, **how: bool) -> str:
    enhancements.start(user.id, request, DRAFT, **how)
    return finished(enhancements, user).text


def asked(service: OpenAIService) -> int:
    return len(service.asked("/chat/completions"))


def test_the_same_request_of_a_day_is_answered_at_once_and_is_a_saved_call(
    enhancements: Enhancements,
    drafts: Drafts,
    service: OpenAIService,
    clock: Clock,
    user: User,
    calls: Callable[[], list[Usage]],
) -> None:
    drafts.save(user.id, DraftState(id=DRAFT))
    text, begun = written(enhancements, user), clock.now
    drafts.save(user.id, DraftState(prompt="typed meanwhile", id=DRAFT))
    clock.forward(hours=23, minutes=59)
    enhancements.start(user.id, FOX, DRAFT)
    run = enhancements.current(user.id)
    assert run is not None
    assert (run.is_live, run.text, run.cached_at) == (False, text, begun)
    assert run.result is not None
    draft = drafts.load(user.id)
    assert (draft.prompt, draft.has_version("typed meanwhile")) == (text, True)
    assert asked(service) == 1
    paid, saved = sorted(calls(), key=lambda call: call.outcome)
    assert paid.price_micros
    assert (saved.outcome, saved.kind, saved.price_micros) == ("saved", "enhance", 0)
    assert (saved.saved_micros, run.result.price_micros) == (paid.price_micros, paid.price_micros)


def test_after_a_day_the_service_is_asked_again(
    enhancements: Enhancements, service: OpenAIService, clock: Clock, user: User
) -> None:
    written(enhancements, user)
    clock.forward(days=1)
    written(enhancements, user)
    assert asked(service) == 2


OTHER_REQUESTS = {
    "name": {"name": "Moss"},
    "traits": {"traits": ("red fox", "scarf")},
    "base prompt": {"base_prompt": "asleep"},
    "style": {"style": "ink"},
    "how far": {"enhancement": EnhancementLevel.RICH},
    "guidance": {"guidance": "darker"},
    "rewrite": {"variation": 1},
}


@pytest.mark.parametrize("changes", OTHER_REQUESTS.values(), ids=OTHER_REQUESTS)
def test_another_request_is_sent(
    enhancements: Enhancements, service: OpenAIService, user: User, changes: dict[str, Any]
) -> None:
    written(enhancements, user)
    written(enhancements, user, replace(FOX, **changes))
    assert asked(service) == 2


def test_other_instructions_are_another_request(
    enhancements: Enhancements, service: OpenAIService, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(enhancements, user)
    monkeypatch.setattr("core.prompts.instructions._INSTRUCTIONS", "Write shorter prompts. {level}")
    written(enhancements, user)
    assert asked(service) == 2


def test_nobody_is_answered_with_what_another_user_asked(
    enhancements: Enhancements, service: OpenAIService, user: User, other_user: User
) -> None:
    written(enhancements, user)
    written(enhancements, other_user)
    assert asked(service) == 2


def test_another_take_is_always_asked_for_and_then_kept(
    enhancements: Enhancements, service: OpenAIService, clock: Clock, user: User
) -> None:
    again = replace(FOX, variation=1)
    written(enhancements, user)
    written(enhancements, user, again, rewrite=True)
    latest = written(enhancements, user, again, rewrite=True)
    assert asked(service) == 3
    assert written(enhancements, user, again) == latest
    clock.forward(seconds=3)
    written(enhancements, user)
    assert asked(service) == 3


def test_the_second_click_on_an_answer_that_was_there_at_once_asks_for_nothing(
    enhancements: Enhancements, service: OpenAIService, clock: Clock, user: User
) -> None:
    written(enhancements, user)
    written(enhancements, user)
    clock.forward(seconds=0.9)
    written(enhancements, user, replace(FOX, variation=1), rewrite=True)
    assert asked(service) == 1
    clock.forward(seconds=0.1)
    written(enhancements, user, replace(FOX, variation=1), rewrite=True)
    assert asked(service) == 2


@pytest.mark.parametrize("behaviour", ["length", "refusal", "moderation"])
def test_what_is_not_a_whole_answer_is_not_kept(
    enhancements: Enhancements, service: OpenAIService, user: User, behaviour: str
) -> None:
    service.script(behaviour)
    enhancements.start(user.id, FOX, DRAFT)
    assert finished(enhancements, user).error
    assert HELLO in written(enhancements, user)
    assert asked(service) == 2


def test_housekeeping_removes_what_is_too_old_to_answer(
    enhancements: Enhancements, database: Database, clock: Clock, user: User
) -> None:
    written(enhancements, user)
    clock.forward(hours=1)
    written(enhancements, user, replace(FOX, name="Moss"))
    clock.forward(hours=23)
    EnhancementCache(database, clock=clock).tidy()
    with database.read() as session:
        assert ["Moss" in entry.text for entry in session.exec(select(CachedEnhancement))] == [True]


class BrokenCache(EnhancementCache):
    """Texts that can be neither kept nor read."""

    def find(self, user_id: str, model: str, request: PromptRequest) -> CachedEnhancement | None:
        raise errors.DatabaseError

    def store(self, user_id: str, request: PromptRequest, enhanced: EnhancedPrompt) -> None:
        raise errors.StorageFull


def test_where_nothing_can_be_kept_the_service_is_asked(
    run_with: Callable[..., EnhancementRun], database: Database, drafts: Drafts, user: User
) -> None:
    assert HELLO in run_with(drafts, user, BrokenCache(database)).text


class FullDrafts(Drafts):
    """Drafts on a disk that has no room left."""

    def add_enhancement(self, user_id: str, text: str, draft_id: str, request: PromptRequest) -> None:
        raise errors.StorageFull


class BrokenDrafts(Drafts):
    """Drafts with a fault of our own."""

    def add_enhancement(self, user_id: str, text: str, draft_id: str, request: PromptRequest) -> None:
        raise ZeroDivisionError


@pytest.fixture
def run_with(database: Database, service: OpenAIService) -> Iterator[Callable[..., EnhancementRun]]:
    settings = load_settings(openai_base_url=service.base_url)
    client = ServiceClient(settings)

    def run(drafts: Drafts, user: User, cache: EnhancementCache | None = None) -> EnhancementRun:
        usage, cache = UsageLog(database), cache or EnhancementCache(database)
        budgets = Budgets(database, settings, AuditLog(database))
        enhancer = Enhancer(client, usage, cache, budgets, model="m", offline=False, secret=SECRET)
        running = Enhancements(enhancer, drafts)
        running.start(user.id, FOX, DRAFT)
        ended = finished(running, user)
        running.close(grace_seconds=30)
        return ended

    yield run
    client.close()


def test_a_paid_text_that_can_not_be_stored_still_reaches_the_page(
    run_with: Callable[..., EnhancementRun],
    database: Database,
    user: User,
    calls: Callable[[], list[Usage]],
) -> None:
    run = run_with(FullDrafts(database), user)
    assert run.result is not None
    assert HELLO in run.text
    assert [call.outcome for call in calls()] == ["ok"]


def test_a_fault_of_ours_takes_no_paid_text_away(
    run_with: Callable[..., EnhancementRun], database: Database, user: User
) -> None:
    run = run_with(BrokenDrafts(database), user)
    assert run.result is not None
    assert HELLO in run.text
