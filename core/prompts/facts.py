"""Finds the facts of a description that an enhanced prompt has lost, and appends them.

The facts are the name, the traits and the base prompt.
"""

from __future__ import annotations

import re
import unicodedata

from core.common.text import fold_case
from core.prompts.request import PromptRequest

# A base prompt is kept if the prompt has one in _KEPT_SHARE of its words, or _ENOUGH_WORDS of them.
_KEPT_SHARE, _ENOUGH_WORDS = 4, 8
# Word lengths, in letters. A word is recognised by its first half, but at least by _MIN_STEM letters.
_MIN_STEM, _MAX_STEM = 3, 12
# Common words say nothing about the image. Those of other languages count as content, which only makes a base
# prompt count as kept more often.
_COMMON_WORDS = frozenset({
    "the", "and", "with", "from", "that", "this", "into", "onto", "over", "under", "for", "are", "has", "its",
    "his", "her", "their", "some", "very", "image", "picture",
    "der", "die", "das", "den", "dem", "des", "ein", "eine", "einen", "einem", "einer", "und", "mit",
    "auf", "aus", "bei", "von", "vor", "nach", "ist", "sind", "les", "une", "dans", "avec", "sur",
    "sous", "est", "pour", "los", "las", "una", "uno", "con", "por", "para", "del", "que", "sobre",
    "uma", "com", "sem", "dos", "nos", "della", "delle", "degli", "nel", "nella",
})  # fmt: skip
# In scripts without spaces, each pair of neighbouring characters is a word.
_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"([{_UNSPACED}]+)|[^\W{_UNSPACED}]+")


def missing_facts(text: str, request: PromptRequest) -> tuple[str, ...]:
    """Return the facts of `request` that `text` doesn't contain.

    The name and each trait must be in `text` word for word; only case, spacing and Unicode form may differ.
    An enhancer may inflect and replace words of the base prompt. The base prompt therefore counts as missing
    only if `text` has fewer than a quarter of its words, and fewer than eight. The first half of a word is
    enough. The base prompt never counts as missing if there is guidance, which may ask for another language.
    """
    normalised = _normalised(text)
    facts = [fact.strip() for fact in (request.name, *request.traits)]
    missing = [fact for fact in facts if fact and not _contains(normalised, _normalised(fact))]
    base = request.base_prompt.strip()
    if base and not request.guidance.strip() and _is_lost(base, normalised):
        missing.append(base)
    return tuple(dict.fromkeys(missing))


def append_facts(text: str, facts: tuple[str, ...]) -> str:
    """Return `text` with a last line that tells the image model to keep `facts`.

    Returns `text` unchanged if there are no facts.
    """
    return f"{text}\n\nKeep exactly: {'; '.join(facts)}." if facts else text


def _contains(text: str, fact: str) -> bool:
    """Return whether `text` contains `fact` as whole words. For example, "also" doesn't contain "al"."""
    before = r"(?<!\w)" if fact[0].isalnum() and fact[0].isascii() else ""
    after = r"(?!\w)" if fact[-1].isalnum() and fact[-1].isascii() else ""
    return re.search(before + re.escape(fact) + after, text) is not None


def _is_lost(base_prompt: str, text: str) -> bool:
    """Return whether `text`, which is normalised, has too few of the words of `base_prompt`."""
    stems, letters = _stems(_normalised(base_prompt)), _without_accents(text)
    return sum(stem in letters for stem in stems) < min(len(stems) / _KEPT_SHARE, _ENOUGH_WORDS)


def _stems(text: str) -> set[str]:
    """Return the first halves of the words of `text`, without common words and accents.

    If `text` has only short or common words, these are used.
    """
    words = list[str]()
    for found in _WORD.finditer(text):
        run = found[1] or ""
        words += [run[index : index + 2] for index in range(len(run) - 1)] if len(run) > 1 else [found[0]]
    telling = list(filter(_is_telling, words))
    return {_without_accents(word)[: _stem_length(word)] for word in telling or words}


def _is_telling(word: str) -> bool:
    """Return whether `word` says something about the image: it is neither common nor very short."""
    return word not in _COMMON_WORDS and (len(word) >= _MIN_STEM or not word.isascii())


def _stem_length(word: str) -> int:
    return min(max((len(word) + 1) // 2, _MIN_STEM), _MAX_STEM)


def _without_accents(text: str) -> str:
    return "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))


def _normalised(text: str) -> str:
    return " ".join(fold_case(text).split())
