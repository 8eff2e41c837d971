"""The connection to the service: keys, headers, timeouts, retries and lost connections."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from typing import Any

import httpx2
import pytest

from core.errors import (
    BadResponse,
    BillingLimitReached,
    ImageError,
    OutcomeUnknown,
    QuotaSpent,
    ServiceUnreachable,
    SettingsError,
    StreamingUnverified,
)
from core.provider.client import ServiceClient
from core.provider.connection import NO_KEY
from core.settings import load_settings
from tests.support.app_process import free_port
from tests.support.openai_service import (
    ERRORS,
    KEY,
    TAG,
    Behaviour,
    ErrorRow,
    OpenAIService,
    openai_service,
)
from tests.support.plain_server import answering
from tests.support.service_client import (
    CALLS,
    DRIPS,
    Call,
    MakeClient,
    ReroutedTransport,
    enhance,
    failing,
    generate,
)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("row", ["quota spent", "credit spent", "billing limit"])
def test_an_account_without_quota_is_called_once(
    service: OpenAIService, client: ServiceClient, call: Call, row: str
) -> None:
    service.script(row, always=True)
    with pytest.raises((QuotaSpent, BillingLimitReached)) as caught:
        call(client)
    assert not caught.value.retryable
    assert len(service.requests) == 1


def test_a_newline_after_the_key_is_removed(service: OpenAIService, make_client: MakeClient) -> None:
    generate(make_client(openai_api_key=f"{KEY}\n"))
    assert service.requests[-1].headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize("key", ["sk-schlüssel-123", "sk-one\nsk-two", "sk one"])
def test_a_key_that_a_header_cannot_carry_is_a_settings_error(key: str) -> None:
    with pytest.raises(SettingsError, match="OPENAI_API_KEY") as caught:
        load_settings(openai_api_key=key)
    assert key not in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
def test_the_sdk_reads_nothing_from_the_environment(
    service: OpenAIService,
    make_client: MakeClient,
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


def test_openai_is_called_at_its_own_address(
    service: OpenAIService, monkeypatch: pytest.MonkeyPatch, make_client: MakeClient
) -> None:
    client = make_client(ReroutedTransport(service), openai_base_url=None)
    monkeypatch.setenv("OPENAI_BASE_URL", "http://environment.invalid/v1")
    generate(client)
    assert service.requests[-1].headers["host"] == "api.openai.com"


def test_no_request_asks_for_compression(service: OpenAIService, make_client: MakeClient) -> None:
    client = make_client(moderation="on")
    service.script(Behaviour(plain=True, image_urls=("{origin}/pictures/a.png",)))
    generate(client)
    enhance(client)
    client.moderation.flagged_categories(["a fox"])
    assert len(service.requests) == 4
    assert {seen.headers["accept-encoding"] for seen in service.requests} == {"identity"}


def test_a_redirect_is_not_followed(service: OpenAIService, client: ServiceClient) -> None:
    service.script(ErrorRow(307, "", {"Location": f"{service.origin}/v1/chat/completions"}))
    with pytest.raises(BadResponse) as caught:
        generate(client)
    assert caught.value.charged is False
    assert len(service.requests) == 1


@pytest.mark.parametrize("call", CALLS)
def test_a_refused_connection_costs_nothing(make_client: MakeClient, call: Call) -> None:
    with pytest.raises(ServiceUnreachable) as caught:
        call(make_client(openai_base_url=f"http://127.0.0.1:{free_port()}/v1"))
    assert caught.value.charged is False


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "error",
    [
        pytest.param(httpx2.ConnectTimeout("too slow"), id="connect timeout"),
        pytest.param(httpx2.ConnectError("Name or service not known"), id="no such host"),
        pytest.param(httpx2.PoolTimeout("no free connection"), id="no free connection"),
        pytest.param(httpx2.ProxyError("502 Bad Gateway"), id="proxy"),
    ],
)
def test_a_request_that_was_never_sent_costs_nothing(
    make_client: MakeClient, call: Call, error: Exception
) -> None:
    with pytest.raises(ServiceUnreachable) as caught:
        call(make_client(failing(error)))
    assert caught.value.charged is False


def test_each_call_has_the_timeouts_of_the_settings(make_client: MakeClient) -> None:
    limits: list[Any] = []

    def note(request: httpx2.Request) -> httpx2.Response:
        limits.append(request.extensions["timeout"])
        return httpx2.Response(418)

    client = make_client(httpx2.MockTransport(note), connect_timeout=1, image_timeout=2, text_timeout=3)
    for call in (generate, enhance):
        with pytest.raises(ImageError):
            call(client)
    assert [limit["connect"] for limit in limits] == [1, 1]
    assert [limit["read"] for limit in limits] == pytest.approx([2, 3], abs=0.5)


def test_a_call_without_its_refused_part_keeps_the_deadline(
    service: OpenAIService, make_client: MakeClient
) -> None:
    service.script("unverified to stream", "drip of JSON")
    limits: list[float] = []

    class Noting(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            limits.append(request.extensions["timeout"]["read"])
            return super().handle_request(request)

    with pytest.raises(OutcomeUnknown):
        generate(make_client(Noting(verify=False), image_timeout=0.5))
    first, second = limits
    assert second < first


def test_a_call_refused_after_its_deadline_is_not_sent_again(
    make_client: MakeClient,
) -> None:
    sent: list[float] = []

    def refuse_late(_: httpx2.Request) -> httpx2.Response:
        sent.append(0.0)
        return httpx2.Response(400, json=ERRORS["unverified to stream"].body)

    client = make_client(httpx2.MockTransport(refuse_late), clock=lambda: 1000.0 * len(sent), image_timeout=5)
    with pytest.raises(StreamingUnverified):
        generate(client)
    assert len(sent) == 1


def test_a_service_that_closes_the_connection_without_a_response(
    make_client: MakeClient,
) -> None:
    with answering(b"") as (port, _):
        client = make_client(openai_base_url=f"http://127.0.0.1:{port}/v1")
        with pytest.raises(OutcomeUnknown):
            generate(client)
        with pytest.raises(ServiceUnreachable, match="connection to the service was lost") as caught:
            enhance(client)
    assert caught.value.charged is None
    assert caught.value.retryable


@pytest.mark.parametrize("fault", ["silent", "stall", *DRIPS])
def test_a_text_call_that_times_out_may_be_retried(
    service: OpenAIService, make_client: MakeClient, fault: str
) -> None:
    service.script(fault, always=True)
    with pytest.raises(ServiceUnreachable, match="didn't answer in time") as caught:
        enhance(make_client(text_timeout=0.2))
    assert caught.value.retryable
    assert len(service.requests) == 1


def test_a_response_without_usage_has_no_price(service: OpenAIService, client: ServiceClient) -> None:
    service.script(Behaviour(usage=False), Behaviour(usage=False))
    assert enhance(client).result.price_micros is None
    assert generate(client).price_micros is None


@pytest.mark.parametrize("call", CALLS)
def test_only_openai_is_sent_the_tag_of_the_user(
    service: OpenAIService, make_client: MakeClient, call: Call
) -> None:
    call(make_client(ReroutedTransport(service), openai_base_url=None))
    call(make_client())
    official, other = service.requests
    assert official.body["safety_identifier"] == TAG
    assert TAG not in json.dumps([other.body, other.headers])


def test_a_service_without_a_key_is_sent_a_placeholder(
    service: OpenAIService, make_client: MakeClient
) -> None:
    generate(make_client(openai_api_key=None))
    assert service.requests[-1].headers["authorization"] == f"Bearer {NO_KEY}"


@pytest.mark.parametrize("call", CALLS)
def test_the_query_of_the_base_url_is_part_of_each_request(
    service: OpenAIService, make_client: MakeClient, call: Call
) -> None:
    addresses: list[str] = []

    class Noting(httpx2.HTTPTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            addresses.append(str(request.url))
            return super().handle_request(request)

    call(
        make_client(
            Noting(verify=False), openai_base_url=f"{service.base_url}?api-version=2026-01-01&x=a%20b"
        )
    )
    (address,) = addresses
    assert address.startswith(f"{service.base_url}/")
    assert address.endswith("?api-version=2026-01-01&x=a%20b")


@pytest.mark.parametrize("call", CALLS)
def test_a_user_name_in_the_base_url_is_sent_if_there_is_no_key(
    service: OpenAIService, make_client: MakeClient, call: Call
) -> None:
    url = service.base_url.replace("//", "//me:secret@")
    call(make_client(openai_base_url=url, openai_api_key=None))
    assert service.requests[-1].headers["authorization"] == f"Basic {b64encode(b'me:secret').decode()}"


@pytest.mark.parametrize("call", CALLS)
def test_extra_headers_are_sent_with_each_request(
    service: OpenAIService, make_client: MakeClient, call: Call
) -> None:
    call(make_client(extra_headers="X-Portkey-Provider: openai\nUser-Agent: Atelier"))
    (seen,) = service.requests
    assert (seen.headers["x-portkey-provider"], seen.headers["user-agent"]) == ("openai", "Atelier")
    assert seen.headers["authorization"] == f"Bearer {KEY}"


def test_a_key_in_an_extra_header_has_no_placeholder_beside_it(
    service: OpenAIService, make_client: MakeClient
) -> None:
    generate(make_client(openai_api_key=None, extra_headers="api-key: of-azure"))
    generate(make_client(openai_api_key=None, extra_headers="authorization: Token of-a-gateway"))
    own, standard = service.requests
    assert (own.headers["api-key"], own.headers.get("authorization")) == ("of-azure", None)
    assert standard.headers["authorization"] == "Token of-a-gateway"


def test_text_may_be_enhanced_by_another_service(service: OpenAIService, make_client: MakeClient) -> None:
    with openai_service() as text:
        client = make_client(
            extra_headers="X-Team: images", text_base_url=text.base_url, text_model="a-local-model"
        )
        assert enhance(client).result.model == "a-local-model"
        generate(client)
        (enhanced,), (drawn,) = text.requests, service.requests
    assert enhanced.headers["authorization"] == f"Bearer {NO_KEY}"
    assert "x-team" not in enhanced.headers
    assert (drawn.headers["authorization"], drawn.headers["x-team"]) == (f"Bearer {KEY}", "images")


def test_an_error_of_the_text_service_names_its_own_variables(
    service: OpenAIService, make_client: MakeClient
) -> None:
    with openai_service() as text:
        client = make_client(text_base_url=text.base_url, text_api_key="sk-text")
        for row, variable in (("key rejected", "TEXT_API_KEY"), ("no such path", "TEXT_BASE_URL")):
            text.script(row)
            with pytest.raises(ImageError) as caught:
                enhance(client)
            assert any(variable in tip for tip in caught.value.suggestions)
            assert "OPENAI" not in str(caught.value.suggestions)
            service.script(row)
            with pytest.raises(ImageError) as caught:
                generate(client)
            assert "TEXT" not in str(caught.value.suggestions)


def test_each_text_is_moderated_by_the_service_that_it_is_sent_to(
    service: OpenAIService, make_client: MakeClient
) -> None:
    """AUTO moderates at OpenAI itself, and a description for a local model doesn't go to OpenAI."""
    client = make_client(
        ReroutedTransport(service), openai_base_url=None, text_base_url="http://127.0.0.1:9/v1"
    )
    client.text_moderation.screen(["a description"])
    client.moderation.screen(["a prompt"])
    (seen,) = service.requests
    assert seen.body["input"] == ["a prompt"]


