"""The transport that answers in-process, in OpenAI's wire format, when no key is set."""

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
    ImageOrder,
    RequestRefused,
    check_model,
    check_text_format,
    description_of,
    last_user_message,
    read_order,
    refuse,
    request_body,
)
from core.offline.responses import chat_head, delta_choice, ids, models, plain, spoilt, streamed, text_usage
from core.offline.simulated_faults import Act, Fault, fault_in
from core.settings import OFFLINE_IMAGE_MODEL, OFFLINE_TEXT_MODEL


class OfflineTransport(httpx2.BaseTransport):
    """Answers chat completions, image generations and edits without a network.

    `seed` None draws another picture each time; a number always draws the same for the same request.
    `pace` is the pause in seconds before each streamed word and picture. Holds no state that changes,
    so any number of threads may use it at once.
    """

    def __init__(self, *, seed: int | None = None, pace: float = 0.0) -> None:
        self._seed = seed
        self._pace = pace

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        try:
            return self._route(request)(request_body(request))
        except RequestRefused as refusal:
            fault = refusal.fault
            return httpx2.Response(fault.status, json=fault.body, headers=ids() | dict(fault.headers))

    def _route(self, request: httpx2.Request) -> Callable[[dict[str, Any]], httpx2.Response]:
        path = request.url.path
        routes = {
            "/chat/completions": self._chat,
            "/images/generations": self._images,
            "/images/edits": self._edits,
            "/models": models,
        }
        for end, route in routes.items():
            if path.endswith(end) and request.method == ("GET" if end == "/models" else "POST"):
                return route
        raise refuse(f"Unknown request URL: {request.method} {path}.", status=404, code="unknown_url")

    # Text

    def _chat(self, body: dict[str, Any]) -> httpx2.Response:
        check_model(body, OFFLINE_TEXT_MODEL)
        check_text_format(body)
        message = last_user_message(body)
        fault = _act_out(message, stream=bool(body.get("stream")))
        text = "" if fault and fault.act is Act.EMPTY else write_prompt(description_of(message))
        usage = text_usage(message, text)
        if body.get("stream"):
            asked = (body.get("stream_options") or {}).get("include_usage")
            talk = self._talk(chat_head(body), text, usage if asked else None)
            return streamed(spoilt(talk, fault), done=fault)
        said = {"role": "assistant", "content": text, "refusal": None}
        choice = {"index": 0, "message": said, "finish_reason": "stop", "logprobs": None}
        answer = chat_head(body) | {"object": "chat.completion", "choices": [choice], "usage": usage}
        return plain(answer, fault)

    def _talk(
        self, head: dict[str, Any], text: str, usage: dict[str, Any] | None
    ) -> Iterator[dict[str, Any]]:
        """The chunks of a streamed answer: role, words, the end, and usage where it was asked for."""
        head = head | {"object": "chat.completion.chunk"}
        yield head | {"choices": [delta_choice({"role": "assistant", "content": ""})]}
        for word in re.findall(r"\S+\s*|\s+", text):
            time.sleep(self._pace)
            yield head | {"choices": [delta_choice({"content": word})]}
        yield head | {"choices": [delta_choice({}, "stop")]}
        if usage is not None:
            yield head | {"choices": [], "usage": usage}

    # Pictures

    def _images(self, body: dict[str, Any]) -> httpx2.Response:
        check_model(body, OFFLINE_IMAGE_MODEL)
        return self._made(read_order(body))

    def _edits(self, body: dict[str, Any]) -> httpx2.Response:
        check_model(body, OFFLINE_IMAGE_MODEL)
        images = body.get("image") or []
        if not images:
            message = "Missing required parameter: 'image'."
            raise refuse(message, code="missing_required_parameter", param="image")
        source, mask = _opened(images[0], "image"), body.get("mask")
        order = read_order(body)
        return self._made(
            replace(order, source=source, mask=mask and _opened(mask, "mask"), images=len(images))
        )

    def _made(self, order: ImageOrder) -> httpx2.Response:
        fault = _act_out(order.prompt, stream=order.stream)
        if order.stream:
            return streamed(spoilt(self._show(order, fault), fault), done=fault)
        data = (
            []
            if fault and fault.act is Act.EMPTY
            else [self._picture(order, i, fault) for i in range(order.n)]
        )
        answer = {"created": int(time.time()), "data": data, "usage": order.usage(order.n)}
        return plain(answer | order.answer, fault)

    def _picture(self, order: ImageOrder, index: int, fault: Fault | None) -> dict[str, str]:
        *_, finished = self._paint(order, index, partials=0)
        return {"b64_json": _file(finished, order, fault)}

    def _show(self, order: ImageOrder, fault: Fault | None) -> Iterator[dict[str, Any]]:
        """The events of streamed pictures: the partial ones, then the finished, for each of n."""
        if fault and fault.act is Act.EMPTY:
            return
        for index in range(order.n):
            pictures = self._paint(order, index, order.partials)
            for number, picture in enumerate(pictures):
                time.sleep(self._pace)
                event = {"b64_json": _file(picture, order, fault), "created_at": int(time.time())}
                yield event | order.answer | _event_kind(number, order)

    def _paint(self, order: ImageOrder, index: int, partials: int) -> Iterable[Any]:
        # NumPy and the painter take longer to load than a start should; the housekeeping does it soon after.
        from core.offline.painter.paint import paint  # noqa: PLC0415

        width, height = order.size
        pictures = paint(
            order.prompt,
            width=width,
            height=height,
            seed=self._picture_seed(order, index),
            transparent=order.background == "transparent",
            partials=partials,
        )
        return pictures if order.source is None else _varied(pictures, order)

    def _picture_seed(self, order: ImageOrder, index: int) -> int:
        if self._seed is None:
            return secrets.randbits(32)
        words = f"{self._seed}|{index}|{order.prompt}"
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4])


