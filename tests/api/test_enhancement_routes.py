"""Whoever gives up waiting for a text takes back what wasn't begun, and nobody holds streams without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future

import pytest
from starlette.requests import Request
from starlette.types import Message

from core.api.enhancement_routes import heard, written
from core.api.events import LATEST, LONGEST_WAIT, MOST_WAITING, Places, streamed, until_the_end
from core.errors import EnhancementCancelled
from core.usage.idempotency import IdempotentRequest

KEPT = IdempotentRequest.of("ada", "key", "enhance-prompt", {})


def request_of(message: Message) -> Request:
    async def receive() -> Message:
        return message

    return Request({"type": "http"}, receive)


GONE = {"type": "http.disconnect"}


def test_a_text_that_nobody_waits_for_and_nobody_has_begun_is_taken_back() -> None:
    text: Future[str] = Future()

    async def wait() -> None:
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        loop = asyncio.get_running_loop()
        text.add_done_callback(lambda _: loop.call_soon_threadsafe(pieces.put_nowait, None))
        async with asyncio.timeout(20):
            assert await heard(request_of(GONE), pieces, text, None) is None

    asyncio.run(wait())
    assert text.cancelled()
    with pytest.raises(EnhancementCancelled):
        written(text)


@pytest.mark.parametrize(
    ("kept", "begun"), [pytest.param(KEPT, False, id="under a key"), pytest.param(None, True, id="begun")]
)
def test_what_is_begun_or_may_be_asked_for_again_goes_on(kept: IdempotentRequest | None, begun: bool) -> None:
    text: Future[str] = Future()
    if begun:
        text.set_running_or_notify_cancel()

    async def wait() -> None:
        pieces: asyncio.Queue[str | None] = asyncio.Queue()
        waiting = asyncio.ensure_future(heard(request_of(GONE), pieces, text, kept))
        await asyncio.sleep(1.2)  # longer than it is looked whether somebody is there
        pieces.put_nowait("A fox")
        assert await waiting == "A fox"

    asyncio.run(wait())
    assert not text.cancelled()


def test_one_user_holds_so_many_streams_and_others_theirs() -> None:
    open_streams = Places()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b"progress"

    async def watch() -> None:
        held = [streamed(open_streams, "ada", endless()) for _ in range(MOST_WAITING)]
        assert {await anext(each) for each in held} == {b"progress"}
        [refusal] = [piece async for piece in streamed(open_streams, "ada", endless())]
        assert b"IMG-REQ-RATE-001" in refusal
        assert await anext(streamed(open_streams, "eve", endless())) == b"progress"
        await held[0].aclose()
        assert await anext(streamed(open_streams, "ada", endless())) == b"progress"

    asyncio.run(watch())


def test_whoever_waits_long_is_looked_after_seldom() -> None:
    waited, looks = 0.0, 0
    while waited < LONGEST_WAIT:
        waited += until_the_end(waited)
        looks += 1
    assert looks < LONGEST_WAIT / LATEST + 50
    assert until_the_end(0) < 0.1
    assert all(until_the_end(second) <= 0.1 + second / 10 for second in range(240))
