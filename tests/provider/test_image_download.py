"""Images at an address are downloaded only from allowed hosts, and without the key or cookies."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import httpx2
import pytest
from PIL import Image

from core.errors import BadResponse, ImageNotDownloaded
from core.provider.client import ServiceClient
from core.provider.image_download import RETRY_PAUSES, is_public, resolve_host
from core.settings import load_settings
from tests.support.openai_service import DALL_E, KEY, TAG, Behaviour, OpenAIService
from tests.support.service_client import MakeClient, generate

PUBLIC = "93.184.215.14"
NAME = "pictures.example"


class RecordingTransport(httpx2.BaseTransport):
    """Sends the requests for any host to the loopback service, and records them as (URL, TLS name)."""

    def __init__(self, service: OpenAIService) -> None:
        self._service = service
        self._transport = httpx2.HTTPTransport(verify=False)
        self.requests: list[tuple[str, str | None]] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append((str(request.url), request.extensions.get("sni_hostname")))
        request.url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._service.port)
        return self._transport.handle_request(request)

    def close(self) -> None:
        self._transport.close()


@pytest.fixture
def transport(service: OpenAIService) -> Iterator[RecordingTransport]:
    transport = RecordingTransport(service)
    yield transport
    transport.close()


def client_for(transport: httpx2.BaseTransport | None, base_url: str, *addresses: str) -> ServiceClient:
    """A client that may download from NAME, which resolves to `addresses`."""
    settings = load_settings(
        openai_api_key=KEY, openai_base_url=base_url, image_hosts=f"other.example, {NAME}, localhost"
    )
    resolve = (lambda host, port: frozenset(addresses)) if addresses else resolve_host
    return ServiceClient(settings, transport=transport, resolve=resolve)


def refusal(client: ServiceClient, service: OpenAIService, url: str) -> str:
    """The reason for which the image at `url` isn't downloaded."""
    service.script(Behaviour(image_urls=(url,)))
    with pytest.raises(BadResponse) as caught:
        client.images.generate(DALL_E, user_tag=TAG)
    client.close()
    return caught.value.details


def test_an_allowed_host_is_contacted_at_the_address_that_was_checked(
    service: OpenAIService, transport: RecordingTransport
) -> None:
    client = client_for(transport, "https://models.example/v1", PUBLIC)
    for _ in range(2):
        service.script(Behaviour(image_urls=(f"https://{NAME}/pictures/cookie.png?sig=1",)))
        assert client.images.generate(DALL_E, user_tag=TAG).images
    client.close()
    download = service.requests[-1]
    assert transport.requests[-1] == (f"https://{PUBLIC}/pictures/cookie.png?sig=1", NAME)
    assert download.headers["host"] == NAME
    assert KEY not in json.dumps(download.headers)
    assert not {"authorization", "cookie", "openai-organization"} & set(download.headers)


def test_downloads_from_the_service_carry_neither_key_nor_cookie(service: OpenAIService) -> None:
    client = client_for(None, service.base_url)
    for _ in range(2):
        service.script(Behaviour(image_urls=("{origin}/pictures/cookie.png",)))
        client.images.generate(DALL_E, user_tag=TAG)
    client.close()
    for download in service.requests_to("cookie.png"):
        assert not {"authorization", "cookie"} & set(download.headers)


PRIVATE = [
    "127.0.0.1", "127.8.8.8", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "0.0.0.0", "224.0.0.1", "255.255.255.255", "192.0.2.1", "::1", "::", "fe80::1", "fe80::1%eth0", "fc00::1",
    "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1", "2001:0:1::1",
    "2001:db8::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_a_host_with_a_private_address_is_not_contacted(
    service: OpenAIService, transport: RecordingTransport, address: str
) -> None:
    assert not is_public(address)
    client = client_for(transport, "https://models.example/v1", address)
    assert "isn't a public address" in refusal(client, service, f"https://{NAME}/pictures/a.png")
    assert len(service.requests) == 1


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8"])
def test_internet_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_a_host_with_one_private_address_is_not_contacted(
    service: OpenAIService, transport: RecordingTransport
) -> None:
    client = client_for(transport, "https://models.example/v1", PUBLIC, "10.0.0.1")
    assert "isn't a public address" in refusal(client, service, f"https://{NAME}/pictures/a.png")


