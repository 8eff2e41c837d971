"""The offline engine answers OpenAI's SDK in its wire format, with its errors, and without a network."""

import base64
import io
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest
from PIL import Image, UnidentifiedImageError

from core.offline.simulated_faults import FAULTS
from core.offline.transport import OfflineTransport
from core.prompts.request import PromptRequest

WRITER, PAINTER = "offline-writer", "offline-painter"
PIP = PromptRequest("Pip", ("curious", "one torn ear"), "a small fox in the forest", style="watercolour")


def service(seed: int | None = 1) -> openai.OpenAI:
    http = openai.DefaultHttpx2Client(transport=OfflineTransport(seed=seed))
    return openai.OpenAI(api_key="none", base_url="http://offline/v1", max_retries=0, http_client=http)


@pytest.fixture
def client() -> openai.OpenAI:
    return service()


def write(client: openai.OpenAI, request: PromptRequest | str = PIP, **options: Any) -> Any:
    text = request if isinstance(request, str) else request.to_message()
    return client.chat.completions.create(
        model=WRITER,
        messages=[{"role": "system", "content": "Enhance."}, {"role": "user", "content": text}],
        **options,
    )


def draw(client: openai.OpenAI, prompt: str = "a fox in the forest", **options: Any) -> Any:
    return client.images.generate(**{"model": PAINTER, "prompt": prompt, "size": "256x256"} | options)


def opened(b64: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(b64)))


# Text


def test_an_enhanced_prompt_contains_all_facts(client):
    answer = write(client)
    text = answer.choices[0].message.content
    assert all(
        fact in text for fact in ("Pip", "curious", "one torn ear", PIP.base_prompt, "watercolour painting")
    )
    assert (answer.model, answer.choices[0].finish_reason) == (WRITER, "stop")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer._request_id.startswith("req_")


def test_a_streamed_completion_has_the_same_text_word_by_word(client):
    chunks = list(write(client, stream=True, stream_options={"include_usage": True}))
    *talk, last = chunks
    assert talk[0].choices[0].delta.role == "assistant"
    assert talk[-1].choices[0].finish_reason == "stop"
    assert last.usage.completion_tokens > 0
    assert last.choices == []
    text = "".join(chunk.choices[0].delta.content or "" for chunk in talk)
    assert text == write(client).choices[0].message.content
    assert len(talk) > 20
    assert len({chunk.id for chunk in chunks}) == 1


def test_a_streamed_completion_has_usage_only_on_request(client):
    assert all(chunk.usage is None for chunk in write(client, stream=True))


def test_each_variation_gives_another_text(client):
    texts = {
        write(client, PromptRequest("Pip", base_prompt="a fox", variation=number)).choices[0].message.content
        for number in range(5)
    }
    assert len(texts) == 5


def test_plain_text_counts_as_the_base_prompt(client):
    assert "just some words" in write(client, "just some words").choices[0].message.content


# Pictures


@pytest.mark.parametrize("output_format", ["png", "webp", "jpeg"])
def test_a_picture_has_the_requested_size_and_format(client, output_format):
    answer = draw(client, size="320x256", output_format=output_format, quality="high")
    image = opened(answer.data[0].b64_json)
    assert (image.size, image.format) == ((320, 256), output_format.upper())
    assert (answer.size, answer.output_format, answer.quality) == ("320x256", output_format, "high")
    assert answer.background == "opaque"
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_the_automatic_size_is_square(client):
    assert opened(draw(client, size="auto").data[0].b64_json).size == (1024, 1024)


def test_several_pictures_of_one_request_differ(client):
    assert len({picture.b64_json for picture in draw(client, n=3).data}) == 3


@pytest.mark.parametrize("output_format", ["png", "webp"])
def test_a_transparent_background_is_transparent(client, output_format):
    answer = draw(client, background="transparent", output_format=output_format)
    assert opened(answer.data[0].b64_json).convert("RGBA").getchannel("A").getextrema() == (0, 255)
    assert answer.background == "transparent"


def test_a_stream_sends_partial_images_and_then_the_finished_picture(client):
    *partials, completed = draw(client, stream=True, partial_images=3)
    assert [event.type for event in partials] == ["image_generation.partial_image"] * 3
    assert [event.partial_image_index for event in partials] == [0, 1, 2]
    assert completed.type == "image_generation.completed"
    assert completed.usage.output_tokens > 0
    assert completed.b64_json == draw(client).data[0].b64_json
    assert all(opened(event.b64_json).size == (256, 256) for event in (*partials, completed))


