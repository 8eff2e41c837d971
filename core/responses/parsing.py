"""Finds texts, images and token counts in the JSON objects of the service's responses.

Compatible services omit some fields of OpenAI's format and change the types of others, so a field of an
unexpected type counts as missing.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from core.common.text import storable_text
from core.errors import ImageError
from core.responses.events import JsonObject, ResponseEvent

# Far more than any service returns in one response.
MAX_IMAGES = 1_000
# The fields of an image's base64 or address: OpenAI's two, then those of other services.
IMAGE_FIELDS = (
    "b64_json", "url", "base64", "b64", "image_base64", "b64_image", "imageBase64Data", "bytesBase64Encoded",
    "image", "image_url", "imageUrl", "imageURL",
)  # fmt: skip
# The fields of a response that hold its images, and how deep they may be nested.
CONTAINERS = (
    "data", "images", "image", "artifacts", "output", "outputs", "result", "results", "predictions",
    "image_base64", "image_url", "image_urls",
)  # fmt: skip
_MAX_DEPTH = 6
_STANDARD_BASE64, _NOT_IN_BASE64 = bytes.maketrans(b"-_", b"+/"), b" \t\r\n\v\f"
# The types of the parts of a message that hold the model's reasoning.
_REASONING_PARTS = ("thinking", "reasoning", "thought", "reasoning_text")
# Token counts from this number on don't fit the database's columns. No service reports as many.
_MAX_TOKENS = 2**31


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The token counts that a response reports. A count is None if the response doesn't report it.

    `image_input_tokens` is the part of `input_tokens` that encodes input images.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    image_input_tokens: int | None = None


class ChatResponse:
    """The part of a chat completion that has arrived so far."""

    def __init__(self) -> None:
        # Lists, because appending to a string copies it, which is quadratic in the number of chunks.
        self._text, self._refusal = list[str](), list[str]()
        self._half_character = ""
        # The length of text and refusal together, in characters.
        self.length = 0
        self.finish_reason: str | None = None
        # True if the service has sent reasoning apart from the text.
        self.has_reasoning = False
        # The first error that the service reported.
        self.error: ImageError | None = None
        self.usage = TokenCount()

    @property
    def text(self) -> str:
        return "".join(self._text)

    @property
    def refusal(self) -> str:
        return "".join(self._refusal)

    def add_chunk(self, chunk: JsonObject) -> str:
        """Add `chunk`, which is one chunk of a stream or a whole completion, and return its text."""
        if usage := as_object(chunk.get("usage")):
            self.usage = _text_usage(usage)
        choice = as_object(next(iter(_as_list(chunk.get("choices"))), None))
        message = as_object(choice.get("delta") or choice.get("message"))
        text = self._join_surrogates(text_content(message.get("content")))
        refusal = text_content(message.get("refusal"))
        reasoning = message.get("reasoning_content") or message.get("reasoning")
        self.has_reasoning = self.has_reasoning or bool(reasoning)
        self._text.append(text)
        self._refusal.append(refusal)
        self.length += len(text) + len(refusal)
        self.finish_reason = choice.get("finish_reason") or self.finish_reason
        return text

    def _join_surrogates(self, text: str) -> str:
        """Return `text` with each UTF-16 surrogate pair joined to one character.

        If `text` ends with the first half of a pair, that half is kept back until the next chunk arrives.
        """
        text = self._half_character + text
        self._half_character = text[-1:] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return storable_text(text.removesuffix(self._half_character))


class ImageResponse:
    """The images of a response that have arrived so far.

    `items` are JSON objects that aren't decoded yet; each holds an image, its address, or neither.
    `incomplete` is true if the service may have charged for more images than `items` holds. `answered` is
    true if the response said that it is complete, even without an image. `error` is the first error that the
    response reported.
    """

    def __init__(self) -> None:
        self.items: list[JsonObject] = []
        self.incomplete = False
        self.answered = False
        self.usage = TokenCount()
        self.error: ImageError | None = None

    def add(self, event: ResponseEvent) -> None:
        """Add the images in `event`, an event of a stream or a whole response.

        At most MAX_IMAGES are kept in total. If images are dropped because there are too many, `incomplete`
        is set.
        """
        body = event.body
        items = list(image_items(body))
        room = MAX_IMAGES - len(self.items)
        self.incomplete = self.incomplete or len(items) > room
        self.items += items[:room]
        is_end = not event.streamed or event.kind.endswith("completed") or "data" in body
        self.answered = self.answered or is_end
        if usage := as_object(body.get("usage")):
            self.usage = _image_usage(usage)


def image_items(value: object, depth: int = _MAX_DEPTH, *, listed: bool = False) -> Iterator[JsonObject]:
    """Yield the JSON objects in `value` that stand for one image each. `depth` is how deep to look for them.

    OpenAI puts them into the list `data`. Other services use other names, a single object instead of a list,
    or texts instead of objects; such a text becomes an object. An object in a list stands for an image even
    if it holds none; `listed` is true for such an object.
    """
    if isinstance(value, str):
        yield {"image": value}
    elif isinstance(value, list) and depth:
        for item in value:
            yield from image_items(item, depth - 1, listed=True)
    elif isinstance(value, dict):
        inner = () if value.get("b64_json") else _contained(value)
        items = [item for each in inner if depth for item in image_items(each, depth - 1)]
        if items:
            yield from items
        elif listed or any(name in value for name in IMAGE_FIELDS):
            yield value


def _contained(value: JsonObject) -> list[Any]:
    """Return the values of the fields that may hold images. A text in an image's own field isn't one."""
    found = ((name, value[name]) for name in CONTAINERS if name in value)
    return [each for name, each in found if not (isinstance(each, str) and name in IMAGE_FIELDS)]


def flagged_categories(body: JsonObject) -> tuple[str, ...]:
    """Return the categories for which a moderation response flags any text, without duplicates.

    `body` is the response of the moderation endpoint. Returns ("unnamed",) if a text is flagged without a
    category, and () if no text is flagged.
    """
    flagged = [
        result for result in map(as_object, _as_list(body.get("results"))) if result.get("flagged") is True
    ]
    names = [
        name for result in flagged for name, hit in as_object(result.get("categories")).items() if hit is True
    ]
    return tuple(dict.fromkeys(names)) or (("unnamed",) if flagged else ())


@contextmanager
def cost_on_error(
    response: ChatResponse | ImageResponse, price: Callable[[TokenCount], int | None]
) -> Iterator[None]:
    """Add the token counts of `response`, and their price, to an ImageError raised in the with-block.

    A failed call may be charged, too. `price` is a function that returns the price in micro-USD, or None.
    """
    try:
        yield
    except ImageError as error:
        error.input_tokens = response.usage.input_tokens
        error.output_tokens = response.usage.output_tokens
        error.price_micros = price(response.usage)
        raise


def decode_image(text: str) -> bytes:
    """Return the bytes of the image in `text`, which is base64 or a `data:` URL with base64.

    Accepts the alphabet of URLs, line ends and other white space, and missing padding. Raises ValueError if
    `text` isn't base64 or the image is empty.
    """
    try:
        encoded = text.rpartition(",")[2].encode("ascii").translate(_STANDARD_BASE64, _NOT_IN_BASE64)
        encoded = encoded.rstrip(b"=")
        image = base64.b64decode(encoded + b"=" * (-len(encoded) % 4), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise ValueError(f"not base64: {error}") from error
    if not image:
        raise ValueError("an empty image")
    return image


def text_content(content: object) -> str:
    """Return the text of a message's `content`, which is a string, a content part or a list of these.

    Parts that hold reasoning are left out.
    """
    return "".join(map(_part_text, content if isinstance(content, list) else [content]))


def _part_text(part: object) -> str:
    fields = as_object(part)
    if fields.get("type") in _REASONING_PARTS or fields.get("thought") is True:
        return ""
    return part if isinstance(part, str) else str(fields.get("text") or "")


def as_object(value: object) -> JsonObject:
    """Return `value` if it is a JSON object, otherwise an empty object."""
    return value if isinstance(value, dict) else {}


def _as_list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _text_usage(usage: JsonObject) -> TokenCount:
    return TokenCount(
        input_tokens=_count(usage, "prompt_tokens"), output_tokens=_count(usage, "completion_tokens")
    )


def _image_usage(usage: JsonObject) -> TokenCount:
    details = as_object(usage.get("input_tokens_details"))
    return TokenCount(
        input_tokens=_count(usage, "input_tokens"),
        output_tokens=_count(usage, "output_tokens"),
        image_input_tokens=_count(details, "image_tokens"),
    )


def _count(usage: JsonObject, name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) and 0 <= value < _MAX_TOKENS else None
