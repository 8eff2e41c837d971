"""What has to be done again and again while the app runs, each chore at its own pace."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """`work` is done `first` seconds after the start and then every `seconds`."""

    name: str
    seconds: float
    work: Callable[[], object]
    first: float = 0


class Housekeeping:
    """A thread that does its chores one after the other. One that fails is logged and has its next turn."""

    def __init__(self, chores: Sequence[Chore], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._due = {chore: clock() + chore.first for chore in chores}
        self._clock = clock
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="housekeeping", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            for chore in [chore for chore, due in self._due.items() if due <= self._clock()]:
                self._do(chore)
                self._due[chore] = self._clock() + chore.seconds
            self._stopping.wait(max(0.0, min(self._due.values()) - self._clock()))

    def _do(self, chore: Chore) -> None:
        try:
            chore.work()
        except Exception:
            # Nothing that people need waits for a chore, and its next turn may succeed.
            log.exception("a chore failed", chore=chore.name)
