"""An enhancement is paid once, recorded always, and lost never, with or without a page that watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlmodel import select

from core import errors
from core.client import Enhanced, ImageClient
from core.database import Database
from core.drafts import Drafts, DraftState
from core.enhancing import EnhancementRun, Enhancements
from core.models import Take, Usage, User
from core.prompts import Enhancement, PromptRequest
from core.settings import load_settings
from core.takes import Takes
from core.usage import UsageLog
from tests.clock import Clock
from tests.openai_service import HELLO, REQUEST_ID, Behaviour, OpenAIService
from tests.polling import until

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
def enhancements(
    database: Database, drafts: Drafts, service: OpenAIService, clock: Clock
) -> Iterator[Enhancements]:
    settings = load_settings(openai_base_url=service.base_url, openai_api_key="sk-test-abcdefgh")
    client = ImageClient(settings, sleep=lambda _: None)
    running = Enhancements(
        client,
        drafts,
        UsageLog(database),
        Takes(database, clock=clock),
        model=settings.default_text_model,
        offline=False,
        secret=SECRET,
        clock=clock,
    )
    yield running
    running.close(grace_seconds=30)
    client.close()


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
    until(calls)
    assert HELLO in until(lambda: drafts.load(user.id).prompt)


def test_a_text_for_another_draft_is_kept_and_replaces_nothing(
    enhancements: Enhancements, drafts: Drafts, service: OpenAIService, user: User
) -> None:
    drafts.save(user.id, DraftState(prompt="a reused prompt", id="another draft"))
    enhancements.start(user.id, FOX, DRAFT)
    run = finished(enhancements, user)
    draft = drafts.load(user.id)
    assert (draft.prompt, draft.enhanced_prompt, draft.variation) == ("a reused prompt", "", 0)
    assert draft.has_had(run.text)


def test_the_end_is_there_for_every_tab(enhancements: Enhancements, user: User) -> None:
    assert enhancements.current(user.id) is None
    enhancements.start(user.id, FOX, DRAFT)
    first = finished(enhancements, user)
    assert finished(enhancements, user) == first
    enhancements.start(user.id, FOX, DRAFT, another=True)
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
    "key rejected": errors.KeyRejected,
    "moderation": errors.PromptBlocked,
    "refusal": errors.EnhancementRefused,
    "length": errors.EnhancementTooLong,
    "html": errors.WebPage,
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
    (call,) = until(calls)
    assert (call.outcome, call.error_code) == ("failed", FAILURES[behaviour].code)


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
    assert (run.is_live, run.text, run.kept_at) == (False, text, begun)
    assert run.result is not None
    draft = drafts.load(user.id)
    assert (draft.prompt, draft.has_had("typed meanwhile")) == (text, True)
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
    "how far": {"enhancement": Enhancement.RICH},
    "guidance": {"guidance": "darker"},
    "take": {"variation": 1},
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
    monkeypatch.setattr("core.prompts._INSTRUCTIONS", "Write shorter prompts. {level}")
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
    written(enhancements, user, again, another=True)
    latest = written(enhancements, user, again, another=True)
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
    written(enhancements, user, replace(FOX, variation=1), another=True)
    assert asked(service) == 1
    clock.forward(seconds=0.1)
    written(enhancements, user, replace(FOX, variation=1), another=True)
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
    Takes(database, clock=clock).tidy()
    with database.read() as session:
        assert ["Moss" in take.text for take in session.exec(select(Take))] == [True]


class BrokenTakes(Takes):
    """Texts that can be neither kept nor read."""

    def find(self, user_id: str, model: str, request: PromptRequest) -> Take | None:
        raise errors.DatabaseError

    def keep(self, user_id: str, request: PromptRequest, enhanced: Enhanced) -> None:
        raise errors.StorageFull


def test_where_nothing_can_be_kept_the_service_is_asked(
    run_with: Callable[..., EnhancementRun], database: Database, drafts: Drafts, user: User
) -> None:
    assert HELLO in run_with(drafts, user, BrokenTakes(database)).text


class FullDrafts(Drafts):
    """Drafts on a disk that has no room left."""

    def enhanced(self, user_id: str, text: str, draft_id: str, request: PromptRequest) -> None:
        raise errors.StorageFull


class BrokenDrafts(Drafts):
    """Drafts with a fault of our own."""

    def enhanced(self, user_id: str, text: str, draft_id: str, request: PromptRequest) -> None:
        raise ZeroDivisionError


@pytest.fixture
def run_with(database: Database, service: OpenAIService) -> Iterator[Callable[..., EnhancementRun]]:
    settings = load_settings(openai_base_url=service.base_url)
    client = ImageClient(settings)

    def run(drafts: Drafts, user: User, takes: Takes | None = None) -> EnhancementRun:
        usage, takes = UsageLog(database), takes or Takes(database)
        running = Enhancements(client, drafts, usage, takes, model="m", offline=False, secret=SECRET)
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
