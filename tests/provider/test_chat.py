"""Enhancing prompts: the parameters that are sent, the chunks, and incomplete responses."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest

from core.errors import (
    BadResponse,
    ContentFiltered,
    EnhancementRefused,
    EnhancementTooLong,
    EnhancementTruncated,
    ImageError,
    ImagePromptError,
    ParameterRefused,
    PromptEmpty,
    ServiceTimeout,
    ServiceUnreachable,
)
from core.prompts.request import EnhancementLevel, PromptRequest
from core.prompts.validation import check_prompt_texts
from core.provider.client import ServiceClient
from core.provider.pricing import text_price
from core.responses.parsing import TokenCount
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


class SettableClock:
    """A clock that shows `now`, in seconds."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class ByteStream(httpx2.SyncByteStream):
    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        return self._chunks


def streaming(frames: Callable[[], Iterator[bytes]]) -> httpx2.MockTransport:
    """A transport that answers each request with an event stream of these bytes."""
    kind = {"content-type": "text/event-stream"}
    return httpx2.MockTransport(lambda _: httpx2.Response(200, headers=kind, stream=ByteStream(frames())))


@pytest.mark.parametrize("name", ["stream_options", "reasoning_effort"])
def test_a_parameter_that_a_text_service_refuses_is_dropped(
    service: OpenAIService, client: ServiceClient, name: str
) -> None:
    service.script(parameter_refusal(name))
    assert "Pip" in enhance(client).result.text
    assert name not in service.requests[-1].body


def _extra(*names: str) -> ErrorRow:
    """FastAPI's refusal of the parameters `names`."""
    problems = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
        for name in names
    ]
    return ErrorRow(422, {"detail": problems}, whole=True)


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([_extra("stream_options", "max_completion_tokens")], id="in one response"),
        pytest.param([_extra("stream_options"), _extra("max_completion_tokens")], id="one after the other"),
        pytest.param(
            [_extra("stream_options", "max_completion_tokens"), _extra("max_completion_tokens")],
            id="once more although it is no longer sent",
        ),
        pytest.param(
            [
                ErrorRow(
                    422,
                    {
                        "detail": "body -> stream_options\n  Extra inputs are not permitted\n"
                        "body -> max_completion_tokens\n  Extra inputs are not permitted"
                    },
                    whole=True,
                )
            ],
            id="in one text",
        ),
    ],
)
def test_all_parameters_that_a_text_service_refuses_are_dropped_and_remembered(
    service: OpenAIService, client: ServiceClient, rows: list[ErrorRow]
) -> None:
    service.script(*rows)
    enhance(client)
    enhance(client)
    assert len(service.requests) == len(rows) + 2
    for seen in service.requests[-2:]:
        assert {"stream_options", "max_completion_tokens"}.isdisjoint(seen.body)
        assert seen.body["stream"]


