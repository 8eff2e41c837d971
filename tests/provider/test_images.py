"""Generating and editing images: the parameters sent, and all that can be saved of a response."""

from __future__ import annotations

import json
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from PIL import Image

from core.errors import (
    BadResponse,
    ImageError,
    NoImage,
    OutcomeUnknown,
    ParameterRefused,
    ServiceFailed,
    StreamingUnverified,
    WebPageReceived,
)
from core.prompts.recipe import GenerateParams
from core.provider.client import ServiceClient
from core.responses.parsing import TokenCount
from tests.support.openai_service import (
    DALL_E,
    REQUEST_ID,
    TAG,
    Behaviour,
    ErrorRow,
    OpenAIService,
)
from tests.support.service_client import (
    DRIPS,
    FOX,
    SEVERAL,
    MakeClient,
    ReroutedTransport,
    generate,
    parameter_refusal,
)


def test_a_streamed_image_comes_with_its_partial_images(make_client: MakeClient) -> None:
    client = make_client(partial_images=2)
    seen: list[tuple[int, bytes]] = []
    result = client.images.generate(
        FOX, user_tag=TAG, on_partial=lambda index, data: seen.append((index, data))
    )
    assert [index for index, _ in seen] == [0, 1]
    assert all(
        Image.open(BytesIO(data)).size == (1024, 1024) for data in (*result.images, *(d for _, d in seen))
    )
    assert result.usage == TokenCount(20, 200, 0)
    assert result.price_micros == 20 * 5 + 200 * 30
    assert (result.request_id, result.model, result.revised_prompts) == (REQUEST_ID, FOX.model, (None,))


@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(SEVERAL, id="plain")])
def test_a_gpt_image_model_is_never_sent_parameters_that_it_rejects(
    service: OpenAIService, client: ServiceClient, params: GenerateParams
) -> None:
    generate(client, replace(params, style="ink"))
    body = service.requests[-1].body
    assert not {"response_format", "style", "input_fidelity", "complexity", "user"} & set(body)
    assert body["prompt"] == "a fox\n\nStyle: black ink drawing, brush and pen line, hatching, white paper."


def test_the_chosen_options_are_sent_and_auto_is_not(service: OpenAIService, client: ServiceClient) -> None:
    chosen = replace(
        SEVERAL, size="1536x1024", quality="high", background="transparent", output_format="webp"
    )
    generate(client, chosen)
    generate(client, FOX)
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
    result = generate(client, DALL_E)
    assert service.requests[-1].body == {
        "model": "dall-e-3",
        "prompt": "a fox",
        "n": 1,
        "size": "1024x1024",
        "quality": "hd",
        "style": "vivid",
        "response_format": "b64_json",
    }
    assert result.revised_prompts == ("loopback service: a fox",)
    assert result.price_micros is None
    generate(client, replace(DALL_E, style="ink"))
    assert "style" not in service.requests[-1].body


@pytest.mark.parametrize(
    ("settings", "previews"),
    [
        pytest.param({"openai_base_url": None}, 1, id="OpenAI itself"),
        pytest.param({"openai_base_url": None, "openai_api_key": None}, 1, id="offline engine"),
        pytest.param({}, None, id="another service"),
        pytest.param({"partial_images": 2}, 2, id="another service, by a setting"),
        pytest.param({"openai_base_url": None, "partial_images": 0}, None, id="OpenAI, by a setting"),
    ],
)
def test_only_services_that_stream_are_asked_for_previews(
    service: OpenAIService, make_client: MakeClient, settings: dict[str, Any], previews: int | None
) -> None:
    generate(make_client(ReroutedTransport(service), **{"partial_images": None} | settings))
    (seen,) = service.requests
    assert (seen.body.get("stream"), seen.body.get("partial_images")) == (previews and True, previews)


