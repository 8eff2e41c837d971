"""Heavy work goes by turns: who sends much waits for it alone, and who has gone is passed over."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from core.api.upload_queue import Turns


class Held:
    """Turns whose thread is kept until `go`, and what was done after that, in its order."""

    def __init__(self) -> None:
        self.turns, self.done = Turns("test"), list[str]()
        self._go, begun = threading.Event(), threading.Event()
        self.turns.take("nobody", lambda: (begun.set(), self._go.wait()))
        begun.wait()

    def work(self, name: str) -> Callable[[], None]:
        return lambda: self.done.append(name)

    def go(self) -> None:
        self._go.set()


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.go()


def test_whoever_sends_much_waits_behind_their_own(held: Held) -> None:
    sent = [held.turns.take("ada", held.work(f"ada {number}")) for number in range(3)]
    sent += [held.turns.take(name, held.work(name)) for name in ("eve", "grace")]
    held.go()
    for future in sent:
        future.result(30)
    assert held.done == ["ada 0", "eve", "grace", "ada 1", "ada 2"]


def test_whoever_has_gone_is_passed_over(held: Held) -> None:
    gone = [held.turns.take("ada", held.work("ada")) for _ in range(3)]
    last = held.turns.take("eve", held.work("eve"))
    assert all(future.cancel() for future in gone)
    held.go()
    last.result(30)
    assert held.done == ["eve"]


def test_a_failure_is_its_senders_alone(held: Held) -> None:
    wrong = held.turns.take("ada", lambda: 1 // 0)
    right = held.turns.take("ada", lambda: "a picture")
    held.go()
    with pytest.raises(ZeroDivisionError):
        wrong.result(30)
    assert right.result(30) == "a picture"
