"""A run pays once, and its text reaches the draft and every tab, whether or not a page watches."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from threading import Thread

import pytest

from core import errors
from core.database.database import Database
from core.database.models import Usage, User
from core.enhancement.drafts import Drafts, DraftState
from core.enhancement.runs import MAX_CONCURRENT_PER_USER, WORKER_THREADS, EnhancementRun, Enhancements
from core.prompts.request import PromptRequest
from tests.support.clock import Clock
from tests.support.enhancements import (
    DRAFT,
    FOX,
    count_calls,
    enhanced_text,
    ignore,
    request_number,
    wait_for_end,
)
from tests.support.openai_service import HELLO, Behaviour, OpenAIService
from tests.support.waiting import until


def test_the_text_arrives_in_chunks_and_reaches_the_draft(
    enhancements: Enhancements, drafts: Drafts, service: OpenAIService, user: User
) -> None:
    drafts.save(user.id, DraftState(prompt="typed before", id=DRAFT))
    service.script(Behaviour(pause=0.3))
    enhancements.start(user.id, FOX, DRAFT)
    chunk = until(lambda: (run := enhancements.current(user.id)) and run.is_live and run.text)
    run = wait_for_end(enhancements, user)
    assert run.error is None
    assert run.result is not None
    assert run.text == run.result.text
    assert run.text.startswith(chunk)
    assert len(chunk) < len(run.text)
    assert HELLO in run.text
    draft = drafts.load(user.id)
    assert (draft.prompt, draft.enhanced_prompt) == (run.text, run.text)
    assert "typed before" in {version.text for version in draft.versions}


def test_the_draft_gets_the_text_without_a_page(
    enhancements: Enhancements, drafts: Drafts, user: User, calls: Callable[[], list[Usage]]
) -> None:
    drafts.save(user.id, DraftState(id=DRAFT))
    enhancements.start(user.id, FOX, DRAFT)
    assert HELLO in until(lambda: drafts.load(user.id).prompt)
    assert [call.outcome for call in calls()] == ["ok"]


def test_a_text_for_another_draft_becomes_a_version_and_replaces_nothing(
    enhancements: Enhancements, drafts: Drafts, service: OpenAIService, user: User
) -> None:
    drafts.save(user.id, DraftState(prompt="a reused prompt", id="another draft"))
    enhancements.start(user.id, FOX, DRAFT)
    run = wait_for_end(enhancements, user)
    draft = drafts.load(user.id)
    assert (draft.prompt, draft.enhanced_prompt, draft.variation) == ("a reused prompt", "", 0)
    assert draft.has_version(run.text)


def test_every_tab_sees_how_the_run_ended(enhancements: Enhancements, user: User) -> None:
    assert enhancements.current(user.id) is None
    enhancements.start(user.id, FOX, DRAFT)
    first = wait_for_end(enhancements, user)
    assert wait_for_end(enhancements, user) == first
    enhancements.start(user.id, FOX, DRAFT, rewrite=True)
    assert wait_for_end(enhancements, user).id != first.id


def test_concurrent_starts_pay_once(enhancements: Enhancements, service: OpenAIService, user: User) -> None:
    service.script(Behaviour(latency=0.3))
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: enhancements.start(user.id, FOX, DRAFT), range(8)))
    wait_for_end(enhancements, user)
    assert len(service.requests_to("/chat/completions")) == 1


def test_users_do_not_wait_for_each_other(
    enhancements: Enhancements, service: OpenAIService, user: User, other_user: User
) -> None:
    service.script(Behaviour(latency=5))
    enhancements.start(user.id, FOX, DRAFT)
    until(lambda: service.requests_to("/chat/completions"))
    enhancements.start(other_user.id, replace(FOX, name="Moss"), DRAFT)
    assert "Moss" in wait_for_end(enhancements, other_user).text
    first = enhancements.current(user.id)
    assert first is not None
    assert first.is_live
    tags = {seen.body.get("safety_identifier") for seen in service.requests_to("/chat/completions")}
    assert tags == {None}  # only OpenAI's own API gets the user's tag


def test_a_failure_leaves_the_draft_unchanged(
    enhancements: Enhancements, drafts: Drafts, service: OpenAIService, user: User
) -> None:
    before = DraftState(name="Juniper", prompt="typed before")
    drafts.save(user.id, before)
    service.script("refusal")
    enhancements.start(user.id, FOX, DRAFT)
    assert wait_for_end(enhancements, user).result is None
    assert drafts.load(user.id) == before


@pytest.mark.parametrize("fault", ["truncated", "dropped", "length"])
def test_a_text_that_was_cut_off_becomes_the_prompt(
    enhancements: Enhancements, drafts: Drafts, service: OpenAIService, user: User, fault: str
) -> None:
    drafts.save(user.id, DraftState(prompt="typed before", id=DRAFT))
    service.script(fault)
    enhancements.start(user.id, FOX, DRAFT)
    run = wait_for_end(enhancements, user)
    assert run.error
    assert run.text.startswith("Subject:")
    draft = drafts.load(user.id)
    assert (draft.prompt, draft.enhanced_prompt, draft.variation) == (run.text, "", 0)
    assert draft.is_unfinished
    assert not draft.is_enhanced
    assert [version.text for version in draft.versions] == ["typed before", run.text]


def test_a_cut_text_for_another_draft_becomes_a_version_and_replaces_nothing(
    enhancements: Enhancements, drafts: Drafts, service: OpenAIService, user: User
) -> None:
    drafts.save(user.id, DraftState(prompt="a reused prompt", id="another draft"))
    service.script("truncated")
    enhancements.start(user.id, FOX, DRAFT)
    run = wait_for_end(enhancements, user)
    draft = drafts.load(user.id)
    assert draft.prompt == "a reused prompt"
    assert draft.has_version(run.text)


def test_a_cut_text_is_not_reused(enhancements: Enhancements, service: OpenAIService, user: User) -> None:
    service.script(Behaviour(text="Subject: Juni", finish="error"))
    cut = enhanced_text(enhancements, user)
    whole = enhanced_text(enhancements, user)
    assert whole.startswith(cut)
    assert whole != cut
    assert count_calls(service) == 2


def test_concurrent_identical_requests_are_paid_once(
    enhancements: Enhancements, service: OpenAIService, user: User, calls: Callable[[], list[Usage]]
) -> None:
    service.script(Behaviour(latency=1, pause=0.1))
    received: list[list[str]] = [[] for _ in range(MAX_CONCURRENT_PER_USER)]
    texts = [enhancements.submit(user.id, FOX, chunks.append) for chunks in received]
    enhancements.start(user.id, FOX, DRAFT)
    run_text = wait_for_end(enhancements, user).text
    assert {text.result(timeout=30).text for text in texts} == {run_text}
    assert {"".join(chunks) for chunks in received} == {"".join(received[0])}
    assert count_calls(service) == 1
    outcomes = ["ok", *["saved"] * MAX_CONCURRENT_PER_USER]
    until(lambda: sorted(call.outcome for call in calls()) == outcomes)


def test_a_rewrite_and_another_user_get_calls_of_their_own(
    enhancements: Enhancements, service: OpenAIService, user: User, other_user: User
) -> None:
    service.script(*[Behaviour(latency=1)] * 3)
    texts = [enhancements.submit(each.id, FOX, ignore) for each in (user, other_user)]
    enhancements.start(user.id, FOX, DRAFT, rewrite=True)
    wait_for_end(enhancements, user)
    assert all(HELLO in text.result(timeout=30).text for text in texts)
    assert count_calls(service) == 3


def test_cancelling_one_request_leaves_the_others(
    enhancements: Enhancements, service: OpenAIService, user: User
) -> None:
    service.script(Behaviour(latency=1))
    first, second = (enhancements.submit(user.id, FOX, ignore) for _ in range(2))
    first.cancel()
    assert HELLO in second.result(timeout=30).text
    assert count_calls(service) == 1


def test_a_failure_reaches_every_request_and_is_recorded_once(
    enhancements: Enhancements, service: OpenAIService, user: User, calls: Callable[[], list[Usage]]
) -> None:
    service.script(Behaviour(latency=1, finish="length"))
    texts = [enhancements.submit(user.id, FOX, ignore) for _ in range(3)]
    failures = {type(text.exception(timeout=30)) for text in texts}
    assert failures == {errors.EnhancementTooLong}
    assert [call.outcome for call in calls()] == ["failed"]
    assert HELLO in enhancements.submit(user.id, FOX, ignore).result(timeout=30).text


def test_a_failed_run_can_be_started_again(
    enhancements: Enhancements, service: OpenAIService, user: User, calls: Callable[[], list[Usage]]
) -> None:
    service.script("moderation")
    enhancements.start(user.id, FOX, DRAFT)
    assert wait_for_end(enhancements, user).error
    enhancements.start(user.id, FOX, DRAFT)
    assert wait_for_end(enhancements, user).result
    until(lambda: sorted(call.outcome for call in calls()) == ["failed", "ok"])


def test_a_double_click_on_a_cached_request_starts_one_run(
    enhancements: Enhancements, service: OpenAIService, clock: Clock, user: User
) -> None:
    enhanced_text(enhancements, user)
    enhanced_text(enhancements, user)
    clock.forward(seconds=0.9)
    enhanced_text(enhancements, user, replace(FOX, variation=1), rewrite=True)
    assert count_calls(service) == 1
    clock.forward(seconds=0.1)
    enhanced_text(enhancements, user, replace(FOX, variation=1), rewrite=True)
    assert count_calls(service) == 2


def test_a_refused_start_leaves_the_last_run(
    open_enhancements: Callable[..., Enhancements], service: OpenAIService, clock: Clock, user: User
) -> None:
    enhancements = open_enhancements(budget_day_usd=0)
    with pytest.raises(errors.BudgetSpent):
        enhancements.start(user.id, FOX, DRAFT)
    assert enhancements.current(user.id) is None
    enhanced_text(open_enhancements(), user)
    last = enhanced_text(enhancements, user)
    clock.forward(seconds=2)
    with pytest.raises(errors.BudgetSpent):
        enhancements.start(user.id, request_number(1), DRAFT, rewrite=True)
    run = enhancements.current(user.id)
    assert run is not None
    assert (run.text, run.request) == (last, FOX)
    assert count_calls(service) == 1


def test_refused_requests_do_not_count_as_concurrent(
    open_enhancements: Callable[..., Enhancements], user: User
) -> None:
    enhancements = open_enhancements(budget_day_usd=0)
    for _ in range(MAX_CONCURRENT_PER_USER + 1):
        with pytest.raises(errors.BudgetSpent):
            enhancements.submit(user.id, FOX, ignore)


class FullDrafts(Drafts):
    """Drafts on a full disk."""

    def add_enhancement(self, user_id: str, text: str, draft_id: str, request: PromptRequest) -> None:
        raise errors.StorageFull


class BrokenDrafts(Drafts):
    """Drafts with a bug."""

    def add_enhancement(self, user_id: str, text: str, draft_id: str, request: PromptRequest) -> None:
        raise ZeroDivisionError


def test_a_paid_text_reaches_the_page_when_the_disk_is_full(
    run_with: Callable[..., EnhancementRun],
    database: Database,
    user: User,
    calls: Callable[[], list[Usage]],
) -> None:
    run = run_with(FullDrafts(database), user)
    assert run.result is not None
    assert HELLO in run.text
    assert [call.outcome for call in calls()] == ["ok"]


def test_a_paid_text_reaches_the_page_when_storing_the_draft_crashes(
    run_with: Callable[..., EnhancementRun], database: Database, user: User
) -> None:
    run = run_with(BrokenDrafts(database), user)
    assert run.result is not None
    assert HELLO in run.text


def test_closing_while_a_request_is_submitted_ends(
    open_enhancements: Callable[..., Enhancements], service: OpenAIService, make_user: Callable[[str], User]
) -> None:
    """A queued call that is cancelled by the close must not wait for a lock that the submission holds."""
    service.script(*[Behaviour(hold="start")] * WORKER_THREADS)
    enhancements = open_enhancements()
    submitting: list[Thread] = []

    def submit_another(_cancelled: Future[str]) -> None:
        if not submitting:
            submitting.append(Thread(target=submit_late, daemon=True))
            submitting[0].start()
            submitting[0].join(0.5)  # by then it holds a lock, or waits for one

    def submit_late() -> None:
        with suppress(errors.AppStopping):
            enhancements.submit(make_user("late").id, FOX, ignore)

    users = [make_user(f"user-{number}") for number in range(WORKER_THREADS + 3)]
    futures = [enhancements.submit(each.id, FOX, ignore) for each in users]
    until(lambda: count_calls(service) == WORKER_THREADS)
    for future in futures[WORKER_THREADS:]:
        future.add_done_callback(submit_another)
    closing = Thread(target=enhancements.close, daemon=True)
    closing.start()
    closing.join(20)
    service.let_go()
    assert not closing.is_alive()
    submitting[0].join(20)
    assert not submitting[0].is_alive()
