"""The enhancement cache is read once per request, whether or not it has the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import event

from core import bootstrap
from core.accounts.identity import SignedIn
from core.enhancement.drafts import DraftState
from core.prompts.request import PromptRequest
from core.settings import load_settings
from core.studio import Studio
from tests.support.generation import ON_SQLITE
from tests.support.openai_service import OpenAIService
from tests.support.sign_in import ticket_of
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
    ticket = ticket_of(studio, studio.registration.create_user("ada", "!").username)
    user = studio.sessions.authenticate(studio.sessions.redeem_ticket(ticket))
    assert user is not None
    return user


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
    assert len(service.asked("/chat/completions")) == 1  # the second one came from the cache


@ON_SQLITE
def test_a_rewrite_does_not_read_the_cache(
    studio: Studio, service: OpenAIService, ada: SignedIn, cache_reads: list[str]
) -> None:
    studio.drafts.save(ada.user_id, DESCRIBED)
    enhance_draft(studio, ada)
    cache_reads.clear()
    enhance_draft(studio, ada)
    assert cache_reads == []
    assert len(service.asked("/chat/completions")) == 2
