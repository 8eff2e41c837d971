"""Builds responses in OpenAI's wire format, as JSON or as server-sent events.

A simulated fault may damage or replace the response.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2

from core.offline.simulated_faults import Fault, FaultKind
from core.provider.pricing import CHARACTERS_PER_TOKEN
from core.settings import OFFLINE_IMAGE_MODEL, OFFLINE_TEXT_MODEL

_HTML = "<!doctype html><title>Gateway</title><h1>This is not the API you are looking for</h1>"


def request_id_header() -> dict[str, str]:
    return {"x-request-id": f"req_{uuid4().hex}"}


def estimate_tokens(text: str) -> int:
    return max(1, len(text) // CHARACTERS_PER_TOKEN)


def text_usage(prompt: str, completion: str) -> dict[str, int]:
    """Return the `usage` object of a chat completion, with estimated token counts of both texts."""
    prompt_tokens, completion_tokens = estimate_tokens(prompt), estimate_tokens(completion)
    return {
        "prompt_tokens": prompt_tokens,
        "completion_tokens": completion_tokens,
        "total_tokens": prompt_tokens + completion_tokens,
    }


def chat_head(body: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that a chat completion and each of its chunks begin with: id, time and model."""
    model = body.get("model", OFFLINE_TEXT_MODEL)
    return {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": model}


def delta_choice(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    """Return the only item of `choices` in a chunk of a streamed chat completion."""
    return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}


def list_models(_: dict[str, Any]) -> httpx2.Response:
    names = (OFFLINE_IMAGE_MODEL, OFFLINE_TEXT_MODEL)
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "atelier"} for name in names]
    return json_response({"object": "list", "data": data})


def json_response(body: dict[str, Any], fault: Fault | None = None) -> httpx2.Response:
    kind = fault.kind if fault else None
    if kind is FaultKind.HTML:
        return httpx2.Response(200, html=_HTML, headers=request_id_header())
    text = json.dumps(body, ensure_ascii=False)
    if kind is FaultKind.TRUNCATED:
        text = text[: len(text) // 2]
    if kind is FaultKind.INVALID_JSON:
        text = "{'created': now, " + text[1:]
    headers = request_id_header() | {"content-type": "application/json"}
    return httpx2.Response(200, content=text.encode(), headers=headers)


def event_stream(events: Iterator[dict[str, Any]], fault: Fault | None = None) -> httpx2.Response:
    """Return a response that sends `events` as server-sent events and then `[DONE]`.

    A `fault` may damage the events or replace the response with a web page.
    """
    kind = fault.kind if fault else None
    if kind is FaultKind.HTML:
        return httpx2.Response(200, html=_HTML, headers=request_id_header())
    headers = request_id_header() | {"content-type": "text/event-stream"}
    return httpx2.Response(200, content=_sse_lines(_cut_short(events, kind), kind), headers=headers)


def _sse_lines(events: Iterator[dict[str, Any]], kind: FaultKind | None) -> Iterator[bytes]:
    for event in events:
        name = f"event: {event['type']}\n" if "type" in event else ""
        data = "{broken" if kind is FaultKind.INVALID_JSON else json.dumps(event, ensure_ascii=False)
        yield f"{name}data: {data}\n\n".encode()
    if kind is not FaultKind.TRUNCATED:
        yield b"data: [DONE]\n\n"


def _cut_short(events: Iterator[dict[str, Any]], kind: FaultKind | None) -> Iterator[dict[str, Any]]:
    """Yield `events`. The last event is left out if `kind` is TRUNCATED or CONNECTION_LOST.

    Raises RemoteProtocolError at the end if `kind` is CONNECTION_LOST.
    """
    held: dict[str, Any] | None = None
    for event in events:
        if held is not None:
            yield held
        held = event
    if held is not None and kind not in {FaultKind.CONNECTION_LOST, FaultKind.TRUNCATED}:
        yield held
    if kind is FaultKind.CONNECTION_LOST:
        raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")
