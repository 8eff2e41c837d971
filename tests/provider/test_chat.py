"""Enhancing prompts: the parameters that are sent, the chunks, and incomplete responses."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from core.errors import (
    BadResponse,
    ContentFiltered,
    EnhancementRefused,
    EnhancementTooLong,
    EnhancementTruncated,
    ImageError,
    ImagePromptError,
    PromptEmpty,
)
from core.prompts.request import EnhancementLevel, PromptRequest
from core.prompts.validation import check_prompt_texts
from core.provider.client import ServiceClient
from core.provider.pricing import TokenCount, text_price
from core.settings import DEFAULT_TEXT_MODEL
from tests.support.openai_service import (
    ERRORS,
    FAULTS,
    REQUEST_ID,
    TAG,
    Behaviour,
    ErrorRow,
    OpenAIService,
)
from tests.support.service_client import (
    PIP,
    MakeClient,
    enhance,
    parameter_refusal,
)


@pytest.mark.parametrize("name", ["stream_options", "reasoning_effort"])
def test_a_parameter_that_a_text_service_refuses_is_dropped(
    service: OpenAIService, client: ServiceClient, name: str
) -> None:
    service.script(parameter_refusal(name))
    assert "Pip" in enhance(client).result.text
    assert name not in service.requests[-1].body


def test_an_unstreamed_response_to_a_streamed_text_call_is_read(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("plain")
    enhanced = enhance(client).result
    assert "loopback service" in enhanced.text
    assert enhanced.usage.input_tokens == 400


def test_a_truncated_text_stream_is_an_error(service: OpenAIService, client: ServiceClient) -> None:
    service.script("truncated")
    with pytest.raises(EnhancementTruncated):
        enhance(client)


@pytest.mark.parametrize("fault", ["malformed", "not an object"])
def test_a_response_without_a_prompt_says_so(
    service: OpenAIService, client: ServiceClient, fault: str
) -> None:
    service.script(fault)
    with pytest.raises(BadResponse, match="isn't a prompt"):
        enhance(client)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"choices": "x", "usage": 3}, id="no choices"),
        pytest.param({"choices": ["x"]}, id="choices of another kind"),
        pytest.param({"choices": [{"message": "x", "finish_reason": "stop"}]}, id="message of another kind"),
        pytest.param({"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}, id="no text"),
    ],
)
def test_an_unexpected_completion_is_an_image_prompt_error(
    service: OpenAIService, client: ServiceClient, body: dict[str, Any]
) -> None:
    service.script(Behaviour(raw=json.dumps(body).encode()))
    with pytest.raises(ImagePromptError):
        enhance(client)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        pytest.param("prose", "A quiet harbour.", id="prose"),
        pytest.param("fenced", "A quiet harbour.", id="fenced JSON"),
    ],
)
def test_an_introduction_and_code_fences_are_removed(
    service: OpenAIService, client: ServiceClient, fault: str, text: str
) -> None:
    service.script(fault)
    enhanced = enhance(client).result
    assert enhanced.text.startswith(text)
    assert enhanced.added_back == ("Pip", "green coat")


@pytest.mark.parametrize("plain", [pytest.param(False, id="streamed"), pytest.param(True, id="plain")])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("refusal", EnhancementRefused),
        ("length", EnhancementTooLong),
        ("content filter", ContentFiltered),
        ("empty", ImagePromptError),
    ],
)
def test_an_unfinished_enhancement_is_an_error_with_its_cost(
    service: OpenAIService, client: ServiceClient, fault: str, error: type[ImageError], plain: bool
) -> None:
    service.script(replace(FAULTS[fault], plain=plain))
    with pytest.raises(error) as caught:
        enhance(client)
    assert type(caught.value) is error
    assert caught.value.request_id == REQUEST_ID
    # It was written all the same, and is paid.
    assert caught.value.charged is not False
    used = TokenCount(caught.value.input_tokens, caught.value.output_tokens)
    assert used.input_tokens == 400
    assert caught.value.price_micros == text_price(DEFAULT_TEXT_MODEL, used)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize(
    ("text", "most"),
    [
        pytest.param("fox " * 8_001, "32,000", id="longer than any prompt"),
        pytest.param("<think>" + "fox " * 25_000 + "</think>A fox.", "100,000", id="longer than any answer"),
    ],
)
def test_an_enhancement_that_is_too_long_is_stopped(
    service: OpenAIService, client: ServiceClient, text: str, most: str, plain: bool
) -> None:
    service.script(Behaviour(text=text, plain=plain))
    shown: list[str] = []
    with pytest.raises(EnhancementTooLong) as caught:
        shown.extend(client.chat.enhance(PIP, user_tag=TAG))
    assert most in caught.value.details
    assert caught.value.request_id == REQUEST_ID
    assert len("".join(shown)) <= 100_000


def test_combining_marks_beyond_the_limit_of_a_prompt_are_removed(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(text="Pip in a green coat, a" + "\u0301\u0316" * 500 + " fox"))
    text = enhance(client).result.text
    check_prompt_texts(name="", traits=(), prompt=text)
    assert text == "Pip in a green coat, a" + "\u0301\u0316" * 15 + " fox"


def test_an_enhancement_arrives_in_chunks(client: ServiceClient) -> None:
    stream = client.chat.enhance(PIP, user_tag=TAG)
    with pytest.raises(RuntimeError):
        _ = stream.result
    texts = list(stream)
    assert len(texts) > 5
    assert "".join(texts) == stream.result.text
    assert stream.result.added_back == ()
    output = len(stream.result.text) // 4
    assert stream.result.usage == TokenCount(400, output)
    assert stream.result.price_micros == 40 + (output + 1) // 2
    assert (stream.result.request_id, stream.result.model) == (REQUEST_ID, "gpt-6-luna")


@pytest.mark.parametrize(
    ("texts", "text"),
    [
        pytest.param((r"A fox \ud83e", r"\udd8a in snow"), "A fox 🦊 in snow", id="between two chunks"),
        pytest.param((r"A fox \ud83e", " in snow"), "A fox � in snow", id="one half alone"),
        pytest.param(("A fox in snow", r"\ud83e"), "A fox in snow", id="half at the end"),
    ],
)
def test_a_character_split_between_chunks_arrives_whole(
    service: OpenAIService, client: ServiceClient, texts: tuple[str, ...], text: str
) -> None:
    chunks = [f'{{"choices": [{{"delta": {{"content": "{part}"}}}}]}}' for part in texts]
    frames = [*chunks, '{"choices": [{"delta": {}, "finish_reason": "stop"}]}', "[DONE]"]
    stream_of = "".join(f"data: {frame}\n\n" for frame in frames).encode()
    service.script(Behaviour(raw=stream_of, raw_type="text/event-stream"))
    stream = client.chat.enhance(PromptRequest(base_prompt="fox"), user_tag=TAG)
    seen = "".join(stream)
    assert (seen, stream.result.text) == (text, text)
    assert seen.encode()


def test_a_chat_call_has_parameters_that_compatible_services_know(
    service: OpenAIService, client: ServiceClient
) -> None:
    enhance(client, replace(PIP, enhancement=EnhancementLevel.RICH))
    body = service.requests[-1].body
    system, user = body.pop("messages")
    assert body.pop("max_completion_tokens") >= 2_000
    assert body == {
        "model": "gpt-6-luna",
        "stream": True,
        "stream_options": {"include_usage": True},
        "reasoning_effort": "none",
    }
    assert (system["role"], user["role"]) == ("system", "user")
    assert "Rich:" in system["content"]
    assert json.loads(user["content"])["traits"] == ["green coat"]


@pytest.mark.parametrize("model", ["gpt-6.1-sol", "llama-9"])
def test_reasoning_effort_is_only_sent_to_models_that_accept_it(
    service: OpenAIService, make_client: MakeClient, model: str
) -> None:
    enhance(make_client(text_model=model))
    assert "reasoning_effort" not in service.requests[-1].body


def test_facts_that_the_model_left_out_are_added_back(service: OpenAIService, client: ServiceClient) -> None:
    service.script(Behaviour(text="A fox in a GREEN  coat."))
    enhanced = enhance(client).result
    assert enhanced.added_back == ("Pip",)
    assert enhanced.text == "A fox in a GREEN  coat.\n\nKeep exactly: Pip."


def test_an_empty_request_is_not_sent(service: OpenAIService, client: ServiceClient) -> None:
    with pytest.raises(PromptEmpty):
        client.chat.enhance(PromptRequest(traits=(" ",), style="ink"), user_tag=TAG)
    assert service.requests == []


@pytest.mark.parametrize(
    ("rows", "pauses"),
    [
        pytest.param(["overloaded", "server error"], [0.5, 1.0], id="passing faults"),
        pytest.param(["rate limit"], [7], id="as long as the service says"),
    ],
)
def test_a_text_call_is_repeated_after_a_transient_error(
    service: OpenAIService, make_client: MakeClient, rows: list[str], pauses: list[float]
) -> None:
    slept: list[float] = []
    service.script(*rows)
    assert enhance(make_client(sleep=slept.append)).result.text
    assert slept == pauses


@pytest.mark.parametrize(
    ("row", "tries"),
    [
        pytest.param(ERRORS["overloaded"], 3, id="overloaded"),
        pytest.param(replace(ERRORS["slow down"], headers={"Retry-After": "30"}), 1, id="a long wait"),
        pytest.param(ERRORS["moderation"], 1, id="blocked"),
        pytest.param(ERRORS["no such path"], 1, id="wrong address"),
    ],
)
def test_a_text_call_is_repeated_at_most_twice(
    service: OpenAIService, client: ServiceClient, row: ErrorRow, tries: int
) -> None:
    service.script(row, always=True)
    with pytest.raises(ImageError):
        enhance(client)
    assert len(service.requests) == tries