@pytest.mark.parametrize(
    ("url", "why"),
    [
        pytest.param(f"http://{NAME}/x.png", "isn't https", id="without TLS, where the service has it"),
        pytest.param(f"https://{NAME}:8443/x.png", "neither", id="another port"),
        pytest.param(f"https://me:secret@{NAME}/x.png", "user name", id="with a password"),
        pytest.param(f"https://{NAME}.evil.example/x.png", "neither", id="a name that begins alike"),
        pytest.param(f"https://evil.example/{NAME}", "neither", id="a host that isn't named"),
        pytest.param("//evil.example/x.png", "neither", id="only a host"),
        pytest.param(f"ftp://{NAME}/x.png", "", id="another scheme"),
        pytest.param("https://models.example:8443/x.png", "neither", id="the service's name, another port"),
        pytest.param("http://models.example/x.png", "neither", id="the service's name, without TLS"),
        pytest.param(f"https://{NAME}/pictures/moved.png", "other.invalid", id="a redirect"),
        pytest.param(f"https://{NAME}/pictures/huge.png", "larger than 2,097,152", id="too many bytes"),
    ],
)
def test_other_addresses_are_not_downloaded(
    service: OpenAIService,
    transport: RecordingTransport,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    why: str,
) -> None:
    monkeypatch.setattr("core.provider.image_download.MAX_IMAGE_BYTES", 2 << 20)
    assert why in refusal(client_for(transport, "https://models.example/v1", PUBLIC), service, url)
    assert "secret" not in str(transport.requests)
    assert len(service.requests) <= 2


def test_a_service_without_tls_may_send_image_addresses_without_tls(
    service: OpenAIService, transport: RecordingTransport
) -> None:
    client = client_for(transport, "http://models.example/v1", PUBLIC)
    service.script(Behaviour(image_urls=(f"http://{NAME}/pictures/a.png",)))
    assert client.images.generate(DALL_E, user_tag=TAG).images
    client.close()
    assert transport.requests[-1] == (f"http://{PUBLIC}/pictures/a.png", NAME)


# Real servers, real names


@contextmanager
def listening() -> Iterator[tuple[int, list[str]]]:
    """The port of a server on loopback, and the list of paths that it was asked for."""
    paths: list[str] = []

    class Noting(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *args: object) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Noting)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_port, paths
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_no_address_reaches_another_server_on_this_machine(service: OpenAIService) -> None:
    with listening() as (port, paths):
        hosts = ("127.0.0.1", "localhost", "[::1]", "2130706433", "0x7f.1", "0")
        for url in (*(f"http://{host}:{port}/x" for host in hosts), "http://localhost/x"):
            assert refusal(client_for(None, service.base_url), service, url)
        assert paths == []


@pytest.mark.parametrize("named", ["localhost", "127.0.0.1", "[::1]"])
def test_a_private_host_is_asked_if_exactly_its_host_and_port_are_named(
    service: OpenAIService, named: str
) -> None:
    """Without a key, without the extra headers, and even if the service itself has TLS."""
    settings = load_settings(
        openai_api_key=KEY, openai_base_url="https://models.example/v1", extra_headers="X-Team: art",
        image_hosts=f"minio:9000, {named}:{service.port}",
    )  # fmt: skip
    resolved: list[tuple[str, int]] = []

    def resolve(host: str, port: int) -> frozenset[str]:
        resolved.append((host, port))
        return frozenset({"127.0.0.1"})

    transport = RecordingTransport(service)
    client = ServiceClient(settings, transport=transport, resolve=resolve)
    service.script(Behaviour(image_urls=(f"http://{named}:{service.port}/pictures/a.png",), plain=True))
    assert generate(client, DALL_E).images
    client.close()
    assert resolved == [(named.strip("[]"), service.port)]
    assert transport.requests[-1][0] == f"http://127.0.0.1:{service.port}/pictures/a.png"
    assert service.requests[0].headers["x-team"] == "art"
    assert not {"authorization", "x-team", "cookie"} & set(service.requests[-1].headers)


