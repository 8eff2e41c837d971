"""The HTTP connection to the service: sending a call, and reading its answer as it streams."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, TypeAlias

import httpx2

from core.errors import RateLimited, ServiceBusy, ServiceFailed, ServiceUnreachable
from core.provider.response_limits import event_hooks, record, unpacked
from core.provider.responses import Body
from core.settings import Settings

if TYPE_CHECKING:
    import openai


_FIELD = b"data:"
OPENAI_URL = "https://api.openai.com/v1"
OFFLINE_URL = "http://offline.invalid/v1"
OFFLINE_KEY = "offline"
NO_KEY = "none"
_END = b"[DONE]"
# What stands around each value in JSON. Read, a value takes thirty times its three bytes.
_JOINTS, _MOST_JOINTS = (b",", b"[", b"{"), 1_000_000
# What is packed can't be counted before it is unpacked, and pictures get no smaller by it.
_UNPACKED = {"Accept-Encoding": "identity"}
TEXT_ATTEMPTS = 3
TRANSIENT_ERRORS = (RateLimited, ServiceBusy, ServiceFailed, ServiceUnreachable)
LONGEST_PAUSE = 10.0
Answer: TypeAlias = "openai.Stream[object]"


def frames(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The data of each event in a stream's `pieces`, as it came. What they raise is raised behind it."""
    # One text, not a list: of a million short lines that would take ten times their bytes.
    data: bytearray | None = None
    for line in _lines(_ended(pieces)):
        if line.startswith(_FIELD):
            if data is None:
                data = bytearray()
            else:
                data += b"\n"
            data += line.removeprefix(_FIELD).removeprefix(b" ")
        elif not line and data is not None:
            yield bytes(data)
            data = None


def _ended(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """`pieces` with the blank line that a cut has taken from an object whose last sign has come."""
    end = b""
    try:
        for piece in pieces:
            end = piece.rstrip() or end
            yield piece
    except httpx2.HTTPError:
        yield _missing(end)
        raise
    yield _missing(end)


def _missing(end: bytes) -> bytes:
    return b"\n\n" if end.endswith(b"}") else b""


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of `pieces` without their ends, of whatever system; one without an end is none."""
    held = bytearray()
    for piece in pieces:
        # Of what was held only the last sign may end a line: one of a million pieces is read once.
        new = max(len(held) - 1, 0)
        held += piece
        # The sign at the very end may be the first of two.
        whole = max(held.rfind(b"\n", new), held.rfind(b"\r", new, -1)) + 1
        yield from bytes(held[:whole]).splitlines()
        del held[:whole]


@dataclass(frozen=True, slots=True)
class Connection:
    """The SDK's client, and the connections below it."""

    sdk: openai.OpenAI
    wire: httpx2.Client


def connect(
    settings: Settings, transport: httpx2.BaseTransport | None, clock: Callable[[], float]
) -> Connection:
    """The SDK's client over `transport`, with nothing left for it to look up in the environment.

    An empty organisation keeps it from reading OPENAI_ORG_ID, and None afterwards keeps the header
    away; OPENAI_CUSTOM_HEADERS has no argument that would keep it out.
    """
    import openai  # noqa: PLC0415

    wire = openai.DefaultHttpx2Client(
        transport=transport, follow_redirects=False, event_hooks=_hooks(clock), headers=_UNPACKED
    )
    key = settings.openai_api_key
    sdk = openai.OpenAI(
        api_key=OFFLINE_KEY if settings.offline else key.get_secret_value() if key else NO_KEY,
        admin_api_key="",
        organization="",
        project="",
        webhook_secret="",
        base_url=OFFLINE_URL if settings.offline else settings.openai_base_url or OPENAI_URL,
        max_retries=0,
        http_client=wire,
    )
    sdk.organization = sdk.project = None
    sdk._custom_headers = {}
    return Connection(sdk, wire)


def is_stream(answer: Answer) -> bool:
    return str(answer.response.headers.get("content-type", "")).startswith("text/event-stream")


def data_frames(answer: Answer, *, pictures: bool) -> Iterator[bytes]:
    """What should be JSON: the data of a stream's events until its end is said, or a plain answer's body."""
    pieces = unpacked(answer.response, pictures=pictures)
    if not is_stream(answer):
        return iter((b"".join(pieces),))
    return takewhile(lambda frame: not frame.startswith(_END), frames(pieces))


def json_object(frame: bytes, answer: Answer) -> Body:
    """The JSON object in `frame`. Raises ValueError with its first words."""
    if sum(frame.count(sign) for sign in _JOINTS) > _MOST_JOINTS:
        raise ValueError(f"more than {_MOST_JOINTS:,} values in one object")
    try:
        value = json.loads(frame)
    except (ValueError, RecursionError) as error:
        kind = answer.response.headers.get("content-type", "no content type")
        raise ValueError(f"{error} in {kind}: {frame[:200].decode(errors='replace')}") from error
    if not isinstance(value, dict):
        raise ValueError(f"expected a JSON object, not {type(value).__name__}")
    return value


def _hooks(clock: Callable[[], float]) -> dict[str, list[Callable[..., None]]]:
    hooks = event_hooks(clock)
    return hooks | {"response": [*hooks["response"], record]}
