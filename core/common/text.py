"""Makes foreign text safe to normalise and to store."""

from __future__ import annotations

import unicodedata

# The limit of Unicode's Stream-Safe Text Format (UAX #15).
MAX_COMBINING_MARKS = 30


def has_too_many_marks(text: str) -> bool:
    """Whether a letter has more than MAX_COMBINING_MARKS marks, which no language needs."""
    return not text.isascii() and len(limit_combining_marks(text)) < len(text)


def limit_combining_marks(text: str) -> str:
    """Drop the marks on a letter beyond MAX_COMBINING_MARKS: normalising a run of marks is quadratic."""
    if text.isascii():
        return text
    result, marks = list[str](), 0
    for character in text:
        marks = _marks_after(marks, character)
        if marks <= MAX_COMBINING_MARKS:
            result.append(character)
    return "".join(result)


def _marks_after(marks: int, character: str) -> int:
    """The length of the run of marks after `character`, with `marks` before it; decomposes it first."""
    for part in unicodedata.normalize("NFKD", character):
        marks = marks + 1 if unicodedata.combining(part) else 0
    return marks


def storable_text(text: str) -> str:
    """`text` as every database can store it: NUL and lone surrogates become U+FFFD, pairs are joined."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
