"""The words that people type: how long they may be, and what signs they may have."""

from __future__ import annotations

import unicodedata

from core.common.text import has_too_many_marks
from core.errors import TextRejected

# In characters; traits are counted.
MAX_LINE_LENGTH = 120
MAX_TEXT_LENGTH = 8_000
MAX_TRAITS = 40
# Control characters and halves of characters; new lines and tabs are wanted.
_UNSEEN = ("Cc", "Cs")
_LAYOUT = "\t\n\r"


def check_prompt_texts(
    *, name: str, traits: tuple[str, ...], base_prompt: str = "", guidance: str = "", prompt: str = ""
) -> None:
    """Refuse what can't be sent or kept. Raises TextRejected with the field at fault."""
    if len(traits) > MAX_TRAITS:
        raise TextRejected(f"There can be at most {MAX_TRAITS} traits.", field="traits")
    _check_text("name", name, MAX_LINE_LENGTH)
    for trait in traits:
        _check_text("traits", trait, MAX_LINE_LENGTH)
    _check_text("base_prompt", base_prompt, MAX_TEXT_LENGTH)
    _check_text("guidance", guidance, MAX_TEXT_LENGTH)
    # How long a prompt may be is the model's to say.
    _check_text("prompt", prompt, len(prompt))


def _check_text(field: str, text: str, most: int) -> None:
    label = field.replace("_", " ").capitalize()
    if len(text) > most:
        raise TextRejected(f"{label}: at most {most:,} characters.", field=field)
    if any(unicodedata.category(sign) in _UNSEEN and sign not in _LAYOUT for sign in text):
        raise TextRejected(f"{label}: contains a character that can't be printed.", field=field)
    if has_too_many_marks(text):
        raise TextRejected(f"{label}: too many accents on one letter.", field=field)
