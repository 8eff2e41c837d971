"""What a service says in a failure, and the traps of its SDK: the code each gets, and what it costs."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import httpx2
import pytest

from core import errors
from core.errors import ImageError
from core.errors.stored import StoredError
from core.prompts.recipe import GenerateParams
from core.prompts.request import PromptRequest
from core.provider.capabilities import check_params
from core.provider.client import ServiceClient
from core.settings import load_settings
from tests.support.openai_service import ERRORS, FAULTS, Behaviour, ErrorRow, OpenAIService

KEY = "sk-loopback-0123456789"
FOX = GenerateParams("a fox", "gpt-image-2.6-flare")
# A service sends no stream for several images at once.
PLAIN = replace(FOX, n=2)
PIP = PromptRequest(name="Pip", traits=("green coat",), base_prompt="a fox on a pier")
Make = Callable[..., ServiceClient]


@pytest.fixture
def make_client(service: OpenAIService) -> Iterator[Make]:
    made: list[ServiceClient] = []

    def make(transport: httpx2.BaseTransport | None = None, **settings: Any) -> ServiceClient:
        given = {"openai_api_key": KEY, "openai_base_url": service.base_url} | settings
        wire = transport or httpx2.HTTPTransport(verify=False)
        made.append(ServiceClient(load_settings(**given), transport=wire, sleep=lambda _seconds: None))
        return made[-1]

    yield make
    for client in made:
        client.close()


@pytest.fixture
def client(make_client: Make) -> ServiceClient:
    return make_client()


@dataclass(frozen=True)
class Told:
    """What a person is told: everything that may differ between two causes."""

    code: str
    status: int
    retryable: bool
    charged: bool | None

    @classmethod
    def of(cls, error: ImageError | StoredError, status: int) -> Told:
        return cls(error.code, status, error.retryable, error.charged)


def painted(client: ServiceClient, params: GenerateParams = FOX) -> Told:
    with pytest.raises(ImageError) as caught:
        client.images.generate(params, user_tag="tag")
    error = caught.value
    assert error.suggestions
    stored = StoredError.from_json(json.loads(json.dumps(_as_json(StoredError.of(error)))))
    assert Told.of(stored, error.status) == Told.of(error, error.status), "the same after a reload"
    return Told.of(error, error.status)


def _as_json(stored: StoredError) -> dict[str, Any]:
    return {name: getattr(stored, name) for name in stored.__slots__}


def written(client: ServiceClient) -> Told:
    with pytest.raises(ImageError) as caught:
        list(client.chat.enhance(PIP, user_tag="tag"))
    assert caught.value.suggestions
    return Told.of(caught.value, caught.value.status)


# The error table


ROWS = [
    pytest.param("key rejected", Told("IMG-AUTH-KEY-001", 502, False, False), id="401 invalid_api_key"),
    pytest.param(
        "organisation unverified",
        Told("IMG-AUTH-ORG-001", 502, False, False),
        id="403 organization must be verified",
    ),
    pytest.param("model forbidden", Told("IMG-GEN-MODEL-001", 404, False, False), id="403 model_not_found"),
    pytest.param("model unknown", Told("IMG-GEN-MODEL-001", 404, False, False), id="404 model_not_found"),
    pytest.param(
        "region",
        Told("IMG-AUTH-REGION-001", 502, False, False),
        id="403 unsupported_country_region_territory",
    ),
    pytest.param("forbidden", Told("IMG-AUTH-SERVICE-001", 502, False, False), id="403 without a code"),
    pytest.param("quota spent", Told("IMG-GEN-QUOTA-001", 402, False, False), id="429 insufficient_quota"),
    pytest.param(
        "credit spent", Told("IMG-GEN-QUOTA-001", 402, False, False), id="429 credit_balance_exhausted"
    ),
    pytest.param(
        "billing limit", Told("IMG-GEN-BILL-001", 402, False, False), id="400 billing_hard_limit_reached"
    ),
    pytest.param("rate limit", Told("IMG-GEN-RATE-001", 429, True, False), id="429 rate_limit_exceeded"),
    pytest.param("slow down", Told("IMG-GEN-RATE-001", 429, True, False), id="429 slow_down"),
    pytest.param("overloaded", Told("IMG-GEN-BUSY-001", 503, True, False), id="503 server_is_overloaded"),
    pytest.param("server error", Told("IMG-GEN-SERVER-001", 502, True, None), id="500 server_error"),
    pytest.param("moderation", Told("IMG-PRM-BLOCK-001", 422, False, False), id="400 moderation_blocked"),
    pytest.param(
        "content policy", Told("IMG-PRM-BLOCK-001", 422, False, False), id="400 content_policy_violation"
    ),
    pytest.param("content filter", Told("IMG-PRM-BLOCK-002", 422, False, False), id="400 content_filter"),
    pytest.param(
        "image user error",
        Told("IMG-PRM-BLOCK-003", 422, False, False),
        id="400 image_generation_user_error",
    ),
    pytest.param("invalid size", Told("IMG-GEN-PARAM-001", 422, False, False), id="400 invalid_value"),
    pytest.param(
        "unknown parameter", Told("IMG-GEN-PARAM-002", 422, False, False), id="400 unknown_parameter"
    ),
    pytest.param("too long", Told("IMG-PRM-LONG-001", 422, False, False), id="400 string_above_max_length"),
    pytest.param("too large", Told("IMG-GEN-SIZE-001", 413, False, False), id="413"),
    pytest.param("no such path", Told("IMG-GEN-ADDR-001", 502, False, False), id="404 a web page"),
    pytest.param("moved", Told("IMG-GEN-ADDR-001", 502, False, False), id="307 elsewhere"),
]


@pytest.mark.parametrize(("row", "told"), ROWS)
@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(PLAIN, id="plain")])
def test_a_row_of_the_error_table_for_an_image(
    service: OpenAIService, client: ServiceClient, row: str, told: Told, params: GenerateParams
) -> None:
    service.script(row, always=True)
    assert painted(client, params) == told
    assert len(service.requests) == 1, "an image is never asked for twice"


@pytest.mark.parametrize(("row", "told"), ROWS)
def test_a_row_of_the_error_table_for_a_text(
    service: OpenAIService, client: ServiceClient, row: str, told: Told
) -> None:
    service.script(row, always=True)
    assert written(client) == told
    passing = told.code in ("IMG-GEN-RATE-001", "IMG-GEN-BUSY-001", "IMG-GEN-SERVER-001")
    assert len(service.requests) == (3 if passing else 1)


@pytest.mark.parametrize("row", ["unsupported parameter", "unsupported value"])
def test_a_row_of_the_error_table_unsupported_is_tried_once_without_it(
    service: OpenAIService, client: ServiceClient, row: str
) -> None:
    params = replace(PLAIN, quality="high", background="opaque")
    service.script(row)
    assert client.images.generate(params, user_tag="tag").images
    assert ["quality" in seen.body for seen in service.requests] == [True, False]


@pytest.mark.parametrize("code", ["unsupported_parameter", "unsupported_value"])
def test_a_row_of_the_error_table_unsupported_twice(
    service: OpenAIService, client: ServiceClient, code: str
) -> None:
    refused = [ErrorRow(400, {"code": code, "param": name}) for name in ("quality", "background")]
    service.script(*refused)
    params = replace(PLAIN, quality="high", background="opaque")
    assert painted(client, params) == Told("IMG-GEN-PARAM-002", 422, False, False)
    assert len(service.requests) == 2


def test_a_row_of_the_error_table_verified_to_stream_is_tried_once_without_stream(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("unverified to stream")
    assert client.images.generate(FOX, user_tag="tag").images
    assert [bool(seen.body.get("stream")) for seen in service.requests] == [True, False]


def test_a_row_of_the_error_table_verified_to_stream_even_then(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("unverified to stream", always=True)
    assert painted(client) == Told("IMG-AUTH-ORG-002", 502, False, False)
    assert len(service.requests) == 2


def test_a_row_of_the_error_table_timeout_of_an_image(service: OpenAIService, make_client: Make) -> None:
    service.script("silent")
    assert painted(make_client(image_timeout=0.2)) == Told("IMG-GEN-UNKNOWN-002", 504, False, None)


def test_a_row_of_the_error_table_timeout_of_a_text(service: OpenAIService, make_client: Make) -> None:
    service.script("silent", always=True)
    assert written(make_client(text_timeout=0.2)) == Told("IMG-GEN-CONN-002", 504, True, None)


def test_a_row_of_the_error_table_gateway_timeout_of_an_image(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("gateway timeout")
    assert painted(client) == Told("IMG-GEN-UNKNOWN-002", 504, False, None)


@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(PLAIN, id="plain")])
def test_a_row_of_the_error_table_connection_lost_for_an_image(
    service: OpenAIService, client: ServiceClient, params: GenerateParams
) -> None:
    service.script("dropped")
    assert painted(client, params) == Told("IMG-GEN-UNKNOWN-003", 504, False, None)


def test_a_row_of_the_error_table_connection_lost_for_a_text(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("dropped", always=True)
    assert written(client) == Told("IMG-GEN-CONN-003", 502, True, None)


def test_a_row_of_the_error_table_connection_refused(make_client: Make) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        client = make_client(openai_base_url=f"http://127.0.0.1:{taken.getsockname()[1]}/v1")
        assert painted(client) == Told("IMG-GEN-CONN-001", 503, True, False)
        assert written(client) == Told("IMG-GEN-CONN-001", 503, True, False)


@pytest.mark.parametrize("row", ERRORS)
def test_no_row_is_retryable_where_nothing_would_change(
    service: OpenAIService, client: ServiceClient, row: str
) -> None:
    """4xx but 429 and what is unknown: the same again would be refused again."""
    service.script(row, always=True)
    with suppress(StopIteration):
        told = painted(client)
        refused = ERRORS[row].status < 500 and ERRORS[row].status not in (418, 429)
        assert not (refused and told.retryable)


# What a refusal says


@pytest.mark.parametrize(
    ("row", "code", "categories"),
    [
        pytest.param("moderation", "IMG-PRM-BLOCK-001", ("violence", "self-harm"), id="OpenAI"),
        pytest.param("content filter", "IMG-PRM-BLOCK-002", ("hate",), id="Azure"),
        pytest.param("content policy", "IMG-PRM-BLOCK-001", (), id="none named"),
    ],
)
def test_a_refusal_names_its_categories_also_after_a_reload(
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
            id="of the finished picture",
        ),
    ],
)
def test_a_refusal_that_comes_after_the_work_may_have_cost_something(
    service: OpenAIService, client: ServiceClient, behaviour: str | ErrorRow
) -> None:
    service.script(behaviour)
    assert painted(client) == Told("IMG-PRM-BLOCK-001", 422, False, None)


def test_a_user_error_that_speaks_of_safety_is_a_block(service: OpenAIService, client: ServiceClient) -> None:
    message = "Your request was rejected by the safety system."
    service.script(ErrorRow(400, {"type": "image_generation_user_error", "message": message}))
    assert painted(client).code == "IMG-PRM-BLOCK-001"


def test_a_stored_failure_of_before_costs_what_its_code_does() -> None:
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


def test_a_retired_model_has_a_code_of_its_own_and_names_its_successor() -> None:
    with pytest.raises(errors.ModelRetired) as caught:
        check_params(
            replace(FOX, model="dall-e-3", size="1024x1024", quality="hd"),
            today=date(2026, 11, 25),
            official=True,
        )
    error = caught.value
    assert Told.of(error, error.status) == Told("IMG-GEN-MODEL-002", 410, False, False)
    assert "Its successor is GPT Image" in error.message


# The traps


def test_trap_1_a_dead_account_is_asked_once(service: OpenAIService, client: ServiceClient) -> None:
    service.script("quota spent", always=True)
    assert written(client) == painted(client) == Told("IMG-GEN-QUOTA-001", 402, False, False)
    assert len(service.requests) == 2


def test_trap_2_an_image_that_timed_out_is_not_bought_again(
    service: OpenAIService, make_client: Make
) -> None:
    service.script("silent", always=True)
    assert painted(make_client(image_timeout=0.2)).charged is None
    assert len(service.requests) == 1


def test_trap_3_a_plain_answer_to_a_stream_is_read(service: OpenAIService, client: ServiceClient) -> None:
    service.script("plain", "plain")
    assert client.images.generate(FOX, user_tag="tag").images
    assert "".join(client.chat.enhance(PIP, user_tag="tag"))
    assert all(seen.body["stream"] for seen in service.requests)


def test_trap_4_a_truncated_stream_has_failed(service: OpenAIService, client: ServiceClient) -> None:
    service.script("truncated", "truncated")
    assert painted(client) == Told("IMG-GEN-UNKNOWN-004", 504, False, None)
    assert written(client) == Told("IMG-PRM-CUT-001", 502, True, None)


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param({"error": ERRORS["moderation"].body}, "IMG-PRM-BLOCK-001", id="a block"),
        pytest.param({"error": ERRORS["quota spent"].body}, "IMG-GEN-QUOTA-001", id="a code"),
        pytest.param({"error": {"message": "Oops"}}, "IMG-GEN-SERVER-001", id="bare"),
        pytest.param({"type": "error", "code": "server_error"}, "IMG-GEN-SERVER-001", id="flat"),
    ],
)
def test_trap_5_an_error_frame_is_an_error_with_its_code_and_request(
    service: OpenAIService, client: ServiceClient, frame: dict[str, Any], code: str
) -> None:
    service.script(Behaviour(frames=(frame,)))
    with pytest.raises(ImageError) as caught:
        client.images.generate(FOX, user_tag="tag")
    assert (caught.value.code, caught.value.request_id) == (code, "req_loopback")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param("html", Told("IMG-GEN-ANSWER-002", 502, True, None), id="HTML"),
        pytest.param("malformed", Told("IMG-GEN-ANSWER-001", 502, True, None), id="malformed JSON"),
        pytest.param("not an object", Told("IMG-GEN-ANSWER-001", 502, True, None), id="no object"),
        pytest.param("no images", Told("IMG-GEN-ANSWER-003", 502, True, None), id="no data"),
    ],
)
@pytest.mark.parametrize("params", [pytest.param(FOX, id="streamed"), pytest.param(PLAIN, id="plain")])
def test_trap_6_an_answer_that_is_no_image_is_an_error(
    service: OpenAIService, client: ServiceClient, fault: str, told: Told, params: GenerateParams
) -> None:
    service.script(fault)
    assert painted(client, params) == told


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        pytest.param("refusal", Told("IMG-PRM-REFUSE-001", 422, False, True), id="a refusal"),
        pytest.param("length", Told("IMG-PRM-CUT-002", 502, True, True), id="cut by its length"),
        pytest.param("content filter", Told("IMG-PRM-BLOCK-002", 422, False, None), id="filtered"),
    ],
)
def test_trap_7_an_enhancement_that_is_none_is_an_error(
    service: OpenAIService, client: ServiceClient, fault: str, told: Told
) -> None:
    service.script(FAULTS[fault])
    assert written(client) == told


@pytest.mark.parametrize("fault", ["prose", "fenced"])
def test_trap_7_prose_and_fenced_json_are_read(
    service: OpenAIService, client: ServiceClient, fault: str
) -> None:
    service.script(fault)
    stream = client.chat.enhance(PIP, user_tag="tag")
    list(stream)
    assert stream.result.text.startswith("A quiet harbour.")


@pytest.mark.parametrize("key", ["sk-schlüssel-123", "sk-one\nsk-two", "sk one two three"])
def test_trap_8_a_key_that_no_header_can_carry_stops_the_start(key: str) -> None:
    with pytest.raises(errors.SettingsError) as caught:
        load_settings(openai_api_key=key)
    error = caught.value
    assert Told.of(error, error.status) == Told("IMG-SET-KEY-001", 500, False, False)
    assert key not in str(error)


def test_trap_8_a_stray_newline_is_stripped(service: OpenAIService, make_client: Make) -> None:
    make_client(openai_api_key=f" {KEY}\n").generate(FOX, user_tag="tag")
    assert service.requests[-1].headers["authorization"] == f"Bearer {KEY}"


def test_trap_9_nothing_is_read_from_the_environment(
    service: OpenAIService, client: ServiceClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "http://environment.invalid/v1")
    monkeypatch.setenv("OPENAI_ORG_ID", "org-environment")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-environment")
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Environment: yes")
    client.images.generate(FOX, user_tag="tag")
    (seen,) = service.requests
    assert "environment" not in json.dumps(seen.headers)


def test_trap_10_a_host_of_images_is_never_sent_the_key(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(image_urls=("{origin}/pictures/a.png",)))
    client.images.generate(replace(FOX, model="dall-e-3", size="1024x1024", quality="hd"), user_tag="tag")
    asked, fetched = service.requests
    assert KEY in json.dumps(asked.headers)
    assert KEY not in json.dumps(fetched.headers)


# Moderation before paying


def test_a_moderation_names_what_it_flags(service: OpenAIService, make_client: Make) -> None:
    client = make_client(moderation="on")
    assert client.moderation.flagged_categories(["a fox", "a [[flagged:violence,hate/threatening]] fox"]) == (
        "violence",
        "hate/threatening",
    )
    assert client.moderation.flagged_categories(["a fox"]) == ()
    assert service.requests[0].body == {
        "model": "omni-moderation-latest",
        "input": ["a fox", "a [[flagged:violence,hate/threatening]] fox"],
    }


@pytest.mark.parametrize(
    ("settings", "asked"),
    [
        pytest.param({}, False, id="another service"),
        pytest.param({"moderation": "on"}, True, id="on"),
        pytest.param({"openai_base_url": None}, True, id="OpenAI itself"),
        pytest.param({"openai_base_url": None, "moderation": "off"}, False, id="off"),
        pytest.param(
            {"openai_base_url": None, "openai_api_key": None, "moderation": "on"}, False, id="offline"
        ),
    ],
)
def test_who_is_asked_for_moderation(make_client: Make, settings: dict[str, Any], asked: bool) -> None:
    paths: list[str] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        paths.append(request.url.path)
        return httpx2.Response(200, json={"results": [{"flagged": False, "categories": {}}]})

    assert make_client(httpx2.MockTransport(answer), **settings).moderate(["a fox"]) == ()
    assert paths == ["/v1/moderations"] * asked


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({"results": "none"}, id="no list"),
        pytest.param({"results": [{"flagged": "yes", "categories": {"x": True}}]}, id="no yes or no"),
        pytest.param({}, id="nothing"),
    ],
)
def test_an_odd_moderation_flags_nothing(make_client: Make, body: dict[str, Any]) -> None:
    wire = httpx2.MockTransport(lambda _request: httpx2.Response(200, json=body))
    assert make_client(wire, moderation="on").moderate(["a fox"]) == ()


def test_a_moderation_that_names_no_category_flags_still(make_client: Make) -> None:
    wire = httpx2.MockTransport(lambda _request: httpx2.Response(200, json={"results": [{"flagged": True}]}))
    assert make_client(wire, moderation="on").moderate(["a fox"]) == ("unnamed",)


def test_a_moderation_has_little_time(make_client: Make) -> None:
    limits: list[float] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        limits.append(request.extensions["timeout"]["read"])
        return httpx2.Response(500)

    with pytest.raises(errors.ServiceFailed):
        make_client(httpx2.MockTransport(note), moderation="on").moderate(["a fox"])
    assert len(limits) == 1
    assert limits[0] <= 5
