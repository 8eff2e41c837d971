"""Extracts the enhanced prompt from a text model's response.

It also appends the name and the traits of the description if the text model left them out.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Any

from core.common.text import limit_combining_marks
from core.prompts.request import PromptRequest

# Responses are split at these tags, because a regular expression takes quadratic time on a hostile response.
_REASONING, _REASONING_END = "<think>", "</think>"
_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)```", re.DOTALL)
_PREAMBLE = re.compile(
    r"\A(?:sure|certainly|of course|absolutely|here(?:.s| is| are)|below is)\b[^\n]{0,120}:[ \t]*\n+",
    re.IGNORECASE,
)
_TITLE = re.compile(
    r"\A[#*_ ]*(?:enhanced|improved|final|image|revised)[ _]prompt[*_ ]*:[*_ ]*\s*", re.IGNORECASE
)
_PROMPT_FIELDS = ("enhanced_prompt", "enhancedPrompt", "prompt", "image_prompt", "final_prompt", "text")
_QUOTES = {'"': '"', "“": "”", "«": "»"}


def extract_prompt(response: str) -> str:
    """Return the prompt in a text model's `response`, or an empty string if the response holds none.

    Removes what models add to a prompt: reasoning in `<think>` tags, an introductory line, a title, a code
    fence, a JSON object, quotes and outer white space.
    """
    text = _PREAMBLE.sub("", _without_reasoning(response).strip())
    if fenced := _FENCE.search(text):
        text = fenced[1]
    return _unquoted(_TITLE.sub("", _from_json(text.strip())).strip())


def _without_reasoning(response: str) -> str:
    *ended, rest = response.split(_REASONING_END)
    parts = (part.partition(_REASONING) for part in ended)
    return "".join(text if tag else text + _REASONING_END for text, tag, _ in parts) + rest


def _from_json(text: str) -> str:
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if isinstance(found, str):
        return found
    fields = found if isinstance(found, dict) else {}
    return next((fields[key] for key in _PROMPT_FIELDS if isinstance(fields.get(key), str)), text)


def _unquoted(text: str) -> str:
    """Return `text` without the pair of quotes around all of it, if there is one."""
    close = _QUOTES.get(text[:1], "")
    inner = text[1:-1]
    wrapped = close and len(text) > 1 and text.endswith(close)
    return inner.strip() if wrapped and text[0] not in inner and close not in inner else text


def missing_facts(text: str, request: PromptRequest) -> tuple[str, ...]:
    """Return the facts of `request`, which are its name and its traits, that `text` doesn't contain.

    A fact counts as contained even if it differs from `text` in case, spacing or Unicode form.
    """
    normalised = _normalised(text)
    facts = (fact.strip() for fact in (request.name, *request.traits))
    return tuple(
        dict.fromkeys(fact for fact in facts if fact and not _contains(normalised, _normalised(fact)))
    )


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


def _normalised(text: str) -> str:
    return " ".join(unicodedata.normalize("NFKC", limit_combining_marks(text)).casefold().split())
