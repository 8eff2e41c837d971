"""A batch as server-sent events: how it stands, each partial picture, and the end."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

from fastapi import Request
from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from core import errors
from core.api_models import JobStatus, error_body
from core.batches import Batch
from core.catalogue import MOST_PARTIALS
from core.pictures import sniffed

# How long is waited between two looks at a batch, in seconds: soon at first, for some are there at once.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
# A proxy takes a line that is silent for longer to be dead.
SILENCE = 15.0
# Proxies give up sooner or later, and what is asked for must not look as if nobody waited for it.
LONGEST_WAIT = 240.0
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# One event, as documentation describes a stream of them; `data` is JSON.
SCHEMA = {
    "type": "object",
    "properties": {"event": {"type": "string"}, "data": {"type": "string"}},
    "required": ["event", "data"],
}


class Partial(BaseModel):
    """A picture on its way; `image` is the id of its place in the batch."""

    image: str
    number: int
    url: str
    type: str
    b64_json: str


class Delta(BaseModel):
    """A piece of a text on its way."""

    text: str


def event(name: str, data: BaseModel) -> bytes:
    return format_sse_event(event=name, data_str=data.model_dump_json())


def failed(error: errors.ImageError, name: str = "error") -> bytes:
    """A failure, in its one shape, where it is too late for a status."""
    return format_sse_event(event=name, data_str=json.dumps(error_body(error)))


def silence() -> bytes:
    """A line that says nothing, but that somebody is there."""
    return format_sse_event(comment="")


async def states(request: Request, look: Callable[[], Batch]) -> AsyncIterator[Batch]:
    """The batch as it stands, again and again until it has ended, the client has gone or the server stops.

    No thread is held between two looks.
    """
    pause = FIRST_PAUSE
    stopping: Callable[[], bool] = request.app.state.stopping
    while True:
        batch = await run_in_threadpool(look)
        yield batch
        if not batch.is_live or stopping() or await request.is_disconnected():
            return
        await asyncio.sleep(pause)
        pause = min(pause * 1.2, LONGEST_PAUSE)


async def ended(request: Request, look: Callable[[], Batch]) -> Batch:
    """The batch at its end; still live after LONGEST_WAIT, where nobody waits, or when the server stops."""
    ends = time.monotonic() + LONGEST_WAIT
    async for batch in states(request, look):
        last = batch
        if time.monotonic() > ends:
            break
    return last


async def batch_events(
    request: Request,
    look: Callable[[], Batch],
    partial: Callable[[str, int], bytes],
    end: Callable[[Batch], bytes],
) -> AsyncIterator[bytes]:
    """`progress` whenever something has changed, `partial` for each picture on its way, then `end`'s event.

    Without an end the server was stopped, its database is lost, or whoever reads isn't let in any more: asked
    again, it says which.
    """
    seen: dict[str, int] = {}
    told, silent = "", 0.0
    try:
        async for batch in states(request, look):
            status = JobStatus.of(batch)
            now, before = status.model_dump_json(), told
            if now != before:
                told = now
                yield event("progress", status)
            async for made in _partials(batch, seen, partial):
                yield event("partial", made)
            silent = 0.0 if now != before else silent + LONGEST_PAUSE
            if silent >= SILENCE:
                silent = 0.0
                yield silence()
    except errors.ImageError:
        return
    if not batch.is_live:
        yield end(batch)


async def _partials(
    batch: Batch, seen: dict[str, int], partial: Callable[[str, int], bytes]
) -> AsyncIterator[Partial]:
    """The partial pictures that weren't `seen` yet; those of an ended job are gone.

    There are MOST_PARTIALS at most, whatever number a row has: looking for more would outlast the job.
    """
    for job in batch.jobs:
        most = min(job.partials, MOST_PARTIALS) if job.is_live else 0
        for number in range(seen.get(job.id, 0), most):
            seen[job.id] = number + 1
            with suppress(errors.ImageNotFound, errors.StorageError):
                data = await run_in_threadpool(partial, job.id, number)
                yield Partial(
                    image=job.id,
                    number=number,
                    url=f"/api/images/jobs/{job.id}/partials/{number}",
                    type=sniffed(data),
                    b64_json=b64encode(data).decode(),
                )