def _event_kind(number: int, order: ImageOrder) -> dict[str, Any]:
    """What sets a partial picture's event apart from the finished one's."""
    if number < order.partials:
        return {"type": f"{order.kind}.partial_image", "partial_image_index": number}
    return {"type": f"{order.kind}.completed", "usage": order.usage(1)}


def _varied(pictures: Iterable[Any], order: ImageOrder) -> Iterator[Any]:
    from core.offline.painter.paint import vary  # noqa: PLC0415

    for picture in pictures:
        yield vary(picture, order.source, order.mask)


def _opened(data: bytes, name: str) -> Any:
    from core.offline.painter.paint import opened  # noqa: PLC0415

    try:
        return opened(data)
    except OSError as error:
        message = f"Invalid '{name}': it isn't a picture that can be read."
        raise refuse(message, code="invalid_image_file", param=name) from error


def _file(picture: Any, order: ImageOrder, fault: Fault | None) -> str:
    """The picture's file in base64, or bytes that are no picture where the fault says so."""
    from core.offline.painter.paint import encode  # noqa: PLC0415

    damaged = fault is not None and fault.act is Act.DAMAGED
    data = b"\x89PNG\r\n\x1a\nnot a picture" if damaged else encode(picture, order.output_format)
    return base64.b64encode(data).decode()


def _act_out(text: str, *, stream: bool) -> Fault | None:
    """The fault that `text` asks for, if the answer itself must carry it; other faults are raised."""
    fault = fault_in(text)
    if fault is None:
        return None
    if fault.act is Act.ERROR:
        raise RequestRefused(fault)
    if fault.act is Act.TIMEOUT:
        raise httpx2.ReadTimeout("The read operation timed out")
    if fault.act is Act.REFUSED:
        raise httpx2.ConnectError("[Errno 111] Connection refused")
    if fault.act is Act.DROP and not stream:
        raise httpx2.ReadError("[Errno 104] Connection reset by peer")
    return fault