@pytest.mark.parametrize(
    ("hosts", "url", "why"),
    [
        pytest.param(
            "localhost", "http://localhost:9000/x.png", "add localhost:9000 there", id="without the port"
        ),
        pytest.param(
            "localhost:9001", "http://localhost:9000/x.png", "add localhost:9000", id="another port"
        ),
        pytest.param("localhost", "http://localhost/x.png", "IMAGE_HOSTS: localhost:80", id="private"),
        pytest.param("", "http://[::1]:9000/x.png", "add [::1]:9000 there", id="IPv6"),
    ],
)
def test_the_rule_that_forbids_a_download_is_named(
    service: OpenAIService, hosts: str, url: str, why: str
) -> None:
    settings = load_settings(openai_base_url=service.base_url, image_hosts=hosts)
    assert why in refusal(ServiceClient(settings), service, url)


def test_an_unknown_host_is_named_in_the_error(service: OpenAIService) -> None:
    settings = load_settings(openai_base_url=service.base_url, image_hosts="nobody.invalid")
    client = ServiceClient(settings)
    assert "nobody.invalid has no address" in refusal(client, service, "http://nobody.invalid/x.png")


def test_an_image_at_an_address_is_downloaded_without_the_key(
    service: OpenAIService, client: ServiceClient
) -> None:
    service.script(Behaviour(image_urls=("{origin}/pictures/a.png",)))
    result = generate(client, DALL_E)
    assert Image.open(BytesIO(result.images[0])).size == (64, 64)
    download = service.requests[-1]
    assert download.path == "/pictures/a.png"
    assert "authorization" not in download.headers
    assert KEY not in json.dumps(download.headers)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        pytest.param("http://other.invalid/x.png", "other.invalid", id="another host"),
        pytest.param("http://127.0.0.1:1/x.png", "own address", id="another port"),
        pytest.param("http://169.254.169.254/latest", "169.254", id="cloud metadata"),
        pytest.param("file:///etc/passwd", "file", id="a file"),
        pytest.param("/pictures/moved.png", "other.invalid", id="a redirect"),
        pytest.param("{origin}/pictures/huge.png", "larger than 2,097,152", id="too many bytes"),
        pytest.param("{origin}/nothing.png", "404", id="not there"),
    ],
)
def test_an_image_at_a_forbidden_address_is_not_downloaded(
    service: OpenAIService,
    client: ServiceClient,
    monkeypatch: pytest.MonkeyPatch,
    url: str,
    why: str,
) -> None:
    monkeypatch.setattr("core.provider.image_download.MAX_IMAGE_BYTES", 2 << 20)
    service.script(Behaviour(image_urls=(url,)))
    with pytest.raises(BadResponse) as caught:
        generate(client, DALL_E)
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
def test_an_image_may_be_sent_as_a_relative_or_a_data_address(
    service: OpenAIService, client: ServiceClient, url: str, size: tuple[int, int]
) -> None:
    service.script(Behaviour(image_urls=(url,)))
    assert Image.open(BytesIO(generate(client, DALL_E).images[0])).size == size


@pytest.mark.parametrize("name", ["late.png", "redirect.png"])
@pytest.mark.parametrize("space", ["", " \r\n"])
def test_a_failed_download_is_repeated_and_a_redirect_followed(
    service: OpenAIService, make_client: MakeClient, name: str, space: str
) -> None:
    pauses: list[float] = []
    service.script(Behaviour(image_urls=(f"{space}/pictures/{name}{space}",)))
    generated = generate(make_client(sleep=pauses.append), DALL_E)
    assert Image.open(BytesIO(generated.images[0])).size == (64, 64)
    assert pauses == list(RETRY_PAUSES[: name == "late.png"])


def test_an_image_that_can_not_be_downloaded_is_said_to_be_made(
    service: OpenAIService, make_client: MakeClient
) -> None:
    service.script(Behaviour(image_urls=("/pictures/missing.png",)))
    with pytest.raises(ImageNotDownloaded) as caught:
        generate(make_client(sleep=lambda _: None), DALL_E)
    assert "missing.png" in caught.value.response_body.decode()
    downloads = [seen for seen in service.requests if seen.path == "/pictures/missing.png"]
    assert len(downloads) == len(RETRY_PAUSES) + 1


def test_a_download_that_is_too_slow_is_stopped(service: OpenAIService, make_client: MakeClient) -> None:
    service.script(Behaviour(image_urls=("/pictures/drip.png",), plain=True))
    with pytest.raises(BadResponse, match="ReadTimeout"):
        generate(make_client(image_timeout=0.3))
