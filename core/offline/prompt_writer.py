"""The offline enhancer: writes a prompt from the user's own words and from ready-made phrases."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.offline.phrases import COMMON_WORDS, PHRASES, Phrases
from core.prompts.request import EnhancementLevel

_SCRIPTS = (
    ("ja", re.compile(r"[\u3040-\u30ff]")),
    ("ko", re.compile(r"[\uac00-\ud7af]")),
    ("zh", re.compile(r"[\u4e00-\u9fff]")),
    ("ru", re.compile(r"[\u0400-\u04ff]")),
    ("ar", re.compile(r"[\u0600-\u06ff]")),
)
_SENTENCE_END = tuple(".!?…。！？؟:;\"'»“”)")
_DEPTHS = {EnhancementLevel.LIGHT: 0, EnhancementLevel.BALANCED: 1, EnhancementLevel.RICH: 2}


@dataclass(frozen=True, slots=True)
class Description:
    """The user's description of an image, as the offline engine reads it from a request.

    `style` is the label and the words of a style preset, separated by a colon.
    """

    name: str = ""
    traits: tuple[str, ...] = ()
    base_prompt: str = ""
    style: str = ""
    enhancement: EnhancementLevel = EnhancementLevel.BALANCED
    guidance: str = ""
    variation: int = 0


def language_of(text: str) -> str | None:
    """Return the language of `text` as an ISO 639-1 code, guessed from its script and common words.

    Text without any known word counts as English if it is ASCII. For any other text without a known word,
    returns None.
    """
    for language, script in _SCRIPTS:
        if script.search(text):
            return language
    words = re.findall(r"[^\W\d_]+", text.lower())
    hits = {language: sum(word in known for word in words) for language, known in COMMON_WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    if hits[best]:
        return best
    return "en" if text.isascii() else None


def write_prompt(description: Description) -> str:
    """Return a prompt of short labelled lines that contain all of the user's texts unchanged.

    The same description always gives the same prompt. If only `variation` differs, the phrases of the prompt
    differ.
    """
    texts = (description.name, *description.traits, description.base_prompt, description.guidance)
    language = language_of(" ".join(texts))
    depth = 0 if language is None else _DEPTHS[description.enhancement]
    parts = _parts(description, PHRASES[language or "en"], depth)
    return "\n".join(f"{label}: {text}" for label, text in parts if text)


def _parts(description: Description, phrases: Phrases, depth: int) -> Iterator[tuple[str, str]]:
    """Yield the label and the text of each part of the prompt. The text is empty if the part is left out.

    The parts are in the order that image models follow best. `depth` says how many ready-made phrases are
    added to the user's texts. At 0, there are phrases for light, composition and constraints. Depth 1 adds a
    phrase for the purpose, and depth 2 adds all other phrases.
    """
    labels, pick = phrases.labels, _picker(description)
    some, rich = depth > 0, depth > 1
    yield labels.purpose, _sentence(pick(phrases.purpose, 3)) if some else ""
    yield labels.scene, _join(description.base_prompt, pick(phrases.scene, 2) if rich else "")
    yield labels.subject, _sentence(description.name)
    yield labels.details, _sentence("; ".join(description.traits))
    yield labels.light, _sentence(pick(phrases.light, 1))
    yield labels.composition, _sentence(pick(phrases.composition, 0))
    style = description.style.partition(": ")[2] or description.style
    yield labels.style, _join(style, pick(phrases.finish, 4) if rich else "")
    yield labels.guidance, _sentence(description.guidance)
    yield labels.constraints, _join(phrases.constraints, phrases.keep_details if rich else "")


def _picker(description: Description) -> Callable[[Sequence[str], int], str]:
    """Return a function `pick(alternatives, slot)` that chooses one of several phrases.

    `slot` is the number of the prompt's part, from 0. The choice depends on the user's texts and on
    `variation`. Consecutive variations get different phrases in slot 0. Once slot 0 has used all its phrases
    and repeats them, the other slots get different phrases.
    """
    fields = repr(
        (
            description.name,
            description.traits,
            description.base_prompt,
            description.style,
            description.guidance,
        )
    )
    digest = hashlib.sha256(fields.encode()).digest()

    def pick(alternatives: Sequence[str], slot: int) -> str:
        if not alternatives:
            return ""
        turn = description.variation * (1 + slot % 2) + description.variation // len(alternatives) * slot
        return alternatives[(digest[slot] + turn) % len(alternatives)]

    return pick


def _sentence(text: str) -> str:
    """Return `text` with a full stop, unless `text` is empty or ends with a punctuation mark."""
    text = text.strip()
    return text if not text or text.endswith(_SENTENCE_END) else f"{text}."


def _join(*texts: str) -> str:
    return " ".join(_sentence(text) for text in texts if text.strip())