@pytest.mark.parametrize(
    "failure",
    [
        pytest.param("server error without code", id="HTTP 500"),
        pytest.param("gateway", id="HTTP 502"),
        pytest.param("flat error frame", id="in the stream"),
    ],
)
def test_a_service_that_fails_to_stream_is_asked_without_a_stream_from_then_on(
    service: OpenAIService, client: ServiceClient, failure: str
) -> None:
    service.script(failure)
    with pytest.raises(ServiceFailed, match="without previews") as caught:
        generate(client)
    assert caught.value.charged is None
    assert len(service.requests) == 1
    assert generate(client).images
    assert ["stream" in seen.body for seen in service.requests] == [True, False]


@pytest.mark.parametrize("busy", ["overloaded", "gateway timeout", "rate limit"])
def test_a_busy_service_is_still_asked_for_streams(
    service: OpenAIService, client: ServiceClient, busy: str
) -> None:
    service.script(busy)
    with pytest.raises(ImageError):
        generate(client)
    generate(client)
    assert all(seen.body["stream"] for seen in service.requests)


def test_a_failure_of_openai_itself_does_not_end_its_streams(
    service: OpenAIService, make_client: MakeClient
) -> None:
    client = make_client(ReroutedTransport(service), openai_base_url=None)
    service.script("server error")
    with pytest.raises(ServiceFailed) as caught:
        generate(client)
    assert "previews" not in caught.value.details
    generate(client)
    assert all(seen.body["stream"] for seen in service.requests)


def test_partial_images_can_be_turned_off(service: OpenAIService, make_client: MakeClient) -> None:
    generate(make_client(partial_images=0))
    assert "stream" not in service.requests[-1].body


def test_all_images_are_kept_even_more_than_requested(service: OpenAIService, client: ServiceClient) -> None:
    service.script("extra images")
    result = generate(client, SEVERAL)
    assert len(result.images) == len(result.revised_prompts) == 4
    assert len(set(result.images)) == 4


def test_a_failing_partial_image_callback_does_not_lose_the_image(client: ServiceClient) -> None:
    def fail(index: int, data: bytes) -> None:
        raise OSError("the disk is full")

    assert len(client.images.generate(FOX, user_tag=TAG, on_partial=fail).images) == 1


