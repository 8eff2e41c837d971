"""Several wait for one call, and none of them is in another's way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from core.enhancement.single_flight import Flight, Waiter


def waiter(on_piece: Callable[[str], None] = lambda _: None) -> Waiter[str]:
    return Waiter[str](on_piece, Future(), str.upper)


def test_whoever_comes_later_hears_what_has_come_so_far() -> None:
    early: list[str] = []
    late: list[str] = []
    first, second = waiter(early.append), waiter(late.append)
    flight = Flight(first)
    assert flight.begin()
    flight.tell("a ")
    flight.tell("red ")
    assert flight.join(second)
    flight.tell("fox")
    assert flight.land("a red fox") == 2
    assert (early, late) == (["a ", "red ", "fox"], ["a red ", "fox"])
    assert first.future.result() == second.future.result() == "A RED FOX"


def test_whoever_gives_up_before_it_is_begun_is_let_go_alone() -> None:
    first, second = waiter(), waiter()
    flight = Flight(first)
    flight.join(second)
    assert first.future.cancel()
    assert flight.begin()
    assert flight.land("fox") == 1
    assert second.future.result() == "FOX"


def test_what_is_begun_is_taken_back_by_nobody() -> None:
    first, second = waiter(), waiter()
    flight = Flight(first)
    assert flight.begin()
    flight.join(second)
    assert not first.future.cancel()
    assert not second.future.cancel()
    assert flight.land("fox") == 2


def test_what_everybody_has_given_up_is_never_begun_and_not_joined() -> None:
    first = waiter()
    flight = Flight(first)
    first.future.cancel()
    assert not flight.begin()
    assert not flight.join(waiter())


def test_what_is_over_is_not_joined() -> None:
    flight = Flight(waiter())
    flight.begin()
    flight.land("fox")
    assert not flight.join(waiter())


def test_whoever_can_not_hear_it_takes_nothing_from_the_others() -> None:
    def deaf(_piece: str) -> None:
        raise RuntimeError("the loop is closed")

    heard: list[str] = []
    flight = Flight(waiter(deaf))
    flight.begin()
    flight.join(waiter(heard.append))
    flight.tell("fox")
    assert heard == ["fox"]


def test_a_failure_is_everybodys() -> None:
    first, second = waiter(), waiter()
    flight = Flight(first)
    flight.join(second)
    flight.begin()
    flight.fail(ZeroDivisionError())
    for each in (first, second):
        with pytest.raises(ZeroDivisionError):
            each.future.result()


def test_what_is_never_begun_is_cancelled_for_all() -> None:
    first, second = waiter(), waiter()
    flight = Flight(first)
    flight.join(second)
    flight.abandon()
    assert first.future.cancelled()
    assert second.future.cancelled()
