"""Reads a request to the offline engine, and refuses what the real service would refuse."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from core.offline.multipart import KIND, read_form
from core.offline.prompt_writer import Words
from core.offline.responses import tokens
from core.offline.simulated_faults import Fault
from core.prompts.request import EnhancementLevel
from core.provider.catalogue import CUSTOM_SIZES, FLARE_TOKENS, MAX_PROMPT, PARTIAL_TOKENS

_SIZE = re.compile(r"([0-9]{2,4})x([0-9]{2,4})")
# Smaller than the service takes, for tests that needn't be big.
_SIZES = replace(CUSTOM_SIZES, min_pixels=64 * 64)
# What a picture to be made from is counted as, so that there is a number.
_INPUT_TOKENS = 256
_OUTPUT_TOKENS = FLARE_TOKENS | {"auto": FLARE_TOKENS["medium"]}


class RequestRefused(Exception):
    """Ends a request with the error body of `fault`."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class ImageOrder:
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


def request_body(request: httpx2.Request) -> dict[str, Any]:
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
        raise refuse("We could not parse the JSON body of your request.")
    return body


def check_model(body: dict[str, Any], expected: str) -> None:
    model = body.get("model", expected)
    if model != expected:
        message = f"The model '{model}' does not exist or you do not have access to it."
        raise refuse(message, status=404, code="model_not_found", param="model")


def check_text_format(body: dict[str, Any]) -> None:
    wanted = body.get("response_format")
    if wanted is not None and wanted != {"type": "text"}:
        message = "Unsupported parameter: 'response_format' is not supported with this model."
        raise refuse(message, code="unsupported_parameter", param="response_format")


def last_user_message(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    listed = messages if isinstance(messages, list) else []
    said = [part.get("content") for part in listed if isinstance(part, dict) and part.get("role") == "user"]
    if not said or not isinstance(said[-1], str) or not said[-1].strip():
        raise refuse("Invalid 'messages': a user message with text is required.", param="messages")
    return said[-1]


def description_of(message: str) -> Words:
    """The fields of an enhancement request; any other message counts as the base prompt."""
    try:
        fields = json.loads(message)
        return Words(
            name=str(fields.get("name") or ""),
            traits=tuple(str(trait) for trait in fields.get("traits") or ()),
            base_prompt=str(fields.get("base_prompt") or ""),
            style=str(fields.get("style") or ""),
            enhancement=EnhancementLevel(fields.get("enhancement") or EnhancementLevel.BALANCED),
            guidance=str(fields.get("guidance") or ""),
            variation=int(fields.get("variation") or 0),
        )
    except (ValueError, TypeError, AttributeError):
        return Words(base_prompt=message)


def read_order(body: dict[str, Any]) -> ImageOrder:
    order = ImageOrder(
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
        raise refuse(
            "Transparent background is not supported for output format 'jpeg'.",
            code="invalid_value",
            param="background",
        )
    return order


def _prompt(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise refuse(
            "Missing required parameter: 'prompt'.", code="missing_required_parameter", param="prompt"
        )
    if len(prompt) > MAX_PROMPT:
        message = f"Invalid 'prompt': string too long. Expected at most {MAX_PROMPT}, got {len(prompt)}."
        raise refuse(message, code="string_above_max_length", param="prompt")
    return prompt


def _whole(body: dict[str, Any], name: str, default: int, least: int, most: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        message = f"Invalid '{name}': expected an integer from {least} to {most}, got {value!r}."
        raise refuse(message, code="invalid_value", param=name)
    return value


def _choice(body: dict[str, Any], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = body.get(name) or default
    if value not in allowed:
        known = ", ".join(f"'{one}'" for one in allowed)
        message = f"Invalid value: {value!r}. Supported values are: {known}."
        raise refuse(message, code="invalid_value", param=name)
    return str(value)


def _size(text: str) -> tuple[int, int]:
    """(width, height) in pixels; the rules are those of the real models, but smaller sizes do too."""
    if text == "auto":
        return 1024, 1024
    found = _SIZE.fullmatch(str(text))
    if found is None:
        raise refuse(
            f"Invalid size '{text}'. Expected WIDTHxHEIGHT or auto.", code="invalid_value", param="size"
        )
    width, height = int(found[1]), int(found[2])
    if not _SIZES.allows(width, height):
        raise refuse(f"Invalid size '{text}'. Expected {_SIZES}.", code="invalid_value", param="size")
    return width, height


def refuse(
    message: str, *, status: int = 400, code: str | None = None, param: str | None = None
) -> RequestRefused:
    return RequestRefused(Fault("", status=status, message=message, code=code, param=param))
