"""Server-sent events: their format, the stream of a batch's progress, and the limit on open streams.

A batch is all images of one request. A route that waits for a batch reads the batch's rows from the database
repeatedly, at growing intervals. It occupies no thread between two reads.
"""

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
from core.web.urls import Urls

# Seconds between two reads of a batch. The first pause is short, because some batches end at once.
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 0.5
# The pause grows with the time waited so far: this share of it is added to the first pause. For a client that
# needs only the batch's end, the pause has this larger maximum in seconds.
LATE_SHARE, MAX_LATE_SECONDS = 0.1, 3.0
# The most open streams and waiting requests of one user in one process. Each of them queries the database
# repeatedly.
MAX_STREAMS = 20
# A stream that has sent nothing for this many seconds sends a comment, because a proxy may close a silent
# connection.
KEEP_ALIVE_SECONDS = 15.0
# The longest time in seconds that a request waits for a batch. It is shorter than the timeouts of common
# proxies, because a client would treat a proxy's timeout as a failed request.
MAX_WAIT_SECONDS = 240.0
# The interval in seconds at which a waiting request checks whether its client has disconnected.
DISCONNECT_CHECK_SECONDS = 0.5
MEDIA_TYPE = "text/event-stream"
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
# The OpenAPI schema of a stream.
SCHEMA = {"type": "string", "description": "Server-sent events; the `data` of each event is JSON"}


class Partial(BaseModel):
    """The data of a `partial` event: a preview of an image that is being generated.

    `image` is the id of the image's job. `number` counts the job's previews from 0. `url` and `type` are the
    preview's address and media type. `b64_json` has the preview's bytes in Base64.
    """

    image: str
    number: int
    url: str
    type: str
    b64_json: str


class Delta(BaseModel):
    """The data of a `delta` event: a chunk of a streamed text."""

    text: str


def event(name: str, data: BaseModel) -> bytes:
    return format_sse_event(event=name, data_str=data.model_dump_json())


def error_event(error: errors.ImageError, name: str = "error") -> bytes:
    """Return `error` as an encoded server-sent event called `name`.

    Use it in a stream, whose HTTP status has already been sent.
    """
    return format_sse_event(event=name, data_str=json.dumps(error_body(error)))


def keep_alive() -> bytes:
    """Return an empty comment in the format of server-sent events. It keeps a silent connection open."""
    return format_sse_event(comment="")


class StreamSlots:
    """Limits how many streams and waiting requests each user may have open at the same time.

    Each open stream or waiting request occupies one of the user's MAX_STREAMS slots. So one user can't slow
    down the others. The counts are of this process only. The class isn't thread-safe: use it only on the
    event loop.
    """

    def __init__(self) -> None:
        self._used: Counter[str] = Counter()

    def full(self, user_id: str) -> bool:
        return self._used[user_id] >= MAX_STREAMS

    @contextmanager
    def occupy(self, user_id: str) -> Iterator[bool]:
        """Occupy one of the user's slots until the block ends, and yield True.

        If no slot is free, yield False and occupy none.
        """
        if self.full(user_id):
            yield False
            return
        self._used[user_id] += 1
        try:
            yield True
        finally:
            self._used[user_id] -= 1


def stream_slots(request: Request) -> StreamSlots:
    slots: StreamSlots = request.app.state.stream_slots
    return slots


def too_many_streams() -> errors.RequestRateExceeded:
    return errors.RequestRateExceeded(
        "Too many streams and waiting requests at once.",
        suggestions=("Close a stream before you open another.",),
        retry_after=1,
    )


async def limited_stream(
    slots: StreamSlots, user_id: str, stream: AsyncIterator[bytes]
) -> AsyncGenerator[bytes, None]:
    """Yield the chunks of `stream`. Occupy one of the user's slots in `slots` while the stream is open.

    If no slot is free, yield one error event and end. The route has already checked for a free slot, but
    several requests may pass that check at the same moment.
    """
    with slots.occupy(user_id) as is_free:
        if not is_free:
            yield error_event(too_many_streams())
            return
        async for chunk in stream:
            yield chunk


