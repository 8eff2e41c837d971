"""The offline engine's HTTP transport: it responds in this process, in OpenAI's wire format."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Any

import httpx2

from core.offline.prompt_writer import write_prompt
from core.offline.requests import (
    ParsedImageRequest,
    RequestRefused,
    check_model,
    check_text_format,
    last_user_message,
    read_description,
    read_image_request,
    refusal,
    request_body,
)
from core.offline.responses import (
    chat_head,
    delta_choice,
    event_stream,
    json_response,
    list_models,
    request_id_header,
    text_usage,
)
from core.offline.simulated_faults import Fault, FaultKind, fault_in
from core.settings import OFFLINE_IMAGE_MODEL, OFFLINE_TEXT_MODEL


class OfflineTransport(httpx2.BaseTransport):
    """Responds to chat completions, image generations, image edits and model lists without a network.

    With a `seed`, the same request always gives the same picture. Without a `seed`, every picture is
    different. `pace` is the pause in seconds before each streamed word and picture. Thread-safe, because
    requests change no state.
    """

    def __init__(self, *, seed: int | None = None, pace: float = 0.0) -> None:
        self._seed = seed
        self._pace = pace

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return self._route(request)(request_body(request))
        except RequestRefused as refused:
            fault = refused.fault
            headers = request_id_header() | dict(fault.headers)
            return httpx2.Response(fault.status, json=fault.body, headers=headers)

    def _route(self, request: httpx2.Request) -> Callable[[dict[str, Any]], httpx2.Response]:
        path = request.url.path
        routes = {
            "/chat/completions": self._chat,
            "/images/generations": self._generate,
            "/images/edits": self._edit,
            "/models": list_models,
        }
        for end, route in routes.items():
            if path.endswith(end) and request.method == ("GET" if end == "/models" else "POST"):
                return route
        raise refusal(f"Unknown request URL: {request.method} {path}.", status=404, code="unknown_url")

    # Text

    def _chat(self, body: dict[str, Any]) -> httpx2.Response:
        check_model(body, OFFLINE_TEXT_MODEL)
        check_text_format(body)
        message = last_user_message(body)
        fault = _simulate(message, stream=bool(body.get("stream")))
        empty = fault is not None and fault.kind is FaultKind.EMPTY
        text = "" if empty else write_prompt(read_description(message))
        usage = text_usage(message, text)
        if body.get("stream"):
            with_usage = (body.get("stream_options") or {}).get("include_usage")
            return event_stream(self._chunks(chat_head(body), text, usage if with_usage else None), fault)
        reply = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": reply, "finish_reason": "stop", "logprobs": None}
        completion = {"object": "chat.completion", "choices": [choice], "usage": usage}
        return json_response(chat_head(body) | completion, fault)

    def _chunks(
        self, head: dict[str, Any], text: str, usage: dict[str, Any] | None
    ) -> Iterator[dict[str, Any]]:
        """Yield the chunks of a streamed completion: the role, each word of `text`, and the finish reason.

        If `usage` is given, a last chunk reports it.
        """
        head = head | {"object": "chat.completion.chunk"}
        yield head | {"choices": [delta_choice({"role": "assistant", "content": ""})]}
        for word in re.findall(r"\S+\s*|\s+", text):
            time.sleep(self._pace)
            yield head | {"choices": [delta_choice({"content": word})]}
        yield head | {"choices": [delta_choice({}, "stop")]}
        if usage is not None:
            yield head | {"choices": [], "usage": usage}

    # Pictures

    def _generate(self, body: dict[str, Any]) -> httpx2.Response:
        check_model(body, OFFLINE_IMAGE_MODEL)
        return self._respond(read_image_request(body))

    def _edit(self, body: dict[str, Any]) -> httpx2.Response:
        check_model(body, OFFLINE_IMAGE_MODEL)
        images, mask = body.get("image") or [], body.get("mask")
        if not images:
            message = "Missing required parameter: 'image'."
            raise refusal(message, code="missing_required_parameter", param="image")
        source = _decode(images[0], "image")
        image_request = read_image_request(body)
        mask = mask and _decode(mask, "mask")
        return self._respond(replace(image_request, source=source, mask=mask, inputs=len(images)))

    def _respond(self, request: ParsedImageRequest) -> httpx2.Response:
        fault = _simulate(request.prompt, stream=request.stream)
        count = 0 if fault and fault.kind is FaultKind.EMPTY else request.n
        if request.stream:
            return event_stream(self._events(request, count, fault), fault)
        data = [{"b64_json": self._finished(request, index, fault)} for index in range(count)]
        body = {"created": int(time.time()), "data": data, "usage": request.usage(request.n)}
        return json_response(body | request.echo, fault)

    def _finished(self, request: ParsedImageRequest, index: int, fault: Fault | None) -> str:
        """Return the finished picture with the number `index`, as a base64-encoded image file."""
        *_, picture = self._paint(request, index, partials=0)
        return _encode(picture, request, fault)

    def _events(
        self, request: ParsedImageRequest, count: int, fault: Fault | None
    ) -> Iterator[dict[str, Any]]:
        """Yield the events of a stream of `count` pictures.

        For each picture, these are its partial images and then the finished picture.
        """
        for index in range(count):
            pictures = self._paint(request, index, request.partials)
            for number, picture in enumerate(pictures):
                time.sleep(self._pace)
                event = {"b64_json": _encode(picture, request, fault), "created_at": int(time.time())}
                yield event | request.echo | _event_fields(number, request)

    def _paint(self, request: ParsedImageRequest, index: int, partials: int) -> Iterable[Any]:
        # NumPy and the painter load slowly. A housekeeping chore loads them soon after the start-up.
        from core.offline.painter.paint import paint  # noqa: PLC0415

        width, height = request.size
        pictures = paint(
            request.prompt,
            width=width,
            height=height,
            seed=self._picture_seed(request, index),
            transparent=request.background == "transparent",
            partials=partials,
        )
        return pictures if request.source is None else _repainted(pictures, request)

    def _picture_seed(self, request: ParsedImageRequest, index: int) -> int:
        if self._seed is None:
            return secrets.randbits(32)
        text = f"{self._seed}|{index}|{request.prompt}"
        return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def _event_fields(number: int, request: ParsedImageRequest) -> dict[str, Any]:
    """Return the event's type, and the fields that only events of this type have.

    `number` counts the pictures of one image from 0. The first `request.partials` pictures are partial
    images, and the next is the finished picture.
    """
    if number < request.partials:
        return {"type": f"{request.event_prefix}.partial_image", "partial_image_index": number}
    return {"type": f"{request.event_prefix}.completed", "usage": request.usage(1)}


def _repainted(pictures: Iterable[Any], request: ParsedImageRequest) -> Iterator[Any]:
    from core.offline.painter.paint import repaint  # noqa: PLC0415

    for picture in pictures:
        yield repaint(picture, request.source, request.mask)


def _decode(data: bytes, param: str) -> Any:
    """Return the Pillow image in the uploaded file `data`.

    Raises RequestRefused if `data` isn't a readable image. The error names the request's parameter `param`.
    """
    from core.offline.painter.paint import open_image  # noqa: PLC0415

    try:
        return open_image(data)
    except OSError as error:
        message = f"Invalid '{param}': it isn't an image that can be read."
        raise refusal(message, code="invalid_image_file", param=param) from error


def _encode(picture: Any, request: ParsedImageRequest, fault: Fault | None) -> str:
    """Return `picture` as a base64-encoded image file. A `fault` may put an unreadable file in its place."""
    from core.offline.painter.paint import encode  # noqa: PLC0415

    damaged = fault is not None and fault.kind is FaultKind.DAMAGED_IMAGE
    data = b"\x89PNG\r\n\x1a\nnot a picture" if damaged else encode(picture, request.output_format)
    return base64.b64encode(data).decode()


def _simulate(text: str, *, stream: bool) -> Fault | None:
    """Return the fault that `text` asks for, if the response is to be damaged. Otherwise, return None.

    Raises RequestRefused if the fault is an error response. Raises an httpx2 error if the fault breaks the
    connection before the response.
    """
    fault = fault_in(text)
    if fault is None:
        return None
    if fault.kind is FaultKind.ERROR:
        raise RequestRefused(fault)
    if fault.kind is FaultKind.TIMEOUT:
        raise httpx2.ReadTimeout("The read operation timed out")
    if fault.kind is FaultKind.CONNECTION_REFUSED:
        raise httpx2.ConnectError("[Errno 111] Connection refused")
    if fault.kind is FaultKind.CONNECTION_LOST and not stream:
        raise httpx2.ReadError("[Errno 104] Connection reset by peer")
    return fault