def test_each_requested_partial_image_is_shown_once(
    service: OpenAIService, make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.provider.images._MAX_PARTIAL_LENGTH", 100)
    client, small, large = make_client(partial_images=2), b64encode(b"small").decode(), "A" * 104
    indexes_and_data = [
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
        {"type": "image_generation.partial_image", "partial_image_index": index, "b64_json": encoded}
        for index, encoded in indexes_and_data
    ]
    partial_events = b"".join(f"data: {json.dumps(event)}\n\n".encode() for event in events)
    service.script(Behaviour(corrupt=lambda good: partial_events + good))
    seen: list[tuple[int, bytes]] = []
    result = client.images.generate(
        FOX, user_tag=TAG, on_partial=lambda index, data: seen.append((index, data))
    )
    assert seen == [(0, b"small"), (1, b"small")]
    assert len(result.images) == 1


def test_a_finished_image_is_kept_when_the_connection_breaks_afterwards(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(broken_after_completed=True))
    assert len(generate(client).images) == 1


def test_a_readable_image_is_kept_beside_an_unreadable_one(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(
        Behaviour(plain=True, image_urls=("http://other.invalid/x.png", "{origin}/pictures/a.png"))
    )
    assert len(generate(client, SEVERAL).images) == 1


def test_an_organisation_that_may_not_stream_gets_an_unstreamed_image(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("unverified to stream")
    generate(client)
    assert [seen.body.get("stream") for seen in service.requests] == [True, None]
    assert "partial_images" not in service.requests[-1].body


def test_a_refusal_of_the_unstreamed_call_is_an_error(service: OpenAIService, client: ServiceClient) -> None:
    service.script("unverified to stream", always=True)
    with pytest.raises(StreamingUnverified):
        generate(client)
    assert [seen.body.get("stream") for seen in service.requests] == [True, None]


@pytest.mark.parametrize(
    ("row", "dropped"),
    [
        pytest.param(parameter_refusal("quality"), "quality", id="unsupported parameter"),
        pytest.param(parameter_refusal("quality", "unsupported_value"), "quality", id="unsupported value"),
        pytest.param(
            parameter_refusal("background", "unknown_parameter"), "background", id="unknown parameter"
        ),
        pytest.param(parameter_refusal("quality", None, None), "quality", id="named in the message alone"),
        pytest.param(
            ErrorRow(422, "Unrecognized request argument supplied: background"), "background", id="plain text"
        ),
    ],
)
def test_a_refused_parameter_is_dropped_once(
    service: OpenAIService, client: ServiceClient, row: ErrorRow, dropped: str
) -> None:
    service.script(row)
    generate(client, replace(SEVERAL, quality="high", background="opaque"))
    first, second = (seen.body for seen in service.requests)
    assert set(first) - set(second) == {dropped}


def test_all_refused_parameters_are_dropped_one_after_the_other(
    service: OpenAIService, client: ServiceClient
) -> None:
    names = ("partial_images", "stream", "quality", "background")
    service.script(*map(parameter_refusal, names))
    assert generate(client, replace(FOX, quality="high", background="opaque")).images
    assert len(service.requests) == 5
    assert set(service.requests[0].body) - set(service.requests[-1].body) == set(names)


@pytest.mark.parametrize(
    ("row", "names"),
    [
        pytest.param(
            ErrorRow(400, {"message": "Unknown parameters: 'quality', 'background'."}),
            {"quality", "background"},
            id="several in one sentence",
        ),
        pytest.param(
            ErrorRow(400, {"message": "Unknown parameter: 'quality'. Supported are: background, style."}),
            {"quality"},
            id="others are named as supported",
        ),
        pytest.param(
            ErrorRow(400, {"message": "Streaming is not supported for this endpoint"}),
            {"stream", "partial_images"},
            id="streaming",
        ),
        pytest.param(
            ErrorRow(501, {"message": "This model does not support streaming."}),
            {"stream", "partial_images"},
            id="501",
        ),
        pytest.param(
            ErrorRow(
                400, {"message": ["property quality should not exist"], "error": "Bad Request"}, whole=True
            ),
            {"quality"},
            id="NestJS",
        ),
        pytest.param(
            ErrorRow(
                400,
                {"message": 'Unknown name "background": Cannot find field.', "status": "INVALID_ARGUMENT"},
            ),
            {"background"},
            id="Gemini",
        ),
    ],
)
def test_all_parameters_that_a_refusal_names_are_dropped_at_once(
    service: OpenAIService, client: ServiceClient, row: ErrorRow, names: set[str]
) -> None:
    service.script(row)
    assert generate(client, replace(FOX, quality="high", background="opaque")).images
    first, second = (seen.body for seen in service.requests)
    assert set(first) - set(second) == names


def test_a_parameter_that_the_service_did_not_know_is_left_out_from_then_on(
    service: OpenAIService, client: ServiceClient
) -> None:
    params = replace(SEVERAL, quality="high")
    service.script(parameter_refusal("quality", "unknown_parameter"))
    generate(client, params)
    generate(client, params)
    generate(client, replace(params, model="gpt-image-2"))
    assert ["quality" in seen.body for seen in service.requests] == [True, False, False, True]


@pytest.mark.parametrize(
    "rows",
    [
        pytest.param([parameter_refusal("quality", "unsupported_value")], id="only the value was refused"),
        pytest.param([parameter_refusal("quality"), ErrorRow(429, "")], id="the call failed all the same"),
    ],
)
def test_a_parameter_that_the_service_may_know_is_sent_again(
    service: OpenAIService, client: ServiceClient, rows: list[ErrorRow]
) -> None:
    params = replace(SEVERAL, quality="high")
    service.script(*rows)
    with suppress(ImageError):
        generate(client, params)
    generate(client, params)
    assert ["quality" in seen.body for seen in service.requests] == [True, False, True]


def test_what_a_service_did_not_know_is_remembered_by_simultaneous_calls(
    service: OpenAIService, client: ServiceClient
) -> None:
    refused = ("quality", "background")
    service.script(*(parameter_refusal(name, "unknown_parameter") for name in refused))
    params = replace(SEVERAL, quality="high", background="opaque")
    with ThreadPoolExecutor(2) as pool:
        assert all(done.images for done in pool.map(lambda _: generate(client, params), range(2)))
    generate(client, params)
    assert not set(refused) & set(service.requests[-1].body)


@pytest.mark.parametrize("name", ["size", "n", "model", "prompt"])
def test_a_required_parameter_is_never_dropped(
    service: OpenAIService, client: ServiceClient, name: str
) -> None:
    service.script(parameter_refusal(name))
    with pytest.raises(ParameterRefused) as caught:
        generate(client, replace(SEVERAL, size="1024x1024"))
    assert caught.value.field == name
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "fault", ["silent", "stall", *DRIPS, "dropped", "server error", "overloaded", "rate limit"]
)
@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(SEVERAL, id="plain")])
def test_a_failed_image_call_is_not_repeated(
    service: OpenAIService, make_client: MakeClient, fault: str, params: GenerateParams
) -> None:
    service.script(fault if params is FOX or fault != "stall" else "silent", always=True)
    with pytest.raises(ImageError):
        generate(make_client(image_timeout=0.2), params)
    assert len(service.requests) == 1


