"""The upload queue is fair: users take turns, and cancelled work is skipped."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from core.api.upload_queue import UploadQueue


class BlockedQueue:
    """A queue whose thread is blocked until `unblock`; `done` lists the work done after that, in order."""

    def __init__(self) -> None:
        self.queue, self.done = UploadQueue("test"), list[str]()
        self._go, begun = threading.Event(), threading.Event()
        self.queue.submit("nobody", lambda: (begun.set(), self._go.wait()))
        begun.wait()

    def work(self, name: str) -> Callable[[], None]:
        return lambda: self.done.append(name)

    def unblock(self) -> None:
        self._go.set()


@pytest.fixture
def blocked() -> Iterator[BlockedQueue]:
    blocked = BlockedQueue()
    yield blocked
    blocked.unblock()


def test_a_users_many_items_do_not_delay_other_users(blocked: BlockedQueue) -> None:
    futures = [blocked.queue.submit("ada", blocked.work(f"ada {number}")) for number in range(3)]
    futures += [blocked.queue.submit(name, blocked.work(name)) for name in ("eve", "grace")]
    blocked.unblock()
    for future in futures:
        future.result(30)
    assert blocked.done == ["ada 0", "eve", "grace", "ada 1", "ada 2"]


def test_cancelled_items_are_skipped(blocked: BlockedQueue) -> None:
    cancelled = [blocked.queue.submit("ada", blocked.work("ada")) for _ in range(3)]
    last = blocked.queue.submit("eve", blocked.work("eve"))
    assert all(future.cancel() for future in cancelled)
    blocked.unblock()
    last.result(30)
    assert blocked.done == ["eve"]


def test_an_error_is_raised_only_for_its_item(blocked: BlockedQueue) -> None:
    wrong = blocked.queue.submit("ada", lambda: 1 // 0)
    right = blocked.queue.submit("ada", lambda: "an image")
    blocked.unblock()
    with pytest.raises(ZeroDivisionError):
        wrong.result(30)
    assert right.result(30) == "an image"
