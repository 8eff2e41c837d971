"""What has to be done again and again while the app runs, each chore at its own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

# Between such portions the app can be stopped, and others have the processor.
PORTION_SECONDS = 0.5
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """`work` is done `first` seconds after the start and then every `seconds`; None: only once."""

    name: str
    seconds: float | None
    work: Callable[[], object]
    first: float = 0


class InPortions:
    """Long work as a chore: each turn does a portion of it, so that stopping the app never waits for its end.

    `begin` gives the work as steps; when they are done, or one has failed, the next round begins after
    `rest` seconds. The first round begins at once.
    """

    def __init__(
        self,
        begin: Callable[[], Iterator[object]],
        *,
        rest: float,
        portion: float = PORTION_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin = begin
        self._rest = rest
        self._portion = portion
        self._clock = clock
        self._steps: Iterator[object] | None = None
        self._due = clock()

    def __call__(self) -> None:
        if self._steps is None and self._clock() < self._due:
            return
        steps, self._steps = self._steps or self._begin(), None
        self._due = self._clock() + self._rest
        ends = self._clock() + self._portion
        for _ in steps:
            if self._clock() >= ends:
                self._steps = steps
                return


class Housekeeping:
    """Does each chore in a thread of its own: none waits for another. One that fails has its next turn."""

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, chores: Sequence[Chore]) -> None:
        for chore in chores:
            thread = threading.Thread(target=self._repeat, args=(chore,), name=chore.name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Return when what is being done has been done."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, chore: Chore) -> None:
        pause: float | None = chore.first
        while pause is not None and not self._stopping.wait(pause):
            self._do(chore)
            pause = chore.seconds

    def _do(self, chore: Chore) -> None:
        try:
            chore.work()
        except Exception:
            # Nothing that people need waits for a chore, and its next turn may succeed.
            log.exception("a chore failed", chore=chore.name)
