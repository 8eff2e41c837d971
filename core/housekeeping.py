"""What has to be done again and again while the app runs, each chore at its own pace."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Chore:
    """`work` is done at the start and then every `seconds`."""

    name: str
    seconds: float
    work: Callable[[], object]


class Housekeeping:
    """Does each chore in a thread of its own: none waits for another. One that fails has its next turn."""

    def __init__(self, chores: Sequence[Chore]) -> None:
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._repeat, args=(chore,), name=chore.name, daemon=True)
            for chore in chores
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Return when what is being done has been done."""
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _repeat(self, chore: Chore) -> None:
        self._do(chore)
        while not self._stopping.wait(chore.seconds):
            self._do(chore)

    def _do(self, chore: Chore) -> None:
        try:
            chore.work()
        except Exception:
            # Nothing that people need waits for a chore, and its next turn may succeed.
            log.exception("a chore failed", chore=chore.name)
