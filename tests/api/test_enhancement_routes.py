"""A disconnected client cancels an enhancement that hasn't started, and open streams are limited."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future

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
from core.errors import EnhancementCancelled
from core.usage.idempotency import IdempotentRequest

IDEMPOTENT = IdempotentRequest.of("ada", "key", "enhance-prompt", {})


def request_of(message: Message) -> Request:
    async def receive() -> Message:
        return message

    return Request({"type": "http"}, receive)


DISCONNECTED = {"type": "http.disconnect"}


def test_a_text_that_has_not_started_is_cancelled_when_the_client_disconnects() -> None:
    text: Future[str] = Future()

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
    text: Future[str] = Future()
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
