"""Failures of a service: the code of each error, whether it is retryable, and whether it may be charged."""

from __future__ import annotations

import json
import socket
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import pytest

from core import errors
from core.errors import ImageError
from core.errors.stored import StoredError
from core.prompts.recipe import GenerateParams
from core.provider.capabilities import check_params
from core.provider.client import ServiceClient
from core.settings import load_settings
from tests.support.openai_service import ERRORS, FAULTS, KEY, Behaviour, ErrorRow, OpenAIService
from tests.support.service_client import FOX, PIP, MakeClient

# Services don't stream several images at once.
PLAIN = replace(FOX, n=2)


@dataclass(frozen=True)
class Outcome:
    """The parts of an error that depend on its cause."""

    code: str
    status: int
    retryable: bool
    charged: bool | None

    @classmethod
    def of(cls, error: ImageError | StoredError, status: int) -> Outcome:
        return cls(error.code, status, error.retryable, error.charged)


def image_error(client: ServiceClient, params: GenerateParams = FOX) -> Outcome:
    with pytest.raises(ImageError) as caught:
        client.images.generate(params, user_tag="tag")
    error = caught.value
    assert error.suggestions
    stored = StoredError.from_json(json.loads(json.dumps(_as_json(StoredError.of(error)))))
    assert Outcome.of(stored, error.status) == Outcome.of(error, error.status), "storing keeps the outcome"
    return Outcome.of(error, error.status)


def _as_json(stored: StoredError) -> dict[str, Any]:
    return {name: getattr(stored, name) for name in stored.__slots__}


def text_error(client: ServiceClient) -> Outcome:
    with pytest.raises(ImageError) as caught:
        list(client.chat.enhance(PIP, user_tag="tag"))
    assert caught.value.suggestions
    return Outcome.of(caught.value, caught.value.status)


# Errors, their codes and what they cost


ROWS = [
    pytest.param("key rejected", Outcome("IMG-AUTH-KEY-001", 502, False, False), id="401 invalid_api_key"),
    pytest.param(
        "organisation unverified",
        Outcome("IMG-AUTH-ORG-001", 502, False, False),
        id="403 organization must be verified",
    ),
    pytest.param(
        "model forbidden", Outcome("IMG-GEN-MODEL-001", 404, False, False), id="403 model_not_found"
    ),
    pytest.param("model unknown", Outcome("IMG-GEN-MODEL-001", 404, False, False), id="404 model_not_found"),
    pytest.param(
        "region",
        Outcome("IMG-AUTH-REGION-001", 502, False, False),
        id="403 unsupported_country_region_territory",
    ),
    pytest.param("forbidden", Outcome("IMG-AUTH-SERVICE-001", 502, False, False), id="403 without a code"),
    pytest.param("quota spent", Outcome("IMG-GEN-QUOTA-001", 402, False, False), id="429 insufficient_quota"),
    pytest.param(
        "credit spent", Outcome("IMG-GEN-QUOTA-001", 402, False, False), id="429 credit_balance_exhausted"
    ),
    pytest.param(
        "billing limit", Outcome("IMG-GEN-BILL-001", 402, False, False), id="400 billing_hard_limit_reached"
    ),
    pytest.param("rate limit", Outcome("IMG-GEN-RATE-001", 429, True, False), id="429 rate_limit_exceeded"),
    pytest.param("slow down", Outcome("IMG-GEN-RATE-001", 429, True, False), id="429 slow_down"),
    pytest.param("overloaded", Outcome("IMG-GEN-BUSY-001", 503, True, False), id="503 server_is_overloaded"),
    pytest.param("server error", Outcome("IMG-GEN-SERVER-001", 502, True, None), id="500 server_error"),
    pytest.param("moderation", Outcome("IMG-PRM-BLOCK-001", 422, False, False), id="400 moderation_blocked"),
    pytest.param(
        "content policy", Outcome("IMG-PRM-BLOCK-001", 422, False, False), id="400 content_policy_violation"
    ),
    pytest.param("content filter", Outcome("IMG-PRM-BLOCK-002", 422, False, False), id="400 content_filter"),
    pytest.param(
        "image user error",
        Outcome("IMG-PRM-BLOCK-003", 422, False, False),
        id="400 image_generation_user_error",
    ),
    pytest.param("invalid size", Outcome("IMG-GEN-PARAM-001", 422, False, False), id="400 invalid_value"),
    pytest.param(
        "unknown parameter", Outcome("IMG-GEN-PARAM-002", 422, False, False), id="400 unknown_parameter"
    ),
    pytest.param(
        "too long", Outcome("IMG-PRM-LONG-001", 422, False, False), id="400 string_above_max_length"
    ),
    pytest.param("too large", Outcome("IMG-GEN-SIZE-001", 413, False, False), id="413"),
    pytest.param("no such path", Outcome("IMG-GEN-ADDR-001", 502, False, False), id="404 a web page"),
    pytest.param("moved", Outcome("IMG-GEN-ADDR-001", 502, False, False), id="307 elsewhere"),
]


