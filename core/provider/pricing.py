"""Prices and estimates of image and text calls, in micro-USD."""

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
# No written language has more: what an enhancer is told is reckoned at its dearest.
MIN_BYTES_PER_TOKEN = 2
# Tokens that an enhancement's answer may have.
MIN_OUTPUT_TOKENS, MAX_OUTPUT_TOKENS = 4_000, 16_000


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens that an answer says it used; None where it doesn't say."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    image_input_tokens: int | None = None


def estimate_image_price(params: GenerateParams, *, partial_images: int = 0) -> int | None:
    """Micro-USD that all `n` images will cost, from the tables; None when no figure is published.

    How many tokens a picture counts that an image is made from, nobody has published for any model.
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
    """Micro-USD to set aside for `n` images whose price isn't known beforehand; None where even that isn't.

    The tokens are those of the one model whose are published, for its own area or the picture's where that
    is larger; an unknown quality counts as high, and each picture that it is made from as one more.
    """
    model = image_model(params.model)
    if model.price is None:
        return None
    one = FLARE_TOKENS.get(params.quality, FLARE_TOKENS["high"]) * _squares(params.size)
    pictures = params.input_count * FLARE_TOKENS["high"]
    out = math.ceil(one) + partial_images * PARTIAL_TOKENS
    prompt = math.ceil(len(with_style(params.prompt, params.style)) / CHARACTERS_PER_TOKEN)
    micros = prompt * model.price.text_input + pictures * model.price.image_input + out * model.price.output
    return math.ceil(params.n * micros)


def _squares(size: str) -> float:
    """How many squares of 1024 pixels a picture is as large as, at least one; the service's choice as two."""
    width, _, height = size.partition("x")
    return max(1.0, int(width) * int(height) / 1024**2) if height else 2.0


def image_price(model_name: str, usage: TokenCount) -> int | None:
    """Micro-USD that an image answer cost, by its own usage; None when it or the price is unknown."""
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
    """Micro-USD that an enhancement cost, by its own usage; None when it or the price is unknown."""
    model = text_model(model_name)
    if model_name == OFFLINE_TEXT_MODEL:
        return 0
    if model.input_price is None or model.output_price is None:
        return None
    if usage.input_tokens is None or usage.output_tokens is None:
        return None
    return math.ceil(usage.input_tokens * model.input_price + usage.output_tokens * model.output_price)


def max_output_tokens(request: PromptRequest) -> int:
    """The most tokens that an enhancement of `request` may answer with."""
    return min(MIN_OUTPUT_TOKENS + len(request.to_message()), MAX_OUTPUT_TOKENS)


def max_text_price(model_name: str, request: PromptRequest) -> int | None:
    """Micro-USD to set aside for an enhancement: all that it is told, and the longest answer.

    None where the model's price isn't known.
    """
    words = "".join(message["content"] for message in chat_messages(request))
    told = math.ceil(len(words.encode("utf-8", "surrogatepass")) / MIN_BYTES_PER_TOKEN)
    return text_price(model_name, TokenCount(told, max_output_tokens(request)))
