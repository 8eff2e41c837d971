"""Checks the length and the characters of texts that users type."""

from __future__ import annotations

import unicodedata

from core.common.text import has_too_many_marks
from core.errors import TextRejected

# The lengths are in characters. MAX_TRAITS is the number of traits.
MAX_LINE_LENGTH = 120
MAX_TEXT_LENGTH = 8_000
MAX_TRAITS = 40
# The Unicode categories of control characters and lone surrogates. Tabs and line ends are allowed.
_UNPRINTABLE = ("Cc", "Cs")
_WHITE_SPACE = "\t\n\r"


def check_prompt_texts(
    *, name: str, traits: tuple[str, ...], base_prompt: str = "", guidance: str = "", prompt: str = ""
) -> None:
    """Raise TextRejected if there are too many traits or one of the texts isn't acceptable.

    A text isn't acceptable if it is too long, holds control characters, or has too many combining marks on
    one letter. The length of `prompt` isn't checked. The error's `field` names the rejected argument.
    """
    if len(traits) > MAX_TRAITS:
        raise TextRejected(f"There can be at most {MAX_TRAITS} traits.", field="traits")
    _check_text("name", name, MAX_LINE_LENGTH)
    for trait in traits:
        _check_text("traits", trait, MAX_LINE_LENGTH)
    _check_text("base_prompt", base_prompt, MAX_TEXT_LENGTH)
    _check_text("guidance", guidance, MAX_TEXT_LENGTH)
    # The prompt's maximum length depends on the model: `capabilities.check_params` checks it.
    _check_text("prompt", prompt, len(prompt))


def _check_text(field: str, text: str, max_length: int) -> None:
    label = field.replace("_", " ").capitalize()
    if len(text) > max_length:
        raise TextRejected(f"{label}: at most {max_length:,} characters.", field=field)
    if any(_is_unprintable(character) for character in text):
        raise TextRejected(f"{label}: contains a character that can't be printed.", field=field)
    if has_too_many_marks(text):
        raise TextRejected(f"{label}: too many accents on one letter.", field=field)


def _is_unprintable(character: str) -> bool:
    return unicodedata.category(character) in _UNPRINTABLE and character not in _WHITE_SPACE
