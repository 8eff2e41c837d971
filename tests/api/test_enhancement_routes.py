"""The API enhances a prompt, streams it, and cancels what a disconnected client no longer waits for."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import Future
from typing import Any

import pytest
from starlette.requests import Request
from starlette.types import Message

from core.api.enhancement_routes import enhanced_prompt, next_chunk
from core.api.events import (
    MAX_LATE_SECONDS,
    MAX_STREAMS,
    MAX_WAIT_SECONDS,
    StreamSlots,
    end_pause,
    limited_stream,
)
from core.database.models import Usage
from core.errors import EnhancementCancelled
from core.provider.chat import EnhancedPrompt
from core.studio import Studio
from core.usage.idempotency import IdempotentRequest
from tests.support.api_clients import ENHANCE, FOX, Person, count_enhancements, error_of, events_of, rows
from tests.support.generation import ON_SQLITE
from tests.support.openai_service import Behaviour, OpenAIService

IDEMPOTENT = IdempotentRequest.of("ada", "key", "enhance-prompt", {})


def request_of(message: Message) -> Request:
    async def receive() -> Message:
        return message

    return Request({"type": "http"}, receive)


DISCONNECTED = {"type": "http.disconnect"}


def test_a_text_that_has_not_started_is_cancelled_when_the_client_disconnects() -> None:
    text: Future[EnhancedPrompt] = Future()

    async def wait() -> None:
        chunks: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        text.add_done_callback(lambda _: loop.call_soon_threadsafe(chunks.put_nowait, None))
        async with asyncio.timeout(20):
            assert await next_chunk(request_of(DISCONNECTED), chunks, text, None) is None

    asyncio.run(wait())
    assert text.cancelled()
    with pytest.raises(EnhancementCancelled):
        enhanced_prompt(text)


@pytest.mark.parametrize(
    ("idempotent", "started"),
    [pytest.param(IDEMPOTENT, False, id="with a key"), pytest.param(None, True, id="started")],
)
def test_a_started_or_repeatable_text_is_not_cancelled(
    idempotent: IdempotentRequest | None, started: bool
) -> None:
    text: Future[EnhancedPrompt] = Future()
    if started:
        text.set_running_or_notify_cancel()

    async def wait() -> None:
        chunks: asyncio.Queue[str | None] = asyncio.Queue()
        waiting = asyncio.ensure_future(next_chunk(request_of(DISCONNECTED), chunks, text, idempotent))
        await asyncio.sleep(1.2)  # longer than DISCONNECT_CHECK_SECONDS
        chunks.put_nowait("A fox")
        assert await waiting == "A fox"

    asyncio.run(wait())
    assert not text.cancelled()


def test_each_user_may_open_a_limited_number_of_streams() -> None:
    slots = StreamSlots()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"progress"

    async def watch() -> None:
        held = [limited_stream(slots, "ada", endless()) for _ in range(MAX_STREAMS)]
        assert {await anext(each) for each in held} == {b"progress"}
        [error] = [chunk async for chunk in limited_stream(slots, "ada", endless())]
        assert b"IMG-REQ-RATE-001" in error
        assert await anext(limited_stream(slots, "eve", endless())) == b"progress"
        await held[0].aclose()
        assert await anext(limited_stream(slots, "ada", endless())) == b"progress"

    asyncio.run(watch())


def test_a_long_wait_reads_the_batch_rarely() -> None:
    waited, reads = 0.0, 0
    while waited < MAX_WAIT_SECONDS:
        waited += end_pause(waited)
        reads += 1
    assert reads < MAX_WAIT_SECONDS / MAX_LATE_SECONDS + 50
    assert end_pause(0) < 0.1
    assert all(end_pause(second) <= 0.1 + second / 10 for second in range(240))


@ON_SQLITE
def test_an_enhancement_does_not_change_the_draft_and_is_counted(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    before = studio.drafts.load(owner.user.user_id)
    responses = [owner.program().post(ENHANCE, json=FOX | {"style": "ink"}) for _ in range(2)]
    assert [set(response.json()) for response in responses] == [
        {"enhanced_prompt", "added_back", "error"}
    ] * 2
    assert responses[0].json() == responses[1].json()
    assert studio.drafts.load(owner.user.user_id) == before
    assert studio.enhancements.current(owner.user.user_id) is None
    assert [row.outcome for row in rows(studio, Usage)] == ["ok", "saved"]
    assert count_enhancements(service) == 1


@ON_SQLITE
def test_an_enhancement_streams_on_request(owner: Person) -> None:
    plain = {"Accept": "text/event-stream"}
    response = owner.client.post(ENHANCE, json=FOX, headers=plain)
    assert response.headers["content-type"].startswith("text/event-stream")
    stream_events = events_of(response.text)
    assert [name for name, _ in stream_events[:-1]] == ["delta"] * (len(stream_events) - 1)
    assert len(stream_events) > 2
    assert stream_events[-1][0] == "done"
    again = owner.client.post(ENHANCE, json=FOX)
    assert json.loads(stream_events[-1][1]) == again.json()


@ON_SQLITE
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_an_error_beside_the_text_and_what_was_added_back_are_told(
    studio: Studio, owner: Person, service: OpenAIService, accept: str
) -> None:
    body = {
        "choices": [{"message": {"content": "A quiet harbour."}, "finish_reason": "stop"}],
        "error": {"code": "partial_failure", "message": "1 of 2 parts failed"},
    }
    service.script(Behaviour(raw=json.dumps(body).encode()))
    key = {"Idempotency-Key": "a"}
    first = owner.program().post(ENHANCE, json=FOX, headers=key | {"Accept": accept})
    told = first.json() if accept == "application/json" else json.loads(events_of(first.text)[-1][1])
    assert told["enhanced_prompt"].startswith("A quiet harbour.")
    assert FOX["name"] in told["added_back"]
    assert "1 of 2 parts failed" in told["error"]["details"]
    repeated = owner.program().post(ENHANCE, json=FOX, headers=key)
    assert (repeated.json(), count_enhancements(service)) == (told, 1)


@ON_SQLITE
def test_a_silent_stream_sends_comments(
    owner: Person, service: OpenAIService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.api.enhancement_routes.KEEP_ALIVE_SECONDS", 0.1)
    service.script(Behaviour(text="<think>hm</think>A red fox in a scarf.", latency=0.4, pause=0.4))
    response = owner.client.post(ENHANCE, json=FOX, headers={"Accept": "text/event-stream"})
    before, delta, _ = response.text.partition("event: delta")
    assert before.startswith(":")
    assert delta
    assert "hm" not in response.text
    assert [name for name, _ in events_of(response.text.replace(before, "", 1))][-1] == "done"


@ON_SQLITE
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_an_enhancement_that_fails_at_once_has_an_error_status(
    owner: Person, service: OpenAIService, accept: str
) -> None:
    service.script("moderation")
    response = owner.client.post(ENHANCE, json=FOX, headers={"Accept": accept})
    assert (response.status_code, error_of(response)["code"]) == (422, "IMG-PRM-BLOCK-001")


@ON_SQLITE
def test_a_stream_that_fails_ends_with_an_error_event(owner: Person, service: OpenAIService) -> None:
    service.script("length")
    response = owner.client.post(ENHANCE, json=FOX, headers={"Accept": "text/event-stream"})
    name, data = events_of(response.text)[-1]
    assert name == "error"
    assert json.loads(data)["error"]["code"] == "IMG-PRM-CUT-002"


@ON_SQLITE
@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param({}, "IMG-PRM-EMPTY-001", id="nothing"),
        pytest.param({"name": "x" * 200}, "IMG-PRM-WORDS-001", id="a name that is too long"),
        pytest.param(FOX | {"style": "nouveau"}, "IMG-GEN-PARAM-001", id="no style"),
        pytest.param(FOX | {"mood": "calm"}, "IMG-REQ-FIELDS-001", id="a field that isn't known"),
    ],
)
def test_an_invalid_description_is_refused(
    owner: Person, service: OpenAIService, body: dict[str, Any], code: str
) -> None:
    response = owner.client.post(ENHANCE, json=body)
    assert (response.status_code, error_of(response)["code"]) == (422, code)
    assert count_enhancements(service) == 0
