"""The border to OpenAI-compatible services, over real HTTP to a loopback service."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import replace
from io import BytesIO
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from core.errors import (
    ApiKeyRejected,
    BadResponse,
    BillingLimitReached,
    ContentFiltered,
    EnhancementRefused,
    EnhancementTooLong,
    EnhancementTruncated,
    ImageError,
    ImageGenerationError,
    ImagePromptError,
    InvalidParameter,
    ModelUnavailable,
    NoImage,
    NotDrawable,
    OrganisationUnverified,
    OutcomeUnknown,
    ParameterRefused,
    PromptBlocked,
    PromptEmpty,
    PromptTooLong,
    QuotaSpent,
    RateLimited,
    RegionUnsupported,
    RequestTooLarge,
    ServiceAccessDenied,
    ServiceAddressWrong,
    ServiceBusy,
    ServiceFailed,
    ServiceUnreachable,
    SettingsError,
    StreamingUnverified,
    WebPageReceived,
)
from core.prompts.recipe import GenerateParams
from core.prompts.request import EnhancementLevel, PromptRequest
from core.prompts.validation import check_prompt_texts
from core.provider.chat import EnhancementStream
from core.provider.client import ServiceClient
from core.provider.connection import NO_KEY
from core.provider.images import GeneratedImages
from core.provider.moderation import MAX_CONCURRENT_MODERATIONS
from core.provider.pricing import TokenCount, text_price
from core.provider.response_limits import MAX_ERROR_BYTES, record_response
from core.provider.responses import MAX_IMAGES, event_data
from core.settings import DEFAULT_TEXT_MODEL, load_settings
from tests.support.openai_service import (
    DALL_E,
    ERRORS,
    FAULTS,
    KEY,
    REQUEST_ID,
    TAG,
    Behaviour,
    ErrorRow,
    OpenAIService,
)

FOX = GenerateParams("a fox", "gpt-image-2.6-flare")
SEVERAL = replace(FOX, n=2)
PIP = PromptRequest(name="Pip", traits=("green coat",), base_prompt="a fox on a pier")
Call = Callable[[ServiceClient], object]
Sleep = Callable[[float], None]
DRIPS = ["drip", "drip of JSON"]
ECHO = "SECRETKEY-of-another-form"


@pytest.fixture
def make_client(service: OpenAIService) -> Iterator[Callable[..., ServiceClient]]:
    """`make_client(transport=..., sleep=..., clock=..., **settings)`; the base URL is the loopback service's.

    The default transport is the usual one, but for the certificates, whose loading takes its time.
    """
    made: list[ServiceClient] = []

    def make(
        transport: httpx2.BaseTransport | None = None,
        sleep: Sleep = no_sleep,
        clock: Callable[[], float] = time.monotonic,
        **settings: Any,
    ) -> ServiceClient:
        given = {"openai_api_key": KEY, "openai_base_url": service.base_url} | settings
        wire = transport or httpx2.HTTPTransport(verify=False)
        made.append(ServiceClient(load_settings(**given), transport=wire, clock=clock, sleep=sleep))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: Callable[..., ServiceClient]) -> ServiceClient:
    return make_client()


def no_sleep(seconds: float) -> None:
    """Retries wait for nothing here; what they would wait is checked where it matters."""


class Rerouted(httpx2.BaseTransport):
    """Carries what is meant for any host to the loopback service."""

    def __init__(self, service: OpenAIService) -> None:
        self._port = service.port
        self._wire = httpx2.HTTPTransport(verify=False)

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return self._wire.handle_request(request)

    def close(self) -> None:
        self._wire.close()


class Pieces(httpx2.SyncByteStream):
    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return iter(self._pieces)


def paint(client: ServiceClient, params: GenerateParams = FOX) -> GeneratedImages:
    return client.images.generate(params, user_tag=TAG)


def write(client: ServiceClient, request: PromptRequest = PIP) -> EnhancementStream:
    stream = client.chat.enhance(request, user_tag=TAG)
    list(stream)
    return stream


def failing(transport_error: Exception) -> httpx2.MockTransport:
    def fail(request: httpx2.Request) -> httpx2.Response:
        raise transport_error

    return httpx2.MockTransport(fail)


BOTH = [pytest.param(paint, id="image"), pytest.param(write, id="text")]


def test_a_streamed_image_comes_with_its_partial_pictures(make_client: Callable[..., ServiceClient]) -> None:
    client = make_client(partial_images=2)
    seen: list[tuple[int, bytes]] = []
    made = client.images.generate(
        FOX, user_tag=TAG, on_partial=lambda index, data: seen.append((index, data))
    )
    assert [index for index, _ in seen] == [0, 1]
    assert all(
        Image.open(BytesIO(data)).size == (1024, 1024) for data in (*made.images, *(d for _, d in seen))
    )
    assert made.usage == TokenCount(20, 200, 0)
    assert made.price_micros == 20 * 5 + 200 * 30
    assert (made.request_id, made.model, made.revised_prompts) == (REQUEST_ID, FOX.model, (None,))


@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(SEVERAL, id="plain")])
def test_what_a_gpt_image_model_must_never_be_sent(
    service: OpenAIService, client: ServiceClient, params: GenerateParams
) -> None:
    paint(client, replace(params, style="ink"))
    body = service.requests[-1].body
    assert not {"response_format", "style", "input_fidelity", "complexity", "user"} & set(body)
    assert body["prompt"] == "a fox\n\nStyle: black ink drawing, brush and pen line, hatching, white paper."


def test_the_chosen_options_are_sent_and_auto_is_not(service: OpenAIService, client: ServiceClient) -> None:
    chosen = replace(
        SEVERAL, size="1536x1024", quality="high", background="transparent", output_format="webp"
    )
    paint(client, chosen)
    paint(client, FOX)
    first, second = (seen.body for seen in service.requests)
    assert first == {
        "model": FOX.model,
        "prompt": "a fox",
        "n": 2,
        "size": "1536x1024",
        "quality": "high",
        "background": "transparent",
        "output_format": "webp",
    }
    assert second == {"model": FOX.model, "prompt": "a fox", "n": 1, "stream": True, "partial_images": 1}


def test_dall_e_3_is_sent_its_own_parameters(service: OpenAIService, client: ServiceClient) -> None:
    made = paint(client, DALL_E)
    assert service.requests[-1].body == {
        "model": "dall-e-3",
        "prompt": "a fox",
        "n": 1,
        "size": "1024x1024",
        "quality": "hd",
        "style": "vivid",
        "response_format": "b64_json",
    }
    assert made.revised_prompts == ("loopback service: a fox",)
    assert made.price_micros is None
    paint(client, replace(DALL_E, style="ink"))
    assert "style" not in service.requests[-1].body


def test_previews_can_be_turned_off(
    service: OpenAIService, make_client: Callable[..., ServiceClient]
) -> None:
    paint(make_client(partial_images=0))
    assert "stream" not in service.requests[-1].body


def test_every_image_is_kept_also_more_than_asked_for(service: OpenAIService, client: ServiceClient) -> None:
    service.script("extra images")
    made = paint(client, SEVERAL)
    assert len(made.images) == len(made.revised_prompts) == 4
    assert len(set(made.images)) == 4


def test_a_partial_picture_that_cannot_be_shown_costs_nothing(client: ServiceClient) -> None:
    def fail(index: int, data: bytes) -> None:
        raise OSError("the disk is full")

    assert len(client.images.generate(FOX, user_tag=TAG, on_partial=fail).images) == 1


def test_of_the_partial_pictures_those_asked_for_are_shown_once(
    service: OpenAIService, make_client: Callable[..., ServiceClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.provider.images._MAX_PARTIAL_LENGTH", 100)
    client, small, large = make_client(partial_images=2), b64encode(b"small").decode(), "A" * 104
    sent = [
        (10**9, small),
        (2, small),
        (-1, small),
        (1, large),
        ("0", small),
        (0, small),
        (0, small),
        (1, small),
    ]
    events = [
        {"type": "image_generation.partial_image", "partial_image_index": number, "b64_json": encoded}
        for number, encoded in sent
    ]
    frames_sent = b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)
    service.script(Behaviour(spoil=lambda good: frames_sent + good))
    seen: list[tuple[int, bytes]] = []
    made = client.images.generate(
        FOX, user_tag=TAG, on_partial=lambda index, data: seen.append((index, data))
    )
    assert seen == [(0, b"small"), (1, b"small")]
    assert len(made.images) == 1


def test_a_finished_picture_outlives_the_connection(service: OpenAIService, client: ServiceClient) -> None:
    service.script(Behaviour(broken_after_completed=True))
    assert len(paint(client).images) == 1


def test_a_readable_image_is_kept_beside_an_unreadable_one(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(
        Behaviour(plain=True, image_urls=("http://other.invalid/x.png", "{origin}/pictures/a.png"))
    )
    assert len(paint(client, SEVERAL).images) == 1


def test_an_organisation_that_may_not_stream_gets_its_image_plain(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("unverified to stream")
    paint(client)
    assert [seen.body.get("stream") for seen in service.requests] == [True, None]
    assert "partial_images" not in service.requests[-1].body


def test_an_organisation_that_is_refused_even_then_is_unverified(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("unverified to stream", always=True)
    with pytest.raises(StreamingUnverified):
        paint(client)
    assert [seen.body.get("stream") for seen in service.requests] == [True, None]


def refused(name: str, code: str | None = "unsupported_parameter", param: str | None = "") -> ErrorRow:
    body = {"message": f"Unsupported parameter: '{name}'.", "code": code}
    return ErrorRow(400, body | {"param": name if param == "" else param})


@pytest.mark.parametrize(
    ("row", "dropped"),
    [
        pytest.param(refused("quality"), "quality", id="unsupported parameter"),
        pytest.param(refused("quality", "unsupported_value"), "quality", id="unsupported value"),
        pytest.param(refused("background", "unknown_parameter"), "background", id="unknown parameter"),
        pytest.param(refused("quality", None, None), "quality", id="named in the message alone"),
        pytest.param(
            ErrorRow(422, "Unrecognized request argument supplied: background"), "background", id="plain text"
        ),
    ],
)
def test_a_refused_parameter_is_dropped_once(
    service: OpenAIService, client: ServiceClient, row: ErrorRow, dropped: str
) -> None:
    service.script(row)
    paint(client, replace(SEVERAL, quality="high", background="opaque"))
    first, second = (seen.body for seen in service.requests)
    assert set(first) - set(second) == {dropped}


def test_a_second_refusal_is_an_error(service: OpenAIService, client: ServiceClient) -> None:
    service.script(refused("quality"), refused("background"))
    with pytest.raises(ParameterRefused) as caught:
        paint(client, replace(SEVERAL, quality="high", background="opaque"))
    assert caught.value.field == "background"
    assert len(service.requests) == 2


@pytest.mark.parametrize("name", ["size", "n", "model", "prompt"])
def test_what_was_asked_for_is_never_dropped(
    service: OpenAIService, client: ServiceClient, name: str
) -> None:
    service.script(refused(name))
    with pytest.raises(ParameterRefused) as caught:
        paint(client, replace(SEVERAL, size="1024x1024"))
    assert caught.value.field == name
    assert len(service.requests) == 1


@pytest.mark.parametrize("name", ["stream_options", "reasoning_effort"])
def test_a_text_server_without_a_parameter_still_answers(
    service: OpenAIService, client: ServiceClient, name: str
) -> None:
    service.script(refused(name))
    assert "Pip" in write(client).result.text
    assert name not in service.requests[-1].body


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("row", ["quota spent", "credit spent", "billing limit"])
def test_a_dead_account_is_asked_once(
    service: OpenAIService, client: ServiceClient, call: Call, row: str
) -> None:
    service.script(row, always=True)
    with pytest.raises((QuotaSpent, BillingLimitReached)) as caught:
        call(client)
    assert not caught.value.retryable
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "fault", ["silent", "stall", *DRIPS, "dropped", "server error", "overloaded", "rate limit"]
)
@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(SEVERAL, id="plain")])
def test_an_image_is_bought_once(
    service: OpenAIService, make_client: Callable[..., ServiceClient], fault: str, params: GenerateParams
) -> None:
    service.script(fault if params is FOX or fault != "stall" else "silent", always=True)
    with pytest.raises(ImageError):
        paint(make_client(image_timeout=0.2), params)
    assert len(service.requests) == 1


@pytest.mark.parametrize("fault", ["silent", "stall", *DRIPS])
def test_the_outcome_of_a_timeout_is_unknown(
    service: OpenAIService, make_client: Callable[..., ServiceClient], fault: str
) -> None:
    service.script(fault)
    with pytest.raises(OutcomeUnknown) as caught:
        paint(make_client(image_timeout=0.2))
    assert caught.value.charged is None
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(SEVERAL, id="plain")])
def test_the_outcome_of_a_lost_connection_is_unknown(
    service: OpenAIService, client: ServiceClient, params: GenerateParams
) -> None:
    service.script("dropped")
    with pytest.raises(OutcomeUnknown) as caught:
        paint(client, params)
    assert caught.value.request_id == REQUEST_ID


def test_a_plain_answer_to_a_streamed_image_is_taken(service: OpenAIService, client: ServiceClient) -> None:
    service.script("plain")
    made = paint(client)
    assert service.requests[-1].body["stream"] is True
    assert len(made.images) == 1


def test_a_plain_answer_to_a_streamed_text_is_taken(service: OpenAIService, client: ServiceClient) -> None:
    service.script("plain")
    enhanced = write(client).result
    assert "loopback service" in enhanced.text
    assert enhanced.usage.input_tokens == 400


def test_a_truncated_image_stream_is_an_unknown_outcome(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("truncated")
    with pytest.raises(OutcomeUnknown) as caught:
        paint(client)
    assert caught.value.request_id == REQUEST_ID


def test_a_truncated_text_stream_is_said_to_be_cut(service: OpenAIService, client: ServiceClient) -> None:
    service.script("truncated")
    with pytest.raises(EnhancementTruncated):
        write(client)


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize(
    ("frame", "error"),
    [
        pytest.param({"error": ERRORS["moderation"].body}, PromptBlocked, id="moderation"),
        pytest.param({"error": ERRORS["quota spent"].body}, QuotaSpent, id="quota spent"),
        pytest.param({"error": {"message": "Oops"}}, ServiceFailed, id="no code"),
        pytest.param({"error": "Oops"}, ServiceFailed, id="text alone"),
        pytest.param({"type": "error", "code": "rate_limit_exceeded"}, RateLimited, id="flat"),
        pytest.param({"type": "error", "message": "Oops"}, ServiceFailed, id="flat without code"),
        pytest.param(
            {"type": "error", "error": {"type": "server_error", "code": None}}, ServiceFailed, id="both"
        ),
    ],
)
def test_an_error_frame_is_told_by_its_code(
    service: OpenAIService, client: ServiceClient, call: Call, frame: dict[str, Any], error: type[ImageError]
) -> None:
    service.script(Behaviour(frames=(frame,)))
    with pytest.raises(error) as caught:
        call(client)
    assert caught.value.request_id == REQUEST_ID


def test_a_block_inside_a_stream_names_its_categories(service: OpenAIService, client: ServiceClient) -> None:
    service.script("error frame")
    with pytest.raises(PromptBlocked) as caught:
        paint(client)
    assert caught.value.categories == ("violence", "self-harm")


def test_an_error_inside_a_200_is_an_error(service: OpenAIService, client: ServiceClient) -> None:
    service.script(Behaviour(raw=json.dumps({"error": ERRORS["quota spent"].body}).encode()))
    with pytest.raises(QuotaSpent):
        paint(client)


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("html", WebPageReceived),
        ("malformed", BadResponse),
        ("no images", NoImage),
        ("not an object", BadResponse),
    ],
)
@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(SEVERAL, id="plain")])
def test_an_answer_that_is_no_image_is_a_bad_answer(
    service: OpenAIService,
    client: ServiceClient,
    fault: str,
    error: type[BadResponse],
    params: GenerateParams,
) -> None:
    service.script(fault)
    with pytest.raises(error) as caught:
        paint(client, params)
    assert type(caught.value) is error
    assert caught.value.details
    assert caught.value.charged is None


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"null", id="null"),
        pytest.param(b'{"data": null}', id="no list"),
        pytest.param(b'{"data": [null, 3]}', id="items of another kind"),
        pytest.param(b'{"data": [{"b64_json": "%aGk="}]}', id="not base64"),
        pytest.param(b'{"data": [{"b64_json": ""}]}', id="empty picture"),
        pytest.param(b'{"data": [{"url": "http://["}]}', id="not an address"),
        pytest.param(b'{"data": [{"url": 7}]}', id="address of another kind"),
        pytest.param(b'{"usage": "none", "choices": 5}', id="nothing expected"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_an_odd_body_is_a_bad_answer(service: OpenAIService, client: ServiceClient, body: bytes) -> None:
    service.script(Behaviour(raw=body))
    with pytest.raises(BadResponse):
        paint(client)


@pytest.mark.parametrize("fault", ["malformed", "not an object"])
def test_an_answer_that_is_no_prompt_says_so(
    service: OpenAIService, client: ServiceClient, fault: str
) -> None:
    service.script(fault)
    with pytest.raises(BadResponse, match="isn't a prompt"):
        write(client)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"choices": "x", "usage": 3}, id="no choices"),
        pytest.param({"choices": ["x"]}, id="choices of another kind"),
        pytest.param({"choices": [{"message": "x", "finish_reason": "stop"}]}, id="message of another kind"),
        pytest.param({"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}, id="no text"),
    ],
)
def test_an_odd_completion_is_an_error_of_ours(
    service: OpenAIService, client: ServiceClient, body: dict[str, Any]
) -> None:
    service.script(Behaviour(raw=json.dumps(body).encode()))
    with pytest.raises(ImagePromptError):
        write(client)


@pytest.mark.parametrize(
    ("fault", "text"),
    [
        pytest.param("prose", "A quiet harbour.", id="prose"),
        pytest.param("fenced", "A quiet harbour.", id="fenced JSON"),
    ],
)
def test_prose_and_fences_are_taken_off(
    service: OpenAIService, client: ServiceClient, fault: str, text: str
) -> None:
    service.script(fault)
    enhanced = write(client).result
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
def test_an_enhancement_that_did_not_finish_is_not_passed_on(
    service: OpenAIService, client: ServiceClient, fault: str, error: type[ImageError], plain: bool
) -> None:
    service.script(replace(FAULTS[fault], plain=plain))
    with pytest.raises(error) as caught:
        write(client)
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
def test_an_endless_enhancement_is_broken_off(
    service: OpenAIService, client: ServiceClient, text: str, most: str, plain: bool
) -> None:
    service.script(Behaviour(text=text, plain=plain))
    shown: list[str] = []
    with pytest.raises(EnhancementTooLong) as caught:
        shown.extend(client.chat.enhance(PIP, user_tag=TAG))
    assert most in caught.value.details
    assert caught.value.request_id == REQUEST_ID
    assert len("".join(shown)) <= 100_000


def test_an_enhancement_has_no_more_accents_than_a_prompt_may_have(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(text="Pip in a green coat, a" + "\u0301\u0316" * 500 + " fox"))
    text = write(client).result.text
    check_prompt_texts(name="", traits=(), prompt=text)
    assert text == "Pip in a green coat, a" + "\u0301\u0316" * 15 + " fox"


def test_a_stray_newline_is_taken_off_the_key(
    service: OpenAIService, make_client: Callable[..., ServiceClient]
) -> None:
    paint(make_client(openai_api_key=f"{KEY}\n"))
    assert service.requests[-1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["sk-schlüssel-123", "sk-one\nsk-two", "sk one"])
def test_a_key_that_no_header_can_carry_stops_the_start(key: str) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY") as caught:
        load_settings(openai_api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("call", BOTH)
def test_nothing_is_read_from_the_environment(
    service: OpenAIService,
    make_client: Callable[..., ServiceClient],
    monkeypatch: pytest.MonkeyPatch,
    call: Call,
) -> None:
    strange = {
        "OPENAI_API_KEY": "sk-environment",
        "OPENAI_ADMIN_KEY": "sk-environment",
        "OPENAI_BASE_URL": "http://environment.invalid/v1",
        "OPENAI_ORG_ID": "org-environment",
        "OPENAI_PROJECT_ID": "proj-environment",
        "OPENAI_WEBHOOK_SECRET": "environment",
        "OPENAI_CUSTOM_HEADERS": "X-Environment: yes\nAuthorization: Bearer sk-environment",
    }
    for name, value in strange.items():
        monkeypatch.setenv(name, value)
    call(make_client())
    (seen,) = service.requests
    assert seen.headers["authorization"] == f"Bearer {KEY}"
    assert "environment" not in json.dumps([seen.headers, seen.body]).lower()
    assert not {"openai-organization", "openai-project"} & set(seen.headers)


def test_openai_is_asked_at_its_own_address(
    service: OpenAIService, monkeypatch: pytest.MonkeyPatch, make_client: Callable[..., ServiceClient]
) -> None:
    client = make_client(Rerouted(service), openai_base_url=None)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://environment.invalid/v1")
    paint(client)
    assert service.requests[-1].headers["host"] == "api.openai.com"


def test_an_image_by_address_is_fetched_without_the_key(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(image_urls=("{origin}/pictures/a.png",)))
    made = paint(client, DALL_E)
    assert Image.open(BytesIO(made.images[0])).size == (64, 64)
    fetched = service.requests[-1]
    assert fetched.path == "/pictures/a.png"
    assert "authorization" not in fetched.headers
    assert KEY not in json.dumps(fetched.headers)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        pytest.param("http://other.invalid/x.png", "other.invalid", id="another host"),
        pytest.param("http://127.0.0.1:1/x.png", "own address", id="another port"),
        pytest.param("http://169.254.169.254/latest", "169.254", id="a cloud's metadata"),
        pytest.param("file:///etc/passwd", "file", id="a file"),
        pytest.param("{origin}/pictures/moved.png", "302", id="a redirect"),
        pytest.param("{origin}/pictures/huge.png", "larger than", id="51 MB"),
        pytest.param("{origin}/nothing.png", "404", id="not there"),
    ],
)
def test_an_image_elsewhere_is_not_fetched(
    service: OpenAIService, client: ServiceClient, url: str, why: str
) -> None:
    service.script(Behaviour(image_urls=(url,)))
    with pytest.raises(BadResponse) as caught:
        paint(client, DALL_E)
    assert why in caught.value.details


@pytest.mark.parametrize(
    ("url", "size"),
    [
        pytest.param("/pictures/a.png", (64, 64), id="a path"),
        pytest.param(
            "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7",
            (1, 1),
            id="a data address",
        ),
    ],
)
def test_other_ways_to_give_an_image(
    service: OpenAIService, client: ServiceClient, url: str, size: tuple[int, int]
) -> None:
    service.script(Behaviour(image_urls=(url,)))
    assert Image.open(BytesIO(paint(client, DALL_E).images[0])).size == size


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize(
    ("row", "error"),
    [
        ("key rejected", ApiKeyRejected),
        ("organisation unverified", OrganisationUnverified),
        ("model forbidden", ModelUnavailable),
        ("model unknown", ModelUnavailable),
        ("region", RegionUnsupported),
        ("forbidden", ServiceAccessDenied),
        ("quota spent", QuotaSpent),
        ("credit spent", QuotaSpent),
        ("billing limit", BillingLimitReached),
        ("rate limit", RateLimited),
        ("slow down", RateLimited),
        ("overloaded", ServiceBusy),
        ("server error", ServiceFailed),
        ("server error without code", ServiceFailed),
        ("gateway", ServiceFailed),
        ("moderation", PromptBlocked),
        ("content policy", PromptBlocked),
        ("content filter", ContentFiltered),
        ("image user error", NotDrawable),
        ("invalid size", InvalidParameter),
        ("unknown parameter", ParameterRefused),
        ("too long", PromptTooLong),
        ("too large", RequestTooLarge),
        ("no such path", ServiceAddressWrong),
        ("moved", ServiceAddressWrong),
        ("teapot", ImageGenerationError),
    ],
)
def test_every_row_of_the_error_table(
    service: OpenAIService, client: ServiceClient, call: Call, row: str, error: type[ImageError]
) -> None:
    service.script(row, always=True)
    with pytest.raises(error) as caught:
        call(client)
    assert type(caught.value) is error
    assert caught.value.request_id == REQUEST_ID
    assert str(ERRORS[row].status) in caught.value.details
    assert isinstance(caught.value.__cause__, openai.APIStatusError)


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize("row", [*ERRORS, *FAULTS])
def test_no_error_of_the_sdk_gets_out(
    service: OpenAIService, make_client: Callable[..., ServiceClient], call: Call, row: str
) -> None:
    service.script(row, always=True)
    with suppress(ImageError):
        call(make_client(image_timeout=0.2, text_timeout=0.2))


@pytest.mark.parametrize(
    ("row", "seconds"),
    [
        pytest.param(ERRORS["rate limit"], 7, id="seconds"),
        pytest.param(ERRORS["rate limit passing"], 0.25, id="milliseconds"),
        pytest.param(replace(ERRORS["slow down"], headers={}), None, id="not said"),
        pytest.param(
            replace(ERRORS["slow down"], headers={"Retry-After": "Sun, 06 Nov 1994 08:49:37 GMT"}),
            0,
            id="a date that has passed",
        ),
        pytest.param(replace(ERRORS["slow down"], headers={"Retry-After": "soon"}), None, id="nonsense"),
    ],
)
def test_when_to_try_again_is_kept(
    service: OpenAIService, client: ServiceClient, row: ErrorRow, seconds: float | None
) -> None:
    service.script(row)
    with pytest.raises(RateLimited) as caught:
        paint(client)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("row", "categories"),
    [
        pytest.param(ERRORS["moderation"], ("violence", "self-harm"), id="OpenAI's list"),
        pytest.param(ERRORS["content filter"], ("hate",), id="Azure's filter"),
        pytest.param(
            ErrorRow(
                400,
                {"code": "moderation_blocked", "moderation_details": {"categories": {"hate": 1, "x": 0}}},
            ),
            ("hate",),
            id="a table",
        ),
        pytest.param(ERRORS["content policy"], (), id="none given"),
    ],
)
def test_a_block_names_its_categories(
    service: OpenAIService, client: ServiceClient, row: ErrorRow, categories: tuple[str, ...]
) -> None:
    service.script(row)
    with pytest.raises(PromptBlocked) as caught:
        paint(client)
    assert caught.value.categories == categories
    assert all(category in caught.value.message for category in categories)


def test_an_image_user_error_about_a_parameter_is_no_block(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(ErrorRow(400, {"type": "image_generation_user_error", "param": "size", "code": None}))
    with pytest.raises(InvalidParameter):
        paint(client)


@pytest.mark.parametrize("key", [KEY, "a-key-of-another-kind"])
def test_no_key_stands_in_an_error(
    service: OpenAIService, make_client: Callable[..., ServiceClient], key: str
) -> None:
    service.script(ErrorRow(401, {"message": f"Incorrect API key provided: {key}. See your account."}))
    with pytest.raises(ApiKeyRejected) as caught:
        paint(make_client(openai_api_key=key))
    assert key not in str(caught.value)
    assert "[secret]" in caught.value.details


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(
            ErrorRow(400, {"code": "moderation_blocked", "moderation_details": {"categories": [ECHO]}}, {}),
            id="in a category",
        ),
        pytest.param(ErrorRow(500, {"message": "Oops"}, {"x-request-id": ECHO}), id="as the request's id"),
    ],
)
def test_no_key_of_whatever_form_comes_back(
    service: OpenAIService, make_client: Callable[..., ServiceClient], row: ErrorRow
) -> None:
    service.script(row)
    with pytest.raises(ImageError) as caught:
        paint(make_client(openai_api_key=ECHO))
    error = caught.value
    assert ECHO not in f"{error} {error.details} {error.request_id}"


def test_a_key_in_an_image_address_is_not_repeated(
    service: OpenAIService, make_client: Callable[..., ServiceClient]
) -> None:
    service.script(Behaviour(raw=f'{{"data": [{{"url": "http://host:{ECHO}/x"}}]}}'.encode()))
    with pytest.raises(BadResponse) as caught:
        paint(make_client(openai_api_key=ECHO))
    assert caught.value.details
    assert ECHO not in caught.value.details


def test_an_answer_larger_than_any_is_broken_off(
    service: OpenAIService, client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.provider.response_limits.MAX_RESPONSE_BYTES", 1 << 16)
    service.script(Behaviour(raw=bytes(1 << 17)))
    with pytest.raises(BadResponse, match="isn't an image") as caught:
        paint(client)
    assert "larger than 65,536 bytes" in caught.value.details
    assert len(caught.value.answer) <= 1 << 16


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_is_counted_while_it_is_unpacked(
    service: OpenAIService, client: ServiceClient, monkeypatch: pytest.MonkeyPatch, plain: bool, packed: bool
) -> None:
    """Packed, all of it is smaller than what is allowed."""
    monkeypatch.setattr("core.provider.response_limits.MAX_RESPONSE_BYTES", 1 << 16)
    large = b'data: {"data": "' + b"a" * (1 << 17) + b'"}\n\n'
    spoil = (lambda _: gzip.compress(large)) if packed else (lambda _: large)
    headers = (("content-encoding", "gzip"),) if packed else ()
    service.script(Behaviour(plain=plain, spoil=spoil, headers=headers))
    with pytest.raises(BadResponse) as caught:
        paint(client)
    assert "larger than 65,536 bytes" in caught.value.details
    assert len(caught.value.answer) <= 1 << 16


def test_words_have_less_room_than_pictures(
    service: OpenAIService, make_client: Callable[..., ServiceClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.provider.response_limits.MAX_TEXT_RESPONSE_BYTES", 1 << 16)
    client, large = make_client(moderation="on"), bytes(1 << 17)
    service.script(Behaviour(raw=large), Behaviour(raw=large, raw_type="text/event-stream"))
    for ask in (write, write):
        with pytest.raises(BadResponse) as caught:
            ask(client)
        assert "larger than 65,536 bytes" in caught.value.details
    with pytest.raises(BadResponse) as caught:
        client.moderation.flagged_categories(["[[flagged:" + "x" * (1 << 17) + "]]"])
    assert "larger than 65,536 bytes" in caught.value.details


@pytest.mark.parametrize("packed", [False, True])
def test_of_an_error_no_more_is_read_than_anybody_reads(packed: bool) -> None:
    body = json.dumps({"error": {"code": "slow_down"}}).encode() + b" " * 3 * MAX_ERROR_BYTES
    headers = {"content-encoding": "gzip"} if packed else {}
    response = httpx2.Response(
        429,
        headers=headers,
        stream=Pieces((gzip.compress(body) if packed else body,)),
        request=httpx2.Request("POST", "http://service.test/"),
    )
    record_response(response)
    assert len(response.read()) == MAX_ERROR_BYTES
    assert response.json() == {"error": {"code": "slow_down"}}


def test_nothing_packed_is_asked_for(
    service: OpenAIService, make_client: Callable[..., ServiceClient]
) -> None:
    client = make_client(moderation="on")
    service.script(Behaviour(plain=True, image_urls=("{origin}/pictures/a.png",)))
    paint(client)
    write(client)
    client.moderation.flagged_categories(["a fox"])
    assert len(service.requests) == 4
    assert {seen.headers["accept-encoding"] for seen in service.requests} == {"identity"}


def test_a_moderation_that_hangs_holds_a_few_threads(make_client: Callable[..., ServiceClient]) -> None:
    asked, answered, room = (
        threading.Semaphore(0),
        threading.Event(),
        threading.Semaphore(MAX_CONCURRENT_MODERATIONS),
    )

    def hang(request: httpx2.Request) -> httpx2.Response:
        assert answered.is_set() or room.acquire(blocking=False), "one more waits"
        asked.release()
        answered.wait()
        return httpx2.Response(200, json={"results": []})

    client = make_client(httpx2.MockTransport(hang), moderation="on")
    with ThreadPoolExecutor(MAX_CONCURRENT_MODERATIONS) as pool:
        waiting = [
            pool.submit(client.moderation.flagged_categories, ["a fox"])
            for _ in range(MAX_CONCURRENT_MODERATIONS)
        ]
        for _ in waiting:
            asked.acquire()
        try:
            with pytest.raises(ServiceBusy):
                client.moderation.flagged_categories(["an owl"])
        finally:
            answered.set()
        assert [each.result() for each in waiting] == [()] * MAX_CONCURRENT_MODERATIONS
    assert client.moderation.flagged_categories(["an owl"]) == ()


def test_an_object_of_countless_values_is_not_read(
    service: OpenAIService, client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.provider.responses._MAX_SEPARATORS", 1_000)
    service.script(Behaviour(raw=b'{"data": [' + b"{}," * 1_000 + b"{}]}"))
    with pytest.raises(BadResponse) as caught:
        paint(client)
    assert "more than 1,000 values" in caught.value.details


def test_of_countless_pictures_the_first_are_kept_and_the_answer_with_them(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(plain=True, extra_images=2 * MAX_IMAGES))
    made = paint(client)
    assert len(made.images) == MAX_IMAGES
    assert made.answer.count(b"b64_json") > MAX_IMAGES


def test_an_event_of_countless_lines_takes_no_more_than_its_bytes() -> None:
    lines = 100_000
    tracemalloc.start()
    (data,) = event_data(chain(repeat(b"data: xy\n", lines), (b"\n",)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert data == b"\n".join([b"xy"] * lines)
    assert peak < 5 * len(data)


def test_a_date_that_no_calendar_has_says_nothing_about_when(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(
        ErrorRow(
            429,
            {"code": "rate_limit_exceeded", "message": "Slow down."},
            {"Retry-After": "Mon, 01 Jan 99999999999 00:00:00 GMT"},
        )
    )
    with pytest.raises(RateLimited) as caught:
        paint(client)
    assert caught.value.retry_after is None


def test_a_gateway_that_gave_up_leaves_the_outcome_unknown(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("gateway timeout", always=True)
    with pytest.raises(OutcomeUnknown):
        paint(client)
    with pytest.raises(ServiceBusy):
        write(client)


def test_a_redirect_is_not_followed(service: OpenAIService, client: ServiceClient) -> None:
    service.script(ErrorRow(307, "", {"Location": f"{service.origin}/v1/chat/completions"}))
    with pytest.raises(BadResponse) as caught:
        paint(client)
    assert caught.value.charged is False
    assert len(service.requests) == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def hanging_up() -> Iterator[str]:
    """The base URL of a server that reads a request and hangs up without a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection = listener.accept()[0]
                except OSError:
                    return
                with connection:
                    connection.recv(65536)

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join()


