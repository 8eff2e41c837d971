"""Finds the fields of an error in a response body, whatever shape the service gives it.

OpenAI sends `{"error": {"message", "type", "code", "param"}}`. Compatible services also send lists of errors,
errors under other names, bare texts, and the error of another service as JSON within a text.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

from core.responses.events import JsonObject
from core.responses.parsing import CONTAINERS, IMAGE_FIELDS

# The keys under which an error, or the cause of an error, is nested.
_NESTED_KEYS = ("error", "errors", "base_resp", "detail", "message", "metadata", "raw")
_TEXT_KEYS = (
    "message", "msg", "status_msg", "error_msg", "error_message", "errorMessage", "error_description",
    "detail", "title", "reason", "error", "errors", "raw",
)  # fmt: skip
_CODE_KEYS = ("code", "error_code", "errorCode", "status_code")
# Codes with which services say that a call succeeded.
_SUCCESS_CODES = frozenset(("", "0", "200", "none", "null", "ok", "success"))
_REQUEST_PARTS = ("body", "query", "form", "header", "path")
# The keys of a result: texts or images.
_RESULT_KEYS = ("choices", *CONTAINERS, *IMAGE_FIELDS)
# An error that is nested more deeply, or that lists more errors, is read only up to here.
_MAX_DEPTH, _MAX_OBJECTS = 6, 100


def error_objects(body: object) -> list[JsonObject]:
    """Return the JSON objects in `body` that describe its error, from the innermost to the outermost."""
    found = [(0, child) for child in _children(body)] if not isinstance(body, dict) else [(0, body)]
    for depth, item in found:
        if depth < _MAX_DEPTH:
            nested = (child for key in _NESTED_KEYS for child in _children(item.get(key)))
            found += [(depth + 1, child) for child in islice(nested, max(0, _MAX_OBJECTS - len(found)))]
    return [item for _, item in sorted(found, key=lambda each: each[0], reverse=True)]


def error_text(body: object) -> str:
    """Return everything that the service says about the error in `body`, without repetitions.

    If no text is found where texts are usual, the whole JSON is returned, unless it has a code.
    """
    objects = error_objects(body)
    texts = [text for item in objects for text in _texts(item)] if objects else list(_plain_texts(body))
    if not texts and body and not error_code(objects):
        texts = [json.dumps(body, ensure_ascii=False)]
    return "; ".join(dict.fromkeys(texts))


def error_code(objects: list[JsonObject]) -> str:
    """Return the code of the first of `objects` that has one, or "" if none has.

    The numbers in MiniMax's `base_resp` begin with "base_resp.", because other services use the same numbers
    for something else.
    """
    for item in objects:
        for key in _CODE_KEYS:
            if code := first_text([item], key):
                return f"base_resp.{code}" if key == "status_code" and "status_msg" in item else code
    return ""


def first_text(objects: list[JsonObject], *keys: str) -> str:
    """Return the first value of `keys` in `objects` that is a text or a number, or "" if there is none."""
    values = (item.get(key) for item in objects for key in keys)
    return next((str(value) for value in values if _is_scalar(value)), "")


def error_place(objects: list[JsonObject]) -> str:
    """Return the request's field that FastAPI names in `loc` as wrong, or "" if it names none."""
    places = (item.get("loc") for item in objects)
    names = (str(name) for place in places if isinstance(place, list) for name in place)
    return next((name for name in names if name not in _REQUEST_PARTS), "")


def exceeded_limits(objects: list[JsonObject]) -> tuple[str, ...]:
    """Return the names of the limits in Gemini's `details`, such as `GenerateRequestsPerMinute-FreeTier`."""
    details = (detail for item in objects for detail in _children(item.get("details")))
    violations = (violation for detail in details for violation in _children(detail.get("violations")))
    return tuple(str(violation["quotaId"]) for violation in violations if "quotaId" in violation)


def reports_failure(body: JsonObject, *, streamed: bool) -> bool:
    """Return whether `body` says that the call failed, although the HTTP status says that it succeeded.

    `body` is a whole response, or one event of a stream if `streamed` is true. A body with a result, an empty
    body and a report of success aren't failures. In a stream, a message may report progress, so only
    MiniMax's `base_resp` counts as a failure there.
    """
    if any(body.get(key) for key in _RESULT_KEYS):
        return False
    objects = error_objects(body)
    code = error_code(objects)
    if streamed and not code.startswith("base_resp."):
        return False
    if code.removeprefix("base_resp.").lower() not in _SUCCESS_CODES:
        return True
    texts = (text for item in objects for text in _texts(item))
    return not streamed and any(text.lower() not in _SUCCESS_CODES for text in texts)


def _children(value: object) -> Iterator[JsonObject]:
    """Yield the objects in `value`: an object, a list of objects, or a text that is the JSON of either."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return
    for item in value[:_MAX_OBJECTS] if isinstance(value, list) else [value]:
        if isinstance(item, dict):
            yield item


def _texts(item: JsonObject) -> Iterator[str]:
    """Yield the messages of one error object.

    Each message of FastAPI is prefixed with the place of its error, such as `body.quality`. Other frameworks
    send an object that maps the names of fields to their errors.
    """
    place = item.get("loc")
    prefix = f"{'.'.join(map(str, place))}: " if isinstance(place, list) else ""
    for key in _TEXT_KEYS:
        value = item.get(key)
        for text in _plain_texts(value):
            yield prefix + text
        if isinstance(value, dict) and value.keys().isdisjoint(_TEXT_KEYS):
            yield from (f"{name}: {text}" for name in value for text in _plain_texts(value[name]))


def _plain_texts(value: object) -> Iterator[str]:
    """Yield the text or texts in `value`, without those that `error_objects` reads as JSON."""
    for text in value[:_MAX_OBJECTS] if isinstance(value, list) else [value]:
        if isinstance(text, str) and text.strip() and not any(_children(text)):
            yield text


def _is_scalar(value: object) -> bool:
    return isinstance(value, str | int | float) and not isinstance(value, bool) and value not in ("", "None")
