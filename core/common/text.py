"""Text that is safe to normalise and to store."""

from __future__ import annotations

import unicodedata

# As many as Unicode's Stream-Safe Text Format lets follow each other (UAX #15).
MAX_COMBINING_MARKS = 30


def has_too_many_marks(text: str) -> bool:
    """Whether more than MAX_COMBINING_MARKS marks stand on one letter, more than in any language."""
    return not text.isascii() and len(limit_combining_marks(text)) < len(text)


def limit_combining_marks(text: str) -> str:
    """`text` with at most MAX_COMBINING_MARKS marks on a letter, so that normalising it takes linear time."""
    if text.isascii():
        return text
    kept, run = list[str](), 0
    for sign in text:
        run = _after(run, sign)
        if run <= MAX_COMBINING_MARKS:
            kept.append(sign)
    return "".join(kept)


def _after(run: int, sign: str) -> int:
    """How many marks stand in a row behind `sign`: some signs become marks only when they are normalised."""
    for part in unicodedata.normalize("NFKD", sign):
        run = run + 1 if unicodedata.combining(part) else 0
    return run


def storable_text(text: str) -> str:
    """`text` as every engine can keep it: NUL and lone surrogates become U+FFFD, pairs their character."""
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