@pytest.mark.parametrize("call", BOTH)
def test_a_refused_connection_costs_nothing(make_client: Callable[..., ServiceClient], call: Call) -> None:
    with pytest.raises(ServiceUnreachable) as caught:
        call(make_client(openai_base_url=f"http://127.0.0.1:{free_port()}/v1"))
    assert caught.value.charged is False


@pytest.mark.parametrize("call", BOTH)
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(httpx2.ConnectTimeout("too slow"), id="connect timeout"),
        pytest.param(httpx2.ConnectError("Name or service not known"), id="no such host"),
        pytest.param(httpx2.PoolTimeout("no free connection"), id="no free connection"),
        pytest.param(httpx2.ProxyError("407"), id="proxy"),
    ],
)
def test_what_never_left_costs_nothing(
    make_client: Callable[..., ServiceClient], call: Call, error: Exception
) -> None:
    with pytest.raises(ServiceUnreachable) as caught:
        call(make_client(failing(error)))
    assert caught.value.charged is False


def test_each_call_has_the_timeouts_of_the_settings(make_client: Callable[..., ServiceClient]) -> None:
    limits: list[Any] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        limits.append(request.extensions["timeout"])
        return httpx2.Response(418)

    client = make_client(httpx2.MockTransport(note), connect_timeout=1, image_timeout=2, text_timeout=3)
    for call in (paint, write):
        with pytest.raises(ImageError):
            call(client)
    assert [limit["connect"] for limit in limits] == [1, 1]
    assert [limit["read"] for limit in limits] == pytest.approx([2, 3], abs=0.5)


