"""Good answers to image calls, spoilt: cut off anywhere, garbled, lied about, and given twice.

Each garbling takes a whole good answer (a stream of two partial pictures and the finished one, or plain JSON)
and gives what is sent in its place.
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
    """All up to `behind` bytes after the last place of `before`."""
    return lambda good: good[: good.rindex(before) + behind]


def picture_as(change: Callable[[bytes], bytes]) -> Callable[[bytes], bytes]:
    """The finished picture's base64 text changed."""
    return lambda good: _FINISHED.sub(lambda found: found[1] + change(found[2]), good)


def picture_of(data: bytes) -> Callable[[bytes], bytes]:
    return picture_as(lambda _: base64.b64encode(data))


def finished_as(change: Callable[[dict[str, Any]], dict[str, Any]]) -> Callable[[bytes], bytes]:
    """The finished event changed."""

    def spoil(good: bytes) -> bytes:
        *partials, last = events_of(good)
        event = change(json.loads(last.removeprefix(b"data:")))
        return b"".join(partials) + b"data: " + json.dumps(event).encode() + b"\n\n"

    return spoil


def order(*places: int) -> Callable[[bytes], bytes]:
    """The events by their places in the good answer, in another order or more than once."""

    def spoil(good: bytes) -> bytes:
        events = events_of(good)
        return b"".join(events[place] for place in places)

    return spoil


