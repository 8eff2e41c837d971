"""An enhancement is paid once, recorded always, and lost never, with or without a page that watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from sqlmodel import select

from core import errors
from core.client import ImageClient
from core.database import Database
from core.drafts import Drafts, DraftState
from core.enhancing import EnhancementRun, Enhancements
from core.models import Usage, User
from core.prompts import PromptRequest
from core.settings import load_settings
from core.usage import UsageLog
from tests.openai_service import HELLO, REQUEST_ID, Behaviour, OpenAIService
from tests.polling import until

FOX = PromptRequest(name="Juniper", traits=("red fox",), base_prompt="reading a book")
SECRET = b"installation"
DRAFT = "one draft"


@pytest.fixture
def drafts(database: Database) -> Drafts:
    return Drafts(database)


@pytest.fixture
def enhancements(database: Database, drafts: Drafts, service: OpenAIService) -> Iterator[Enhancements]:
    settings = load_settings(openai_base_url=service.base_url, openai_api_key="sk-test-abcdefgh")
    client = ImageClient(settings, sleep=lambda _: None)
    running = Enhancements(
        client,
        drafts,
        UsageLog(database),
        model=settings.default_text_model,
        offline=False,
        secret=SECRET,
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
    enhancements.start(user.id, FOX, DRAFT)
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
    "length": errors.EnhancementCut,
    "html": errors.BadAnswer,
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


class FullDrafts(Drafts):
    """Drafts on a disk that has no room left."""

    def enhanced(self, user_id: str, text: str, draft_id: str) -> None:
        raise errors.StorageFull


class BrokenDrafts(Drafts):
    """Drafts with a fault of our own."""

    def enhanced(self, user_id: str, text: str, draft_id: str) -> None:
        raise ZeroDivisionError


@pytest.fixture
def run_with(
    database: Database, service: OpenAIService
) -> Iterator[Callable[[Drafts, User], EnhancementRun]]:
    settings = load_settings(openai_base_url=service.base_url)
    client = ImageClient(settings)

    def run(drafts: Drafts, user: User) -> EnhancementRun:
        usage = UsageLog(database)
        running = Enhancements(client, drafts, usage, model="m", offline=False, secret=SECRET)
        running.start(user.id, FOX, DRAFT)
        ended = finished(running, user)
        running.close(grace_seconds=30)
        return ended

    yield run
    client.close()


def test_a_paid_text_that_can_not_be_stored_still_reaches_the_page(
    run_with: Callable[[Drafts, User], EnhancementRun],
    database: Database,
    user: User,
    calls: Callable[[], list[Usage]],
) -> None:
    run = run_with(FullDrafts(database), user)
    assert run.result is not None
    assert HELLO in run.text
    assert [call.outcome for call in calls()] == ["ok"]


def test_a_fault_of_ours_takes_no_paid_text_away(
    run_with: Callable[[Drafts, User], EnhancementRun], database: Database, user: User
) -> None:
    run = run_with(BrokenDrafts(database), user)
    assert run.result is not None
    assert HELLO in run.text