@pytest.mark.parametrize("fault", ["silent", "stall", *DRIPS])
def test_the_outcome_of_an_image_call_that_times_out_is_unknown(
    service: OpenAIService, make_client: MakeClient, fault: str
) -> None:
    service.script(fault)
    with pytest.raises(OutcomeUnknown) as caught:
        generate(make_client(image_timeout=0.2))
    assert caught.value.charged is None
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(SEVERAL, id="plain")])
def test_the_outcome_of_an_image_call_whose_connection_breaks_is_unknown(
    service: OpenAIService, client: ServiceClient, params: GenerateParams
) -> None:
    service.script("dropped")
    with pytest.raises(OutcomeUnknown) as caught:
        generate(client, params)
    assert caught.value.request_id == REQUEST_ID


def test_an_unstreamed_response_to_a_streamed_image_call_is_read(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("plain")
    result = generate(client)
    assert service.requests[-1].body["stream"] is True
    assert len(result.images) == 1


def test_the_outcome_of_a_truncated_image_stream_is_unknown(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("truncated")
    with pytest.raises(OutcomeUnknown) as caught:
        generate(client)
    assert caught.value.request_id == REQUEST_ID


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
def test_a_response_without_an_image_is_a_bad_response(
    service: OpenAIService,
    client: ServiceClient,
    fault: str,
    error: type[BadResponse],
    params: GenerateParams,
) -> None:
    service.script(fault)
    with pytest.raises(error) as caught:
        generate(client, params)
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
        pytest.param(b'{"data": [{"b64_json": ""}]}', id="empty image"),
        pytest.param(b'{"data": [{"url": "http://["}]}', id="not an address"),
        pytest.param(b'{"data": [{"url": 7}]}', id="address of another kind"),
        pytest.param(b'{"usage": "none", "choices": 5}', id="nothing expected"),
        pytest.param(b"\xff\xfe", id="not UTF-8"),
        pytest.param(b"", id="nothing"),
    ],
)
def test_an_unexpected_body_is_a_bad_response(
    service: OpenAIService, client: ServiceClient, body: bytes
) -> None:
    service.script(Behaviour(raw=body))
    with pytest.raises(BadResponse):
        generate(client)
