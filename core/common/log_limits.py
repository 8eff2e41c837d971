"""Limits how often the same kind of event is logged."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 60.0


class LineLimit:
    """Lets one line of each kind into the log per minute, and counts the others.

    There should be few kinds: each is kept until the process ends.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logged: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def admit(self, kind: str) -> int | None:
        """Return how many lines of this kind were left out since the last, or None to leave this out too."""
        now = self._clock()
        with self._lock:
            if now - self._logged.get(kind, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return None
            self._logged[kind] = now
            return self._left_out.pop(kind, 0)