def progress_pause(waited: float) -> float:
    """Return the seconds to pause before the next read of a batch, for a client that watches the progress.

    `waited` is the number of seconds that the client has waited so far.
    """
    return min(MIN_PAUSE_SECONDS + waited * LATE_SHARE, MAX_PAUSE_SECONDS)


def end_pause(waited: float) -> float:
    """Return the seconds to pause before the next read of a batch, for a client that waits for its end.

    `waited` is the number of seconds that the client has waited so far.
    """
    return min(MIN_PAUSE_SECONDS + waited * LATE_SHARE, MAX_LATE_SECONDS)


async def poll_batch(
    request: Request, read: Callable[[], Batch], pause: Callable[[float], float] = progress_pause
) -> AsyncIterator[Batch]:
    """Yield the batch's current state repeatedly, until the batch has ended.

    Ends earlier if the client has disconnected or the server is stopping. `read` reads the batch from the
    database. `pause` returns the seconds to pause before the next read. Its argument is the number of seconds
    waited so far.
    """
    waited = 0.0
    is_stopping: Callable[[], bool] = request.app.state.is_stopping
    while True:
        batch = await run_in_threadpool(read)
        yield batch
        if not batch.is_live or is_stopping() or await request.is_disconnected():
            return
        await asyncio.sleep(pause(waited))
        waited += pause(waited)


async def wait_for_end(request: Request, read: Callable[[], Batch]) -> Batch:
    """Wait until the batch has ended and return it. `read` reads the batch from the database.

    The returned batch is unfinished if MAX_WAIT_SECONDS have passed, the client has disconnected or the
    server is stopping.
    """
    deadline = time.monotonic() + MAX_WAIT_SECONDS
    async for batch in poll_batch(request, read, end_pause):
        latest = batch
        if time.monotonic() > deadline:
            break
    return latest


async def batch_events(
    request: Request,
    read: Callable[[], Batch],
    read_partial: Callable[[str, int], bytes],
    end_event: Callable[[Batch, Urls], bytes],
    urls: Urls,
) -> AsyncIterator[bytes]:
    """Yield the encoded events of a batch: `progress` after each change, `partial` for each new preview.

    `read` reads the batch, and `read_partial` returns the bytes of a preview by job id and number. Once the
    batch has ended, the last event is the result of `end_event`. The stream stops without this event if the
    server stops, an error occurs or the user is signed out. A client that opens the stream again then gets
    the reason as an error response.
    """
    sent_partials: dict[tuple[str, int], int] = {}
    sent_status, silent_seconds = "", 0.0
    try:
        async for batch in poll_batch(request, read):
            status = JobStatus.of(batch, urls)
            current, previous = status.model_dump_json(), sent_status
            if current != previous:
                sent_status = current
                yield event("progress", status)
            async for partial in _new_partials(batch, sent_partials, read_partial, urls):
                yield event("partial", partial)
            silent_seconds = 0.0 if current != previous else silent_seconds + MAX_PAUSE_SECONDS
            if silent_seconds >= KEEP_ALIVE_SECONDS:
                silent_seconds = 0.0
                yield keep_alive()
    except errors.ImageError:
        return
    if not batch.is_live:
        yield end_event(batch, urls)


async def _new_partials(
    batch: Batch,
    sent: dict[tuple[str, int], int],
    read_partial: Callable[[str, int], bytes],
    urls: Urls,
) -> AsyncIterator[Partial]:
    """Yield the previews that haven't been sent yet, for the jobs that are queued or running.

    `sent` has the number of previews sent so far, by job id and attempt. This function updates it.
    `read_partial` returns the bytes of a preview by job id and number. A preview that can't be read is
    skipped. At most MAX_PARTIAL_IMAGES previews are read for each job, because a damaged row might name a
    much larger number.
    """
    for job in batch.jobs:
        attempt = job.id, job.attempts
        available = min(job.partials, MAX_PARTIAL_IMAGES) if job.is_live else 0
        for number in range(sent.get(attempt, 0), available):
            sent[attempt] = number + 1
            with suppress(errors.ImageNotFound, errors.StorageError):
                data = await run_in_threadpool(read_partial, job.id, number)
                yield Partial(
                    image=job.id,
                    number=number,
                    url=urls.partial(job.id, number, job.attempts),
                    type=sniff_media_type(data),
                    b64_json=b64encode(data).decode(),
                )
