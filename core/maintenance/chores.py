"""Chores: background work that the running app repeats, each chore at its own interval."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

# Long work pauses after this many seconds, so that the app can stop and other threads get the processor.
PORTION_SECONDS = 0.5
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Work that first runs `delay_seconds` after the start, and then `interval_seconds` after each run.

    If `interval_seconds` is None, the work runs only once.
    """

    name: str
    interval_seconds: float | None
    work: Callable[[], object]
    delay_seconds: float = 0


class PortionedWork:
    """Long work for a chore, split into portions, so that stopping the app never waits for all of the work.

    `start_round` begins a round: it returns the work as an iterator of steps. Each call of this object runs
    the next steps for `portion_seconds`. When a round has ended or failed, the next round begins after
    `pause_seconds`. The first round begins at once.
    """

    def __init__(
        self,
        start_round: Callable[[], Iterator[object]],
        *,
        pause_seconds: float,
        portion_seconds: float = PORTION_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._start_round = start_round
        self._pause_seconds = pause_seconds
        self._portion_seconds = portion_seconds
        self._clock = clock
        self._steps: Iterator[object] | None = None
        self._next_round_at = clock()

    def __call__(self) -> None:
        if self._steps is None and self._clock() < self._next_round_at:
            return
        steps, self._steps = self._steps or self._start_round(), None
        self._next_round_at = self._clock() + self._pause_seconds
        portion_ends = self._clock() + self._portion_seconds
        for _ in steps:
            if self._clock() >= portion_ends:
                self._steps = steps
                return


class Chores:
    """Runs each chore in its own thread, so that no chore waits for another.

    If a chore fails, it runs again after its interval.
    """

    def __init__(self) -> None:
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    def start(self, chores: Sequence[Chore]) -> None:
        for chore in chores:
            thread = threading.Thread(target=self._repeat, args=(chore,), name=chore.name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Stop all chores. Wait until the work that is running has ended."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, chore: Chore) -> None:
        pause: float | None = chore.delay_seconds
        while pause is not None and not self._stopping.wait(pause):
            self._run(chore)
            pause = chore.interval_seconds

    def _run(self, chore: Chore) -> None:
        try:
            chore.work()
        except Exception:
            # Only log the error: no user waits for a chore, and the chore's next run may succeed.
            log.exception("chore_failed", chore=chore.name)
