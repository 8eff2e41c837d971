"""Limits on a response: its deadline, its size, and a recording of its bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import httpx2

# What is left is handed on as a timeout, which can't be zero.
_LEAST = 0.001
_NAME = "deadline"
# Ten of the largest pictures, as base64.
MOST_BYTES = 256 * 2**20
# Sixteen thousand tokens, each in an event of its own with all that services put around it.
MOST_TEXT_BYTES = 16 * 2**20
# No error says more that anybody reads.
MOST_ERROR_BYTES = 2**20
_NAME = "tape"


@dataclass(frozen=True, slots=True)
class Deadline:
    """`at` is a moment of `clock`, in seconds."""

    at: float
    clock: Callable[[], float]

    @property
    def left(self) -> float:
        """Seconds until then, never less than a millisecond."""
        return max(self.at - self.clock(), _LEAST)

    @property
    def over(self) -> bool:
        return self.clock() >= self.at


def event_hooks(clock: Callable[[], float]) -> dict[str, list[Callable[..., None]]]:
    """Hooks for an httpx2 client: a request's read timeout then bounds its whole answer.

    By itself it bounds the wait for each piece alone: a service that sends a byte now and then would never
    be given up.
    """

    def on_request(request: httpx2.Request) -> None:
        request.extensions[_NAME] = Deadline(clock() + request.extensions["timeout"]["read"], clock)

    def on_response(response: httpx2.Response) -> None:
        if isinstance(response.stream, httpx2.SyncByteStream):
            response.stream = _Bounded(response.stream, response.request.extensions[_NAME])

    return {"request": [on_request], "response": [on_response]}


class _Bounded(httpx2.SyncByteStream):
    """An answer's bytes. Raises ReadTimeout at the first piece that comes after the deadline."""

    def __init__(self, pieces: httpx2.SyncByteStream, deadline: Deadline) -> None:
        self._pieces = pieces
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if self._deadline.over:
                raise httpx2.ReadTimeout("the answer was not complete in time")
            yield piece

    def close(self) -> None:
        self._pieces.close()


def record(response: httpx2.Response) -> None:
    """A hook for an httpx2 client: `taken` then gives what has come of the answer to a POST.

    Of an error no more than MOST_ERROR_BYTES can be read: what follows is left out.
    """
    if response.request.method == "POST" and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = response.extensions[_NAME] = _Tape(response.stream)
        if not response.is_success:
            response.stream = _Beginning(response, response.stream)
            response.headers.pop("content-encoding", None)


def unpacked(response: httpx2.Response, *, pictures: bool) -> Iterator[bytes]:
    """The bytes of an answer, counted while they are unpacked.

    Raises DecodingError for more than MOST_BYTES, or MOST_TEXT_BYTES where no `pictures` are awaited.
    """
    most, come = MOST_BYTES if pictures else MOST_TEXT_BYTES, 0
    for piece in response.iter_bytes():
        come += len(piece)
        if come > most:
            raise httpx2.DecodingError(f"the answer is larger than {most:,} bytes")
        yield piece


def taken(response: httpx2.Response) -> bytes:
    tape = response.extensions.get(_NAME)
    return bytes(tape.bytes) if isinstance(tape, _Tape) else b""


def drain(response: httpx2.Response) -> None:
    """Read the rest of an answer whose reader has given up on it, for `taken` to have it whole."""
    with suppress(httpx2.HTTPError, httpx2.StreamError):
        for _ in response.extensions.get(_NAME, ()):
            pass


class _Tape(httpx2.SyncByteStream):
    """An answer's bytes. Raises DecodingError for more than any answer has."""

    def __init__(self, pieces: httpx2.SyncByteStream) -> None:
        self._pieces = pieces
        # One for all who read: what is left can be read after a reader has given up.
        self._rest: Iterator[bytes] | None = None
        self.bytes = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        self._rest = self._rest or iter(self._pieces)
        for piece in self._rest:
            if len(self.bytes) + len(piece) > MOST_BYTES:
                raise httpx2.DecodingError(f"the answer is larger than {MOST_BYTES:,} bytes")
            self.bytes += piece
            yield piece

    def close(self) -> None:
        self._pieces.close()


class _Beginning(httpx2.SyncByteStream):
    """The first MOST_ERROR_BYTES of an error's body, unpacked."""

    def __init__(self, response: httpx2.Response, packed: httpx2.SyncByteStream) -> None:
        self._packed = packed
        headers = response.headers.copy()
        self._whole = httpx2.Response(
            response.status_code, headers=headers, stream=packed, request=response.request
        )

    def __iter__(self) -> Iterator[bytes]:
        left = MOST_ERROR_BYTES
        for piece in self._whole.iter_bytes():
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    def close(self) -> None:
        self._packed.close()