def test_text_is_requested_without_a_stream_if_the_service_fails_to_stream(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script("server error without code", "server error without code")
    assert enhance(client).result.text
    assert enhance(client).result.text
    assert [bool(seen.body.get("stream")) for seen in service.requests] == [True, True, False, False]


def test_a_service_that_recovers_is_still_asked_for_streams(
    service: OpenAIService, client: ServiceClient
) -> None:
    for failures in (["server error"], ["server error", "overloaded"]):
        service.script(*failures)
        enhance(client)
    assert all(seen.body["stream"] for seen in service.requests)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(ErrorRow(400, "denied: of-cloudflare, code-of-azure"), id="error"),
        pytest.param(Behaviour(raw=b'{"error": {"message": "of-cloudflare code-of-azure"}}'), id="success"),
        pytest.param(Behaviour(frames=({"error": {"message": "of-cloudflare code-of-azure"}},)), id="stream"),
    ],
)
def test_no_error_repeats_a_secret_of_the_service(
    service: OpenAIService, make_client: MakeClient, call: Call, answer: ErrorRow | Behaviour
) -> None:
    service.script(answer, always=True)
    client = make_client(
        openai_base_url=f"{service.base_url}?code=code-of-azure",
        extra_headers="cf-aig-authorization: Bearer of-cloudflare",
    )
    with pytest.raises(ImageError) as caught:
        call(client)
    assert caught.value.details.count("[secret]") == 2
    assert not {"of-cloudflare", "code-of-azure"} & set(re.findall(r"[\w-]+", str(caught.value)))
