"""The plan of a picture: the scene, subject, time of day, weather, colours and style in its prompt."""

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

_DEFAULT_SCENES = {
    "fish": "underwater", "turtle": "underwater", "rocket": "space", "astronaut": "space", "boat": "sea",
    "lighthouse": "sea", "car": "city", "balloon": "sky", "castle": "mountains", "dragon": "mountains",
    "knight": "mountains", "penguin": "sea", "owl": "forest", "mushroom": "forest", "wizard": "forest",
    "cactus": "desert", "snowman": "mountains", "fox": "forest", "bear": "forest", "robot": "city",
    "house": "garden", "tree": "garden", "flower": "garden", "bird": "garden", "butterfly": "garden",
    "rabbit": "garden", "dog": "garden", "cat": "room", "bicycle": "city", "woman": "garden", "man": "garden",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Plan:
    """The plan of a picture, as read from the prompt.

    `hour` is the time of day. `subject` is None if the prompt names no known subject. The painter then paints
    an emblem, which is an abstract ornament. `digest` is the SHA-256 hash of the prompt's text; it selects
    details such as the form of the emblem.
    """

    scene: str
    subject: str | None
    hour: str
    weathers: tuple[str, ...]
    moods: tuple[str, ...]
    colours: tuple[str, ...]
    style: str
    digest: bytes


def read_plan(prompt: str) -> Plan:
    """Return the plan for `prompt`.

    The prompt is searched for the words of the lexicon in all its languages.
    """
    style, text = _split_style(prompt)
    text = _without_enhancer_phrases(text)
    named = _concepts_in(text, lexicon.SUBJECTS)
    subject = next((word for word in named if word in lexicon.BEINGS), named[0] if named else None)
    scenes = ["plain"] if style == "product" else _concepts_in(text, lexicon.SCENES)
    hours, weathers = _concepts_in(text, lexicon.HOURS), _concepts_in(text, lexicon.WEATHERS)
    return Plan(
        scene=scenes[0] if scenes else _DEFAULT_SCENES.get(subject or "", "plain"),
        subject=subject,
        hour=hours[0] if hours else "day",
        weathers=tuple(weathers),
        moods=tuple(_concepts_in(text, lexicon.MOODS)),
        colours=tuple(_concepts_in(text, lexicon.COLOURS)),
        style=style,
        digest=hashlib.sha256(" ".join(text.split()).encode()).digest(),
    )


def _split_style(prompt: str) -> tuple[str, str]:
    """Return the key of the style in `prompt`, and `prompt` in lower case without the words of style presets.

    The key is empty if the prompt names no style. The words of a preset are removed so that they don't choose
    a scene or a colour. If the prompt has the words of several presets, the last preset counts, because the
    user chose it after the prompt was written.
    """
    lower = prompt.lower()
    presets = [style for style in STYLES if style.words.lower() in lower]
    if not presets:
        found = _concepts_in(lower, lexicon.STYLE_WORDS)
        return (found[0] if found else ""), lower
    chosen = max(presets, key=lambda style: lower.rfind(style.words.lower()))
    for style in presets:
        lower = lower.replace(style.words.lower(), " ")
    return chosen.key, lower


def _without_enhancer_phrases(text: str) -> str:
    """Return `text` without the phrases that the offline enhancer adds to prompts.

    What is painted then depends on the user's own words only.
    """
    for phrase in _enhancer_phrases():
        text = text.replace(phrase, " ")
    return text


@cache
def _enhancer_phrases() -> tuple[str, ...]:
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
            (bank.constraints, bank.keep_details),
        )
    )
    return tuple(phrase.lower() for part in every for phrase in part if phrase)


def _concepts_in(text: str, words: Lexicon) -> list[str]:
    """Return the concepts that `text` mentions, in the order of their first mention.

    The lexicon `words` maps each concept to the words for it.
    """
    matches = ((_expression(known).search(text), concept) for concept, known in words.items())
    return [concept for _, concept in sorted((match.start(), concept) for match, concept in matches if match)]


@cache
def _expression(known: str) -> re.Pattern[str]:
    """Return a pattern that matches each word in `known`, alone or with a plural ending.

    The words in `known` are separated by spaces.
    """
    each = "|".join(re.escape(word).replace("_", r"\s+") for word in known.split())
    return re.compile(rf"(?<!\w)(?:{each})(?:s|es|en|n)?(?!\w)")
