"""Chores: each repeats at its own interval, even after a failure."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence

import pytest

from core import errors
from core.maintenance.chores import Chore, Chores, PortionedWork
from tests.support.waiting import until


@pytest.fixture
def start_chores() -> Iterator[Callable[..., None]]:
    started: list[Chores] = []

    def start(chores: Sequence[Chore]) -> None:
        started.append(Chores())
        started[-1].start(chores)

    yield start
    for chores in started:
        chores.stop()


@pytest.mark.parametrize("fault", [errors.DatabaseBusy(), ZeroDivisionError(), MemoryError()], ids=repr)
def test_a_failed_chore_runs_again_and_does_not_delay_others(
    start_chores: Callable[..., None], fault: Exception
) -> None:
    done: list[str] = []

    def failing() -> None:
        done.append("failing")
        raise fault

    start_chores([Chore("failing", 0.01, failing), Chore("other", 0.01, lambda: done.append("other"))])
    until(lambda: done.count("failing") > 2 and done.count("other") > 2)


def test_each_chore_has_its_own_interval(start_chores: Callable[..., None]) -> None:
    done: list[str] = []
    start_chores(
        [
            Chore("often", 0.01, lambda: done.append("often")),
            Chore("rarely", 3600, lambda: done.append("rarely")),
        ]
    )
    until(lambda: done.count("often") > 5)
    assert done.count("rarely") == 1


def test_a_waiting_chore_can_be_stopped() -> None:
    chores = Chores()
    chores.start([Chore("rarely", 3600, gc.collect)])
    chores.stop()


class Round:
    """A round of three steps. Each step takes one second of its clock and is counted in `done`."""

    def __init__(self, fails: bool = False) -> None:
        self.now, self.done, self._fails = 0.0, 0, fails

    def clock(self) -> float:
        return self.now

    def steps(self) -> Iterator[None]:
        for _ in range(3):
            self.now, self.done = self.now + 1, self.done + 1
            if self._fails:
                raise errors.DatabaseBusy
            yield

    def portioned(self, portion_seconds: float) -> PortionedWork:
        return PortionedWork(self.steps, pause_seconds=10, portion_seconds=portion_seconds, clock=self.clock)


def test_long_work_runs_in_portions_and_starts_again_after_a_pause() -> None:
    work = Round()
    run = work.portioned(portion_seconds=2)
    run()
    assert work.done == 2  # the portion ends here
    run()
    assert work.done == 3
    run()
    assert work.done == 3
    work.now += 10
    run()
    assert work.done == 5


def test_failed_long_work_starts_again_only_after_a_pause() -> None:
    work = Round(fails=True)
    run = work.portioned(portion_seconds=2)
    with pytest.raises(errors.DatabaseBusy):
        run()
    run()
    assert work.done == 1
    work.now += 10
    with pytest.raises(errors.DatabaseBusy):
        run()
