"""The transport that answers in-process, in OpenAI's wire format, when no key is set."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from core.catalogue import FLARE_TOKENS, FREE_SIZES, MAX_PROMPT, PARTIAL_TOKENS
from core.faults import Act, Fault, fault_in
from core.forms import KIND, read_form
from core.prompts import Enhancement
from core.settings import OFFLINE_IMAGE_MODEL, OFFLINE_TEXT_MODEL
from core.wire import chat_head, delta_choice, ids, models, plain, spoilt, streamed, text_usage, tokens
from core.wordsmith import Words, write_prompt

_SIZE = re.compile(r"([0-9]{2,4})x([0-9]{2,4})")
# Smaller than the service takes, for tests that needn't be big.
_SIZES = replace(FREE_SIZES, min_pixels=64 * 64)
# What a picture to be made from is counted as, so that there is a number.
_INPUT_TOKENS = 256
_OUTPUT_TOKENS = FLARE_TOKENS | {"auto": FLARE_TOKENS["medium"]}


class _Refusal(Exception):
    """Ends a request with the error body of `fault`."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class _Order:
    """An image request, checked. `size` is (width, height) in pixels; with a `source` it is an edit."""

    prompt: str
    n: int
    size: tuple[int, int]
    quality: str
    output_format: str
    background: str
    partials: int
    stream: bool
    source: Any = None
    mask: Any = None
    images: int = 0

    @property
    def kind(self) -> str:
        """What the names of its events begin with."""
        return "image_edit" if self.images else "image_generation"

    @property
    def answer(self) -> dict[str, str]:
        """The fields that every answer and event repeats."""
        return {
            "size": f"{self.size[0]}x{self.size[1]}",
            "quality": "medium" if self.quality == "auto" else self.quality,
            "background": "transparent" if self.background == "transparent" else "opaque",
            "output_format": self.output_format,
        }

    def usage(self, pictures: int) -> dict[str, Any]:
        """Token counts as the real service would report them for `pictures` pictures."""
        text, seen = tokens(self.prompt), _INPUT_TOKENS * self.images
        partials = PARTIAL_TOKENS * self.partials if self.stream else 0
        made = pictures * (_OUTPUT_TOKENS[self.quality] + partials)
        return {
            "input_tokens": text + seen,
            "input_tokens_details": {"image_tokens": seen, "text_tokens": text},
            "output_tokens": made,
            "total_tokens": text + seen + made,
        }


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
            return self._route(request)(_body(request))
        except _Refusal as refusal:
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
        raise _refuse(f"Unknown request URL: {request.method} {path}.", status=404, code="unknown_url")

    # Text

    def _chat(self, body: dict[str, Any]) -> httpx2.Response:
        _check_model(body, OFFLINE_TEXT_MODEL)
        _check_text_format(body)
        message = _last_user_message(body)
        fault = _act_out(message, stream=bool(body.get("stream")))
        text = "" if fault and fault.act is Act.EMPTY else write_prompt(_words(message))
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
        _check_model(body, OFFLINE_IMAGE_MODEL)
        return self._made(_read_order(body))

    def _edits(self, body: dict[str, Any]) -> httpx2.Response:
        _check_model(body, OFFLINE_IMAGE_MODEL)
        images = body.get("image") or []
        if not images:
            message = "Missing required parameter: 'image'."
            raise _refuse(message, code="missing_required_parameter", param="image")
        source, mask = _opened(images[0], "image"), body.get("mask")
        order = _read_order(body)
        return self._made(
            replace(order, source=source, mask=mask and _opened(mask, "mask"), images=len(images))
        )

    def _made(self, order: _Order) -> httpx2.Response:
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

    def _picture(self, order: _Order, index: int, fault: Fault | None) -> dict[str, str]:
        *_, finished = self._paint(order, index, partials=0)
        return {"b64_json": _file(finished, order, fault)}

    def _show(self, order: _Order, fault: Fault | None) -> Iterator[dict[str, Any]]:
        """The events of streamed pictures: the partial ones, then the finished, for each of n."""
        if fault and fault.act is Act.EMPTY:
            return
        for index in range(order.n):
            pictures = self._paint(order, index, order.partials)
            for number, picture in enumerate(pictures):
                time.sleep(self._pace)
                event = {"b64_json": _file(picture, order, fault), "created_at": int(time.time())}
                yield event | order.answer | _event_kind(number, order)

    def _paint(self, order: _Order, index: int, partials: int) -> Iterable[Any]:
        # NumPy and the painter take longer to load than a start should; the housekeeping does it soon after.
        from core.painter.paint import paint  # noqa: PLC0415

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

    def _picture_seed(self, order: _Order, index: int) -> int:
        if self._seed is None:
            return secrets.randbits(32)
        words = f"{self._seed}|{index}|{order.prompt}"
        return int.from_bytes(hashlib.sha256(words.encode()).digest()[:4])


def _event_kind(number: int, order: _Order) -> dict[str, Any]:
    """What sets a partial picture's event apart from the finished one's."""
    if number < order.partials:
        return {"type": f"{order.kind}.partial_image", "partial_image_index": number}
    return {"type": f"{order.kind}.completed", "usage": order.usage(1)}


def _varied(pictures: Iterable[Any], order: _Order) -> Iterator[Any]:
    from core.painter.variation import vary  # noqa: PLC0415

    for picture in pictures:
        yield vary(picture, order.source, order.mask)


def _opened(data: bytes, name: str) -> Any:
    from core.painter.variation import opened  # noqa: PLC0415

    try:
        return opened(data)
    except OSError as error:
        message = f"Invalid '{name}': it isn't a picture that can be read."
        raise _refuse(message, code="invalid_image_file", param=name) from error


