"""One call that several wait for: each hears its pieces and its end, and gives up without the others."""

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
    """Somebody who waits. `on_piece` must not take long: the others' pieces come after it.

    `future` ends with what `shaped` makes of the result. Until the call has left it can be cancelled.
    """

    on_piece: Callable[[str], None]
    future: Future[Any]
    shaped: Callable[[T], Any]

    def tell(self, piece: str) -> None:
        try:
            self.on_piece(piece)
        except Exception as error:
            # Whoever can't hear it any more takes no text from the others.
            log.warning("a piece could not be told", error=repr(error))


class Flight(Generic[T]):
    """Safe to share between threads; one of them makes the call."""

    def __init__(self, first: Waiter[T]) -> None:
        self._lock = threading.Lock()
        self._waiters = [first]
        self._text = ""
        self._begun = self._over = False

    def join(self, waiter: Waiter[T]) -> bool:
        """Wait too, and hear what has come so far; False once it is over."""
        with self._lock:
            if self._over:
                return False
            if self._begun:
                waiter.future.set_running_or_notify_cancel()
            if self._text:
                waiter.tell(self._text)
            self._waiters.append(waiter)
            return True

    def begin(self) -> bool:
        """From here on nobody takes it back; False where everybody has given up already."""
        with self._lock:
            self._waiters = [each for each in self._waiters if each.future.set_running_or_notify_cancel()]
            self._begun, self._over = True, not self._waiters
            return bool(self._waiters)

    def tell(self, piece: str) -> None:
        with self._lock:
            self._text += piece
            for waiter in self._waiters:
                waiter.tell(piece)

    def land(self, result: T) -> int:
        """Give everybody the result; how many they were."""
        waiters = self._end()
        for waiter in waiters:
            waiter.future.set_result(waiter.shaped(result))
        return len(waiters)

    def fail(self, error: Exception) -> None:
        for waiter in self._end():
            waiter.future.set_exception(error)

    def abandon(self) -> None:
        """Cancel what was never begun."""
        for waiter in self._end():
            waiter.future.cancel()

    def _end(self) -> list[Waiter[T]]:
        with self._lock:
            self._over = True
            return self._waiters
