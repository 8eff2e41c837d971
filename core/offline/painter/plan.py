"""Reads a prompt into a plan: which scene, subject, hour, weather, colours and style to paint."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from core.offline.painter import lexicon
from core.offline.painter.lexicon import Lexicon
from core.offline.phrases import PHRASES
from core.prompts.styles import STYLES

_HOMES = {
    "fish": "underwater", "turtle": "underwater", "rocket": "space", "astronaut": "space", "boat": "sea",
    "lighthouse": "sea", "car": "city", "balloon": "sky", "castle": "mountains", "dragon": "mountains",
    "knight": "mountains", "penguin": "sea", "owl": "forest", "mushroom": "forest", "wizard": "forest",
    "cactus": "desert", "snowman": "mountains", "fox": "forest", "bear": "forest", "robot": "city",
    "house": "garden", "tree": "garden", "flower": "garden", "bird": "garden", "butterfly": "garden",
    "rabbit": "garden", "dog": "garden", "cat": "room", "bicycle": "city", "woman": "garden", "man": "garden",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """What to paint. `subject` None means an emblem made from `digest`, the hash of the words."""

    scene: str
    subject: str | None
    hour: str
    weathers: tuple[str, ...]
    moods: tuple[str, ...]
    colours: tuple[str, ...]
    style: str
    digest: bytes


def read(prompt: str) -> Plan:
    """The plan for `prompt`. Words may be in any of the lexicon's languages."""
    style, text = _split_style(prompt)
    text = _without_own_phrases(text)
    named = _found(text, lexicon.SUBJECTS)
    subject = next((word for word in named if word in lexicon.BEINGS), named[0] if named else None)
    scenes = ["plain"] if style == "product" else _found(text, lexicon.SCENES)
    hours, weathers = _found(text, lexicon.HOURS), _found(text, lexicon.WEATHERS)
    return Plan(
        scene=scenes[0] if scenes else _HOMES.get(subject or "", "plain"),
        subject=subject,
        hour=hours[0] if hours else "day",
        weathers=tuple(weathers),
        moods=tuple(_found(text, lexicon.MOODS)),
        colours=tuple(_found(text, lexicon.COLOURS)),
        style=style,
        digest=hashlib.sha256(" ".join(text.split()).encode()).digest(),
    )


def _split_style(prompt: str) -> tuple[str, str]:
    """(style key or "", the prompt without the presets' own words), so that the sky isn't "wide".

    Of several presets the last counts: it was chosen after the prompt was written for another.
    """
    lower = prompt.lower()
    presets = [style for style in STYLES if style.words.lower() in lower]
    if not presets:
        found = _found(lower, lexicon.STYLE_WORDS)
        return (found[0] if found else ""), lower
    chosen = max(presets, key=lambda style: lower.rfind(style.words.lower()))
    for style in presets:
        lower = lower.replace(style.words.lower(), " ")
    return chosen.key, lower


def _without_own_phrases(text: str) -> str:
    """`text` without the offline enhancer's phrases: only the user's words choose the picture."""
    for phrase in _own_phrases():
        text = text.replace(phrase, " ")
    return text


@cache
def _own_phrases() -> tuple[str, ...]:
    banks = PHRASES.values()
    every: Iterable[tuple[str, ...]] = (
        part
        for bank in banks
        for part in (
            bank.light,
            bank.composition,
            bank.purpose,
            bank.scene,
            bank.finish,
            (bank.limits, bank.keep),
        )
    )
    return tuple(phrase.lower() for part in every for phrase in part if phrase)


def _found(text: str, words: Lexicon) -> list[str]:
    """The concepts of `words` that `text` names, in the order they are first named."""
    matches = ((_expression(known).search(text), concept) for concept, known in words.items())
    return [concept for _, concept in sorted((match.start(), concept) for match, concept in matches if match)]


@cache
def _expression(known: str) -> re.Pattern[str]:
    """Matches any of the words, also in a simple plural."""
    each = "|".join(re.escape(word).replace("_", r"\s+") for word in known.split())
    return re.compile(rf"(?<!\w)(?:{each})(?:s|es|en|n)?(?!\w)")