def test_a_softened_request_has_only_the_time_that_is_left(
    service: OpenAIService, make_client: Callable[..., ServiceClient]
) -> None:
    service.script("unverified to stream", "drip of JSON")
    limits: list[float] = []

    class Noting(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            limits.append(request.extensions["timeout"]["read"])
            return super().handle_request(request)

    with pytest.raises(OutcomeUnknown):
        paint(make_client(Noting(verify=False), image_timeout=0.5))
    first, second = limits
    assert second < first


def test_a_request_that_was_refused_too_late_is_not_sent_again(
    make_client: Callable[..., ServiceClient],
) -> None:
    sent: list[float] = []

    def refuse_late(_: httpx2.Request) -> httpx2.Response:
        sent.append(0.0)
        return httpx2.Response(400, json=ERRORS["unverified to stream"].body)

    client = make_client(httpx2.MockTransport(refuse_late), clock=lambda: 1000.0 * len(sent), image_timeout=5)
    with pytest.raises(StreamingUnverified):
        paint(client)
    assert len(sent) == 1


def test_a_picture_that_drips_from_its_address_is_given_up(
    service: OpenAIService, make_client: Callable[..., ServiceClient]
) -> None:
    service.script(Behaviour(image_urls=("/pictures/drip.png",), plain=True))
    with pytest.raises(BadResponse, match="ReadTimeout"):
        paint(make_client(image_timeout=0.3))


def test_a_service_that_hangs_up(make_client: Callable[..., ServiceClient]) -> None:
    with hanging_up() as base_url:
        client = make_client(openai_base_url=base_url)
        with pytest.raises(OutcomeUnknown):
            paint(client)
        with pytest.raises(ServiceUnreachable, match="connection to the service was lost") as caught:
            write(client)
    assert caught.value.charged is None
    assert caught.value.retryable


@pytest.mark.parametrize("fault", ["silent", "stall", *DRIPS])
def test_a_text_service_that_falls_silent(
    service: OpenAIService, make_client: Callable[..., ServiceClient], fault: str
) -> None:
    service.script(fault, always=True)
    with pytest.raises(ServiceUnreachable, match="didn't answer in time") as caught:
        write(make_client(text_timeout=0.2))
    assert caught.value.retryable
    assert len(service.requests) == 1


def test_an_enhancement_arrives_in_pieces(client: ServiceClient) -> None:
    stream = client.chat.enhance(PIP, user_tag=TAG)
    with pytest.raises(RuntimeError):
        _ = stream.result
    pieces = list(stream)
    assert len(pieces) > 5
    assert "".join(pieces) == stream.result.text
    assert stream.result.added_back == ()
    output = len(stream.result.text) // 4
    assert stream.result.usage == TokenCount(400, output)
    assert stream.result.price_micros == 40 + (output + 1) // 2
    assert (stream.result.request_id, stream.result.model) == (REQUEST_ID, "gpt-6-luna")


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        pytest.param((r"A fox \ud83e", r"\udd8a in snow"), "A fox 🦊 in snow", id="between two pieces"),
        pytest.param((r"A fox \ud83e", " in snow"), "A fox � in snow", id="one half alone"),
        pytest.param(("A fox in snow", r"\ud83e"), "A fox in snow", id="half at the end"),
    ],
)
def test_an_enhancement_arrives_in_whole_characters(
    service: OpenAIService, client: ServiceClient, pieces: tuple[str, ...], text: str
) -> None:
    chunks = [f'{{"choices": [{{"delta": {{"content": "{piece}"}}}}]}}' for piece in pieces]
    frames = [*chunks, '{"choices": [{"delta": {}, "finish_reason": "stop"}]}', "[DONE]"]
    stream_of = "".join(f"data: {frame}\n\n" for frame in frames).encode()
    service.script(Behaviour(raw=stream_of, raw_type="text/event-stream"))
    stream = client.chat.enhance(PromptRequest(base_prompt="fox"), user_tag=TAG)
    seen = "".join(stream)
    assert (seen, stream.result.text) == (text, text)
    assert seen.encode()


