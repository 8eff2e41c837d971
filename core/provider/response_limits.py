"""Limits on a response: its deadline, its size, and a recording of its bytes.

A response that can't be read may still have been charged. The recording keeps its bytes, so that a paid
image can be recovered from them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx2

# The remaining time is used as a timeout, which must be above zero.
_MIN_TIMEOUT_SECONDS = 0.001
# Ten of the largest images, as base64.
MAX_RESPONSE_BYTES = 256 * 2**20
# 16,000 tokens, each in an event of its own with the fields that services add to it.
MAX_TEXT_RESPONSE_BYTES = 16 * 2**20
# No useful error message is longer.
MAX_ERROR_BYTES = 2**20
_DEADLINE, _RECORDING = "deadline", "recording"


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment `at` of `clock`, in seconds."""

    at: float
    clock: Callable[[], float]

    @property
    def remaining(self) -> float:
        """Seconds until the deadline, at least a millisecond."""
        return max(self.at - self.clock(), _MIN_TIMEOUT_SECONDS)

    @property
    def expired(self) -> bool:
        return self.clock() >= self.at


def deadline_hooks(clock: Callable[[], float]) -> dict[str, list[Callable[..., None]]]:
    """Event hooks for an httpx2 client that apply a request's read timeout to its whole response.

    httpx2 applies the timeout to each chunk alone, so a service that sends a byte now and then would never
    time out.
    """

    def on_request(request: httpx2.Request) -> None:
        request.extensions[_DEADLINE] = Deadline(clock() + request.extensions["timeout"]["read"], clock)

    def on_response(response: httpx2.Response) -> None:
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _DeadlineStream(response.stream, response.request.extensions[_DEADLINE])

    return {"request": [on_request], "response": [on_response]}


def record_response(response: httpx2.Response) -> None:
    """Response hook for an httpx2 client: records the body of a POST for `recorded_bytes`.

    The body of an error response is cut after MAX_ERROR_BYTES.
    """
    if response.request.method == "POST" and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = response.extensions[_RECORDING] = _RecordedStream(response.stream)
        if not response.is_success:
            response.stream = _ErrorStream(response, response.stream)
            response.headers.pop("content-encoding", None)


def recorded_bytes(response: httpx2.Response) -> bytes:
    """The bytes of the body that have been received so far; b"" when the response isn't recorded."""
    recording = response.extensions.get(_RECORDING)
    return bytes(recording.received) if isinstance(recording, _RecordedStream) else b""


def record_rest(response: httpx2.Response) -> None:
    """Receive the rest of a body whose reader has failed, so that `recorded_bytes` returns all of it."""
    with suppress(httpx2.HTTPError, httpx2.StreamError):
        for _ in response.extensions.get(_RECORDING, ()):
            pass


def read_limited(response: httpx2.Response, *, images: bool) -> Iterator[bytes]:
    """The decompressed chunks of a response.

    Raises DecodingError after MAX_RESPONSE_BYTES, or after MAX_TEXT_RESPONSE_BYTES when the response isn't
    expected to hold `images`.
    """
    limit, received = MAX_RESPONSE_BYTES if images else MAX_TEXT_RESPONSE_BYTES, 0
    for chunk in response.iter_bytes():
        received += len(chunk)
        if received > limit:
            raise httpx2.DecodingError(f"the answer is larger than {limit:,} bytes")
        yield chunk


class _DeadlineStream(httpx2.SyncByteStream):
    """Raises ReadTimeout at the first chunk that arrives after the deadline."""

    def __init__(self, chunks: httpx2.SyncByteStream, deadline: Deadline) -> None:
        self._chunks = chunks
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            if self._deadline.expired:
                raise httpx2.ReadTimeout("the answer was not complete in time")
            yield chunk

    def close(self) -> None:
        self._chunks.close()


class _RecordedStream(httpx2.SyncByteStream):
    """Keeps the chunks that it hands on. Raises DecodingError after MAX_RESPONSE_BYTES."""

    def __init__(self, chunks: httpx2.SyncByteStream) -> None:
        self._chunks = chunks
        # Shared by all iterations: `record_rest` continues where the failed reader stopped.
        self._remaining: Iterator[bytes] | None = None
        self.received = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        self._remaining = self._remaining or iter(self._chunks)
        for chunk in self._remaining:
            if len(self.received) + len(chunk) > MAX_RESPONSE_BYTES:
                raise httpx2.DecodingError(f"the answer is larger than {MAX_RESPONSE_BYTES:,} bytes")
            self.received += chunk
            yield chunk

    def close(self) -> None:
        self._chunks.close()


class _ErrorStream(httpx2.SyncByteStream):
    """The first MAX_ERROR_BYTES of an error's body, decompressed."""

    def __init__(self, response: httpx2.Response, compressed: httpx2.SyncByteStream) -> None:
        self._compressed = compressed
        self._response = httpx2.Response(
            response.status_code,
            headers=response.headers.copy(),
            stream=compressed,
            request=response.request,
        )

    def __iter__(self) -> Iterator[bytes]:
        remaining = MAX_ERROR_BYTES
        for chunk in self._response.iter_bytes():
            yield chunk[:remaining]
            remaining -= len(chunk)
            if remaining <= 0:
                return

    def close(self) -> None:
        self._compressed.close()
