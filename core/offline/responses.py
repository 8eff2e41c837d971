"""Answers in OpenAI's wire format: plain JSON, server-sent events, and both spoilt on purpose."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx2

from core.offline.simulated_faults import Act, Fault
from core.provider.pricing import CHARACTERS_PER_TOKEN
from core.settings import OFFLINE_IMAGE_MODEL, OFFLINE_TEXT_MODEL

_HTML = "<!doctype html><title>Gateway</title><h1>This is not the API you are looking for</h1>"


def ids() -> dict[str, str]:
    return {"x-request-id": f"req_{uuid4().hex}"}


def tokens(text: str) -> int:
    """How many tokens `text` is, by the rule of thumb."""
    return max(1, len(text) // CHARACTERS_PER_TOKEN)


def text_usage(question: str, answer: str) -> dict[str, int]:
    asked, said = tokens(question), tokens(answer)
    return {"prompt_tokens": asked, "completion_tokens": said, "total_tokens": asked + said}


def chat_head(body: dict[str, Any]) -> dict[str, Any]:
    model = body.get("model", OFFLINE_TEXT_MODEL)
    return {"id": f"chatcmpl-{uuid4().hex}", "created": int(time.time()), "model": model}


def delta_choice(delta: dict[str, str], finish: str | None = None) -> dict[str, Any]:
    return {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}


def models(_: dict[str, Any]) -> httpx2.Response:
    names = (OFFLINE_IMAGE_MODEL, OFFLINE_TEXT_MODEL)
    data = [{"id": name, "object": "model", "created": 0, "owned_by": "atelier"} for name in names]
    return plain({"object": "list", "data": data}, None)


def plain(answer: dict[str, Any], fault: Fault | None) -> httpx2.Response:
    """A plain answer, spoilt where the fault says so."""
    act = fault.act if fault else None
    if act is Act.HTML:
        return httpx2.Response(200, html=_HTML, headers=ids())
    text = json.dumps(answer, ensure_ascii=False)
    if act is Act.TRUNCATED:
        text = text[: len(text) // 2]
    if act is Act.GARBLED:
        text = "{'created': now, " + text[1:]
    return httpx2.Response(200, content=text.encode(), headers=ids() | {"content-type": "application/json"})


def streamed(events: Iterator[dict[str, Any]], *, done: Fault | None) -> httpx2.Response:
    """A streamed answer of server-sent events; a spoilt one has no `[DONE]` at its end."""
    act = done.act if done else None
    if act is Act.HTML:
        return httpx2.Response(200, html=_HTML, headers=ids())
    lines = _lines(events, garbled=act is Act.GARBLED, finish=act is not Act.TRUNCATED)
    return httpx2.Response(200, content=lines, headers=ids() | {"content-type": "text/event-stream"})


def _lines(events: Iterator[dict[str, Any]], *, garbled: bool, finish: bool) -> Iterator[bytes]:
    for event in events:
        name = f"event: {event['type']}\n" if "type" in event else ""
        data = json.dumps(event, ensure_ascii=False)
        yield f"{name}data: {'{broken' if garbled else data}\n\n".encode()
    if finish:
        yield b"data: [DONE]\n\n"


def spoilt(events: Iterator[dict[str, Any]], fault: Fault | None) -> Iterator[dict[str, Any]]:
    """`events`, broken off before the last one where the fault says so."""
    held: dict[str, Any] | None = None
    cut = fault is not None and fault.act in {Act.DROP, Act.TRUNCATED}
    for event in events:
        if held is not None:
            yield held
        held = event
    if held is not None and not cut:
        yield held
    if fault is not None and fault.act is Act.DROP:
        raise httpx2.RemoteProtocolError("peer closed connection without sending complete message body")
