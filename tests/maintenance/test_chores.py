"""Chores are done again and again, whatever becomes of one of them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence

import pytest

from core import errors
from core.maintenance.chores import Chore, Housekeeping, InPortions
from tests.support.waiting import until


@pytest.fixture
def keep_house() -> Iterator[Callable[..., None]]:
    begun: list[Housekeeping] = []

    def begin(chores: Sequence[Chore]) -> None:
        begun.append(Housekeeping())
        begun[-1].start(chores)

    yield begin
    for housekeeping in begun:
        housekeeping.stop()


@pytest.mark.parametrize("fault", [errors.DatabaseBusy(), ZeroDivisionError(), MemoryError()], ids=repr)
def test_a_chore_that_fails_has_its_next_turn_and_keeps_no_other(
    keep_house: Callable[..., None], fault: Exception
) -> None:
    done: list[str] = []

    def failing() -> None:
        done.append("failing")
        raise fault

    keep_house([Chore("failing", 0.01, failing), Chore("other", 0.01, lambda: done.append("other"))])
    until(lambda: done.count("failing") > 2 and done.count("other") > 2)


def test_each_chore_has_its_own_pace(keep_house: Callable[..., None]) -> None:
    done: list[str] = []
    keep_house(
        [
            Chore("often", 0.01, lambda: done.append("often")),
            Chore("rarely", 3600, lambda: done.append("rarely")),
        ]
    )
    until(lambda: done.count("often") > 5)
    assert done.count("rarely") == 1


def test_a_thread_without_chores_of_now_waits_and_can_be_stopped() -> None:
    housekeeping = Housekeeping()
    housekeeping.start([Chore("rarely", 3600, gc.collect)])
    housekeeping.stop()


class Round:
    """Work of three steps, at which the clock moves on by one; what has been done is noted."""

    def __init__(self, fails: bool = False) -> None:
        self.now, self.done, self._fails = 0.0, 0, fails

    def clock(self) -> float:
        return self.now

    def begin(self) -> Iterator[None]:
        for _ in range(3):
            self.now, self.done = self.now + 1, self.done + 1
            if self._fails:
                raise errors.DatabaseBusy
            yield

    def chore(self, portion: float) -> InPortions:
        return InPortions(self.begin, rest=10, portion=portion, clock=self.clock)


def test_long_work_is_done_in_portions_and_begun_anew_after_its_rest() -> None:
    work = Round()
    turn = work.chore(portion=2)
    turn()
    assert work.done == 2  # the other chores have their turn now
    turn()
    assert work.done == 3
    turn()
    assert work.done == 3
    work.now += 10
    turn()
    assert work.done == 5


def test_long_work_that_fails_is_begun_anew_only_after_its_rest() -> None:
    work = Round(fails=True)
    turn = work.chore(portion=2)
    with pytest.raises(errors.DatabaseBusy):
        turn()
    turn()
    assert work.done == 1
    work.now += 10
    with pytest.raises(errors.DatabaseBusy):
        turn()
