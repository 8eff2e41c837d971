"""Lines of the log: nothing in them moves a cursor, turns words around or passes for another line."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import structlog

# Control characters but new lines and tabs, what else ends a line, what turns the direction of writing, and
# halves of characters, which no terminal can be sent.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028\u2029\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
_INDENT = "\n  "


def escaped(text: str) -> str:
    r"""`text` with such signs written out, as `\x1b` or `\u202e`; its lines but the first are indented.

    No line of the log begins with a space, so none can be forged.
    """
    return _UNSAFE.sub(_written, text).replace("\n", _INDENT)


def _written(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode()


class LineRenderer:
    """The last processor but one: an event as one line, and below it what came with an exception."""

    def __init__(self) -> None:
        self._renderer = structlog.dev.ConsoleRenderer(colors=False)

    def __call__(self, logger: Any, method: str, event: structlog.typing.EventDict) -> str:
        below: Sequence[str] = [str(event.pop(name)) for name in ("stack", "exception") if name in event]
        line = str(self._renderer(logger, method, event)).replace("\n", r"\n")
        return "\n".join(map(escaped, (line, *(f"  {text}" for text in below))))