def test_the_enhancer_is_asked_in_the_common_tongue(service: OpenAIService, client: ServiceClient) -> None:
    write(client, replace(PIP, enhancement=EnhancementLevel.RICH))
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
def test_no_effort_is_sent_to_a_model_that_does_not_take_none(
    service: OpenAIService, make_client: Callable[..., ServiceClient], model: str
) -> None:
    write(make_client(text_model=model))
    assert "reasoning_effort" not in service.requests[-1].body


def test_left_out_facts_are_added_back(service: OpenAIService, client: ServiceClient) -> None:
    service.script(Behaviour(text="A fox in a GREEN  coat."))
    enhanced = write(client).result
    assert enhanced.added_back == ("Pip",)
    assert enhanced.text == "A fox in a GREEN  coat.\n\nKeep exactly: Pip."


def test_an_answer_without_usage_has_no_price(service: OpenAIService, client: ServiceClient) -> None:
    service.script(Behaviour(usage=False), Behaviour(usage=False))
    assert write(client).result.price_micros is None
    assert paint(client).price_micros is None


def test_nothing_given_is_not_sent(service: OpenAIService, client: ServiceClient) -> None:
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
def test_a_text_call_outlasts_a_passing_fault(
    service: OpenAIService, make_client: Callable[..., ServiceClient], rows: list[str], pauses: list[float]
) -> None:
    slept: list[float] = []
    service.script(*rows)
    assert write(make_client(sleep=slept.append)).result.text
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
def test_a_text_call_is_not_repeated_for_ever(
    service: OpenAIService, client: ServiceClient, row: ErrorRow, tries: int
) -> None:
    service.script(row, always=True)
    with pytest.raises(ImageError):
        write(client)
    assert len(service.requests) == tries


