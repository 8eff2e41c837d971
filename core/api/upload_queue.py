"""The upload queue: runs slow work on uploads one item at a time, and lets the users take turns."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

T = TypeVar("T")
WorkItem = tuple[Future[Any], Callable[[], Any]]


class UploadQueue:
    """A fair queue with one thread that runs the submitted functions.

    The users take turns, and each turn runs one item: one submitted function. So a user who submits an item
    waits for at most one item of each other user, however many items the other users have submitted.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._lock = threading.Lock()
        # The waiting items of each user, by user id. The first user in the dictionary has the next turn.
        self._items_by_user: dict[str, deque[WorkItem]] = {}

    def submit(self, user_id: str, work: Callable[[], T]) -> Future[T]:
        """Queue the function `work` for the user, and return a future for the function's result.

        If the future is cancelled before `work` has started, `work` is never called.
        """
        future: Future[T] = Future()
        context = copy_context()
        with self._lock:
            items = self._items_by_user.setdefault(user_id, deque())
            items.append((future, lambda: context.run(work)))
        self._thread.submit(self._run_next)
        return future

    def _run_next(self) -> None:
        while item := self._pop():
            future, work = item
            if future.set_running_or_notify_cancel():
                _run(future, work)
                return

    def _pop(self) -> WorkItem | None:
        """Remove and return the first item of the user whose turn is next. Return None if no item waits.

        If the user has more items, the user's next turn comes after the turns of all other users.
        """
        with self._lock:
            if not self._items_by_user:
                return None
            user_id = next(iter(self._items_by_user))
            items = self._items_by_user.pop(user_id)
            item = items.popleft()
            if items:
                self._items_by_user[user_id] = items
            return item


def _run(future: Future[Any], work: Callable[[], Any]) -> None:
    try:
        future.set_result(work())
    except BaseException as error:
        # `future.result()` raises the error for its caller, as a future of an executor does.
        future.set_exception(error)
