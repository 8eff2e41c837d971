"""Heavy work that is done one piece at a time, by turns between the users who ask for it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")
Piece = tuple[Future[Any], Callable[[], Any]]


class Turns:
    """One thread for all users. Each has one piece that waits for it; others of theirs wait behind their own.

    So whoever comes waits for one piece of each other user at most, however many these have sent.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._guard = threading.Lock()
        # Users in the order in which they are next.
        self._waiting: dict[str, deque[Piece]] = {}

    def take(self, user_id: str, work: Callable[[], T]) -> Future[T]:
        """Have `work` done in its turn. Whoever gives up cancels the future, and costs nobody a moment."""
        future: Future[T] = Future()
        context = copy_context()
        with self._guard:
            mine = self._waiting.setdefault(user_id, deque())
            mine.append((future, lambda: context.run(work)))
        self._thread.submit(self._next)
        return future

    def _next(self) -> None:
        while piece := self._pop():
            future, work = piece
            if future.set_running_or_notify_cancel():
                _do(future, work)
                return

    def _pop(self) -> Piece | None:
        """The piece whose turn it is; its user is last from then on."""
        with self._guard:
            if not self._waiting:
                return None
            user_id = next(iter(self._waiting))
            mine = self._waiting.pop(user_id)
            piece = mine.popleft()
            if mine:
                self._waiting[user_id] = mine
            return piece


def _do(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        # Whoever waits for it is told, as by an executor.
        future.set_exception(error)
