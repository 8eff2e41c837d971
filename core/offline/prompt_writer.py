"""The offline enhancer: writes a structured prompt from the user's own words."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from core.offline.phrases import PHRASES, TELLTALES, Phrases
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
class Words:
    """An enhancement request as the enhancer receives it; `style` is the preset's label and words."""

    name: str = ""
    traits: tuple[str, ...] = ()
    base_prompt: str = ""
    style: str = ""
    enhancement: EnhancementLevel = EnhancementLevel.BALANCED
    guidance: str = ""
    variation: int = 0


def language_of(text: str) -> str | None:
    """The language of `text` as an ISO 639-1 code, guessed from script and common words.

    None where nothing is known of it. Plain ASCII without a tell-tale word counts as English.
    """
    for language, script in _SCRIPTS:
        if script.search(text):
            return language
    words = re.findall(r"[^\W\d_]+", text.lower())
    hits = {language: sum(word in known for word in words) for language, known in TELLTALES.items()}
    best = max(hits, key=lambda language: hits[language])
    if hits[best]:
        return best
    return "en" if text.isascii() else None


def write_prompt(words: Words) -> str:
    """A prompt of short labelled parts that holds every word of the user's unchanged.

    The same words and variation always give the same text; another variation gives another.
    """
    own = " ".join((words.name, *words.traits, words.base_prompt, words.guidance))
    language = language_of(own)
    depth = 0 if language is None else _DEPTHS[words.enhancement]
    parts = _parts(words, PHRASES[language or "en"], depth)
    return "\n".join(f"{label}: {text}" for label, text in parts if text)


def _parts(words: Words, phrases: Phrases, depth: int) -> Iterator[tuple[str, str]]:
    """(label, text) of each part, in the order that image models read best.

    `depth` 0 adds light, composition and limits to the user's words, 1 the purpose, 2 the rest.
    """
    labels, pick = phrases.labels, _picker(words)
    some, rich = depth > 0, depth > 1
    yield labels.purpose, _sentence(pick(phrases.purpose, 3)) if some else ""
    yield labels.scene, _join(words.base_prompt, pick(phrases.scene, 2) if rich else "")
    yield labels.subject, _sentence(words.name)
    yield labels.details, _sentence("; ".join(words.traits))
    yield labels.light, _sentence(pick(phrases.light, 1))
    yield labels.composition, _sentence(pick(phrases.composition, 0))
    yield (
        labels.style,
        _join(words.style.partition(": ")[2] or words.style, pick(phrases.finish, 4) if rich else ""),
    )
    yield labels.wishes, _sentence(words.guidance)
    yield labels.limits, _join(phrases.limits, phrases.keep if rich else "")


def _picker(words: Words) -> Callable[[Sequence[str], int], str]:
    """Chooses among alternatives by the words and the variation.

    Neighbouring variations differ in the first slot; once that has come round, in the next as well.
    """
    fields = repr((words.name, words.traits, words.base_prompt, words.style, words.guidance))
    digest = hashlib.sha256(fields.encode()).digest()

    def pick(alternatives: Sequence[str], slot: int) -> str:
        if not alternatives:
            return ""
        turn = words.variation * (1 + slot % 2) + words.variation // len(alternatives) * slot
        return alternatives[(digest[slot] + turn) % len(alternatives)]

    return pick


def _sentence(text: str) -> str:
    """`text` with a full stop, unless it is empty or already ends a sentence."""
    text = text.strip()
    return text if not text or text.endswith(_SENTENCE_END) else f"{text}."


def _join(*texts: str) -> str:
    return " ".join(_sentence(text) for text in texts if text.strip())
