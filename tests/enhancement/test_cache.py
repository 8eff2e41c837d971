"""A repeated request is answered from the cache for a day, and each request reads the cache once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event
from sqlmodel import select

from core import bootstrap, errors
from core.accounts.identity import SignedIn
from core.database.database import Database
from core.database.models import CachedEnhancement, Usage, User
from core.enhancement.cache import EnhancementCache
from core.enhancement.drafts import Drafts, DraftState
from core.enhancement.runs import EnhancementRun, Enhancements
from core.prompts.request import EnhancementLevel, PromptRequest
from core.provider.chat import EnhancedPrompt
from core.settings import load_settings
from core.studio import Studio
from tests.support.clock import Clock
from tests.support.enhancements import (
    DRAFT,
    FOX,
    count_calls,
    enhanced_text,
    wait_for_end,
)
from tests.support.generation import ON_SQLITE
from tests.support.openai_service import HELLO, OpenAIService
from tests.support.sign_in import enter
from tests.support.waiting import until

DESCRIBED = DraftState(name="Juniper", base_prompt="in the snow")


@pytest.fixture
def studio(database_url: str, service: OpenAIService, tmp_path: Path) -> Iterator[Studio]:
    """A studio whose users have a budget, so that every call is checked against it before it is sent."""
    studio = bootstrap.build(
        load_settings(
            data_dir=tmp_path / "data",
            database_url=database_url,
            openai_base_url=service.base_url,
            openai_api_key="sk-test-abcdefgh",
            budget_day_usd=1,
        )
    )
    yield studio
    studio.close()


@pytest.fixture
def ada(studio: Studio) -> SignedIn:
    return enter(studio, "ada")


@pytest.fixture
def cache_reads(studio: Studio) -> Iterator[list[str]]:
    """The SQL statements that read the cache's table."""
    reads: list[str] = []

    def note(_connection: object, _cursor: object, statement: str, *_: object) -> None:
        if statement.startswith("SELECT") and "FROM takes" in statement:
            reads.append(statement)

    event.listen(studio.database.engine, "before_cursor_execute", note)
    yield reads
    event.remove(studio.database.engine, "before_cursor_execute", note)


def enhance_draft(studio: Studio, user: SignedIn) -> None:
    studio.enhancement_orders.enhance_draft(user, studio.drafts.load(user.user_id))
    until(lambda: (run := studio.enhancements.current(user.user_id)) and not run.is_live)


def enhance_request(studio: Studio, user: SignedIn) -> None:
    request = PromptRequest(name=DESCRIBED.name, base_prompt=DESCRIBED.base_prompt)
    studio.enhancement_orders.enhance_request(user, request, lambda _chunk: None).result(timeout=30)


@ON_SQLITE
@pytest.mark.parametrize(
    "enhance",
    [pytest.param(enhance_draft, id="by the page"), pytest.param(enhance_request, id="by a program")],
)
def test_the_cache_is_read_once_per_request(
    studio: Studio,
    service: OpenAIService,
    ada: SignedIn,
    cache_reads: list[str],
    enhance: Callable[[Studio, SignedIn], None],
) -> None:
    for reads in (1, 2):
        studio.drafts.save(ada.user_id, DESCRIBED)
        enhance(studio, ada)
        assert len(cache_reads) == reads
    assert len(service.requests_to("/chat/completions")) == 1  # the second one came from the cache


@ON_SQLITE
def test_a_rewrite_does_not_read_the_cache(
    studio: Studio, service: OpenAIService, ada: SignedIn, cache_reads: list[str]
) -> None:
    studio.drafts.save(ada.user_id, DESCRIBED)
    enhance_draft(studio, ada)
    cache_reads.clear()
    enhance_draft(studio, ada)
    assert cache_reads == []
    assert len(service.requests_to("/chat/completions")) == 2


