"""Limits how often the same kind of event is logged."""

from __future__ import annotations

import errno
import sqlite3
import threading
import time
from collections.abc import Callable

SECONDS_BETWEEN_LINES = 60.0
_SHORTAGES = {
    errno.EMFILE: "descriptors",
    errno.ENFILE: "descriptors",
    errno.ENOMEM: "memory",
    errno.ENOBUFS: "memory",
}
_SHORTAGES_IN_TEXT = {
    "too many open files": "descriptors",
    "unable to open database file": "descriptors",
    "cannot allocate memory": "memory",
    "can't start new thread": "threads",
}


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
        """Return how many lines of this kind were left out since the last one that was logged.

        Returns None if the caller must leave this line out, too.
        """
        now = self._clock()
        with self._lock:
            if now - self._logged.get(kind, -SECONDS_BETWEEN_LINES) < SECONDS_BETWEEN_LINES:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return None
            self._logged[kind] = now
            return self._left_out.pop(kind, 0)


def shortage(error: BaseException | None) -> str | None:
    """Return what the process ran out of: "descriptors", "memory" or "threads". None for any other error."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in _SHORTAGES:
            return _SHORTAGES[error.errno]
        if isinstance(error, MemoryError):
            return "memory"
        if isinstance(error, RuntimeError | sqlite3.OperationalError) and (found := shortage_in(str(error))):
            return found
        error = error.__cause__ or error.__context__
    return None


def shortage_in(text: str) -> str | None:
    """Return what the process ran out of, as `shortage` does, from the text of an error.

    SQLite doesn't say why it can't open its file. The app opened it before, so descriptors are short.
    """
    folded = text.casefold()
    return next((missing for words, missing in _SHORTAGES_IN_TEXT.items() if words in folded), None)