@pytest.mark.parametrize("call", BOTH)
def test_the_person_is_named_to_openai_alone_and_by_a_hash(
    service: OpenAIService, make_client: Callable[..., ServiceClient], call: Call
) -> None:
    call(make_client(Rerouted(service), openai_base_url=None))
    call(make_client())
    official, other = service.requests
    assert official.body["safety_identifier"] == TAG
    assert TAG not in json.dumps([other.body, other.headers])


def test_a_service_without_a_key_gets_a_placeholder(
    service: OpenAIService, make_client: Callable[..., ServiceClient]
) -> None:
    paint(make_client(openai_api_key=None))
    assert service.requests[-1].headers["authorization"] == f"Bearer {NO_KEY}"


def test_offline_goes_through_the_given_transport(service: OpenAIService) -> None:
    client = ServiceClient(load_settings(), transport=Rerouted(service))
    made = paint(client, replace(FOX, model="offline-painter"))
    assert service.requests[-1].headers["host"] == "offline.invalid"
    assert made.price_micros == 0
    assert write(client).result.model == "offline-writer"
    client.close()


def test_a_base_url_that_is_no_address_is_a_setting_to_correct() -> None:
    with pytest.raises(SettingsError, match="OPENAI_BASE_URL"):
        ServiceClient(load_settings(openai_base_url="http://[/v1"))


