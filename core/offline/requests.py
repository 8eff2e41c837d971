"""Parses requests to the offline engine, and refuses requests that the real service would refuse."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from typing import Any

import httpx2

from core.offline.multipart import CONTENT_TYPE, read_form
from core.offline.prompt_writer import Description
from core.offline.responses import estimate_tokens
from core.offline.simulated_faults import Fault
from core.prompts.request import EnhancementLevel
from core.provider.catalogue import CUSTOM_SIZES, FLARE_TOKENS, MAX_PROMPT_LENGTH, PARTIAL_TOKENS

_SIZE = re.compile(r"([0-9]{2,4})x([0-9]{2,4})")
# The sizes of the real service, and smaller ones for faster tests.
_SIZES = replace(CUSTOM_SIZES, min_pixels=64 * 64)
# The tokens counted for each input image. The number is arbitrary, because the offline engine is free.
_TOKENS_PER_INPUT = 256
_OUTPUT_TOKENS = FLARE_TOKENS | {"auto": FLARE_TOKENS["medium"]}


class RequestRefused(Exception):
    """Raised to refuse a request. The offline engine then responds with the error that `fault` describes."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


@dataclass(frozen=True, slots=True)
class ParsedImageRequest:
    """A valid image request. `size` is (width, height) in pixels.

    `partials` is the number of partial images. The last three fields are set for edits only: `source` is the
    first input image and `mask` is the mask, both decoded. `inputs` is the number of input images.
    """

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
    inputs: int = 0

    @property
    def event_prefix(self) -> str:
        return "image_edit" if self.inputs else "image_generation"

    @property
    def echo(self) -> dict[str, str]:
        """The fields of the request that are repeated in each response and in each event."""
        return {
            "size": f"{self.size[0]}x{self.size[1]}",
            "quality": "medium" if self.quality == "auto" else self.quality,
            "background": "transparent" if self.background == "transparent" else "opaque",
            "output_format": self.output_format,
        }

    def usage(self, pictures: int) -> dict[str, Any]:
        """Return the `usage` object of a response with `pictures` finished images.

        The output tokens are the catalogue's counts for gpt-image-2.5-flare.
        """
        text_tokens, image_tokens = estimate_tokens(self.prompt), _TOKENS_PER_INPUT * self.inputs
        partial_tokens = PARTIAL_TOKENS * self.partials if self.stream else 0
        output_tokens = pictures * (_OUTPUT_TOKENS[self.quality] + partial_tokens)
        input_tokens = text_tokens + image_tokens
        return {
            "input_tokens": input_tokens,
            "input_tokens_details": {"image_tokens": image_tokens, "text_tokens": text_tokens},
            "output_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        }


def request_body(request: httpx2.Request) -> dict[str, Any]:
    """Return the fields of the JSON object or the form in the request's body.

    Returns an empty dict if the body is neither, as in a request for `/models`. Raises RequestRefused if the
    JSON is invalid or isn't an object.
    """
    content, content_type = request.read(), request.headers.get("content-type", "")
    if content_type.startswith(CONTENT_TYPE):
        return read_form(content, content_type)
    if "json" not in content_type:
        return {}
    try:
        body = json.loads(content)
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise refusal("We could not parse the JSON body of your request.")
    return body


def check_model(body: dict[str, Any], expected: str) -> None:
    model = body.get("model", expected)
    if model != expected:
        message = f"The model '{model}' does not exist or you do not have access to it."
        raise refusal(message, status=404, code="model_not_found", param="model")


def check_text_format(body: dict[str, Any]) -> None:
    response_format = body.get("response_format")
    if response_format not in (None, {"type": "text"}):
        message = "Unsupported parameter: 'response_format' is not supported with this model."
        raise refusal(message, code="unsupported_parameter", param="response_format")


def last_user_message(body: dict[str, Any]) -> str:
    messages = body.get("messages")
    listed = messages if isinstance(messages, list) else []
    texts = [item.get("content") for item in listed if isinstance(item, dict) and item.get("role") == "user"]
    if not texts or not isinstance(texts[-1], str) or not texts[-1].strip():
        raise refusal("Invalid 'messages': a user message with text is required.", param="messages")
    return texts[-1]


def read_description(message: str) -> Description:
    """Return the description in `message`, the user message of an enhancement.

    If `message` isn't a description in JSON, all of it becomes the base prompt.
    """
    try:
        fields = json.loads(message)
        return Description(
            name=str(fields.get("name") or ""),
            traits=tuple(str(trait) for trait in fields.get("traits") or ()),
            base_prompt=str(fields.get("base_prompt") or ""),
            style=str(fields.get("style") or ""),
            enhancement=EnhancementLevel(fields.get("enhancement") or EnhancementLevel.BALANCED),
            guidance=str(fields.get("guidance") or ""),
            variation=int(fields.get("variation") or 0),
        )
    except (ValueError, TypeError, AttributeError):
        return Description(base_prompt=message)


def read_image_request(body: dict[str, Any]) -> ParsedImageRequest:
    parsed = ParsedImageRequest(
        prompt=_prompt(body),
        n=_integer(body, "n", 1, 1, 10),
        size=_size(body.get("size") or "auto"),
        quality=_choice(body, "quality", "auto", tuple(_OUTPUT_TOKENS)),
        output_format=_choice(body, "output_format", "png", ("png", "webp", "jpeg")),
        background=_choice(body, "background", "auto", ("auto", "opaque", "transparent")),
        partials=_integer(body, "partial_images", 0, 0, 3),
        stream=bool(body.get("stream")),
    )
    if parsed.background == "transparent" and parsed.output_format == "jpeg":
        raise refusal(
            "Transparent background is not supported for output format 'jpeg'.",
            code="invalid_value",
            param="background",
        )
    return parsed


def _prompt(body: dict[str, Any]) -> str:
    prompt = body.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise refusal(
            "Missing required parameter: 'prompt'.", code="missing_required_parameter", param="prompt"
        )
    if len(prompt) > MAX_PROMPT_LENGTH:
        message = (
            f"Invalid 'prompt': string too long. Expected at most {MAX_PROMPT_LENGTH}, got {len(prompt)}."
        )
        raise refusal(message, code="string_above_max_length", param="prompt")
    return prompt


def _integer(body: dict[str, Any], name: str, default: int, minimum: int, maximum: int) -> int:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        message = f"Invalid '{name}': expected an integer from {minimum} to {maximum}, got {value!r}."
        raise refusal(message, code="invalid_value", param=name)
    return value


def _choice(body: dict[str, Any], name: str, default: str, allowed: tuple[str, ...]) -> str:
    value = body.get(name) or default
    if value not in allowed:
        known = ", ".join(f"'{one}'" for one in allowed)
        message = f"Invalid value: {value!r}. Supported values are: {known}."
        raise refusal(message, code="invalid_value", param=name)
    return str(value)


def _size(text: str) -> tuple[int, int]:
    """Return the width and the height in pixels. `auto` gives 1024 by 1024.

    Raises RequestRefused if `text` isn't a supported size.
    """
    if text == "auto":
        return 1024, 1024
    match = _SIZE.fullmatch(str(text))
    if match is None:
        raise refusal(
            f"Invalid size '{text}'. Expected WIDTHxHEIGHT or auto.", code="invalid_value", param="size"
        )
    width, height = int(match[1]), int(match[2])
    if not _SIZES.allows(width, height):
        raise refusal(f"Invalid size '{text}'. Expected {_SIZES}.", code="invalid_value", param="size")
    return width, height


def refusal(
    message: str, *, status: int = 400, code: str | None = None, param: str | None = None
) -> RequestRefused:
    return RequestRefused(Fault(status=status, message=message, code=code, param=param))