def _file(picture: Any, order: _Order, fault: Fault | None) -> str:
    """The picture's file in base64, or bytes that are no picture where the fault says so."""
    from core.painter.paint import encode  # noqa: PLC0415

    damaged = fault is not None and fault.act is Act.DAMAGED
    data = b"\x89PNG\r\n\x1a\nnot a picture" if damaged else encode(picture, order.output_format)
    return base64.b64encode(data).decode()


# Requests


def _body(request: httpx2.Request) -> dict[str, Any]:
    """The request's JSON object or form; empty for other content, which no route but the models' accepts."""
    content, kind = request.read(), request.headers.get("content-type", "")
    if kind.startswith(KIND):
        return read_form(content, kind)
    if "json" not in kind:
        return {}
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise _refuse("We could not parse the JSON body of your request.")
    return body


def _check_model(body: dict[str, Any], expected: str) -> None:
    model = body.get("model", expected)
    if model != expected:
        message = f"The model '{model}' does not exist or you do not have access to it."
        raise _refuse(message, status=404, code="model_not_found", param="model")


def _check_text_format(body: dict[str, Any]) -> None:
    wanted = body.get("response_format")
    if wanted is not None and wanted != {"type": "text"}:
        message = "Unsupported parameter: 'response_format' is not supported with this model."
        raise _refuse(message, code="unsupported_parameter", param="response_format")


def _last_user_message(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    listed = messages if isinstance(messages, list) else []
    said = [part.get("content") for part in listed if isinstance(part, dict) and part.get("role") == "user"]
    if not said or not isinstance(said[-1], str) or not said[-1].strip():
        raise _refuse("Invalid 'messages': a user message with text is required.", param="messages")
    return said[-1]


def _words(message: str) -> Words:
    """The fields of an enhancement request; any other message counts as the base prompt."""
    try:
        fields = json.loads(message)
        return Words(
            name=str(fields.get("name") or ""),
            traits=tuple(str(trait) for trait in fields.get("traits") or ()),
            base_prompt=str(fields.get("base_prompt") or ""),
            style=str(fields.get("style") or ""),
            enhancement=Enhancement(fields.get("enhancement") or Enhancement.BALANCED),
            guidance=str(fields.get("guidance") or ""),
            variation=int(fields.get("variation") or 0),
        )
    except (ValueError, TypeError, AttributeError):
        return Words(base_prompt=message)


def _read_order(body: dict[str, Any]) -> _Order:
    order = _Order(
        prompt=_prompt(body),
        n=_whole(body, "n", 1, 1, 10),
        size=_size(body.get("size") or "auto"),
        quality=_choice(body, "quality", "auto", tuple(_OUTPUT_TOKENS)),
        output_format=_choice(body, "output_format", "png", ("png", "webp", "jpeg")),
        background=_choice(body, "background", "auto", ("auto", "opaque", "transparent")),
        partials=_whole(body, "partial_images", 0, 0, 3),
        stream=bool(body.get("stream")),
    )
    if order.background == "transparent" and order.output_format == "jpeg":
        raise _refuse(
            "Transparent background is not supported for output format 'jpeg'.",
            code="invalid_value",
            param="background",
        )
    return order


def _prompt(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise _refuse(
            "Missing required parameter: 'prompt'.", code="missing_required_parameter", param="prompt"
        )
    if len(prompt) > MAX_PROMPT:
        message = f"Invalid 'prompt': string too long. Expected at most {MAX_PROMPT}, got {len(prompt)}."
        raise _refuse(message, code="string_above_max_length", param="prompt")
    return prompt


def _whole(body: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        message = f"Invalid '{name}': expected an integer from {least} to {most}, got {value!r}."
        raise _refuse(message, code="invalid_value", param=name)
    return value


def _choice(body: dict[str, Any], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = body.get(name) or default
    if value not in allowed:
        known = ", ".join(f"'{one}'" for one in allowed)
        message = f"Invalid value: {value!r}. Supported values are: {known}."
        raise _refuse(message, code="invalid_value", param=name)
    return str(value)


def _size(text: str) -> tuple[int, int]:
    """(width, height) in pixels; the rules are those of the real models, but smaller sizes do too."""
    if text == "auto":
        return 1024, 1024
    found = _SIZE.fullmatch(str(text))
    if found is None:
        raise _refuse(
            f"Invalid size '{text}'. Expected WIDTHxHEIGHT or auto.", code="invalid_value", param="size"
        )
    width, height = int(found[1]), int(found[2])
    if not _SIZES.allows(width, height):
        raise _refuse(f"Invalid size '{text}'. Expected {_SIZES}.", code="invalid_value", param="size")
    return width, height


def _act_out(text: str, *, stream: bool) -> Fault | None:
    """The fault that `text` asks for, if the answer itself must carry it; other faults are raised."""
    fault = fault_in(text)
    if fault is None:
        return None
    if fault.act is Act.ERROR:
        raise _Refusal(fault)
    if fault.act is Act.TIMEOUT:
        raise httpx2.ReadTimeout("The read operation timed out")
    if fault.act is Act.REFUSED:
        raise httpx2.ConnectError("[Errno 111] Connection refused")
    if fault.act is Act.DROP and not stream:
        raise httpx2.ReadError("[Errno 104] Connection reset by peer")
    return fault


def _refuse(
    message: str, *, status: int = 400, code: str | None = None, param: str | None = None
) -> _Refusal:
    return _Refusal(Fault("", status=status, message=message, code=code, param=param))
