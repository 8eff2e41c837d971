"""Computes prices of image and text calls: estimates, upper bounds and actual prices, in whole micro-USD."""

from __future__ import annotations

import math
from dataclasses import dataclass

from core.prompts.instructions import chat_messages
from core.prompts.recipe import GenerateParams
from core.prompts.request import PromptRequest
from core.prompts.styles import with_style
from core.provider.catalogue import FLARE_TOKENS, PARTIAL_TOKENS, image_model, text_model
from core.settings import OFFLINE_TEXT_MODEL

# A rule of thumb for English text; other scripts use more.
CHARACTERS_PER_TOKEN = 4
# No script uses fewer bytes per token, so an upper bound counts this many.
MIN_BYTES_PER_TOKEN = 2
# Output tokens of an enhancement.
MIN_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS = 4_000, 16_000


@dataclass(frozen=True, slots=True)
class TokenCount:
    """The token usage that a response reports; None where it reports none."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    image_input_tokens: int | None = None


def estimate_image_price(params: GenerateParams, *, partial_images: int = 0) -> int | None:
    """The expected price of all `n` images, from the catalogue; None when a figure isn't published.

    An edit has no estimate: the tokens of input images aren't published for any model.
    """
    model = image_model(params.model)
    if model.status == "offline":
        return 0
    if params.input_count:
        return None
    output = model.output_tokens.get((params.size, params.quality))
    if model.price is None or output is None or (partial_images and model.partial_tokens is None):
        return None
    prompt = math.ceil(len(with_style(params.prompt, params.style)) / CHARACTERS_PER_TOKEN)
    output += partial_images * (model.partial_tokens or 0)
    return math.ceil(params.n * (prompt * model.price.text_input + output * model.price.output))


def max_image_price(params: GenerateParams, *, partial_images: int = 0) -> int | None:
    """A likely upper bound for the price of `n` images, to reserve in a budget; None without token prices.

    Counts the tokens of gpt-image-2.5-flare, the only published ones, in proportion to the area above
    1024x1024. An unknown quality counts as high, and each input image as one more image of high quality.
    """
    model = image_model(params.model)
    if model.price is None:
        return None
    image = FLARE_TOKENS.get(params.quality, FLARE_TOKENS["high"]) * _relative_area(params.size)
    output = math.ceil(image) + partial_images * PARTIAL_TOKENS
    inputs = params.input_count * FLARE_TOKENS["high"]
    prompt = math.ceil(len(with_style(params.prompt, params.style)) / CHARACTERS_PER_TOKEN)
    micros = prompt * model.price.text_input + inputs * model.price.image_input + output * model.price.output
    return math.ceil(params.n * micros)


def _relative_area(size: str) -> float:
    """The area of an image in units of 1024x1024, at least 1. Size `auto` counts as 2."""
    width, _, height = size.partition("x")
    return max(1.0, int(width) * int(height) / 1024**2) if height else 2.0


def image_price(model_name: str, usage: TokenCount) -> int | None:
    """The actual price of an image response; None when its usage or the model's price is unknown."""
    model = image_model(model_name)
    if model.status == "offline":
        return 0
    if model.price is None or usage.input_tokens is None or usage.output_tokens is None:
        return None
    image_tokens = usage.image_input_tokens or 0
    text_tokens = usage.input_tokens - image_tokens
    return math.ceil(
        text_tokens * model.price.text_input
        + image_tokens * model.price.image_input
        + usage.output_tokens * model.price.output
    )


def text_price(model_name: str, usage: TokenCount) -> int | None:
    """The actual price of an enhancement; None when its usage or the model's price is unknown."""
    model = text_model(model_name)
    if model_name == OFFLINE_TEXT_MODEL:
        return 0
    if model.input_price is None or model.output_price is None:
        return None
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return math.ceil(usage.input_tokens * model.input_price + usage.output_tokens * model.output_price)


def max_output_tokens(request: PromptRequest) -> int:
    """The limit that is sent with an enhancement of `request`: longer requests may be answered at length."""
    return min(MIN_OUTPUT_TOKENS + len(request.to_message()), MAX_OUTPUT_TOKENS)


def max_text_price(model_name: str, request: PromptRequest) -> int | None:
    """The upper bound for the price of an enhancement, to reserve in a budget; None without token prices.

    Counts the messages at MIN_BYTES_PER_TOKEN and the longest response.
    """
    text = "".join(message["content"] for message in chat_messages(request))
    input_tokens = math.ceil(len(text.encode("utf-8", "surrogatepass")) / MIN_BYTES_PER_TOKEN)
    return text_price(model_name, TokenCount(input_tokens, max_output_tokens(request)))
