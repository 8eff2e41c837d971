"""Limits a response in time and in size, and records the received bytes.

A response that can't be read may still have been charged. A paid image can then be recovered from the
recorded bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx2

# `Deadline.remaining` is used as a timeout, which must be above zero.
_MIN_TIMEOUT_SECONDS = 0.001
# Enough for ten of the largest images in base64.
MAX_RESPONSE_BYTES = 256 * 2**20
# Enough for 16,000 tokens, each in an event of its own.
MAX_TEXT_RESPONSE_BYTES = 16 * 2**20
# No useful error message is longer than this.
MAX_ERROR_BYTES = 2**20
_DEADLINE, _RECORDING = "deadline", "recording"


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point in time. `at` is a value of `clock`, in seconds."""

    at: float
    clock: Callable[[], float]

    @property
    def remaining(self) -> float:
        """The seconds until the deadline, at least a millisecond."""
        return max(self.at - self.clock(), _MIN_TIMEOUT_SECONDS)

    @property
    def expired(self) -> bool:
        return self.clock() >= self.at


def deadline_hooks(clock: Callable[[], float]) -> dict[str, list[Callable[..., None]]]:
    """Return event hooks for an httpx2 client that limit the duration of the whole response.

    The limit is the request's read timeout. httpx2 by itself applies the read timeout to each chunk, so a
    service that sends one byte now and then would never time out.
    """

    def on_request(request: httpx2.Request) -> None:
        request.extensions[_DEADLINE] = Deadline(clock() + request.extensions["timeout"]["read"], clock)

    def on_response(response: httpx2.Response) -> None:
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _DeadlineStream(response.stream, response.request)

    return {"request": [on_request], "response": [on_response]}


def extend_deadline(response: httpx2.Response, *deadlines: Deadline) -> None:
    """Set the deadline of `response`, which is being read, to the earliest of `deadlines`."""
    response.request.extensions[_DEADLINE] = min(deadlines, key=lambda deadline: deadline.at)


def record_response(response: httpx2.Response) -> None:
    """Record the body of `response` while it is read, if the request was a POST.

    This function is a response hook for an httpx2 client. `recorded_bytes` returns the recorded bytes. The
    body of an error response ends after MAX_ERROR_BYTES.
    """
    if response.request.method == "POST" and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = response.extensions[_RECORDING] = _RecordedStream(response.stream)
        if not response.is_success:
            response.stream = _ErrorStream(response, response.stream)
            response.headers.pop("content-encoding", None)


def write_to(response: httpx2.Response, write: Callable[[bytes], None]) -> None:
    """Pass each chunk of the body of `response` to `write` as soon as it is received, compressed or not.

    Does nothing if `record_response` wasn't applied to `response`.
    """
    recording = response.extensions.get(_RECORDING)
    if isinstance(recording, _RecordedStream):
        recording.write = write


def recorded_bytes(response: httpx2.Response) -> bytes:
    """Return the bytes of the response body that have been received so far.

    Returns no bytes if `record_response` wasn't applied to `response`.
    """
    recording = response.extensions.get(_RECORDING)
    return bytes(recording.received) if isinstance(recording, _RecordedStream) else b""


def record_rest(response: httpx2.Response) -> None:
    """Receive the rest of the body after reading failed, so that `recorded_bytes` returns the whole body.

    Further errors end the recording and aren't raised.
    """
    with suppress(httpx2.HTTPError, httpx2.StreamError):
        for _ in response.extensions.get(_RECORDING, ()):
            pass


def read_limited(response: httpx2.Response, *, images: bool) -> Iterator[bytes]:
    """Yield the body of `response` in decompressed chunks.

    Raises httpx2's DecodingError if the body is larger than MAX_RESPONSE_BYTES. If `images` is false, the
    limit is MAX_TEXT_RESPONSE_BYTES.
    """
    limit, received = MAX_RESPONSE_BYTES if images else MAX_TEXT_RESPONSE_BYTES, 0
    for chunk in response.iter_bytes():
        received += len(chunk)
        if received > limit:
            raise _too_large(limit)
        yield chunk


def _too_large(limit: int) -> httpx2.DecodingError:
    return httpx2.DecodingError(f"the answer is larger than {limit:,} bytes")


class _DeadlineStream(httpx2.SyncByteStream):
    """A response stream that raises httpx2's ReadTimeout at the first chunk after the request's deadline.

    The deadline may be extended while the stream is read.
    """

    def __init__(self, chunks: httpx2.SyncByteStream, request: httpx2.Request) -> None:
        self._chunks = chunks
        self._request = request

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            deadline: Deadline = self._request.extensions[_DEADLINE]
            if deadline.expired:
                raise httpx2.ReadTimeout("the answer was not complete in time")
            yield chunk

    def close(self) -> None:
        self._chunks.close()


class _RecordedStream(httpx2.SyncByteStream):
    """A response stream that also collects its chunks in `received`, and passes each to `write`.

    Raises httpx2's DecodingError if there are more than MAX_RESPONSE_BYTES.
    """

    def __init__(self, chunks: httpx2.SyncByteStream) -> None:
        self._chunks = chunks
        # All iterations share this iterator, so that `record_rest` continues where a failed read stopped.
        self._remaining: Iterator[bytes] | None = None
        self.received = bytearray()
        self.write: Callable[[bytes], None] | None = None

    def __iter__(self) -> Iterator[bytes]:
        self._remaining = self._remaining or iter(self._chunks)
        for chunk in self._remaining:
            if self.write:
                self.write(chunk)
            if len(self.received) + len(chunk) > MAX_RESPONSE_BYTES:
                raise _too_large(MAX_RESPONSE_BYTES)
            self.received += chunk
            yield chunk

    def close(self) -> None:
        self._chunks.close()


class _ErrorStream(httpx2.SyncByteStream):
    """A response stream that decompresses the body of an error response and ends after MAX_ERROR_BYTES."""

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