def half(text: bytes) -> bytes:
    return text[: len(text) // 2]


def in_the_middle(put: bytes) -> Callable[[bytes], bytes]:
    return lambda text: half(text) + put + text[len(text) // 2 :]


def without_its_end(text: bytes) -> bytes:
    """The base64 of the first half of a picture's file."""
    return base64.b64encode(half(base64.b64decode(text)))


def with_lines_of(ends: bytes) -> Callable[[bytes], bytes]:
    return lambda good: good.replace(b"\n", ends)


def after_the_first(put: bytes) -> Callable[[bytes], bytes]:
    """`put` between the first event and the rest."""

    def spoil(good: bytes) -> bytes:
        first, *rest = events_of(good)
        return first + put + b"".join(rest)

    return spoil


def spoilt(spoil: Callable[[bytes], bytes], **more: Any) -> Behaviour:
    return Behaviour(spoil=spoil, **more)


GZIP = (("content-encoding", "gzip"),)
_OF_THE_PICTURE = b'"b64_json": "'

# The picture came whole, and becomes an image.
WHOLE: dict[str, Behaviour] = {
    "cut before the last blank line": spoilt(lambda good: good[:-2]),
    "cut between the last two line ends": spoilt(lambda good: good[:-1]),
    "cut before the last blank line, by a broken line": spoilt(
        lambda good: good[:-2], broken_after_completed=True
    ),
    "cut after the finished event": Behaviour(broken_after_completed=True),
    "garbage after the finished event": spoilt(lambda good: good + b"data: {broken\n\n\0\xff\xfe"),
    "half an event after the finished one": spoilt(lambda good: good + half(good)),
    "a garbled partial picture before it": spoilt(after_the_first(b'data: {"type": "image_gen\n\n')),
    "an event that isn't text before it": spoilt(after_the_first(b"data: \xff\xfe\0\n\n")),
    "events of other kinds before it": spoilt(
        after_the_first(b'data: []\n\ndata: 7\n\ndata: null\n\ndata: {"type": 5}\n\n')
    ),
    "other fields, comments and names": spoilt(
        after_the_first(b": keep-alive\n\nretry: 3\nid: 7\n\nevent: ping\n\n")
    ),
    "line ends of another system": spoilt(with_lines_of(b"\r\n")),
    "a partial picture of 12 MB before it": spoilt(
        after_the_first(
            b'data: {"type": "image_generation.partial_image", "b64_json": "' + b"A" * (12 << 20) + b'"}\n\n'
        )
    ),
    "partial pictures out of order": spoilt(order(1, 0, 2)),
    "a partial picture after it": spoilt(order(0, 2, 1)),
    "a partial picture without a number": spoilt(lambda good: good.replace(b'_index": 0', b'_index": "x"')),
    "a partial picture with a number beyond all columns": spoilt(
        lambda good: good.replace(b'_index": 0', b'_index": 99999999999999999999')
    ),
    "the finished event twice": spoilt(order(0, 1, 2, 2)),
    "fields of other types": spoilt(
        finished_as(lambda event: event | {"usage": "none", "revised_prompt": 5, "size": None})
    ),
    "a number of tokens of another type": spoilt(
        finished_as(lambda event: event | {"usage": {"input_tokens": "many", "output_tokens": 1.5}})
    ),
    "compressed, as it says": spoilt(gzip.compress, headers=GZIP),
    "plain, with garbage behind nothing": spoilt(lambda good: b"\n\n " + good + b"\n", plain=True),
}

# The picture came whole in an answer that can't be read as one: it is kept aside.
UNREADABLE: dict[str, Behaviour] = {
    "cut behind the picture": spoilt(cut(b'", "usage"', behind=1)),
    "cut behind the picture, by a broken line": spoilt(
        cut(b'", "usage"', behind=1), broken_after_completed=True
    ),
    "garbage behind the picture": spoilt(lambda good: good.replace(b'"usage"', b"\0\xff{")),
    "a type of another type": spoilt(finished_as(lambda event: event | {"type": 5})),
    "said to be compressed": spoilt(lambda good: good, headers=GZIP),
    "plain, cut behind the picture": spoilt(cut(b'"}]', behind=1), plain=True),
    "plain, garbage behind the picture": spoilt(lambda good: good[:-1] + b"]", plain=True),
    "plain, in a list": spoilt(lambda good: b"[" + good + b"]", plain=True),
    "plain, said to be compressed": spoilt(lambda good: good, plain=True, headers=GZIP),
    "plain, said to be a stream": spoilt(
        lambda good: good, plain=True, headers=(("content-type", "text/event-stream"),)
    ),
    "a stream, said to be plain": spoilt(lambda good: good, headers=(("content-type", "application/json"),)),
}

# What came is a whole file, but no picture: it is kept aside as it is.
NO_PICTURE: dict[str, Behaviour] = {
    "a web page": spoilt(picture_of(HTML)),
    "an SVG": spoilt(picture_of(SVG)),
    "a picture without its end": spoilt(picture_as(without_its_end)),
    "NULs": spoilt(picture_of(bytes(500))),
}

# No file can be made of what came; the text of it is kept aside.
NO_FILE: dict[str, Behaviour] = {
    "letters that base64 doesn't have": spoilt(picture_as(in_the_middle(b"%&"))),
    "NULs inside the base64": spoilt(picture_as(in_the_middle(b"\\u0000"))),
    "base64 that is one letter short": spoilt(picture_as(lambda text: text[: len(text) // 4 * 4 - 3])),
    "no text": spoilt(picture_as(lambda _: b"")),
    "a picture of another type": spoilt(finished_as(lambda event: event | {"b64_json": {"a": 1}})),
    "raw NULs inside the event": spoilt(picture_as(in_the_middle(b"\0"))),
    "cut in the base64": spoilt(lambda good: good[: -len(good) // 4]),
    "cut in the base64, by a broken line": spoilt(
        lambda good: good[: -len(good) // 4], broken_after_completed=True
    ),
    "cut in the name of the event": spoilt(cut(b"completed")),
    "cut between the events": spoilt(lambda good: b"".join(events_of(good)[:-1])),
    "cut between the events, by a broken line": spoilt(
        lambda good: b"".join(events_of(good)[:-1]), broken_after_completed=True
    ),
    "compressed, and cut": spoilt(lambda good: half(gzip.compress(good)), headers=GZIP),
    "plain, cut in the base64": spoilt(half, plain=True),
}
