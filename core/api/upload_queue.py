"""The upload queue: does heavy work one item at a time, taking turns between users."""

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
    """A fair queue with one worker thread.

    The users take turns, one item each. A new user waits for at most one item of each other user, however
    many items these have submitted.
    """

    def __init__(self, name: str) -> None:
        self._thread = ThreadPoolExecutor(1, name)
        self._lock = threading.Lock()
        # In the order of the users' next turns.
        self._items_by_user: dict[str, deque[WorkItem]] = {}

    def submit(self, user_id: str, work: Callable[[], T]) -> Future[T]:
        """Queue `work`. A future that is cancelled while it waits is skipped and takes no turn."""
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
        """Take the next user's first item, and move that user to the end of the line."""
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
        # The caller of `future.result()` gets the error, as from an executor.
        future.set_exception(error)
