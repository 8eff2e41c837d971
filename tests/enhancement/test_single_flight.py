"""Identical requests share one call, and no waiter disturbs another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future

import pytest

from core.enhancement.single_flight import SharedCall, SingleFlight, Waiter


def waiter(on_chunk: Callable[[str], None] = lambda _: None) -> Waiter[str]:
    return Waiter[str](on_chunk, Future(), str.upper)


def test_a_late_waiter_gets_the_text_so_far() -> None:
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


def test_a_waiter_can_cancel_before_the_start_without_the_others() -> None:
    first, second = waiter(), waiter()
    call = SharedCall(first)
    call.join(second)
    assert first.future.cancel()
    assert call.start()
    assert call.finish("fox") == 1
    assert second.future.result() == "FOX"


def test_no_waiter_can_cancel_a_started_call() -> None:
    first, second = waiter(), waiter()
    call = SharedCall(first)
    assert call.start()
    call.join(second)
    assert not first.future.cancel()
    assert not second.future.cancel()
    assert call.finish("fox") == 2


def test_a_call_that_every_waiter_cancelled_is_neither_started_nor_joined() -> None:
    first = waiter()
    call = SharedCall(first)
    first.future.cancel()
    assert not call.start()
    assert not call.join(waiter())


def test_an_ended_call_is_not_joined() -> None:
    call = SharedCall(waiter())
    call.start()
    call.finish("fox")
    assert not call.join(waiter())


def test_a_failing_waiter_takes_nothing_from_the_others() -> None:
    def closed(_chunk: str) -> None:
        raise RuntimeError("the loop is closed")

    received: list[str] = []
    call = SharedCall(waiter(closed))
    call.start()
    call.join(waiter(received.append))
    call.send("fox")
    assert received == ["fox"]


def test_every_waiter_gets_the_error() -> None:
    first, second = waiter(), waiter()
    call = SharedCall(first)
    call.join(second)
    call.start()
    call.fail(ZeroDivisionError())
    for each in (first, second):
        with pytest.raises(ZeroDivisionError):
            each.future.result()


def test_cancelling_a_call_cancels_every_waiter() -> None:
    first, second = waiter(), waiter()
    call = SharedCall(first)
    call.join(second)
    call.cancel()
    assert first.future.cancelled()
    assert second.future.cancelled()


def test_a_call_can_fail_before_it_starts() -> None:
    first, second = waiter(), waiter()
    call = SharedCall(first)
    call.join(second)
    first.future.cancel()
    call.fail(ZeroDivisionError())
    assert first.future.cancelled()
    assert isinstance(second.future.exception(), ZeroDivisionError)


def test_only_requests_with_the_same_key_share_a_call() -> None:
    calls = SingleFlight[str]()
    first = calls.join("fox", waiter())
    assert first is not None
    assert calls.join("fox", waiter()) is None
    assert calls.join("owl", waiter()) is not None


def test_an_ended_call_is_replaced_and_removed_without_its_successor() -> None:
    calls = SingleFlight[str]()
    ended = calls.join("fox", waiter())
    assert ended is not None
    ended.finish("a fox")
    successor = calls.join("fox", waiter())
    assert successor is not None
    calls.remove("fox", ended)
    assert calls.join("fox", waiter()) is None
    calls.remove("fox", successor)
    assert calls.join("fox", waiter()) is not None