def test_a_service_that_goes_on_refusing_what_is_not_sent_is_asked_once_more(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(_extra("stream_options"), always=True)
    with pytest.raises(ParameterRefused):
        enhance(client)
    assert len(service.requests) == 3


def test_a_text_service_that_refuses_every_call_says_so_in_words_that_fit(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(_extra("messages"), always=True)
    with pytest.raises(ParameterRefused) as caught:
        enhance(client)
    assert "image" not in caught.value.message
    assert "TEXT_MODEL" in " ".join(caught.value.suggestions)
    assert len(service.requests) == 1


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
    assert enhanced.added_back == ("Pip", "green coat", "a fox on a pier")


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


def test_a_base_prompt_that_the_model_lost_is_added_back(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(text="Pip in a green coat beside a quiet lake."))
    enhanced = enhance(client).result
    assert enhanced.added_back == ("a fox on a pier",)
    assert enhanced.text.endswith("Keep exactly: a fox on a pier.")


@pytest.mark.parametrize("plain", [pytest.param(False, id="streamed"), pytest.param(True, id="plain")])
def test_reasoning_in_the_text_is_neither_shown_nor_kept(
    service: OpenAIService, client: ServiceClient, plain: bool
) -> None:
    fox = "Pip, a fox in a green coat, on a pier."
    service.script(
        Behaviour(text=f"<Reasoning>The user wants a fox.</Reasoning>\n\n{fox}<|im_end|>", plain=plain)
    )
    stream = client.chat.enhance(PIP, user_tag=TAG)
    assert "".join(stream) == fox
    assert stream.result.text == fox


def test_a_response_of_reasoning_alone_says_so(service: OpenAIService, client: ServiceClient) -> None:
    service.script(Behaviour(text="<think>\nThe user wants a fox in a green coat."))
    with pytest.raises(ImagePromptError, match="only its reasoning") as caught:
        enhance(client)
    assert caught.value.charged is True
    assert caught.value.unfinished_text == ""


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_a_response_with_reasoning_in_a_field_alone_says_so(
    service: OpenAIService, client: ServiceClient, field: str
) -> None:
    message = {"content": "", field: "The user wants a fox."}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    service.script(Behaviour(raw=json.dumps(body).encode()))
    with pytest.raises(ImagePromptError, match="only its reasoning"):
        enhance(client)


@pytest.mark.parametrize(
    "content",
    [
        pytest.param([{"type": "text", "text": "Pip, a fox"}, " in a green coat"], id="parts"),
        pytest.param({"type": "text", "text": "Pip, a fox in a green coat"}, id="one part"),
        pytest.param(
            [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]},
             {"type": "text", "text": "Pip, a fox in a green coat"}],
            id="thinking in a list",
        ),
        pytest.param(
            [{"type": "reasoning", "text": "hm"}, {"type": "text", "text": "Pip, a fox in a green coat"}],
            id="reasoning",
        ),
        pytest.param(
            [{"text": "hm", "thought": True}, {"text": "Pip, a fox in a green coat"}], id="a thought"
        ),
    ],
)  # fmt: skip
def test_of_a_message_in_parts_the_text_is_taken(
    service: OpenAIService, client: ServiceClient, content: object
) -> None:
    body = {"choices": [{"message": {"content": content}, "finish_reason": "stop"}]}
    service.script(Behaviour(raw=json.dumps(body).encode()))
    assert enhance(client).result.text == "Pip, a fox in a green coat"


@pytest.mark.parametrize("text", ["I'm sorry, I can't help with that.", "抱歉，我无法协助这个请求。"])
def test_a_refusal_in_plain_words_is_a_refusal(
    service: OpenAIService, client: ServiceClient, text: str
) -> None:
    service.script(Behaviour(text=text))
    with pytest.raises(EnhancementRefused) as caught:
        enhance(client)
    assert caught.value.details == text
    assert caught.value.unfinished_text == ""
    assert caught.value.price_micros


def chat_stream(*frames: str, end: str = "data: [DONE]\n\n") -> Behaviour:
    """A stream of chunks with these JSON values of `finish_reason` after the text."""
    text = '{"delta": {"content": "Pip, a fox in a green coat, on a pier."}, "finish_reason": null}'
    choices = [text, *(f'{{"delta": {{}}, "finish_reason": {reason}}}' for reason in frames)]
    events = "".join(f'data: {{"choices": [{choice}]}}\n\n' for choice in choices)
    return Behaviour(raw=(events + end).encode(), raw_type="text/event-stream")


@pytest.mark.parametrize(
    "reason", ["stop", "STOP", "FINISH_REASON_STOP", "end_turn", "eos_token", "stop_sequence", "COMPLETE"]
)
def test_known_good_ends_count_as_the_end(service: OpenAIService, client: ServiceClient, reason: str) -> None:
    service.script(chat_stream(json.dumps(reason), end=""))
    assert enhance(client).result.text == "Pip, a fox in a green coat, on a pier."


@pytest.mark.parametrize("reason", ["null", '""', '"null"', '"NONE"', "7", '{"a": 1}'])
def test_a_stream_without_a_reason_ends_with_its_mark(
    service: OpenAIService, client: ServiceClient, reason: str
) -> None:
    service.script(chat_stream(reason), chat_stream(), chat_stream(reason, end=""))
    assert enhance(client).result.text == "Pip, a fox in a green coat, on a pier."
    assert enhance(client).result.text
    with pytest.raises(EnhancementTruncated):
        enhance(client)