@pytest.mark.parametrize(("row", "expected"), ROWS)
@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(PLAIN, id="plain")])
def test_an_image_call_translates_each_service_error(
    service: OpenAIService, client: ServiceClient, row: str, expected: Outcome, params: GenerateParams
) -> None:
    service.script(row, always=True)
    assert image_error(client, params) == expected
    assert len(service.requests) == 1, "an image call is never repeated"


@pytest.mark.parametrize(("row", "expected"), ROWS)
def test_a_text_call_translates_each_service_error(
    service: OpenAIService, client: ServiceClient, row: str, expected: Outcome
) -> None:
    service.script(row, always=True)
    assert text_error(client) == expected
    transient = expected.code in ("IMG-GEN-RATE-001", "IMG-GEN-BUSY-001", "IMG-GEN-SERVER-001")
    assert len(service.requests) == (3 if transient else 1)


@pytest.mark.parametrize("row", ["unsupported parameter", "unsupported value"])
def test_an_unsupported_parameter_is_dropped_once(
    service: OpenAIService, client: ServiceClient, row: str
) -> None:
    params = replace(PLAIN, quality="high", background="opaque")
    service.script(row)
    assert client.images.generate(params, user_tag="tag").images
    assert ["quality" in seen.body for seen in service.requests] == [True, False]


@pytest.mark.parametrize("code", ["unsupported_parameter", "unsupported_value"])
def test_unsupported_parameters_are_dropped_until_none_is_left_to_drop(
    service: OpenAIService, client: ServiceClient, code: str
) -> None:
    refused = [ErrorRow(400, {"code": code, "param": name}) for name in ("quality", "background", "size")]
    service.script(*refused)
    params = replace(PLAIN, quality="high", background="opaque", size="1024x1024")
    assert image_error(client, params) == Outcome("IMG-GEN-PARAM-002", 422, False, False)
    assert len(service.requests) == 3


def test_an_organisation_that_may_not_stream_is_called_once_without_streaming(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("unverified to stream")
    assert client.images.generate(FOX, user_tag="tag").images
    assert [bool(seen.body.get("stream")) for seen in service.requests] == [True, False]


def test_a_refusal_without_streaming_is_an_error(service: OpenAIService, client: ServiceClient) -> None:
    service.script("unverified to stream", always=True)
    assert image_error(client) == Outcome("IMG-AUTH-ORG-002", 502, False, False)
    assert len(service.requests) == 2


def test_an_image_call_that_times_out_may_be_charged(service: OpenAIService, make_client: MakeClient) -> None:
    service.script("silent")
    assert image_error(make_client(image_timeout=0.2)) == Outcome("IMG-GEN-UNKNOWN-002", 504, False, None)


def test_a_text_call_that_times_out_may_be_retried(service: OpenAIService, make_client: MakeClient) -> None:
    service.script("silent", always=True)
    assert text_error(make_client(text_timeout=0.2)) == Outcome("IMG-GEN-CONN-002", 504, True, None)


def test_an_image_call_with_a_gateway_timeout_may_be_charged(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("gateway timeout")
    assert image_error(client) == Outcome("IMG-GEN-UNKNOWN-002", 504, False, None)


@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(PLAIN, id="plain")])
def test_an_image_call_whose_connection_breaks_may_be_charged(
    service: OpenAIService, client: ServiceClient, params: GenerateParams
) -> None:
    service.script("dropped")
    assert image_error(client, params) == Outcome("IMG-GEN-UNKNOWN-003", 504, False, None)