def test_the_same_seed_paints_the_same_picture(client):
    assert draw(client).data[0].b64_json == draw(service(1)).data[0].b64_json
    assert draw(client).data[0].b64_json != draw(service(2)).data[0].b64_json
    unseeded = service(None)
    assert draw(unseeded).data[0].b64_json != draw(unseeded).data[0].b64_json


def test_concurrent_threads_get_the_same_pictures_as_a_single_one(client):
    prompts = [f"a {subject} in the forest" for subject in ("fox", "cat", "dog", "owl") * 2]
    alone = [draw(client, prompt).data[0].b64_json for prompt in prompts]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda prompt: draw(client, prompt).data[0].b64_json, prompts))
    assert together == alone


def test_models_are_listed(client):
    assert [model.id for model in client.models.list()] == [PAINTER, WRITER]


# Requests that are refused


@pytest.mark.parametrize(
    ("options", "param"),
    [
        pytest.param({"prompt": "  "}, "prompt", id="empty prompt"),
        pytest.param({"prompt": "x" * 32_001}, "prompt", id="prompt too long"),
        pytest.param({"size": "big"}, "size", id="invalid size"),
        pytest.param({"size": "1000x1000"}, "size", id="edge not divisible by 16"),
        pytest.param({"size": "256x1024"}, "size", id="ratio over 3"),
        pytest.param({"size": "3840x3840"}, "size", id="too many pixels"),
        pytest.param({"n": 0}, "n", id="n too small"),
        pytest.param({"n": 11}, "n", id="n too large"),
        pytest.param({"quality": "hd"}, "quality", id="unknown quality"),
        pytest.param({"output_format": "gif"}, "output_format", id="unknown format"),
        pytest.param({"partial_images": 4, "stream": True}, "partial_images", id="too many partials"),
        pytest.param(
            {"background": "transparent", "output_format": "jpeg"}, "background", id="jpeg has no alpha"
        ),
    ],
)
def test_an_invalid_option_is_refused_and_named(client, options, param):
    with pytest.raises(openai.BadRequestError) as caught:
        draw(client, **options)
    assert caught.value.param == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id.startswith("req_")


@pytest.mark.parametrize(
    ("call", "code"),
    [
        pytest.param(lambda c: draw(c, model="gpt-image-9"), "model_not_found", id="unknown image model"),
        pytest.param(
            lambda c: c.chat.completions.create(model="gpt-9", messages=[{"role": "user", "content": "x"}]),
            "model_not_found",
            id="unknown text model",
        ),
        pytest.param(lambda c: c.embeddings.create(model="e", input="a"), "unknown_url", id="other routes"),
    ],
)
def test_an_unknown_model_or_route_answers_404(client, call, code):
    with pytest.raises(openai.NotFoundError) as caught:
        call(client)
    assert caught.value.code == code


def test_json_output_is_an_unsupported_parameter(client):
    with pytest.raises(openai.BadRequestError) as caught:
        write(client, response_format={"type": "json_object"})
    assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "response_format")


def test_a_completion_needs_a_user_message(client):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model=WRITER, messages=[{"role": "system", "content": "hello"}])


# Simulated faults

REFUSALS = [
    pytest.param("quota", openai.RateLimitError, "insufficient_quota", id="quota"),
    pytest.param("credit", openai.RateLimitError, "credit_balance_exhausted", id="credit"),
    pytest.param("billing", openai.BadRequestError, "billing_hard_limit_reached", id="billing"),
    pytest.param("rate", openai.RateLimitError, "rate_limit_exceeded", id="rate"),
    pytest.param("slow", openai.RateLimitError, "slow_down", id="slow"),
    pytest.param("overloaded", openai.InternalServerError, "server_is_overloaded", id="overloaded"),
    pytest.param("server", openai.InternalServerError, "server_error", id="server"),
    pytest.param("key", openai.AuthenticationError, "invalid_api_key", id="key"),
    pytest.param("organisation", openai.PermissionDeniedError, None, id="organisation"),
    pytest.param("region", openai.PermissionDeniedError, "unsupported_country_region_territory", id="region"),
    pytest.param("model", openai.NotFoundError, "model_not_found", id="model"),
    pytest.param("moderation", openai.BadRequestError, "moderation_blocked", id="moderation"),
    pytest.param("policy", openai.BadRequestError, "content_policy_violation", id="policy"),
    pytest.param("size", openai.BadRequestError, "invalid_value", id="size"),
    pytest.param("parameter", openai.BadRequestError, "unsupported_parameter", id="parameter"),
    pytest.param("long", openai.BadRequestError, "string_above_max_length", id="long"),
    pytest.param("toolarge", openai.APIStatusError, None, id="toolarge"),
    pytest.param("timeout", openai.APITimeoutError, None, id="timeout"),
    pytest.param("refused", openai.APIConnectionError, None, id="refused"),
]
CALLS = [
    pytest.param(lambda c, word: draw(c, f"a fox !fail {word}"), id="picture"),
    pytest.param(lambda c, word: list(draw(c, f"a fox !FAIL {word}", stream=True)), id="streamed picture"),
    pytest.param(lambda c, word: write(c, PromptRequest(base_prompt=f"a fox !fail {word}")), id="text"),
    pytest.param(
        lambda c, word: list(write(c, PromptRequest("x", guidance=f"!fail {word}"), stream=True)),
        id="streamed text",
    ),
]
Call = Callable[[openai.OpenAI, str], Any]


