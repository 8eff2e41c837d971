"""The JSON of an OpenAI-compatible service, read into text, pictures and token counts.

Compatible servers leave fields out or fill them with something else: what isn't of the documented
type counts as absent here, and nothing raises except where a docstring says so.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

from core.catalogue import TokenCount
from core.columns import clean

Body = dict[str, Any]
# As many as any service makes at once.
MOST_PICTURES = 10
# More tokens than a column of the database holds are a fault of the service's counting.
_TOO_MANY = 2**31


class Writing:
    """What has come of a chat completion so far."""

    def __init__(self) -> None:
        # Lists: a text that grew by a million pieces would be copied a million times.
        self._text, self._refusal = list[str](), list[str]()
        self._half = ""
        # In characters, of text and refusal.
        self.length = 0
        self.finish: str | None = None
        self.usage = TokenCount()

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def refusal(self) -> str:
        return "".join(self._refusal)

    def take(self, chunk: Body) -> str:
        """Add one chunk (or a whole plain completion) and return its new text."""
        if usage := _dict(chunk.get("usage")):
            self.usage = _text_usage(usage)
        choice = _dict(next(iter(_list(chunk.get("choices"))), None))
        said = _dict(choice.get("delta") or choice.get("message"))
        piece = self._whole(text_of(said.get("content")))
        refusal = text_of(said.get("refusal"))
        self._text.append(piece)
        self._refusal.append(refusal)
        self.length += len(piece) + len(refusal)
        self.finish = choice.get("finish_reason") or self.finish
        return piece

    def _whole(self, piece: str) -> str:
        """`piece` in whole characters: of one that is split, the first half waits for the next piece."""
        piece = self._half + piece
        self._half = piece[-1:] if "\ud800" <= piece[-1:] <= "\udbff" else ""
        return clean(piece.removesuffix(self._half))


class Painting:
    """What has come of an image generation so far; `broken` where that isn't all of it."""

    def __init__(self) -> None:
        self.items: list[Body] = []
        self.broken = False
        self.usage = TokenCount()

    def take(self, body: Body) -> None:
        """Add a completed event, or a whole plain answer with its list of `data`; MOST_PICTURES in all."""
        found = _list(body.get("data")) if "data" in body else [body]
        items = [item for item in found if isinstance(item, dict)]
        room = MOST_PICTURES - len(self.items)
        self.broken = self.broken or len(items) > room
        self.items += items[:room]
        if usage := _dict(body.get("usage")):
            self.usage = _image_usage(usage)


def flagged_in(body: Body) -> tuple[str, ...]:
    """The categories that a moderation's answer flags in any of its texts, each once."""
    flagged = [found for found in map(_dict, _list(body.get("results"))) if found.get("flagged") is True]
    hits = [name for found in flagged for name, hit in _dict(found.get("categories")).items() if hit is True]
    return tuple(dict.fromkeys(hits)) or (("unnamed",) if flagged else ())


def decoded(text: str) -> bytes:
    """The bytes of base64 `text`, with or without a `data:` head. Raises ValueError."""
    try:
        picture = base64.b64decode(text.rpartition(",")[2].strip(), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    if not picture:
        raise ValueError("an empty image")
    return picture


def text_of(content: object) -> str:
    """The text of a message's `content`, a string or a list of parts."""
    parts = [content] if isinstance(content, str) else _list(content)
    return "".join(part if isinstance(part, str) else str(_dict(part).get("text") or "") for part in parts)


def _text_usage(usage: Body) -> TokenCount:
    return TokenCount(
        input_tokens=_count(usage, "prompt_tokens"), output_tokens=_count(usage, "completion_tokens")
    )


def _image_usage(usage: Body) -> TokenCount:
    split = _dict(usage.get("input_tokens_details"))
    return TokenCount(
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        image_input_tokens=_count(split, "image_tokens"),
    )


def _count(usage: Body, name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and 0 <= value < _TOO_MANY else None


def _dict(value: object) -> Body:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
