"""Corrupted responses to image calls: truncated, garbled, mislabelled and duplicated.

Each function returns a change of a complete good response: a stream of two partial images and the finished
one, or plain JSON.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from typing import Any

from tests.support.openai_service import Behaviour

HTML = b"<!doctype html><title>Sign in</title>"
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="8" height="8"/>'
_FINISHED = re.compile(rb'("image_generation\.completed".*?"b64_json": ")([^"]*)', re.DOTALL)


def events_of(stream: bytes) -> list[bytes]:
    return [event + b"\n\n" for event in stream.split(b"\n\n") if event]


def cut(before: bytes, *, behind: int = 0) -> Callable[[bytes], bytes]:
    """Cuts the response `behind` bytes after the start of the last `before`."""
    return lambda good: good[: good.rindex(before) + behind]


def image_as(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """Changes the base64 text of the finished image."""
    return lambda good: _FINISHED.sub(lambda found: found[1] + change(found[2]), good)


def image_of(data: bytes) -> Callable[[bytes], bytes]:
    return image_as(lambda _: base64.b64encode(data))


def finished_as(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[bytes], bytes]:
    """Changes the finished event."""

    def corrupt(good: bytes) -> bytes:
        *partials, last = events_of(good)
        event = change(json.loads(last.removeprefix(b"data:")))
        return b"".join(partials) + b"data: " + json.dumps(event).encode() + b"\n\n"

    return corrupt


def order(*positions: int) -> Callable[[bytes], bytes]:
    """Sends the events at these positions of the good response, in this order."""

    def corrupt(good: bytes) -> bytes:
        events = events_of(good)
        return b"".join(events[position] for position in positions)

    return corrupt


def half(text: bytes) -> bytes:
    return text[: len(text) // 2]


def in_the_middle(put: bytes) -> Callable[[bytes], bytes]:
    return lambda text: half(text) + put + text[len(text) // 2 :]


def without_its_end(text: bytes) -> bytes:
    """The base64 of the first half of an image file."""
    return base64.b64encode(half(base64.b64decode(text)))


def with_lines_of(ends: bytes) -> Callable[[bytes], bytes]:
    return lambda good: good.replace(b"\n", ends)


def after_the_first(put: bytes) -> Callable[[bytes], bytes]:
    """Inserts `put` between the first event and the rest."""

    def corrupt(good: bytes) -> bytes:
        first, *rest = events_of(good)
        return first + put + b"".join(rest)

    return corrupt


def corrupted(corrupt: Callable[[bytes], bytes], **more: Any) -> Behaviour:
    return Behaviour(corrupt=corrupt, **more)


GZIP = (("content-encoding", "gzip"),)
_IMAGE_FIELD = b'"b64_json": "'

ERROR_EVENT = b'event: error\ndata: {"code": "slow_down", "message": "Slow down."}\n\n'

# The image arrives complete and is stored.
WHOLE: dict[str, Behaviour] = {
    "cut before the last blank line": corrupted(lambda good: good[:-2]),
    "cut between the last two line ends": corrupted(lambda good: good[:-1]),
    "cut before the last blank line, by a broken line": corrupted(
        lambda good: good[:-2], broken_after_completed=True
    ),
    "cut after the finished event": Behaviour(broken_after_completed=True),
    "garbage after the finished event": corrupted(lambda good: good + b"data: {broken\n\n\0\xff\xfe"),
    "half an event after the finished one": corrupted(lambda good: good + half(good)),
    "a garbled partial image before it": corrupted(after_the_first(b'data: {"type": "image_gen\n\n')),
    "an event that isn't text before it": corrupted(after_the_first(b"data: \xff\xfe\0\n\n")),
    "events of other kinds before it": corrupted(
        after_the_first(b'data: []\n\ndata: 7\n\ndata: null\n\ndata: {"type": 5}\n\n')
    ),
    "other fields, comments and names": corrupted(
        after_the_first(b": keep-alive\n\nretry: 3\nid: 7\n\nevent: ping\n\n")
    ),
    "line ends of another system": corrupted(with_lines_of(b"\r\n")),
    "a partial image of 12 MB before it": corrupted(
        after_the_first(
            b'data: {"type": "image_generation.partial_image", "b64_json": "' + b"A" * (12 << 20) + b'"}\n\n'
        )
    ),
    "partial images out of order": corrupted(order(1, 0, 2)),
    "a partial image after it": corrupted(order(0, 2, 1)),
    "a partial image without a number": corrupted(lambda good: good.replace(b'_index": 0', b'_index": "x"')),
    "a partial image with a number beyond all columns": corrupted(
        lambda good: good.replace(b'_index": 0', b'_index": 99999999999999999999')
    ),
    "the finished event twice": corrupted(order(0, 1, 2, 2)),
    "fields of other types": corrupted(
        finished_as(lambda event: event | {"usage": "none", "revised_prompt": 5, "size": None})
    ),
    "a number of tokens of another type": corrupted(
        finished_as(lambda event: event | {"usage": {"input_tokens": "many", "output_tokens": 1.5}})
    ),
    "compressed, as it says": corrupted(gzip.compress, headers=GZIP),
    "plain, with garbage behind nothing": corrupted(lambda good: b"\n\n " + good + b"\n", plain=True),
    "a type of another type": corrupted(finished_as(lambda event: event | {"type": 5})),
    "said to be compressed": corrupted(lambda good: good, headers=GZIP),
    "plain, in a list": corrupted(lambda good: b"[" + good + b"]", plain=True),
    "plain, said to be compressed": corrupted(lambda good: good, plain=True, headers=GZIP),
    "plain, said to be a stream": corrupted(
        lambda good: good, plain=True, headers=(("content-type", "text/event-stream"),)
    ),
    "a stream, said to be plain": corrupted(
        lambda good: good, headers=(("content-type", "application/json"),)
    ),
    "an error before it": corrupted(lambda good: ERROR_EVENT + good),
    "an error after it": corrupted(lambda good: good + ERROR_EVENT),
    "plain, with an error": corrupted(
        lambda good: good[:-1] + b', "error": {"code": "slow_down"}}', plain=True
    ),
}

# The image arrives complete in a response that can't be parsed, which is kept for recovery.
UNREADABLE: dict[str, Behaviour] = {
    "cut after the image": corrupted(cut(b'", "usage"', behind=1)),
    "cut after the image, by a broken line": corrupted(
        cut(b'", "usage"', behind=1), broken_after_completed=True
    ),
    "garbage after the image": corrupted(lambda good: good.replace(b'"usage"', b"\0\xff{")),
    "plain, cut after the image": corrupted(cut(b'"}]', behind=1), plain=True),
    "plain, garbage after the image": corrupted(lambda good: good[:-1] + b"]", plain=True),
}

# A complete file arrives that isn't an image; it is kept for the administrator.
NO_IMAGE: dict[str, Behaviour] = {
    "a web page": corrupted(image_of(HTML)),
    "an SVG": corrupted(image_of(SVG)),
    "an image without its end": corrupted(image_as(without_its_end)),
    "NULs": corrupted(image_of(bytes(500))),
}

# No file can be decoded from the response; its text is kept for the administrator.
NO_FILE: dict[str, Behaviour] = {
    "letters that base64 doesn't have": corrupted(image_as(in_the_middle(b"%&"))),
    "NULs inside the base64": corrupted(image_as(in_the_middle(b"\\u0000"))),
    "base64 that is one letter short": corrupted(image_as(lambda text: text[: len(text) // 4 * 4 - 3])),
    "no text": corrupted(image_as(lambda _: b"")),
    "an image of another type": corrupted(finished_as(lambda event: event | {"b64_json": {"a": 1}})),
    "raw NULs inside the event": corrupted(image_as(in_the_middle(b"\0"))),
    "cut in the base64": corrupted(lambda good: good[: -len(good) // 4]),
    "cut in the base64, by a broken line": corrupted(
        lambda good: good[: -len(good) // 4], broken_after_completed=True
    ),
    "cut in the name of the event": corrupted(cut(b"completed")),
    "cut between the events": corrupted(lambda good: b"".join(events_of(good)[:-1])),
    "cut between the events, by a broken line": corrupted(
        lambda good: b"".join(events_of(good)[:-1]), broken_after_completed=True
    ),
    "compressed, and cut": corrupted(lambda good: half(gzip.compress(good)), headers=GZIP),
    "plain, cut in the base64": corrupted(half, plain=True),
}
