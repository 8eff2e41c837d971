"""The route that enhances a prompt."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from core import errors
from core.api import events
from core.api.dependencies import CurrentStudio, Spender, user_of
from core.api.documented_errors import CHOICE, SERVICE
from core.api.events import LOOK_UP, stream_places
from core.api.generation_routes import kept_request
from core.api.schemas import EnhancedPrompt, EnhanceRequest, IdempotencyKey, failures
from core.usage.idempotency import IdempotentRequest

# How long a request waits for another one that answers the same key.
KEY_PAUSE, KEY_TRIES = 0.5, 60


enhancement = APIRouter(prefix="/images", tags=["Images"])


@enhancement.post(
    "/enhance-prompt",
    response_model=EnhancedPrompt,
    summary="Enhance a prompt",
    responses=failures(
        *CHOICE,
        *SERVICE,
        errors.ImagePromptError,
        errors.EnhancementRefused,
        errors.EnhancementTruncated,
        errors.EnhancementCancelled,
        errors.IdempotencyKeyBusy,
    )
    | {200: {"content": {events.MEDIA_TYPE: {"schema": events.SCHEMA}}}},
)
async def enhance_prompt(
    asked: EnhanceRequest,
    request: Request,
    studio: CurrentStudio,
    user: Spender,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """The same description within a day is answered with the same text, and costs nothing.

    With `Accept: text/event-stream` the text is streamed: `delta` events as it arrives, then `done` with the
    finished prompt, which may be tidier than its pieces, or `error`.
    """
    kept = kept_request(user, idempotency_key, "enhance-prompt", asked.model_dump())
    pieces: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def tell(piece: str | None) -> None:
        loop.call_soon_threadsafe(pieces.put_nowait, piece)

    begin = partial(studio.enhancement_orders.enhance_request, user, asked.request(), tell, kept=kept)
    with stream_places(request).taken(user.user_id) as place:
        text = await _begun(begin, tries=KEY_TRIES if place else 0)
    text.add_done_callback(lambda _ended: tell(None))
    if events.MEDIA_TYPE not in request.headers.get("accept", ""):
        await heard(request, pieces, text, kept, until_end=True)
        await run_in_threadpool(user_of, request, studio)
        return EnhancedPrompt(enhanced_prompt=written(text))
    still = partial(run_in_threadpool, user_of, request, studio)
    first = await heard(request, pieces, text, kept)
    await still()
    if first is None:
        written(text)  # what fails at once is answered as what it is
    return StreamingResponse(_deltas(first, pieces, text, still), 200, events.HEADERS, events.MEDIA_TYPE)


async def heard(
    request: Request,
    pieces: asyncio.Queue[str | None],
    text: Future[str],
    kept: IdempotentRequest | None,
    *,
    until_end: bool = False,
) -> str | None:
    """The first piece of a text, or its end; whoever hangs up takes back what wasn't begun."""
    while True:
        try:
            piece = await asyncio.wait_for(pieces.get(), LOOK_UP)
        except TimeoutError:
            if kept is None and await request.is_disconnected():
                text.cancel()
        else:
            if piece is None or not until_end:
                return piece


def written(text: Future[str]) -> str:
    if text.cancelled():
        raise errors.EnhancementCancelled
    return text.result()


async def _begun(begin: Callable[[], Future[str]], *, tries: int) -> Future[str]:
    """Wait for another request with the same key. Raises IdempotencyKeyBusy when that takes too long."""
    for _ in range(tries):
        try:
            return await run_in_threadpool(begin)
        except errors.IdempotencyKeyBusy:
            await asyncio.sleep(KEY_PAUSE)
    return await run_in_threadpool(begin)


async def _deltas(
    first: str | None,
    pieces: asyncio.Queue[str | None],
    text: Future[str],
    still: Callable[[], Awaitable[object]],
) -> AsyncIterator[bytes]:
    """`still` raises for whoever isn't let in any more."""
    piece = first
    while piece is not None:
        yield events.event("delta", events.Delta(text=piece))
        piece = await pieces.get()
    try:
        await still()
        yield events.event("done", EnhancedPrompt(enhanced_prompt=written(text)))
    except errors.ImageError as error:
        yield events.failed(error)
