"""Several wait for one call, and none of them is in another's way."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from core.enhancement.single_flight import SharedCall, Waiter


def waiter(on_piece: Callable[[str], None] = lambda _: None) -> Waiter[str]:
    return Waiter[str](on_piece, Future(), str.upper)


def test_whoever_comes_later_hears_what_has_come_so_far() -> None:
    early: list[str] = []
    late: list[str] = []
    first, second = waiter(early.append), waiter(late.append)
    call = SharedCall(first)
    assert call.start()
    call.send("a ")
    call.send("red ")
    assert call.join(second)
    call.send("fox")
    assert call.finish("a red fox") == 2
    assert (early, late) == (["a ", "red ", "fox"], ["a red ", "fox"])
    assert first.future.result() == second.future.result() == "A RED FOX"


def test_whoever_gives_up_before_it_is_begun_is_let_go_alone() -> None:
    first, second = waiter(), waiter()
    call = SharedCall(first)
    call.join(second)
    assert first.future.cancel()
    assert call.start()
    assert call.finish("fox") == 1
    assert second.future.result() == "FOX"


def test_what_is_begun_is_taken_back_by_nobody() -> None:
    first, second = waiter(), waiter()
    call = SharedCall(first)
    assert call.start()
    call.join(second)
    assert not first.future.cancel()
    assert not second.future.cancel()
    assert call.finish("fox") == 2


def test_what_everybody_has_given_up_is_never_begun_and_not_joined() -> None:
    first = waiter()
    call = SharedCall(first)
    first.future.cancel()
    assert not call.start()
    assert not call.join(waiter())


def test_what_is_over_is_not_joined() -> None:
    call = SharedCall(waiter())
    call.start()
    call.finish("fox")
    assert not call.join(waiter())


def test_whoever_can_not_hear_it_takes_nothing_from_the_others() -> None:
    def deaf(_piece: str) -> None:
        raise RuntimeError("the loop is closed")

    heard: list[str] = []
    call = SharedCall(waiter(deaf))
    call.start()
    call.join(waiter(heard.append))
    call.send("fox")
    assert heard == ["fox"]


def test_a_failure_is_everybodys() -> None:
    first, second = waiter(), waiter()
    call = SharedCall(first)
    call.join(second)
    call.start()
    call.fail(ZeroDivisionError())
    for each in (first, second):
        with pytest.raises(ZeroDivisionError):
            each.future.result()


def test_what_is_never_begun_is_cancelled_for_all() -> None:
    first, second = waiter(), waiter()
    call = SharedCall(first)
    call.join(second)
    call.cancel()
    assert first.future.cancelled()
    assert second.future.cancelled()