@pytest.mark.parametrize("finish", [None, "", "null"])
def test_a_whole_json_object_ends_the_text(
    service: OpenAIService, client: ServiceClient, finish: str | None
) -> None:
    service.script(Behaviour(text="Pip in a green coat, a fox.", plain=True, finish=finish))
    assert enhance(client).result.text == "Pip in a green coat, a fox."


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        pytest.param("error", EnhancementTruncated, id="error"),
        pytest.param("abort", EnhancementTruncated, id="abort"),
        pytest.param("network_error", EnhancementTruncated, id="network"),
        pytest.param("tool_calls", EnhancementTruncated, id="tools"),
        pytest.param("something new", EnhancementTruncated, id="unknown"),
        pytest.param("MAX_TOKENS", EnhancementTooLong, id="Gemini's length"),
        pytest.param("max-output-tokens", EnhancementTooLong, id="with hyphens"),
        pytest.param("model_length", EnhancementTooLong, id="Mistral's length"),
        pytest.param("SAFETY", ContentFiltered, id="Gemini's filter"),
        pytest.param("refusal", EnhancementRefused, id="Anthropic's refusal"),
    ],
)
@pytest.mark.parametrize("plain", [pytest.param(False, id="streamed"), pytest.param(True, id="plain")])
def test_any_other_end_is_an_error(
    service: OpenAIService, client: ServiceClient, reason: str, error: type[ImageError], plain: bool
) -> None:
    service.script(Behaviour(text="Pip in a gr", finish=reason, plain=plain))
    with pytest.raises(error) as caught:
        enhance(client)
    assert type(caught.value) is error
    cut = error in (EnhancementTruncated, EnhancementTooLong)
    assert caught.value.unfinished_text == ("Pip in a gr" if cut else "")


def test_a_text_that_ended_is_whole_although_the_connection_breaks(make_client: MakeClient) -> None:
    def frames() -> Iterator[bytes]:
        yield chat_stream('"stop"', end="").raw or b""
        raise httpx2.ReadError("reset")

    assert enhance(make_client(streaming(frames))).result.text.startswith("Pip, a fox")


@pytest.mark.parametrize("error", [httpx2.ReadError("reset"), httpx2.ReadTimeout("silent")])
def test_a_text_that_breaks_off_stays_in_the_error(make_client: MakeClient, error: Exception) -> None:
    def frames() -> Iterator[bytes]:
        yield b'data: {"choices": [{"delta": {"content": "<think>hm</think>Here is it:\\nPip in a"}}]}\n\n'
        raise error

    with pytest.raises(ServiceUnreachable) as caught:
        enhance(make_client(streaming(frames)))
    assert caught.value.unfinished_text == "Pip in a"


@pytest.mark.parametrize("field", ["content", "reasoning_content", "reasoning"])
def test_the_time_limit_counts_from_the_last_word(make_client: MakeClient, field: str) -> None:
    clock = SettableClock()

    def frames() -> Iterator[bytes]:
        for _ in range(20):
            clock.now += 9
            yield f'data: {{"choices": [{{"delta": {{"{field}": "fox "}}}}]}}\n\n'.encode()
        yield chat_stream('"stop"').raw or b""

    assert "Pip, a fox" in enhance(make_client(streaming(frames), clock=clock, text_timeout=20)).result.text


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        pytest.param(b": keep-alive\n\n", 2, id="comments"),
        pytest.param(
            b'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n', 2, id="empty chunks"
        ),
        pytest.param(
            b'data: {"choices": [{"delta": {"content": "fox "}}]}\n\n', 24, id="ten times the limit"
        ),
    ],
)
def test_a_text_at_its_time_limit_stays_in_the_error(
    make_client: MakeClient, frame: bytes, words: int
) -> None:
    clock = SettableClock()

    def frames() -> Iterator[bytes]:
        for _ in range(2):
            yield b'data: {"choices": [{"delta": {"content": "fox "}}]}\n\n'
        while clock.now < 1_000:
            clock.now += 9
            yield frame

    with pytest.raises(ServiceTimeout) as caught:
        enhance(make_client(streaming(frames), clock=clock, text_timeout=20))
    kept = caught.value.unfinished_text.split()
    assert kept == ["fox"] * words
    assert clock.now <= 10 * 20 + 9


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
        *(
            pytest.param(
                replace(ERRORS["slow down"], headers={"Retry-After": value}), 3, id=f"Retry-After: {value}"
            )
            for value in ("0", "-5", "nan", "inf", "99999")
        ),
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