def test_a_repeated_request_is_answered_at_once_and_recorded_as_saved(
    enhancements: Enhancements,
    drafts: Drafts,
    service: OpenAIService,
    clock: Clock,
    user: User,
    calls: Callable[[], list[Usage]],
) -> None:
    drafts.save(user.id, DraftState(id=DRAFT))
    text, written_at = enhanced_text(enhancements, user), clock.now
    drafts.save(user.id, DraftState(prompt="typed meanwhile", id=DRAFT))
    clock.forward(hours=23, minutes=59)
    enhancements.start(user.id, FOX, DRAFT)
    run = enhancements.current(user.id)
    assert run is not None
    assert (run.is_live, run.text, run.cached_at) == (False, text, written_at)
    assert run.result is not None
    draft = drafts.load(user.id)
    assert (draft.prompt, draft.has_version("typed meanwhile")) == (text, True)
    assert count_calls(service) == 1
    paid, saved = sorted(calls(), key=lambda call: call.outcome)
    assert paid.price_micros
    assert (saved.outcome, saved.kind, saved.price_micros) == ("saved", "enhance", 0)
    assert (saved.saved_micros, run.result.price_micros) == (paid.price_micros, paid.price_micros)


def test_a_cached_text_expires_after_a_day(
    enhancements: Enhancements, service: OpenAIService, clock: Clock, user: User
) -> None:
    enhanced_text(enhancements, user)
    clock.forward(days=1)
    enhanced_text(enhancements, user)
    assert count_calls(service) == 2


OTHER_REQUESTS = {
    "name": {"name": "Moss"},
    "traits": {"traits": ("red fox", "scarf")},
    "base prompt": {"base_prompt": "asleep"},
    "style": {"style": "ink"},
    "level": {"enhancement": EnhancementLevel.RICH},
    "guidance": {"guidance": "darker"},
    "rewrite": {"variation": 1},
}


@pytest.mark.parametrize("changes", OTHER_REQUESTS.values(), ids=OTHER_REQUESTS)
def test_a_different_request_is_sent(
    enhancements: Enhancements, service: OpenAIService, user: User, changes: dict[str, Any]
) -> None:
    enhanced_text(enhancements, user)
    enhanced_text(enhancements, user, replace(FOX, **changes))
    assert count_calls(service) == 2


def test_a_request_is_sent_again_when_the_instructions_change(
    enhancements: Enhancements, service: OpenAIService, user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    enhanced_text(enhancements, user)
    monkeypatch.setattr("core.prompts.instructions._INSTRUCTIONS", "Write shorter prompts. {level}")
    enhanced_text(enhancements, user)
    assert count_calls(service) == 2


def test_users_do_not_share_cached_texts(
    enhancements: Enhancements, service: OpenAIService, user: User, other_user: User
) -> None:
    enhanced_text(enhancements, user)
    enhanced_text(enhancements, other_user)
    assert count_calls(service) == 2


def test_a_rewrite_is_always_sent_and_then_cached(
    enhancements: Enhancements, service: OpenAIService, clock: Clock, user: User
) -> None:
    again = replace(FOX, variation=1)
    enhanced_text(enhancements, user)
    enhanced_text(enhancements, user, again, rewrite=True)
    latest = enhanced_text(enhancements, user, again, rewrite=True)
    assert count_calls(service) == 3
    assert enhanced_text(enhancements, user, again) == latest
    clock.forward(seconds=3)
    enhanced_text(enhancements, user)
    assert count_calls(service) == 3


@pytest.mark.parametrize("behaviour", ["length", "refusal", "moderation"])
def test_an_incomplete_text_is_not_cached(
    enhancements: Enhancements, service: OpenAIService, user: User, behaviour: str
) -> None:
    service.script(behaviour)
    enhancements.start(user.id, FOX, DRAFT)
    assert wait_for_end(enhancements, user).error
    assert HELLO in enhanced_text(enhancements, user)
    assert count_calls(service) == 2


def test_housekeeping_deletes_expired_entries(
    enhancements: Enhancements, database: Database, clock: Clock, user: User
) -> None:
    enhanced_text(enhancements, user)
    clock.forward(hours=1)
    enhanced_text(enhancements, user, replace(FOX, name="Moss"))
    clock.forward(hours=23)
    EnhancementCache(database, clock=clock).tidy()
    with database.read() as session:
        assert ["Moss" in entry.text for entry in session.exec(select(CachedEnhancement))] == [True]


class BrokenCache(EnhancementCache):
    """A cache that can be neither read nor written."""

    def find(self, user_id: str, model: str, request: PromptRequest) -> CachedEnhancement | None:
        raise errors.DatabaseError

    def store(self, user_id: str, request: PromptRequest, enhanced: EnhancedPrompt) -> None:
        raise errors.StorageFull


def test_enhancing_works_without_a_working_cache(
    run_with: Callable[..., EnhancementRun], database: Database, drafts: Drafts, user: User
) -> None:
    assert HELLO in run_with(drafts, user, BrokenCache(database)).text
