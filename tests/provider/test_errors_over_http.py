"""Errors of the service as they arrive over HTTP: their class, their details, and no secrets in them."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import openai
import pytest

from core.errors import (
    ApiKeyRejected,
    BadResponse,
    BillingLimitReached,
    ContentFiltered,
    ImageError,
    ImageGenerationError,
    ImagePromptError,
    InvalidParameter,
    ModelUnavailable,
    NotDrawable,
    OrganisationUnverified,
    OutcomeUnknown,
    ParameterRefused,
    PromptBlocked,
    PromptTooLong,
    QuotaSpent,
    RateLimited,
    RegionUnsupported,
    RequestTooLarge,
    ServiceAccessDenied,
    ServiceAddressWrong,
    ServiceBusy,
    ServiceFailed,
    ServiceTimeout,
)
from core.provider.client import ServiceClient
from tests.support.openai_service import (
    ERRORS,
    FAULTS,
    KEY,
    REQUEST_ID,
    Behaviour,
    ErrorRow,
    OpenAIService,
)
from tests.support.service_client import (
    CALLS,
    Call,
    MakeClient,
    enhance,
    generate,
)

ECHO = "SECRETKEY-of-another-form"


@pytest.mark.parametrize("call", CALLS)
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
def test_an_error_event_is_translated_by_its_code(
    service: OpenAIService, client: ServiceClient, call: Call, frame: dict[str, Any], error: type[ImageError]
) -> None:
    service.script(Behaviour(frames=(frame,)))
    with pytest.raises(error) as caught:
        call(client)
    assert caught.value.request_id == REQUEST_ID


def test_a_block_inside_a_stream_names_its_categories(service: OpenAIService, client: ServiceClient) -> None:
    service.script("error frame")
    with pytest.raises(PromptBlocked) as caught:
        generate(client)
    assert caught.value.categories == ("violence", "self-harm")


def test_an_error_body_with_status_200_is_an_error(service: OpenAIService, client: ServiceClient) -> None:
    service.script(Behaviour(raw=json.dumps({"error": ERRORS["quota spent"].body}).encode()))
    with pytest.raises(QuotaSpent):
        generate(client)


@pytest.mark.parametrize("call", CALLS)
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
def test_each_service_error_has_its_class(
    service: OpenAIService, client: ServiceClient, call: Call, row: str, error: type[ImageError]
) -> None:
    service.script(row, always=True)
    if error is ImageGenerationError and call is enhance:
        error = ImagePromptError
    with pytest.raises(error) as caught:
        call(client)
    assert type(caught.value) is error
    assert caught.value.request_id == REQUEST_ID
    assert str(ERRORS[row].status) in caught.value.details
    assert isinstance(caught.value.__cause__, openai.APIStatusError)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("row", [*ERRORS, *FAULTS])
def test_no_error_of_the_sdk_escapes(
    service: OpenAIService, make_client: MakeClient, call: Call, row: str
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
            None,
            id="a date that has passed",
        ),
        *(
            pytest.param(replace(ERRORS["slow down"], headers={"Retry-After": value}), None, id=value)
            for value in ("0", "-5", "nan", "inf", "-inf", "601", "1e300")
        ),
        pytest.param(
            replace(ERRORS["slow down"], headers={"retry-after-ms": "0", "Retry-After": "8"}),
            8,
            id="one of two",
        ),
        pytest.param(replace(ERRORS["slow down"], headers={"Retry-After": "600"}), 600, id="the longest"),
        pytest.param(replace(ERRORS["slow down"], headers={"Retry-After": "soon"}), None, id="nonsense"),
    ],
)
def test_retry_after_is_read_in_all_its_forms(
    service: OpenAIService, client: ServiceClient, row: ErrorRow, seconds: float | None
) -> None:
    service.script(row)
    with pytest.raises(RateLimited) as caught:
        generate(client)
    assert caught.value.retry_after == seconds


@pytest.mark.parametrize(
    ("row", "categories"),
    [
        pytest.param(ERRORS["moderation"], ("violence", "self-harm"), id="OpenAI's list"),
        pytest.param(ERRORS["content filter"], ("hate",), id="Azure's filter"),
        pytest.param(
            ErrorRow(
                400,
                {
                    "code": "content_policy_violation",
                    "inner_error": {"content_filter_results": {"sexual": {"filtered": True}, "hate": {}}},
                },
            ),
            ("sexual",),
            id="Azure's filter of images",
        ),
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
        generate(client)
    assert caught.value.categories == categories
    assert all(category in caught.value.message for category in categories)


def test_an_image_user_error_about_a_parameter_is_an_invalid_parameter(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(ErrorRow(400, {"type": "image_generation_user_error", "param": "size", "code": None}))
    with pytest.raises(InvalidParameter):
        generate(client)


@pytest.mark.parametrize("key", [KEY, "a-key-of-another-kind"])
def test_an_error_never_shows_the_key(service: OpenAIService, make_client: MakeClient, key: str) -> None:
    service.script(ErrorRow(401, {"message": f"Incorrect API key provided: {key}. See your account."}))
    with pytest.raises(ApiKeyRejected) as caught:
        generate(make_client(openai_api_key=key))
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
def test_a_key_of_any_form_is_redacted_wherever_it_is_echoed(
    service: OpenAIService, make_client: MakeClient, row: ErrorRow
) -> None:
    service.script(row)
    with pytest.raises(ImageError) as caught:
        generate(make_client(openai_api_key=ECHO))
    error = caught.value
    assert ECHO not in f"{error} {error.details} {error.request_id}"


def test_a_key_in_an_image_address_is_redacted(service: OpenAIService, make_client: MakeClient) -> None:
    service.script(Behaviour(raw=f'{{"data": [{{"url": "http://host:{ECHO}/x"}}]}}'.encode()))
    with pytest.raises(BadResponse) as caught:
        generate(make_client(openai_api_key=ECHO))
    assert caught.value.details
    assert ECHO not in caught.value.details


def test_an_impossible_retry_after_date_is_ignored(service: OpenAIService, client: ServiceClient) -> None:
    service.script(
        ErrorRow(
            429,
            {"code": "rate_limit_exceeded", "message": "Slow down."},
            {"Retry-After": "Mon, 01 Jan 99999999999 00:00:00 GMT"},
        )
    )
    with pytest.raises(RateLimited) as caught:
        generate(client)
    assert caught.value.retry_after is None


def test_a_gateway_timeout_leaves_the_outcome_of_an_image_call_unknown(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("gateway timeout", always=True)
    with pytest.raises(OutcomeUnknown):
        generate(client)
    with pytest.raises(ServiceTimeout):
        enhance(client)
