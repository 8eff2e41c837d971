"""Models: their capabilities are checked before a call is paid, and an unknown price is never zero."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from core.common.media_types import MAX_IMAGE_PIXELS
from core.errors import ImageError, InvalidParameter, ModelRetired, PromptEmpty, PromptTooLong
from core.prompts.instructions import system_message
from core.prompts.recipe import GenerateParams
from core.prompts.request import PromptRequest
from core.provider.capabilities import check_params, check_text_model
from core.provider.catalogue import (
    IMAGE_MODELS,
    TEXT_MODELS,
    image_model,
    offered_models,
    text_model,
)
from core.provider.pricing import (
    MAX_OUTPUT_TOKENS,
    TokenCount,
    estimate_image_price,
    image_price,
    max_output_tokens,
    max_text_price,
    text_price,
)
from core.settings import Settings, load_settings

TODAY = date(2026, 11, 23)
FLARE = GenerateParams("a fox", "gpt-image-2.6-flare")
PRICED = GenerateParams("abcd" * 10, "gpt-image-2.5-flare", size="1024x1024", quality="low")
DALL_E = GenerateParams("a fox", "dall-e-3", size="1792x1024", quality="hd")
OPENAI = load_settings(openai_api_key="sk-test")
ELSEWHERE = load_settings(openai_base_url="http://127.0.0.1:9/v1")


@pytest.mark.parametrize(
    "params",
    [
        pytest.param(FLARE, id="defaults"),
        pytest.param(replace(FLARE, size="2048x1152"), id="a size of one's own"),
        pytest.param(replace(FLARE, size="3840x2160"), id="the largest size"),
        pytest.param(replace(FLARE, quality="max", n=10), id="finest quality and most images"),
        pytest.param(replace(FLARE, background="transparent", output_format="webp"), id="transparent WebP"),
        pytest.param(replace(FLARE, style="watercolour"), id="a preset style"),
        pytest.param(
            replace(FLARE, model="gpt-image-2.5-flare-2026-09-08", quality="xhigh"), id="a snapshot"
        ),
        pytest.param(replace(FLARE, model="gpt-image-1.5"), id="an ending model before its end"),
        pytest.param(replace(FLARE, model="flux-9", size="512x768", quality="hd"), id="an unknown model"),
        pytest.param(replace(FLARE, model="offline-painter", size="1536x1024"), id="the offline painter"),
    ],
)
def test_supported_parameters_pass(params: GenerateParams) -> None:
    check_params(params, today=TODAY, official=True)


@pytest.mark.parametrize(
    ("params", "error", "field"),
    [
        pytest.param(replace(FLARE, prompt=" \n"), PromptEmpty, "prompt", id="nothing to draw"),
        pytest.param(replace(FLARE, prompt="x" * 32_001), PromptTooLong, "prompt", id="too long"),
        pytest.param(replace(DALL_E, prompt="x" * 4_001), PromptTooLong, "prompt", id="too long for DALL·E"),
        pytest.param(
            replace(FLARE, prompt="x" * 31_990, style="ink"),
            PromptTooLong,
            "prompt",
            id="too long with its style",
        ),
        pytest.param(replace(FLARE, n=0), InvalidParameter, "n", id="no image"),
        pytest.param(replace(FLARE, n=11), InvalidParameter, "n", id="too many images"),
        pytest.param(replace(DALL_E, n=2), InvalidParameter, "n", id="two from DALL·E 3"),
        pytest.param(replace(FLARE, size="1000x1000"), InvalidParameter, "size", id="not divisible by 16"),
        pytest.param(replace(FLARE, size="3072x1008"), InvalidParameter, "size", id="wider than 3:1"),
        pytest.param(replace(FLARE, size="512x512"), InvalidParameter, "size", id="too few pixels"),
        pytest.param(replace(FLARE, size="3840x2176"), InvalidParameter, "size", id="too many pixels"),
        pytest.param(replace(FLARE, size="big"), InvalidParameter, "size", id="not a size"),
        pytest.param(replace(DALL_E, size="1536x1024"), InvalidParameter, "size", id="another model's size"),
        pytest.param(replace(FLARE, quality="hd"), InvalidParameter, "quality", id="another model's quality"),
        pytest.param(
            replace(FLARE, model="gpt-image-2", quality="max"), InvalidParameter, "quality", id="before 2.5"
        ),
        pytest.param(replace(FLARE, style="vivid"), InvalidParameter, "style", id="DALL·E's style"),
        pytest.param(replace(FLARE, output_format="gif"), InvalidParameter, "output_format", id="GIF"),
        pytest.param(
            replace(FLARE, background="transparent", output_format="jpeg"),
            InvalidParameter,
            "background",
            id="a transparent JPEG",
        ),
    ],
)
def test_unsupported_parameters_are_refused(
    params: GenerateParams, error: type[ImageError], field: str | None
) -> None:
    with pytest.raises(error) as caught:
        check_params(params, today=TODAY, official=False)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("model", "today"),
    [
        pytest.param("dall-e-3", TODAY, id="a retired model"),
        pytest.param("gpt-image-1", TODAY, id="retired"),
        pytest.param("gpt-image-1.5", date(2026, 12, 1), id="on its last date"),
        pytest.param("chatgpt-image-latest", date(2027, 1, 1), id="past its end"),
    ],
)
def test_a_retired_model_names_its_successor(model: str, today: date) -> None:
    params = GenerateParams("a fox", model)
    with pytest.raises(ModelRetired, match=r"GPT Image 2\.6 Flare"):
        check_params(params, today=today, official=True)
    check_params(params, today=today, official=False)


def test_dall_e_keeps_its_own_styles() -> None:
    check_params(replace(DALL_E, style="vivid"), today=TODAY, official=False)


@pytest.mark.parametrize(
    ("name", "today", "gone"),
    [
        pytest.param("gpt-6-luna", TODAY, False, id="the default"),
        pytest.param("gpt-4", TODAY, True, id="a retired model"),
        pytest.param("gpt-5-mini", TODAY, False, id="before its end"),
        pytest.param("gpt-5-mini", date(2026, 12, 11), True, id="at its end"),
        pytest.param("llama-9", TODAY, False, id="unknown"),
    ],
)
def test_a_retired_text_model_names_its_successor(name: str, today: date, gone: bool) -> None:
    if not gone:
        check_text_model(name, today=today)
        return
    with pytest.raises(ModelRetired, match="GPT-6 Luna"):
        check_text_model(name, today=today)


def test_forms_for_openai_offer_the_models_that_it_serves_today() -> None:
    names = [model.name for model in offered_models(OPENAI, today=TODAY)]
    assert names[0] == "gpt-image-2.6-flare"
    assert "gpt-image-1.5" in names
    assert not {"gpt-image-1", "dall-e-3", "offline-painter"} & set(names)
    later = [model.name for model in offered_models(OPENAI, today=date(2026, 12, 1))]
    assert "gpt-image-1.5" not in later


def test_forms_for_another_service_offer_all_models_and_its_own_first() -> None:
    settings = ELSEWHERE.model_copy(update={"image_model": "flux-9"})
    names = [model.name for model in offered_models(settings, today=TODAY)]
    assert names[0] == "flux-9"
    assert "dall-e-3" in names
    assert "offline-painter" not in names


def test_forms_offline_offer_the_painter_alone() -> None:
    assert [model.name for model in offered_models(load_settings(), today=TODAY)] == ["offline-painter"]


@pytest.mark.parametrize(
    ("settings", "official"),
    [
        pytest.param(OPENAI, True, id="a key alone"),
        pytest.param(load_settings(openai_base_url="https://api.openai.com/v1"), True, id="its address"),
        pytest.param(
            load_settings(openai_base_url="https://eu.api.openai.com/v1"), True, id="its regional address"
        ),
        pytest.param(
            load_settings(openai_base_url="https://api.openai.com.evil.example"), False, id="a lookalike"
        ),
        pytest.param(ELSEWHERE, False, id="another server"),
        pytest.param(load_settings(), False, id="offline"),
    ],
)
def test_openai_is_recognised_by_its_address(settings: Settings, official: bool) -> None:
    assert settings.image_service.is_official is official


@pytest.mark.parametrize(
    ("params", "partial_images", "micros"),
    [
        pytest.param(PRICED, 0, 10 * 5 + 196 * 30, id="one image"),
        pytest.param(replace(PRICED, n=3), 0, 3 * (10 * 5 + 196 * 30), id="three images"),
        pytest.param(PRICED, 2, 10 * 5 + (196 + 200) * 30, id="with previews"),
        pytest.param(replace(PRICED, quality="max"), 0, 10 * 5 + 7_024 * 30, id="finest"),
        pytest.param(replace(PRICED, model="offline-painter"), 2, 0, id="offline is free"),
        pytest.param(replace(PRICED, size="1536x1024"), 0, None, id="unlisted size"),
        pytest.param(replace(PRICED, quality="auto"), 0, None, id="quality left to the service"),
        pytest.param(replace(PRICED, model="gpt-image-2.6-flare"), 0, None, id="tokens not published"),
        pytest.param(replace(PRICED, model="dall-e-3"), 0, None, id="no price"),
        pytest.param(replace(PRICED, model="flux-9"), 0, None, id="unknown model"),
    ],
)
def test_an_estimate_is_a_price_or_unknown(
    params: GenerateParams, partial_images: int, micros: int | None
) -> None:
    assert estimate_image_price(params, partial_images=partial_images) == micros


@pytest.mark.parametrize(
    ("model", "usage", "micros"),
    [
        pytest.param("gpt-image-2.6-flare", TokenCount(20, 200), 20 * 5 + 200 * 30, id="from the usage"),
        pytest.param(
            "gpt-image-2", TokenCount(120, 200, 100), 20 * 5 + 100 * 8 + 200 * 30, id="with an image sent"
        ),
        pytest.param("gpt-image-2", TokenCount(), None, id="no usage in the answer"),
        pytest.param("gpt-image-1.5", TokenCount(20, 200), None, id="no price"),
        pytest.param("flux-9", TokenCount(20, 200), None, id="unknown model"),
        pytest.param("offline-painter", TokenCount(), 0, id="offline is free"),
    ],
)
def test_the_actual_price_of_an_image_comes_from_its_usage(
    model: str, usage: TokenCount, micros: int | None
) -> None:
    assert image_price(model, usage) == micros


@pytest.mark.parametrize(
    ("model", "usage", "micros"),
    [
        pytest.param("gpt-6-luna", TokenCount(400, 100), 90, id="the default"),
        pytest.param("gpt-6-luna", TokenCount(1, 1), 1, id="rounded up, never to nothing"),
        pytest.param("gpt-6.1-sol", TokenCount(400, 100), 1_800, id="a stronger one"),
        pytest.param("gpt-6-luna", TokenCount(), None, id="no usage in the answer"),
        pytest.param("llama-9", TokenCount(400, 100), None, id="unknown model"),
        pytest.param("offline-writer", TokenCount(), 0, id="offline is free"),
    ],
)
def test_the_actual_price_of_an_enhancement_comes_from_its_usage(
    model: str, usage: TokenCount, micros: int | None
) -> None:
    assert text_price(model, usage) == micros


LONG = PromptRequest(base_prompt="f" * 8_000, guidance="g" * 8_000)


@pytest.mark.parametrize(
    ("request_", "limit"),
    [
        pytest.param(PromptRequest(), 4_000, id="short"),
        pytest.param(PromptRequest(base_prompt="f" * 8_000), 12_000, id="long"),
        pytest.param(LONG, MAX_OUTPUT_TOKENS, id="as long as it may be"),
    ],
)
def test_the_output_limit_of_an_enhancement_grows_with_its_request(
    request_: PromptRequest, limit: int
) -> None:
    assert limit <= max_output_tokens(request_) <= min(limit + 200, MAX_OUTPUT_TOKENS)


def test_the_upper_bound_for_an_enhancement_covers_its_messages_and_the_longest_response() -> None:
    """Even in a script of which each character is a token."""
    request_ = PromptRequest(base_prompt="狐" * 8_000)
    messages = system_message(request_) + request_.to_message()
    one_token_per_character = text_price("gpt-6-luna", TokenCount(len(messages), max_output_tokens(request_)))
    upper_bound = max_text_price("gpt-6-luna", request_)
    assert one_token_per_character
    assert upper_bound
    assert one_token_per_character <= upper_bound < 2 * one_token_per_character


@pytest.mark.parametrize(("model", "micros"), [("llama-9", None), ("offline-writer", 0)])
def test_an_enhancement_without_a_price_has_no_upper_bound(model: str, micros: int | None) -> None:
    assert max_text_price(model, LONG) == micros


@pytest.mark.parametrize("model", IMAGE_MODELS, ids=lambda model: model.name)
def test_each_image_model_is_consistent(model: Any) -> None:
    assert hash(model) == hash(image_model(model.name))
    assert not (model.max_partial_images and (model.sends_response_format or model.api_styles))
    assert (model.retires_on is None) == (model.status not in ("ending", "retired"))
    if model.retires_on:
        assert image_model(model.successor).status == "current"


@pytest.mark.parametrize("name", ["flux-x", "gpt-image-9", *(model.name for model in IMAGE_MODELS)])
def test_no_model_is_sold_more_pixels_than_are_accepted(name: str) -> None:
    rule = image_model(name).size_rule
    assert rule is None or rule.max_pixels <= MAX_IMAGE_PIXELS


@pytest.mark.parametrize("model", TEXT_MODELS, ids=lambda model: model.name)
def test_each_text_model_is_consistent(model: Any) -> None:
    assert text_model(model.name) == model
    assert (model.retires_on is None) == (model.successor is None)


def test_an_unknown_gpt_image_model_has_no_price() -> None:
    model = image_model("openai/gpt-image-4")
    assert model.max_partial_images
    assert not model.sends_response_format
    assert model.price is None