@pytest.mark.parametrize(("word", "error", "code"), REFUSALS)
@pytest.mark.parametrize("call", CALLS)
def test_a_simulated_fault_raises_the_services_error(client, call: Call, word, error, code):
    with pytest.raises(error) as caught:
        call(client, word)
    assert caught.value.code == code
    if isinstance(caught.value, openai.APIStatusError):
        assert caught.value.request_id.startswith("req_")


@pytest.mark.parametrize("word", ["rate", "slow", "overloaded"])
def test_a_busy_service_sends_retry_after(client, word):
    with pytest.raises(openai.APIStatusError) as caught:
        draw(client, f"!fail {word}")
    assert int(caught.value.response.headers["retry-after"]) > 0


def test_a_moderation_error_names_its_categories(client):
    with pytest.raises(openai.BadRequestError) as caught:
        draw(client, "!fail moderation")
    assert caught.value.body["moderation_details"]["categories"] == ["violence"]


@pytest.mark.parametrize(
    "prompt", ["a fox !fail everything", "!fail 404", "!fail größe", "a fox !fail", "!FAIL, please"]
)
def test_an_unknown_fault_lists_the_known_ones(client, prompt):
    with pytest.raises(openai.BadRequestError) as caught:
        draw(client, prompt)
    assert all(word in caught.value.body["message"] for word in FAULTS)


@pytest.mark.parametrize("prompt", ["!failure is an option", "a !fail-safe lamp", "fail quota"])
def test_other_words_are_no_fault(client, prompt):
    assert draw(client, prompt)


def test_a_dropped_connection_is_a_connection_error(client):
    with pytest.raises(openai.APIConnectionError):
        draw(client, "!fail drop")


def test_a_dropped_stream_breaks_after_the_first_events(client):
    events = iter(draw(client, "!fail drop", stream=True, partial_images=2))
    assert [next(events).type for _ in range(2)] == ["image_generation.partial_image"] * 2
    with pytest.raises(openai.APIConnectionError):
        next(events)


def test_a_truncated_stream_ends_without_the_finished_picture(client):
    events = list(draw(client, "!fail truncated", stream=True, partial_images=2))
    assert [event.type for event in events] == ["image_generation.partial_image"] * 2
    assert all(not chunk.choices[0].finish_reason for chunk in write(client, "!fail truncated", stream=True))


@pytest.mark.parametrize("word", ["garbled", "truncated"])
def test_an_invalid_or_truncated_response_is_no_json(client, word):
    with pytest.raises(json.JSONDecodeError):
        draw(client, f"!fail {word}")


def test_a_stream_of_invalid_json_is_an_error(client):
    with pytest.raises(json.JSONDecodeError):
        list(draw(client, "!fail garbled", stream=True))


def test_a_web_page_replaces_the_response(client):
    assert draw(client, "!fail html").startswith("<!doctype html>")
    assert list(draw(client, "!fail html", stream=True)) == []


def test_a_damaged_image_file_is_delivered(client):
    with pytest.raises(UnidentifiedImageError):
        opened(draw(client, "!fail damaged").data[0].b64_json)


def test_an_empty_response_has_no_picture_and_no_text(client):
    assert draw(client, "!fail empty").data == []
    assert list(draw(client, "!fail empty", stream=True)) == []
    assert write(client, "!fail empty").choices[0].message.content == ""


def test_every_fault_is_tested_here():
    damaged = {"drop", "html", "garbled", "truncated", "damaged", "empty"}
    assert set(FAULTS) == damaged | {case.values[0] for case in REFUSALS}
