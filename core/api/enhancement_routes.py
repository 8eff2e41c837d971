"""The route that enhances a prompt: a text model writes a detailed prompt from a short description."""

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
from core.api.dependencies import CurrentStudio, Spender, current_user
from core.api.documented_errors import REQUEST_ERRORS, SERVICE_ERRORS, document_errors
from core.api.events import DISCONNECT_CHECK_SECONDS, KEEP_ALIVE_SECONDS, stream_slots
from core.api.generation_routes import idempotent_request
from core.api.schemas import EnhancedPrompt, EnhanceRequest, IdempotencyKey
from core.provider import chat
from core.usage.idempotency import IdempotentRequest

# A request waits up to 30 seconds for an earlier request with the same idempotency key.
KEY_RETRY_SECONDS, MAX_KEY_RETRIES = 0.5, 60


enhancement = APIRouter(prefix="/images", tags=["Images"])


@enhancement.post(
    "/enhance-prompt",
    response_model=EnhancedPrompt,
    summary="Enhance a prompt",
    responses=document_errors(
        *REQUEST_ERRORS,
        *SERVICE_ERRORS,
        errors.ImagePromptError,
        errors.EnhancementRefused,
        errors.EnhancementTruncated,
        errors.EnhancementCancelled,
        errors.IdempotencyKeyBusy,
    )
    | {200: {"content": {events.MEDIA_TYPE: {"schema": events.SCHEMA}}}},
)
async def enhance_prompt(
    body: EnhanceRequest,
    request: Request,
    studio: CurrentStudio,
    user: Spender,
    idempotency_key: IdempotencyKey = None,
) -> Any:
    """Responds with the enhanced prompt. The same description within a day gets the same prompt at no cost.

    With `Accept: text/event-stream` the response is a stream of server-sent events. Each `delta` event has
    the next part of the prompt's text. The last event is `done` with the finished prompt, or `error`. The
    finished prompt may differ from the text of the `delta` events: a title or an introduction is removed. A
    model that thinks before it writes sends no text for a while; comments keep the connection open.
    """
    idempotent = idempotent_request(user, idempotency_key, "enhance-prompt", body.model_dump())
    chunks: asyncio.Queue[str | None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def queue_chunk(chunk: str | None) -> None:
        loop.call_soon_threadsafe(chunks.put_nowait, chunk)

    enhance = partial(
        studio.enhancement_orders.enhance_request, user, body.request(), queue_chunk, idempotency=idempotent
    )
    with stream_slots(request).occupy(user.user_id) as has_slot:
        prompt = await _start_enhancement(enhance, retries=MAX_KEY_RETRIES if has_slot else 0)
    prompt.add_done_callback(lambda _: queue_chunk(None))
    check_user = partial(run_in_threadpool, current_user, request, studio)
    if events.MEDIA_TYPE not in request.headers.get("accept", ""):
        await next_chunk(request, chunks, prompt, idempotent, until_end=True)
        await check_user()
        return enhanced_prompt(prompt)
    try:
        first = await asyncio.wait_for(next_chunk(request, chunks, prompt, idempotent), KEEP_ALIVE_SECONDS)
    except TimeoutError:
        first = ""
    await check_user()
    if first is None:
        enhanced_prompt(prompt)  # raises an immediate error while its status can still be sent
    stream = _delta_events(first, chunks, prompt, check_user)
    return StreamingResponse(stream, 200, events.HEADERS, events.MEDIA_TYPE)


async def next_chunk(
    request: Request,
    chunks: asyncio.Queue[str | None],
    prompt: Future[chat.EnhancedPrompt],
    idempotent: IdempotentRequest | None,
    *,
    until_end: bool = False,
) -> str | None:
    """Wait for the next chunk of the streamed text and return it. Return None at the end of the text.

    `chunks` receives the chunks, and `prompt` is the future of the whole prompt. With `until_end`, all chunks
    are discarded and the function returns None. If the client disconnects, a text that hasn't started is
    cancelled. A request with an idempotency key is never cancelled, because the client may repeat it.
    """
    while True:
        try:
            chunk = await asyncio.wait_for(chunks.get(), DISCONNECT_CHECK_SECONDS)
        except TimeoutError:
            if idempotent is None and await request.is_disconnected():
                prompt.cancel()
        else:
            if chunk is None or not until_end:
                return chunk


def enhanced_prompt(prompt: Future[chat.EnhancedPrompt]) -> EnhancedPrompt:
    """Return the response with the finished prompt from the future `prompt`.

    Raises EnhancementCancelled if the future was cancelled. If the enhancement failed, raises the ImageError
    that it failed with.
    """
    if prompt.cancelled():
        raise errors.EnhancementCancelled
    return EnhancedPrompt.of(prompt.result())


async def _start_enhancement(
    enhance: Callable[[], Future[chat.EnhancedPrompt]], *, retries: int
) -> Future[chat.EnhancedPrompt]:
    """Call `enhance`, which starts the enhancement, and return the future of the enhanced prompt.

    If another request with the same idempotency key is running, the call is repeated up to `retries` times,
    after pauses of KEY_RETRY_SECONDS. Raises IdempotencyKeyBusy if the other request is still running then.
    """
    for _ in range(retries):
        try:
            return await run_in_threadpool(enhance)
        except errors.IdempotencyKeyBusy:
            await asyncio.sleep(KEY_RETRY_SECONDS)
    return await run_in_threadpool(enhance)


async def _delta_events(
    first: str | None,
    chunks: asyncio.Queue[str | None],
    prompt: Future[chat.EnhancedPrompt],
    check_user: Callable[[], Awaitable[object]],
) -> AsyncIterator[bytes]:
    """Yield a `delta` event for each chunk, then a `done` event with the finished prompt or an `error` event.

    `first` is the first chunk, and `chunks` receives the others. A comment is sent after KEEP_ALIVE_SECONDS
    without a chunk, and if `first` is empty. `prompt` is the future of the finished prompt. `check_user`
    raises an ImageError if the user has lost access while the text was streamed.
    """
    chunk = first
    while chunk is not None:
        yield events.event("delta", events.Delta(text=chunk)) if chunk else events.keep_alive()
        try:
            chunk = await asyncio.wait_for(chunks.get(), KEEP_ALIVE_SECONDS)
        except TimeoutError:
            chunk = ""
    try:
        await check_user()
        yield events.event("done", enhanced_prompt(prompt))
    except errors.ImageError as error:
        yield events.error_event(error)
