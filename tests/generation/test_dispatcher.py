"""The dispatcher runs jobs as soon as one may run, and survives every fault on the way."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from queue import Empty, Queue

import pytest

from core import errors
from core.database.models import Job
from core.generation.dispatcher import Dispatcher
from tests.support.waiting import until

Run = Callable[[Job, Callable[[], None]], None]


class Waiting:
    """Jobs to be claimed; an exception among them is raised."""

    def __init__(self) -> None:
        self.items: Queue[Job | Exception] = Queue()

    def put(self, *items: str | Exception) -> None:
        for item in items:
            self.items.put(item if isinstance(item, Exception) else a_job(item))

    def claim(self) -> Job | None:
        try:
            item = self.items.get_nowait()
        except Empty:
            return None
        if isinstance(item, Exception):
            raise item
        return item


def a_job(name: str) -> Job:
    return Job(id=name, batch_id="b", owner_id="o", request={})


@pytest.fixture
def waiting() -> Waiting:
    return Waiting()


@pytest.fixture
def dispatch(waiting: Waiting) -> Iterator[Callable[[Run, int], Dispatcher]]:
    """`dispatch(run, max_running)`: a dispatcher that has started."""
    started: list[Dispatcher] = []

    def start(run: Run, max_running: int) -> Dispatcher:
        started.append(Dispatcher(waiting.claim, run, max_running=max_running))
        started[-1].start()
        return started[-1]

    yield start
    for dispatcher in started:
        dispatcher.stop(10)


def test_at_most_max_running_jobs_run_at_once(
    waiting: Waiting, dispatch: Callable[[Run, int], Dispatcher]
) -> None:
    running, most, ended, go = set[str](), list[int](), list[str](), threading.Semaphore(0)

    def run(job: Job, release: Callable[[], None]) -> None:
        running.add(job.id)
        most.append(len(running))
        go.acquire()
        running.discard(job.id)
        ended.append(job.id)

    waiting.put("1", "2", "3", "4", "5")
    dispatch(run, 2)
    until(lambda: len(running) == 2)
    go.release(5)
    until(lambda: len(ended) == 5)
    assert max(most) == 2
    assert set(ended) == {"1", "2", "3", "4", "5"}


@pytest.mark.parametrize("fault", [errors.DatabaseBusy(), ZeroDivisionError()], ids=["busy", "ours"])
def test_a_failed_claim_is_retried(
    waiting: Waiting, dispatch: Callable[[Run, int], Dispatcher], fault: Exception
) -> None:
    ended: list[str] = []
    waiting.put(fault, "1")
    dispatch(lambda job, _release: ended.append(job.id), 1)
    assert until(lambda: ended) == ["1"]


def test_a_failed_job_makes_room_for_the_next(
    waiting: Waiting, dispatch: Callable[[Run, int], Dispatcher]
) -> None:
    ended: list[str] = []

    def run(job: Job, release: Callable[[], None]) -> None:
        ended.append(job.id)
        raise errors.StorageFull

    waiting.put("1", "2")
    dispatch(run, 1)
    until(lambda: len(ended) == 2)


def test_a_released_job_makes_room_for_exactly_one_other_and_delays_no_stop(
    waiting: Waiting, dispatch: Callable[[Run, int], Dispatcher]
) -> None:
    begun, go = list[str](), threading.Event()

    def run(job: Job, release: Callable[[], None]) -> None:
        begun.append(job.id)
        if job.id == "1":
            release()
            release()
        go.wait(30)

    waiting.put("1", "2", "3")
    dispatcher = dispatch(run, 1)
    until(lambda: len(begun) == 2)
    assert not dispatcher.stop(0)  # "2" still runs
    assert begun == ["1", "2"]
    go.set()
    assert dispatcher.stop(30)


def test_stopping_claims_no_job_and_waits_for_the_running_ones(
    waiting: Waiting, dispatch: Callable[[Run, int], Dispatcher]
) -> None:
    begun, go, ended = threading.Event(), threading.Event(), list[str]()

    def run(job: Job, release: Callable[[], None]) -> None:
        begun.set()
        go.wait(30)
        ended.append(job.id)

    waiting.put("1")
    dispatcher = dispatch(run, 4)
    begun.wait(30)
    assert not dispatcher.stop(0)
    waiting.put("2")
    dispatcher.wake()
    go.set()
    assert dispatcher.stop(30)
    assert ended == ["1"]
    assert waiting.items.qsize() == 1


def test_jobs_run_one_after_the_other_when_no_thread_can_start(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.startswith("job "):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    done: list[str] = []
    waiting.put("one", "two")
    dispatcher = Dispatcher(waiting.claim, lambda job, _release: done.append(job.id), max_running=2)
    dispatcher.start()
    until(lambda: done == ["one", "two"])
    assert dispatcher.stop(5)
