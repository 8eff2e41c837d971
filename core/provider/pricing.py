"""Computes the prices of image and text calls: estimates, upper bounds and actual prices, in micro-USD."""

from __future__ import annotations

import math

from core.prompts.instructions import chat_messages
from core.prompts.recipe import GenerateParams
from core.prompts.request import PromptRequest
from core.prompts.styles import with_style
from core.provider.catalogue import FLARE_TOKENS, PARTIAL_TOKENS, image_model, text_model
from core.responses.parsing import TokenCount
from core.settings import OFFLINE_TEXT_MODEL

# A rule of thumb for English text. Other scripts have fewer characters per token.
CHARACTERS_PER_TOKEN = 4
# No script has fewer bytes per token, so this number gives an upper bound of the tokens.
MIN_BYTES_PER_TOKEN = 2
# The smallest and the largest limit of output tokens for an enhancement.
MIN_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS = 4_000, 16_000


def estimate_image_price(params: GenerateParams, *, partial_images: int = 0) -> int | None:
    """Return the expected price, in micro-USD, of the call with `params`, which makes `params.n` images.

    `partial_images` is the number of partial images for each image. Returns None if the catalogue lacks a
    price or a token count of the model. Also returns None for an edit, because no model's token counts for
    input images are published.
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
    """Return a likely upper bound, in micro-USD, for the price of the call with `params`.

    The bound is what a budget reserves before the call. It uses the token counts of gpt-image-2.5-flare for
    all models, because only that model's counts are published. Sizes above 1024x1024 count in proportion to
    their area. An unknown quality counts as high, and each input image counts as an image of high quality.
    Returns None if the model's token prices are unknown.
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
    """Return the area of `size` divided by the area of 1024x1024, but at least 1. For `auto`, return 2."""
    width, _, height = size.partition("x")
    return max(1.0, int(width) * int(height) / 1024**2) if height else 2.0


def image_price(model_name: str, usage: TokenCount) -> int | None:
    """Return the price, in micro-USD, of an image response that reports `usage`.

    Returns None if the model's prices or the input or output tokens are unknown.
    """
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
    """Return the price, in micro-USD, of an enhancement whose response reports `usage`.

    Returns None if the model's prices or the token counts are unknown.
    """
    model = text_model(model_name)
    if model_name == OFFLINE_TEXT_MODEL:
        return 0
    if model.input_price is None or model.output_price is None:
        return None
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return math.ceil(usage.input_tokens * model.input_price + usage.output_tokens * model.output_price)


def max_output_tokens(request: PromptRequest) -> int:
    """Return the number of output tokens to which the enhancement of `request` is limited.

    The limit grows with the length of `request`, up to MAX_OUTPUT_TOKENS.
    """
    return min(MIN_OUTPUT_TOKENS + len(request.to_message()), MAX_OUTPUT_TOKENS)


def max_text_price(model_name: str, request: PromptRequest) -> int | None:
    """Return an upper bound, in micro-USD, for the price of the enhancement of `request`.

    The bound is what a budget reserves before the call. It assumes MIN_BYTES_PER_TOKEN in the messages and
    the longest allowed response. Returns None if the model's token prices are unknown.
    """
    text = "".join(message["content"] for message in chat_messages(request))
    input_tokens = math.ceil(len(text.encode("utf-8", "surrogatepass")) / MIN_BYTES_PER_TOKEN)
    return text_price(model_name, TokenCount(input_tokens, max_output_tokens(request)))
