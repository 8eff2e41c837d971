"""Single-flight: concurrent identical requests share one call. All of them get its chunks and its result.

A chunk is a piece of the text, which arrives before the complete text.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import structlog

T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(slots=True, eq=False)
class Waiter(Generic[T]):
    """One request that waits for a shared call.

    `on_chunk` gets each chunk of the text. It must return quickly, because the next waiter gets the chunk
    only afterwards. `future` gets `convert(result)` when the call has ended. The future can be cancelled
    until the call starts.
    """

    on_chunk: Callable[[str], None]
    future: Future[Any]
    convert: Callable[[T], Any]

    def send(self, chunk: str) -> None:
        try:
            self.on_chunk(chunk)
        except Exception as error:
            # One failing waiter must not keep the text from the others.
            log.warning("subscriber_failed", error=repr(error))


class SharedCall(Generic[T]):
    """A call that any number of waiters share. One thread makes the call. All methods are thread-safe."""

    def __init__(self, first: Waiter[T]) -> None:
        self._lock = threading.Lock()
        self._waiters = [first]
        self._text = ""
        self._started = self._ended = False

    def join(self, waiter: Waiter[T]) -> bool:
        """Add a waiter, and send it the text that has arrived so far.

        Returns False and adds nobody if the call has already ended.
        """
        with self._lock:
            if self._ended:
                return False
            if self._started:
                waiter.future.set_running_or_notify_cancel()
            if self._text:
                waiter.send(self._text)
            self._waiters.append(waiter)
            return True

    def start(self) -> bool:
        """Mark the call as started: from now on, no waiter can cancel its future.

        Returns False if all waiters have cancelled their futures. The call then counts as ended.
        """
        with self._lock:
            return self._start()

    def send(self, chunk: str) -> None:
        """Pass a chunk of text on to every waiter."""
        with self._lock:
            self._text += chunk
            for waiter in self._waiters:
                waiter.send(chunk)

    def finish(self, result: T) -> int:
        """End the call and give the result to every waiter. Return the number of waiters."""
        waiters = self._end()
        for waiter in waiters:
            waiter.future.set_result(waiter.convert(result))
        return len(waiters)

    def fail(self, error: Exception) -> None:
        """End the call and set the error in the future of every waiter."""
        for waiter in self._end():
            waiter.future.set_exception(error)

    def cancel(self) -> None:
        """Cancel a call that has not started, and the futures of all its waiters."""
        with self._lock:
            self._ended = True
            waiters = self._waiters
        for waiter in waiters:
            waiter.future.cancel()

    def _start(self) -> bool:
        if not self._started:
            self._waiters = [each for each in self._waiters if each.future.set_running_or_notify_cancel()]
            self._started, self._ended = True, not self._waiters
        return bool(self._waiters)

    def _end(self) -> list[Waiter[T]]:
        with self._lock:
            self._start()
            self._ended = True
            return self._waiters


class SingleFlight(Generic[T]):
    """The shared calls that have not ended. Requests with the same key share a call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._calls: dict[str, SharedCall[T]] = {}

    def join(self, key: str, waiter: Waiter[T]) -> SharedCall[T] | None:
        """Add the waiter to the call for `key` and return None, if such a call has not ended.

        Otherwise, register a new call with this waiter and return the new call. The caller must then make
        that call.
        """
        with self._lock:
            under_way = self._calls.get(key)
            if under_way and under_way.join(waiter):
                return None
            call = self._calls[key] = SharedCall(waiter)
            return call

    def remove(self, key: str, call: SharedCall[T]) -> None:
        """Remove an ended call, unless a newer call for `key` has replaced it."""
        with self._lock:
            if self._calls.get(key) is call:
                del self._calls[key]