def test_a_text_call_whose_connection_breaks_may_be_retried(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("dropped", always=True)
    assert text_error(client) == Outcome("IMG-GEN-CONN-003", 502, True, None)


def test_a_refused_connection_is_retryable_and_free(make_client: MakeClient) -> None:
    with socket.socket() as unopened:
        unopened.bind(("127.0.0.1", 0))
        client = make_client(openai_base_url=f"http://127.0.0.1:{unopened.getsockname()[1]}/v1")
        assert image_error(client) == Outcome("IMG-GEN-CONN-001", 503, True, False)
        assert text_error(client) == Outcome("IMG-GEN-CONN-001", 503, True, False)


@pytest.mark.parametrize("row", ERRORS)
def test_a_refusal_that_would_repeat_is_not_retryable(
    service: OpenAIService, client: ServiceClient, row: str
) -> None:
    """Statuses 4xx, except 429 and the unknown 418: the same call would be refused again."""
    service.script(row, always=True)
    with suppress(StopIteration):
        expected = image_error(client)
        refused = ERRORS[row].status < 500 and ERRORS[row].status not in (418, 429)
        assert not (refused and expected.retryable)


# Refusals


@pytest.mark.parametrize(
    ("row", "code", "categories"),
    [
        pytest.param("moderation", "IMG-PRM-BLOCK-001", ("violence", "self-harm"), id="OpenAI"),
        pytest.param("content filter", "IMG-PRM-BLOCK-002", ("hate",), id="Azure"),
        pytest.param("content policy", "IMG-PRM-BLOCK-001", (), id="none named"),
    ],
)
def test_a_block_keeps_its_categories_when_stored(
    service: OpenAIService, client: ServiceClient, row: str, code: str, categories: tuple[str, ...]
) -> None:
    service.script(row)
    with pytest.raises(errors.PromptBlocked) as caught:
        client.images.generate(FOX, user_tag="tag")
    stored = StoredError.from_json(json.loads(json.dumps(_as_json(StoredError.of(caught.value)))))
    assert (stored.code, stored.categories, stored.charged) == (code, categories, False)
    assert all(name in stored.message for name in categories)


@pytest.mark.parametrize(
    "behaviour",
    [
        pytest.param("error frame", id="inside a stream"),
        pytest.param(
            ErrorRow(
                400, {"code": "moderation_blocked", "moderation_details": {"moderation_stage": "output"}}
            ),
            id="of the finished image",
        ),
    ],
)
def test_a_block_after_generation_may_be_charged(
    service: OpenAIService, client: ServiceClient, behaviour: str | ErrorRow
) -> None:
    service.script(behaviour)
    assert image_error(client) == Outcome("IMG-PRM-BLOCK-001", 422, False, None)


def test_a_user_error_about_safety_is_a_block(service: OpenAIService, client: ServiceClient) -> None:
    message = "Your request was rejected by the safety system."
    service.script(ErrorRow(400, {"type": "image_generation_user_error", "message": message}))
    assert image_error(client).code == "IMG-PRM-BLOCK-001"


def test_an_error_stored_without_charged_is_charged_as_its_code_says() -> None:
    old = {
        "code": "IMG-GEN-UNKNOWN-001",
        "message": "Unknown.",
        "suggestions": [],
        "details": "",
        "retryable": True,
    }
    assert StoredError.from_json(old).charged is None
    assert StoredError.from_json(old | {"code": "IMG-GEN-QUOTA-001"}).charged is False
    assert StoredError.from_json(old | {"code": "IMG-NOT-ANY-001"}).charged is False


def test_a_retired_model_has_its_own_code_and_names_its_successor() -> None:
    with pytest.raises(errors.ModelRetired) as caught:
        check_params(
            replace(FOX, model="dall-e-3", size="1024x1024", quality="hd"),
            today=date(2026, 11, 25),
            official=True,
        )
    error = caught.value
    assert Outcome.of(error, error.status) == Outcome("IMG-GEN-MODEL-002", 410, False, False)
    assert "Its successor is GPT Image" in error.message


# Known traps of services and of the SDK


def test_an_account_without_quota_is_called_once(service: OpenAIService, client: ServiceClient) -> None:
    service.script("quota spent", always=True)
    assert text_error(client) == image_error(client) == Outcome("IMG-GEN-QUOTA-001", 402, False, False)
    assert len(service.requests) == 2


def test_an_image_call_that_times_out_is_not_repeated(
    service: OpenAIService, make_client: MakeClient
) -> None:
    service.script("silent", always=True)
    assert image_error(make_client(image_timeout=0.2)).charged is None
    assert len(service.requests) == 1


def test_an_unstreamed_response_to_a_streamed_call_is_read(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("plain", "plain")
    assert client.images.generate(FOX, user_tag="tag").images
    assert "".join(client.chat.enhance(PIP, user_tag="tag"))
    assert all(seen.body["stream"] for seen in service.requests)


def test_a_truncated_stream_is_an_error(service: OpenAIService, client: ServiceClient) -> None:
    service.script("truncated", "truncated")
    assert image_error(client) == Outcome("IMG-GEN-UNKNOWN-004", 504, False, None)
    assert text_error(client) == Outcome("IMG-PRM-CUT-001", 502, True, None)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param({"error": ERRORS["moderation"].body}, "IMG-PRM-BLOCK-001", id="a block"),
        pytest.param({"error": ERRORS["quota spent"].body}, "IMG-GEN-QUOTA-001", id="a code"),
        pytest.param({"error": {"message": "Oops"}}, "IMG-GEN-SERVER-001", id="bare"),
        pytest.param({"type": "error", "code": "server_error"}, "IMG-GEN-SERVER-001", id="flat"),
    ],
)
def test_an_error_event_keeps_its_code_and_request_id(
    service: OpenAIService, client: ServiceClient, frame: dict[str, Any], code: str
) -> None:
    service.script(Behaviour(frames=(frame,)))
    with pytest.raises(ImageError) as caught:
        client.images.generate(FOX, user_tag="tag")
    assert (caught.value.code, caught.value.request_id) == (code, "req_loopback")


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param("html", Outcome("IMG-GEN-ANSWER-002", 502, True, None), id="HTML"),
        pytest.param("malformed", Outcome("IMG-GEN-ANSWER-001", 502, True, None), id="malformed JSON"),
        pytest.param("not an object", Outcome("IMG-GEN-ANSWER-001", 502, True, None), id="no object"),
        pytest.param("no images", Outcome("IMG-GEN-ANSWER-003", 502, True, None), id="no data"),
    ],
)
@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(PLAIN, id="plain")])
def test_a_response_without_an_image_is_an_error(
    service: OpenAIService, client: ServiceClient, fault: str, expected: Outcome, params: GenerateParams
) -> None:
    service.script(fault)
    assert image_error(client, params) == expected


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        pytest.param("refusal", Outcome("IMG-PRM-REFUSE-001", 422, False, True), id="a refusal"),
        pytest.param("length", Outcome("IMG-PRM-CUT-002", 502, True, True), id="cut by its length"),
        pytest.param("content filter", Outcome("IMG-PRM-BLOCK-002", 422, False, None), id="filtered"),
    ],
)
def test_an_unfinished_enhancement_is_an_error(
    service: OpenAIService, client: ServiceClient, fault: str, expected: Outcome
) -> None:
    service.script(FAULTS[fault])
    assert text_error(client) == expected


