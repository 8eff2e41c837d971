"""Counts the calls of a part's methods, to prove that nothing is computed twice."""

from __future__ import annotations

from collections import Counter
from typing import Any


class Counted:
    """Stands in for `part`: passes every call on to it, and counts the calls by the method's name."""

    def __init__(self, part: Any) -> None:
        self._part = part
        self.calls: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._part, name)
        if not callable(found):
            return found

        def call(*args: Any, **named: Any) -> Any:
            self.calls[name] += 1
            return found(*args, **named)

        return call
