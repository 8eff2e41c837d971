"""Responses of the service as values: images, text, token counts and moderation flags."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core.common.text import storable_text
from core.errors import ImageError
from core.provider.pricing import TokenCount

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
        return storable_text(piece.removesuffix(self._half))


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


@dataclass(frozen=True, slots=True)
class GeneratedImages:
    """One paid answer with every picture that came in it, as the service encoded them.

    `revised_prompts` is as long as `images`. `price_micros` is None when the price is unknown. `answer` is
    the whole of it where a part couldn't be read.
    """

    images: tuple[bytes, ...]
    revised_prompts: tuple[str | None, ...]
    usage: TokenCount
    request_id: str | None
    model: str
    price_micros: int | None
    seconds: float
    answer: bytes = b""


@dataclass(frozen=True, slots=True)
class Enhanced:
    """A finished prompt; `added_back` are the facts that the model had left out."""

    text: str
    added_back: tuple[str, ...]
    usage: TokenCount
    request_id: str | None
    model: str
    price_micros: int | None
    seconds: float


class EnhanceStream:
    """The pieces of an enhancement as they arrive. After the last one, `result` is there.

    Iterating raises the errors of `ImageClient.enhance`.
    """

    def __init__(self, pieces: Generator[str, None, Enhanced]) -> None:
        self._pieces = pieces
        self._result: Enhanced | None = None

    def __iter__(self) -> EnhanceStream:
        return self

    def __next__(self) -> str:
        try:
            return next(self._pieces)
        except StopIteration as stop:
            self._result = stop.value or self._result
            raise StopIteration from None

    @property
    def result(self) -> Enhanced:
        """The finished prompt; RuntimeError before the last piece was taken."""
        if self._result is None:
            raise RuntimeError("the enhancement isn't finished")
        return self._result


@contextmanager
def cost_on_error(answer: Writing | Painting, price: Callable[[TokenCount], int | None]) -> Iterator[None]:
    """Give an error what its answer says that it cost: what failed may have been charged all the same."""
    try:
        yield
    except ImageError as error:
        error.input_tokens = answer.usage.input_tokens
        error.output_tokens = answer.usage.output_tokens
        error.price_micros = price(answer.usage)
        raise
