"""The moment by which a whole answer must be there, however many pieces it comes in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import httpx2

# What is left is handed on as a timeout, which can't be zero.
_LEAST = 0.001
_NAME = "deadline"


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
