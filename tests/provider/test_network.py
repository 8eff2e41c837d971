"""Proxies and certificates: what keeps a call from leaving is found at the start, and costs nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from core.errors import CertificateUntrusted, ProxyRejected, SchemeWrong, ServiceUnreachable, SettingsError
from core.provider.client import ServiceClient
from core.settings import load_settings
from tests.support.openai_service import OpenAIService
from tests.support.plain_server import answering
from tests.support.service_client import CALLS, Call, enhance, generate
from tests.support.tls_proxy import tls_proxy

UNUSABLE = [
    pytest.param("ALL_PROXY", "socks5://127.0.0.1:9", "socksio", id="SOCKS without its package"),
    pytest.param("all_proxy", "socks://127.0.0.1:9/", "all_proxy", id="unknown scheme"),
    pytest.param("HTTPS_PROXY", "ftp://hunter2@127.0.0.1:9", "HTTPS_PROXY", id="a scheme for files"),
    pytest.param("HTTP_PROXY", "http://me:hunter2@[", "HTTP_PROXY", id="no address"),
    pytest.param("SSL_CERT_FILE", "/nonexistent/ca.pem", "SSL_CERT_FILE", id="no such file"),
    pytest.param("SSL_CERT_FILE", __file__, "SSL_CERT_FILE", id="a file of something else"),
    pytest.param("SSL_CERT_FILE", "/", "SSL_CERT_FILE", id="a folder"),
    pytest.param("SSL_CERT_DIR", "/nonexistent", "SSL_CERT_DIR", id="no such folder"),
]


@contextmanager
def connected(base_url: str, **settings: Any) -> Iterator[ServiceClient]:
    """A client that uses the network as the environment says."""
    client = ServiceClient(
        load_settings(openai_api_key="sk-abc", openai_base_url=base_url, **settings), sleep=lambda _: None
    )
    yield client
    client.close()


@pytest.mark.parametrize("no_proxy", ["", "127.0.0.1"])
@pytest.mark.parametrize(("name", "value", "named"), UNUSABLE)
def test_a_variable_that_keeps_calls_from_leaving_is_found_at_the_start(
    service: OpenAIService, monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str, no_proxy: str
) -> None:
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("NO_PROXY", no_proxy)
    with pytest.raises(SettingsError, match=named) as caught, connected(service.base_url):
        pass
    assert name in caught.value.message
    assert "hunter2" not in f"{caught.value} {caught.value.details}"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(("name", "value", "named"), [UNUSABLE[0], UNUSABLE[1], UNUSABLE[4]])
def test_a_variable_that_goes_wrong_after_the_start_costs_nothing(
    service: OpenAIService, monkeypatch: pytest.MonkeyPatch, name: str, value: str, named: str, call: Call
) -> None:
    with connected(service.base_url) as client:
        monkeypatch.setenv(name, value)
        with pytest.raises(ServiceUnreachable, match=named) as caught:
            call(client)
    assert caught.value.charged is False
    assert type(caught.value) is ServiceUnreachable
    assert service.requests == []


def test_the_offline_engine_needs_no_network(monkeypatch: pytest.MonkeyPatch, service: OpenAIService) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://127.0.0.1:9")
    from core.offline.transport import OfflineTransport

    client = ServiceClient(load_settings(), transport=OfflineTransport(seed=1))
    assert enhance(client).result.text
    client.close()


def test_a_private_authority_is_trusted_if_the_environment_names_it(
    service: OpenAIService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with tls_proxy(service.port, tmp_path) as proxy:
        monkeypatch.setenv("SSL_CERT_FILE", str(proxy.ca_file))
        with connected(proxy.base_url) as client:
            assert generate(client).images
            assert enhance(client).result.text


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("trusted", [pytest.param(True, id="wrong name"), pytest.param(False, id="unknown")])
def test_an_untrusted_certificate_is_reported_at_once(
    service: OpenAIService, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Call, trusted: bool
) -> None:
    with tls_proxy(service.port, tmp_path, name="other.example") as proxy:
        if trusted:
            monkeypatch.setenv("SSL_CERT_FILE", str(proxy.ca_file))
        with connected(proxy.base_url) as client, pytest.raises(CertificateUntrusted) as caught:
            call(client)
    assert (caught.value.charged, caught.value.retryable) == (False, False)
    assert any("SSL_CERT_FILE" in tip for tip in caught.value.suggestions)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n", id="HTTP"),
        pytest.param(b"220 mail.example ESMTP\r\n", id="mail"),
        pytest.param(b"\x00\x00\x00\x00\x00\x00\x00\x00", id="zeros"),
    ],
)
def test_https_to_a_plain_port_is_reported_at_once(call: Call, answer: bytes) -> None:
    with answering(answer) as (port, received), connected(f"https://127.0.0.1:{port}/v1") as client:
        with pytest.raises(SchemeWrong) as caught:
            call(client)
        assert len(received) == 1
    assert caught.value.charged is False
    assert any("OPENAI_BASE_URL" in tip for tip in caught.value.suggestions)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "words",
    [
        pytest.param(b"<h1>400 The plain HTTP request was sent to HTTPS port</h1>", id="nginx"),
        pytest.param(b"Client sent an HTTP request to an HTTPS server.\n", id="Go"),
    ],
)
def test_http_to_a_port_for_https_is_reported_as_such(call: Call, words: bytes) -> None:
    answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n%s" % (len(words), words)
    with answering(answer) as (port, received), connected(f"http://127.0.0.1:{port}/v1") as client:
        with pytest.raises(SchemeWrong):
            call(client)
        assert len(received) == 1


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    ("scheme", "status"),
    [("http", b"407 Sign in"), ("https", b"407 Sign in"), ("https", b"403 Forbidden")],
)
def test_a_proxy_that_refuses_is_reported_at_once(
    monkeypatch: pytest.MonkeyPatch, call: Call, scheme: str, status: bytes
) -> None:
    with answering(b"HTTP/1.1 %s\r\nContent-Length: 0\r\n\r\n" % status) as (port, received):
        monkeypatch.setenv(f"{scheme}_proxy", f"http://me:hunter2@127.0.0.1:{port}")
        with connected(f"{scheme}://models.example/v1") as client, pytest.raises(ProxyRejected) as caught:
            call(client)
        assert len(received) == 1
    assert (caught.value.charged, caught.value.retryable) == (False, False)
    assert any("HTTPS_PROXY" in tip for tip in caught.value.suggestions)
    assert "hunter2" not in str(caught.value)