@pytest.mark.parametrize("fault", ["prose", "fenced"])
def test_prose_and_fenced_json_are_read(service: OpenAIService, client: ServiceClient, fault: str) -> None:
    service.script(fault)
    stream = client.chat.enhance(PIP, user_tag="tag")
    list(stream)
    assert stream.result.text.startswith("A quiet harbour.")


@pytest.mark.parametrize("key", ["sk-schlüssel-123", "sk-one\nsk-two", "sk one two three"])
def test_a_key_that_a_header_cannot_carry_is_a_settings_error(key: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        load_settings(openai_api_key=key)
    error = caught.value
    assert Outcome.of(error, error.status) == Outcome("IMG-SET-KEY-001", 500, False, False)
    assert key not in str(error)


def test_white_space_around_the_key_is_removed(service: OpenAIService, make_client: MakeClient) -> None:
    make_client(openai_api_key=f" {KEY}\n").images.generate(FOX, user_tag="tag")
    assert service.requests[-1].headers["authorization"] == f"Bearer {KEY}"


def test_the_sdk_reads_nothing_from_the_environment(
    service: OpenAIService, client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://environment.invalid/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Environment: yes")
    client.images.generate(FOX, user_tag="tag")
    (seen,) = service.requests
    assert "environment" not in json.dumps(seen.headers)


def test_an_image_host_is_never_sent_the_key(service: OpenAIService, client: ServiceClient) -> None:
    service.script(Behaviour(image_urls=("{origin}/pictures/a.png",)))
    client.images.generate(replace(FOX, model="dall-e-3", size="1024x1024", quality="hd"), user_tag="tag")
    call, download = service.requests
    assert KEY in json.dumps(call.headers)
    assert KEY not in json.dumps(download.headers)