def test_one_client_serves_several_threads(service: OpenAIService, client: ServiceClient) -> None:
    made: list[GeneratedImages] = []
    prompts = [replace(SEVERAL, prompt=f"fox {number}", size="1024x1024") for number in range(6)]
    threads = [threading.Thread(target=lambda p=p: made.append(paint(client, p))) for p in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({image for answer in made for image in answer.images}) == 12


def test_the_service_runs_alone_and_is_steered_by_markers() -> None:
    command = [sys.executable, "-m", "tests.support.openai_service"]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        base_url = process.stdout.readline().strip()
        client = ServiceClient(load_settings(openai_base_url=base_url))
        assert (
            "[[image error:quota spent]]"
            in write(client, replace(PIP, base_prompt="[[image error:quota spent]]")).result.text
        )
        with pytest.raises(QuotaSpent):
            paint(client, replace(FOX, prompt="a fox [[image error:quota spent]]"))
        with pytest.raises(OutcomeUnknown):
            paint(client, replace(FOX, prompt="a fox [[fault:truncated]] [[pause:0.01]]"))
        journal = httpx2.get(base_url.removesuffix("/v1") + "/journal").json()
        assert [seen["path"].rpartition("/")[2] for seen in journal] == [
            "completions",
            "generations",
            "generations",
        ]
        client.close()
        process.terminate()
