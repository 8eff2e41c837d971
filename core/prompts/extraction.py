"""Extracts the enhanced prompt from a text model's response.

Models wrap the prompt in layers: reasoning, an introduction, a title, a code fence, a JSON object, tags,
quotes, closing questions. One layer after the other is removed, until nothing changes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any

from core.prompts.chatter import without_closing, without_introduction
from core.prompts.reasoning import without_reasoning

# No model was seen to wrap a prompt in more layers.
_MAX_LAYERS = 8
_FENCE = re.compile(r"```[\w-]*[ \t]*\n(.*?)```", re.DOTALL)
_OPEN_FENCE = re.compile(r"\A(?:```|~~~)[\w-]*[ \t]*\n")
_RESULT_TAGS = (
    r"(?:final[_ -]?)?(?:answer|output|result|response|(?:enhanced|image|improved|final)?[_ -]?prompt)"
)
_RESULT_TAG = re.compile(rf"<({_RESULT_TAGS})\s?>", re.IGNORECASE)
_RESULT_TAG_END = re.compile(rf"</{_RESULT_TAGS}\s?>\Z", re.IGNORECASE)
_PROMPT_FIELDS = (
    "enhancedprompt", "prompt", "imageprompt", "finalprompt", "improvedprompt", "revisedprompt", "text",
    "output", "result", "answer", "response", "content", "description", "message", "refusal", "error",
)  # fmt: skip
_QUOTES = {
    '"': '"', "“": "”", "„": "“", "”": "”", "«": "»", "»": "«", "'": "'", "‘": "’", "「": "」", "『": "』",
    "`": "`",
}  # fmt: skip


def extract_prompt(response: str) -> str:
    """Return the prompt in a text model's `response`, or an empty string if the response holds none.

    Removes what models add to a prompt: reasoning, control tokens, an introduction, a title, a code fence, a
    JSON object, tags, quotes, an explanation, closing questions and outer white space. A code fence with
    parts of the prompt around it stays.
    """
    text = without_reasoning(response).strip()
    for _ in range(_MAX_LAYERS):
        wrapped = text
        for unwrap in _LAYERS:
            text = unwrap(text).strip()
        if text == wrapped:
            break
    return text


def _from_tags(text: str) -> str:
    """Return what is inside the last pair of result tags, such as `<answer>`. The end tag may be missing."""
    tags = list(_RESULT_TAG.finditer(text))
    if not tags:
        return _RESULT_TAG_END.sub("", text)
    inside = text[tags[-1].end() :]
    end = re.search(rf"</{re.escape(tags[-1][1])}\s?>", inside, re.IGNORECASE)
    return inside[: end.start()] if end else inside


def _from_json(text: str) -> str:
    """Return the prompt in a JSON text. `text` may be a string, an object, or a list of one of these."""
    try:
        found: Any = json.loads(text) if text[:1] in ('"', "{", "[") else None
    except (ValueError, RecursionError):
        return text
    if isinstance(found, list) and len(found) == 1:
        found = found[0]
    if isinstance(found, str):
        return found
    named = found.items() if isinstance(found, dict) else ()
    fields = {re.sub(r"[\W_]", "", name).lower(): value for name, value in named if isinstance(value, str)}
    return next((fields[name] for name in _PROMPT_FIELDS if name in fields), text)


def _from_fence(text: str) -> str:
    """Return what is inside a code fence, if all text around the fence is talk to the user."""
    fence = _FENCE.search(text)
    if fence is None:
        return _OPEN_FENCE.sub("", text)
    before, after = text[: fence.start()].strip() + "\n", text[fence.end() :].strip()
    is_wrapper = not _repeated(without_introduction, before) and not _repeated(without_closing, after)
    return fence[1] if is_wrapper else text


def _unquoted(text: str) -> str:
    """Return `text` without quotes or emphasis around all of it, and without the marks of quoted lines."""
    lines = text.splitlines()
    if lines and all(line.startswith(">") or not line.strip() for line in lines):
        return "\n".join(line.removeprefix(">").removeprefix(" ") for line in lines)
    if text.startswith("**") and text.endswith("**") and text.count("**") == 2:
        return text[2:-2]
    close = _QUOTES.get(text[:1], "")
    inner = text[1:-1]
    wrapped = close and len(text) > 1 and text.endswith(close)
    return inner if wrapped and text[0] not in inner and close not in inner else text


def _repeated(unwrap: Callable[[str], str], text: str) -> str:
    """Return `text` after `unwrap` was applied _MAX_LAYERS times."""
    for _ in range(_MAX_LAYERS):
        text = unwrap(text).strip()
    return text


_LAYERS: tuple[Callable[[str], str], ...] = (
    _from_tags, _from_json, _from_fence, without_introduction, without_closing, _unquoted,
)  # fmt: skip
