"""Reads the body of a response as JSON objects.

Compatible services label their responses wrongly: an event stream as JSON, JSON as an event stream, an image
as either. The kind of a body is therefore detected from its first bytes, never from its content type.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import httpx2

from core.common.media_types import SIGNATURE_BYTES, image_media_type
from core.responses.limits import read_limited

JsonObject = dict[str, Any]
_DATA, _EVENT, _END_OF_STREAM = b"data:", b"event:", b"[DONE]"
# The beginnings of the lines of an event stream. A colon begins a comment.
_STREAM_STARTS = (_DATA, _EVENT, b":", b"id:", b"retry:")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
# The beginnings of a JSON object, list or string. UTF-16 begins with one of two other byte order marks.
_JSON_STARTS = (b"{", b"[", b'"', b"\xff\xfe", b"\xfe\xff")
# The number of separators limits the number of JSON values. Three bytes of JSON can take ninety in memory.
_SEPARATORS, _MAX_SEPARATORS = (b",", b"[", b"{"), 1_000_000
# Far more objects than the events of any image or text.
_MAX_EVENTS = 100_000
_BETWEEN_VALUES = re.compile(r"[\s\x1e]*")
_DECODER = json.JSONDecoder()
_FAILURES = frozenset({"error", "failed", "partial_failed"})
# Values of an error's fields that say that there was no error.
_NOTHING = ("", "0", "null", "none", "ok", "success")


@dataclass(frozen=True, slots=True)
class EventText:
    """The data of one server-sent event. `name` is the name in its line `event:`, or "".

    A JSON document outside of any event has the name None.
    """

    data: bytes
    name: str | None = None


@dataclass(frozen=True, slots=True)
class ResponseEvent:
    """One JSON object of a response.

    `kind` is the object's `type`, or else the name of its server-sent event, or "". `streamed` is true if the
    object came in a server-sent event. `failure` is true if the event's name or type says that something
    failed.
    """

    body: JsonObject
    kind: str = ""
    streamed: bool = False
    failure: bool = False

    @property
    def error(self) -> JsonObject | None:
        """The error that the event reports, as `fault_from_body` reads it. None if it reports no error.

        An error without any content, such as an empty code and an empty message, doesn't count.
        """
        if not _is_empty(self.body.get("error")):
            return self.body
        if self.failure:
            return {name: value for name, value in self.body.items() if name != "error"}
        return None


def read_events(response: httpx2.Response, *, images: bool) -> Iterator[ResponseEvent]:
    """Yield the JSON objects in the body of `response`.

    The body is an event stream, or one or several JSON objects with comments before them. If `images` is
    true, it may also be a JSON list or text, or an image file. These are yielded as an object that has them
    in `data`. `images` also allows a larger body.

    Raises ValueError after the last object if a part of the body, or all of it, isn't JSON. Raises httpx2's
    errors if the body can't be read to its end, after all complete objects have been yielded.
    """
    start, chunks = _skip_blanks(read_limited(response, images=images))
    if images and image_media_type(start):
        yield ResponseEvent({"data": [{"b64_json": b"".join(chunks)}]})
        return
    problem: ValueError | None = None
    texts = _document(chunks) if start.startswith(_JSON_STARTS) else event_texts(chunks)
    found = _is_labelled_as_stream(response) or start.startswith(_STREAM_STARTS)
    room = _MAX_EVENTS
    for text in texts:
        room -= 1
        found = found or text.name is not None
        if text.data.startswith(_END_OF_STREAM):
            break
        if room < 0:
            problem = _unreadable(ValueError(f"more than {_MAX_EVENTS:,} objects"), text.data, response)
            break
        try:
            for event in islice(_events_in(text, images=images), room + 1):
                room -= 1
                found = True
                yield event
        except ValueError as error:
            problem = problem or _unreadable(error, text.data, response)
    if not (found or problem):
        problem = _unreadable(ValueError("no JSON"), start, response)
    if problem:
        raise problem


def _is_labelled_as_stream(response: httpx2.Response) -> bool:
    return str(response.headers.get("content-type", "")).strip().lower().startswith("text/event-stream")


def event_texts(chunks: Iterator[bytes]) -> Iterator[EventText]:
    """Yield the data of each server-sent event in `chunks`, which are pieces of a response body.

    If a line that belongs to no event begins like a JSON object or list, the body from there on is one JSON
    document. If `chunks` raises an error, that error is raised after all complete events have been yielded.
    """
    # One buffer, because a list of a million short lines takes ten times the memory of their bytes.
    data: bytearray | None = None
    name = ""
    lines = _lines(_with_last_event_ended(chunks))
    for line in lines:
        if line.startswith(_DATA):
            if data is None:
                data = bytearray()
            else:
                data += b"\n"
            data += line.removeprefix(_DATA).removeprefix(b" ")
        elif line.startswith(_EVENT):
            name = line.removeprefix(_EVENT).strip().decode(errors="replace")
        elif data is None and line.startswith((b"{", b"[")):
            yield from _document(chain((line,), (b"\n" + more for more in lines)))
        elif not line:
            if data is not None:
                yield EventText(bytes(data), name)
            data, name = None, ""


def _document(chunks: Iterator[bytes]) -> Iterator[EventText]:
    """Yield the whole of `chunks` as one JSON document.

    If `chunks` raises an error after a complete object or list, that error is raised afterwards.
    """
    document = bytearray()
    try:
        for chunk in chunks:
            document += chunk
    except httpx2.TransportError:
        if document.rstrip().endswith((b"}", b"]")):
            yield EventText(bytes(document))
        raise
    yield EventText(bytes(document))


def _skip_blanks(chunks: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """Return the first SIGNATURE_BYTES or more bytes of a body, and an iterator over its chunks.

    White space and a byte order mark at the beginning are left out.
    """
    start = b""
    for chunk in chunks:
        start = (start + chunk).lstrip().removeprefix(_BYTE_ORDER_MARK).lstrip()
        if len(start) >= SIGNATURE_BYTES:
            break
    return start, chain((start,), chunks)


def _json_values(text: bytes) -> Iterator[Any]:
    """Yield the JSON values in `text`, which may follow one another, such as one on each line.

    `[DONE]`, the end of an event stream, ends them. Raises ValueError for a value that isn't JSON, and at
    once if `text` holds too many values.
    """
    if sum(text.count(separator) for separator in _SEPARATORS) > _MAX_SEPARATORS:
        raise ValueError(f"more than {_MAX_SEPARATORS:,} values in one object")
    decoded = text.decode(json.detect_encoding(text), "surrogatepass")
    position = _after_blanks(decoded, 0)
    while position < len(decoded) and not decoded.startswith(_END_OF_STREAM.decode(), position):
        try:
            value, position = _DECODER.raw_decode(decoded, position)
        except RecursionError as error:
            raise ValueError(str(error)) from error
        yield value
        position = _after_blanks(decoded, position)


def _after_blanks(text: str, position: int) -> int:
    found = _BETWEEN_VALUES.match(text, position)
    return found.end() if found else position


def _events_in(text: EventText, *, images: bool) -> Iterator[ResponseEvent]:
    """Yield the JSON objects in `text`. Raises ValueError for a value that isn't one.

    If the name of the event says that something failed, data that isn't JSON is the error's message.
    """
    try:
        for value in _json_values(text.data):
            yield _event(value, text.name, images=images)
    except ValueError:
        if not (text.name and _is_failure(text.name)):
            raise
        yield _event({"message": text.data.decode(errors="replace")}, text.name, images=images)


def _event(value: object, name: str | None, *, images: bool) -> ResponseEvent:
    """Return the event with the JSON `value`. `name` and `images` are those of EventText and `read_events`.

    Raises ValueError if `value` isn't an object, or a list or text that may hold images.
    """
    if images and isinstance(value, list | str):
        value = {"data": value}
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {type(value).__name__}")
    kind = value.get("type")
    kind = kind if isinstance(kind, str) else ""
    failure = _is_failure(name or "") or _is_failure(kind)
    return ResponseEvent(value, kind or name or "", streamed=name is not None, failure=failure)


def _is_failure(kind: str) -> bool:
    return kind.rpartition(".")[2] in _FAILURES


def _is_empty(error: object, depth: int = 3) -> bool:
    """Return whether `error`, the value of a field `error`, says that there was no error.

    Lists and objects are searched for content up to `depth` levels deep.
    """
    if isinstance(error, dict | list) and depth:
        values = error.values() if isinstance(error, dict) else error
        return all(_is_empty(value, depth - 1) for value in values)
    return not error or (isinstance(error, str | int) and str(error).strip().lower() in _NOTHING)


def _unreadable(error: ValueError, text: bytes, response: httpx2.Response) -> ValueError:
    kind = response.headers.get("content-type", "no content type")
    problem = ValueError(f"{error} in {kind}: {text[:200].decode(errors='replace')}")
    problem.__cause__ = error
    return problem


def _with_last_event_ended(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """Yield `chunks`, and then a blank line if the last chunk ends with `}` or `]`.

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
    return b"\n\n" if end.endswith((b"}", b"]")) else b""


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
