"""Chores: background work that the running app repeats, each chore at its own interval."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import structlog

# A portion of long work ends after this many seconds, so that the app can stop and other threads get the
# processor.
PORTION_SECONDS = 0.5
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """Work that the app repeats in the background.

    `work` is called `delay_seconds` after the app's start, and again `interval_seconds` after each call has
    ended. If `interval_seconds` is None, `work` is called only once.
    """

    name: str
    interval_seconds: float | None
    work: Callable[[], object]
    delay_seconds: float = 0


class PortionedWork:
    """Long work for a Chore, split into portions. Stopping the app waits only for the current portion.

    `start_round` begins a new round of the work, and returns an iterator whose items are the steps of the
    work. Each call of this object does steps for about `portion_seconds`. The next call continues there. The
    first round begins with the first call. A later round begins with the first call that comes
    `pause_seconds` or more after the last call of the previous round. A round also ends if it raises an
    exception.
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
    """Runs each Chore in a thread of its own, so that a slow chore doesn't delay the others.

    If a chore's work raises an exception, the exception is logged. The chore is repeated at its usual
    interval.
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
        """Stop repeating the chores. Wait until the work that has already begun has ended."""
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
            # Only log the exception: no user waits for a chore, and the chore's next repetition may succeed.
            log.exception("chore_failed", chore=chore.name)
