"""Makes text from outside safe for Unicode normalisation and for the database."""

from __future__ import annotations

import unicodedata

# The limit of Unicode's Stream-Safe Text Format (UAX #15).
MAX_COMBINING_MARKS = 30


def has_too_many_marks(text: str) -> bool:
    """Whether a letter in `text` has more than MAX_COMBINING_MARKS combining marks, such as accents."""
    return not text.isascii() and len(limit_combining_marks(text)) < len(text)


def limit_combining_marks(text: str) -> str:
    """Return `text` with at most MAX_COMBINING_MARKS combining marks on each letter.

    Further marks are removed, because Unicode normalisation takes quadratic time for a long run of marks.
    """
    if text.isascii():
        return text
    result, marks = list[str](), 0
    for character in text:
        marks = _marks_after(marks, character)
        if marks <= MAX_COMBINING_MARKS:
            result.append(character)
    return "".join(result)


def _marks_after(marks: int, character: str) -> int:
    """Return the number of combining marks at the end of a text after `character` is appended to it.

    `marks` is this number before the append. `character` is first decomposed into its letter and marks
    (NFKD).
    """
    for part in unicodedata.normalize("NFKD", character):
        marks = marks + 1 if unicodedata.combining(part) else 0
    return marks


def fold_case(text: str) -> str:
    """Return `text` in the form in which texts are compared: without differences of case, and in NFKC.

    The letter i counts as one, with or without its dot. Otherwise "istanbul" and "İSTANBUL" would differ:
    Unicode folds the capital of the second to an i with a second dot.
    """
    folded = unicodedata.normalize("NFKC", limit_combining_marks(text)).casefold()
    one_i = folded.replace("i\u0307", "i").replace("ı", "i")
    return unicodedata.normalize("NFKC", one_i)


def storable_text(text: str) -> str:
    """Return `text` in a form that every database can store.

    NUL and lone surrogates become U+FFFD. A pair of surrogates becomes the character that the pair encodes.
    """
    return text.replace("\0", "\ufffd").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
