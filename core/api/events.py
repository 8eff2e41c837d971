"""A batch as server-sent events: how it stands, each partial picture, and the end."""

from __future__ import annotations

import asyncio
import json
import time
from base64 import b64encode
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress

from fastapi import Request
from fastapi.sse import format_sse_event
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from core import errors
from core.api.schemas import JobStatus
from core.common.media_types import sniff_media_type
from core.generation.views import Batch
from core.provider.catalogue import MAX_PARTIAL_IMAGES
from core.web.error_responses import error_body
from core.web.urls import partial_url

# How long is waited between two looks at a batch, in seconds: soon at first, for some are there at once.
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 0.5
# Whoever shows nothing meanwhile waits a tenth longer than they must at most, and no more than this.
LATE, LATEST = 0.1, 3.0
# Requests of one user that wait in one process, streams among them: each is a query every now and then.
MOST_WAITING = 20
# A proxy takes a line that is silent for longer to be dead.
SILENCE = 15.0
# Proxies give up sooner or later, and what is asked for must not look as if nobody waited for it.
LONGEST_WAIT = 240.0
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# How soon it is noticed that nobody waits for a text, or for their turn, any more.
LOOK_UP = 0.5


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


class Places:
    """How many requests of each user wait now, in one process: one user's must not slow everybody down.

    For the thread of the event loop alone.
    """

    def __init__(self, most: int = MOST_WAITING) -> None:
        self._most = most
        self._taken: Counter[str] = Counter()

    def full(self, user_id: str) -> bool:
        return self._taken[user_id] >= self._most

    @contextmanager
    def taken(self, user_id: str) -> Iterator[bool]:
        """One of the user's places until the block ends; False where they have none left."""
        if self.full(user_id):
            yield False
            return
        self._taken[user_id] += 1
        try:
            yield True
        finally:
            self._taken[user_id] -= 1


def watching(waited: float) -> float:
    """The pause before the next look, where each change is told; both in seconds."""
    return min(FIRST_PAUSE + waited * LATE, LONGEST_PAUSE)


def until_the_end(waited: float) -> float:
    """The pause before the next look, where the end alone is told; both in seconds."""
    return min(FIRST_PAUSE + waited * LATE, LATEST)


async def states(
    request: Request, look: Callable[[], Batch], pause: Callable[[float], float] = watching
) -> AsyncIterator[Batch]:
    """The batch as it stands, again and again until it has ended, the client has gone or the server stops.

    No thread is held between two looks.
    """
    waited = 0.0
    stopping: Callable[[], bool] = request.app.state.stopping
    while True:
        batch = await run_in_threadpool(look)
        yield batch
        if not batch.is_live or stopping() or await request.is_disconnected():
            return
        await asyncio.sleep(pause(waited))
        waited += pause(waited)


async def ended(request: Request, look: Callable[[], Batch]) -> Batch:
    """The batch at its end; still live after LONGEST_WAIT, where nobody waits, or when the server stops."""
    ends = time.monotonic() + LONGEST_WAIT
    async for batch in states(request, look, until_the_end):
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
    seen: dict[tuple[str, int], int] = {}
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
    batch: Batch, seen: dict[tuple[str, int], int], partial: Callable[[str, int], bytes]
) -> AsyncIterator[Partial]:
    """The partial pictures of each call that weren't `seen` yet; those of an ended job are gone.

    There are MAX_PARTIAL_IMAGES at most, whatever number a row has: looking for more would outlast the job.
    """
    for job in batch.jobs:
        call = job.id, job.attempts
        most = min(job.partials, MAX_PARTIAL_IMAGES) if job.is_live else 0
        for number in range(seen.get(call, 0), most):
            seen[call] = number + 1
            with suppress(errors.ImageNotFound, errors.StorageError):
                data = await run_in_threadpool(partial, job.id, number)
                yield Partial(
                    image=job.id,
                    number=number,
                    url=partial_url(job.id, number, job.attempts),
                    type=sniff_media_type(data),
                    b64_json=b64encode(data).decode(),
                )


def stream_places(request: Request) -> Places:
    places: Places = request.app.state.places
    return places


def too_many() -> errors.RequestRateExceeded:
    return errors.RequestRateExceeded(
        "Too many streams and waiting requests at once.",
        suggestions=("Close a stream before you open another.",),
        retry_after=1,
    )


async def streamed(places: Places, user_id: str, stream: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
    """A stream, which has one of its user's places while it is open.

    Of many that were let in at the same moment, those that find none left say so.
    """
    with places.taken(user_id) as place:
        if not place:
            yield failed(too_many())
            return
        async for piece in stream:
            yield piece
