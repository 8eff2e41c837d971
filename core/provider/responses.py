"""Parses the service's responses into JSON objects, texts, images and token counts.

Compatible services omit some fields of OpenAI's format and change the types of others, so a field of an
unexpected type counts as missing.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import takewhile
from typing import Any

import httpx2

from core.common.text import storable_text
from core.errors import ImageError
from core.provider.pricing import TokenCount
from core.provider.response_limits import read_limited

JsonObject = dict[str, Any]
# No service returns more images in one response.
MAX_IMAGES = 10
# Token counts from this number on don't fit the database's columns. No service reports as many.
_MAX_TOKENS = 2**31
_DATA, _END_OF_STREAM = b"data:", b"[DONE]"
# The number of separators limits the number of JSON values. Three bytes of JSON can take ninety in memory.
_SEPARATORS, _MAX_SEPARATORS = (b",", b"[", b"{"), 1_000_000


class ChatResponse:
    """The part of a chat completion that has arrived so far."""

    def __init__(self) -> None:
        # Lists, because appending to a string copies it, which is quadratic in the number of chunks.
        self._text, self._refusal = list[str](), list[str]()
        self._half_character = ""
        # The length of text and refusal together, in characters.
        self.length = 0
        self.finish_reason: str | None = None
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

    `items` are JSON objects that aren't decoded yet; each holds a base64 image or a URL. `incomplete` is true
    if the service may have charged for more images than `items` holds.
    """

    def __init__(self) -> None:
        self.items: list[JsonObject] = []
        self.incomplete = False
        self.usage = TokenCount()

    def add(self, body: JsonObject) -> None:
        """Add the images in `body`. At most MAX_IMAGES are kept in total.

        `body` is either the `completed` event of a stream, which holds one image, or a plain response, which
        holds images in the list `data`. If images are dropped because there are too many, `incomplete` is
        set.
        """
        found = _as_list(body.get("data")) if "data" in body else [body]
        items = [item for item in found if isinstance(item, dict)]
        room = MAX_IMAGES - len(self.items)
        self.incomplete = self.incomplete or len(items) > room
        self.items += items[:room]
        if usage := as_object(body.get("usage")):
            self.usage = _image_usage(usage)


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


def is_event_stream(response: httpx2.Response) -> bool:
    return str(response.headers.get("content-type", "")).startswith("text/event-stream")


def json_texts(response: httpx2.Response, *, images: bool) -> Iterator[bytes]:
    """Return an iterator over the JSON texts in the body of `response`.

    In an event stream, each event's data is one text, and `[DONE]` ends the stream. Any other body is one
    text. `images` is passed to `read_limited`.
    """
    chunks = read_limited(response, images=images)
    if not is_event_stream(response):
        return iter((b"".join(chunks),))
    return takewhile(lambda data: not data.startswith(_END_OF_STREAM), event_data(chunks))


def event_data(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the data of each server-sent event in `chunks`, which are pieces of a response body.

    If `chunks` raises an error, that error is raised after all complete events have been yielded.
    """
    # One buffer, because a list of a million short lines takes ten times the memory of their bytes.
    data: bytearray | None = None
    for line in _lines(_with_last_event_ended(chunks)):
        if line.startswith(_DATA):
            if data is None:
                data = bytearray()
            else:
                data += b"\n"
            data += line.removeprefix(_DATA).removeprefix(b" ")
        elif not line and data is not None:
            yield bytes(data)
            data = None


def parse_object(text: bytes, response: httpx2.Response) -> JsonObject:
    """Return the JSON object in `text`.

    Raises ValueError if `text` isn't a JSON object or holds too many values. `response` is used for the error
    message only.
    """
    if sum(text.count(separator) for separator in _SEPARATORS) > _MAX_SEPARATORS:
        raise ValueError(f"more than {_MAX_SEPARATORS:,} values in one object")
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        kind = response.headers.get("content-type", "no content type")
        raise ValueError(f"{error} in {kind}: {text[:200].decode(errors='replace')}") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {type(value).__name__}")
    return value


def decode_image(text: str) -> bytes:
    """Return the bytes of the image in `text`, which is base64 or a `data:` URL with base64.

    Raises ValueError if `text` isn't base64 or the image is empty.
    """
    try:
        image = base64.b64decode(text.rpartition(",")[2].strip(), validate=True)
    except binascii.Error as error:
        raise ValueError(f"not base64: {error}") from error
    if not image:
        raise ValueError("an empty image")
    return image


def text_content(content: object) -> str:
    """Return the text of a message's `content`, which is a string or a list of content parts."""
    parts = [content] if isinstance(content, str) else _as_list(content)
    return "".join(
        part if isinstance(part, str) else str(as_object(part).get("text") or "") for part in parts
    )


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


def _with_last_event_ended(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield `chunks`, and then a blank line if the last chunk ends with `}`.

    A blank line marks the end of an event. A broken connection may have cut off the blank line after a
    complete JSON object.
    """
    end = b""
    try:
        for chunk in chunks:
            end = chunk.rstrip() or end
            yield chunk
    except httpx2.HTTPError:
        yield _missing_end(end)
        raise
    yield _missing_end(end)


def _missing_end(end: bytes) -> bytes:
    return b"\n\n" if end.endswith(b"}") else b""


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield the complete lines of `chunks`, without the LF, CRLF or CR at their ends.

    A last line without a line end isn't yielded.
    """
    pending = bytearray()
    for chunk in chunks:
        # Search only the new bytes: a line of a million chunks would otherwise be searched a million times.
        # Also search the last old byte, which may be a CR.
        start = max(len(pending) - 1, 0)
        pending += chunk
        # A CR at the very end may be the first half of a CRLF.
        complete = max(pending.rfind(b"\n", start), pending.rfind(b"\r", start, -1)) + 1
        yield from bytes(pending[:complete]).splitlines()
        del pending[:complete]
