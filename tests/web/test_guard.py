"""The guard rejects other sites' pages and foreign host names on every route."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPConnection

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocket, WebSocketDisconnect
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from core.errors import BodyTooLarge
from core.settings import load_settings
from core.web.guard import MAX_BODY_BYTES, Guard
from tests.support.app_process import AppProcess

POLICY_VIOLATION = 1008
METHODS = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]


async def anything(_request: Request) -> PlainTextResponse:
    return PlainTextResponse("inside")


async def reading(request: Request) -> PlainTextResponse:
    await request.body()
    return PlainTextResponse("inside")


async def stream(socket: WebSocket) -> None:
    await socket.accept()
    await socket.send_text("inside")
    await socket.send_text(socket.headers.get("cookie", ""))
    await socket.close()


def client_of(**settings: str) -> TestClient:
    """Routes that let everything in, behind the guard."""
    chosen = load_settings(**settings)
    app = Starlette(
        routes=[
            Route("/auth/reading", reading, methods=["POST"]),
            Route("/{path:path}", anything, methods=METHODS),
            WebSocketRoute("/_stcore/stream", stream),
        ],
        middleware=[Middleware(Guard, get_settings=lambda: chosen)],
    )
    return TestClient(app, base_url="http://localhost:8501")


def streams(client: TestClient, **headers: str) -> bool:
    """Whether the stream opens; a refusal says that it is one of policy."""
    try:
        with client.websocket_connect(
            "/_stcore/stream", headers={"Host": "localhost:8501"} | headers
        ) as socket:
            return bool(socket.receive_text() == "inside")
    except WebSocketDisconnect as refused:
        return refused.code != POLICY_VIOLATION


@pytest.mark.parametrize(
    ("settings", "scheme", "told"),
    [
        pytest.param({}, "ws", "atelier=a; atelier-0a1b2c3d=d; other=b; __Host-atelier=c", id="HTTP"),
        pytest.param({"public_https": "true"}, "ws", " other=b; __Host-atelier=c", id="by the setting"),
        pytest.param({}, "wss", " other=b; __Host-atelier=c", id="by the scheme"),
    ],
)
def test_on_https_the_cookie_of_plain_http_is_removed(
    settings: dict[str, str], scheme: str, told: str
) -> None:
    headers = {"Host": "localhost:8501", "Cookie": "atelier=a; atelier-0a1b2c3d=d; other=b; __Host-atelier=c"}
    with client_of(**settings).websocket_connect(
        f"{scheme}://localhost:8501/_stcore/stream", headers=headers
    ) as socket:
        assert socket.receive_text() == "inside"
        assert socket.receive_text() == told


# Hosts

LOOPBACK = ["localhost", "LOCALHOST:1", "127.0.0.1:9", "127.0.0.2", "[::1]:8501", "localhost.:8501"]
FOREIGN = ["evil.example", "evil.example:8501", "localhost.evil.example", "192.168.1.5:8501", "0.0.0.0"]
BROKEN = ["", " ", "localhost:port", "localhost/x", "me@localhost", "localhost,evil.example", "[::1"]


@pytest.mark.parametrize("host", LOOPBACK)
@pytest.mark.parametrize("settings", [{}, {"allowed_hosts": "a.example"}, {"host": "0.0.0.0"}])
def test_loopback_names_are_always_served(settings: dict[str, str], host: str) -> None:
    client = client_of(**settings)
    assert client.get("/", headers={"Host": host}).text == "inside"
    assert streams(client, Host=host)


@pytest.mark.parametrize("host", [*FOREIGN, *BROKEN])
@pytest.mark.parametrize("path", ["/", "/_stcore/health", "/gallery"])
def test_on_loopback_other_host_names_are_rejected(path: str, host: str) -> None:
    client = client_of()
    answer = client.get(path, headers={"Host": host, "X-Forwarded-Host": "localhost:8501"})
    assert answer.status_code == 400
    assert answer.headers["content-type"].startswith("text/plain")
    assert "ALLOWED_HOSTS" in answer.text
    assert "IMG-REQ-HOST-001" in answer.text
    assert not streams(client, Host=host, Origin=f"http://{host}")


@pytest.mark.parametrize("path", ["/api/images/x", "/auth/session"])
def test_api_paths_are_rejected_with_a_json_error(path: str) -> None:
    answer = client_of().get(path, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] == "IMG-REQ-HOST-001"


def test_two_host_headers_are_rejected() -> None:
    headers = httpx2.Headers([("Host", "localhost:8501"), ("Host", "evil.example")])
    assert client_of().get("/", headers=headers).status_code == 400


def test_only_listed_host_names_are_served() -> None:
    client = client_of(host="0.0.0.0", allowed_hosts="Atelier.Example, studio.example")
    for host in ("atelier.example", "STUDIO.example:443", "atelier.example."):
        assert client.get("/", headers={"Host": host}).text == "inside"
    for host in FOREIGN:
        assert client.get("/", headers={"Host": host}).status_code == 400


@pytest.mark.parametrize("settings", [{"host": "0.0.0.0"}, {"public_https": "true"}, {"allowed_hosts": "*"}])
def test_every_host_name_is_served_on_a_public_address(settings: dict[str, str]) -> None:
    client = client_of(**settings)
    for host in FOREIGN:
        assert client.get("/", headers={"Host": host}).text == "inside"
    for host in BROKEN:
        assert client.get("/", headers={"Host": host}).status_code == 400


# Origins

OTHERS = [
    pytest.param("http://localhost:1234", id="another port"),
    pytest.param("http://127.0.0.1:8501", id="another name"),
    pytest.param("http://localhost", id="without the port"),
    pytest.param("https://localhost", id="https on its usual port"),
    pytest.param("https://evil.example", id="elsewhere"),
    pytest.param("http://localhost:8501.evil.example", id="a name that begins alike"),
    pytest.param("http://localhost:8501@evil.example", id="a name before the name"),
    pytest.param("http://localhost:8501/", id="not quite an origin"),
    pytest.param("ftp://localhost:8501", id="another scheme"),
    pytest.param("null", id="null"),
    pytest.param("", id="empty"),
    pytest.param("http://[", id="broken"),
]


@pytest.mark.parametrize("origin", OTHERS)
def test_another_sites_page_can_not_open_a_websocket_or_change_anything(origin: str) -> None:
    client = client_of()
    forwarded = {"X-Forwarded-Host": "evil.example", "Origin": origin}
    assert not streams(client, **forwarded)
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = client.request(method, "/_stcore/upload_file/x/y", headers=forwarded)
        assert answer.status_code == 403
        assert "another site" in answer.text
        assert "IMG-REQ-ORIGIN-001" in answer.text
    assert client.get("/", headers=forwarded).text == "inside"


@pytest.mark.parametrize(
    ("host", "origin"),
    [
        pytest.param("localhost:8501", "http://localhost:8501", id="the same"),
        pytest.param("127.0.0.1:8501", "http://127.0.0.1:8501", id="by number"),
        pytest.param("[::1]:8501", "http://[::1]:8501", id="by number, IPv6"),
        pytest.param("atelier.example", "https://atelier.example", id="behind a proxy"),
        pytest.param("atelier.example:443", "https://atelier.example", id="with its usual port"),
    ],
)
def test_the_apps_own_page_opens_the_websocket_and_may_change_things(host: str, origin: str) -> None:
    client = client_of(allowed_hosts="atelier.example")
    assert streams(client, Host=host, Origin=origin)
    assert client.post("/", headers={"Host": host, "Origin": origin}).text == "inside"


def test_a_program_needs_no_origin() -> None:
    assert client_of().post("/").text == "inside"
    assert streams(client_of())


@pytest.mark.parametrize("site", ["cross-site", "same-site", "none", "", "same-origin, cross-site"])
def test_without_an_origin_sec_fetch_site_decides(site: str) -> None:
    """It may leave the origin out, and says then at least that a page of another site asked."""
    client = client_of()
    said = {"Sec-Fetch-Site": site, "Cookie": "atelier=a-session"}
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        answer = client.request(method, "/", headers=said)
        assert (answer.status_code, "IMG-REQ-ORIGIN-001" in answer.text) == (403, True)
    assert not streams(client, **said)
    assert client.get("/", headers=said).text == "inside"


def test_the_apps_own_page_may_send_either_header() -> None:
    client = client_of()
    assert client.post("/", headers={"Sec-Fetch-Site": "same-origin"}).text == "inside"
    both = {"Sec-Fetch-Site": "same-origin", "Origin": "https://evil.example"}
    assert client.post("/", headers=both).status_code == 403


# Closed paths


@pytest.mark.parametrize("path", ["/_stcore/metrics", "/_stcore/metrics/", "/oauth2callback"])
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS"])
def test_closed_routes_are_not_found(method: str, path: str) -> None:
    answer = client_of().request(method, path)
    assert answer.status_code == 404
    assert "IMG-REQ-PAGE-001" in answer.text


@pytest.mark.parametrize("path", ["/api/images/a%0Ab", "/auth/session%0A", "/gallery%0a", "/%0A/api"])
def test_a_path_with_a_control_character_is_not_found(path: str) -> None:
    answer = client_of().post(path)
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "IMG-REQ-PAGE-001"


# The whole app


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    with AppProcess(tmp_path_factory.mktemp("guarded")) as process:
        yield process


def handshake(app: AppProcess, origin: str) -> int:
    """The status of a WebSocket handshake with Streamlit's own stream."""
    address = app.base_url.replace("http:", "ws:") + "/_stcore/stream"
    try:
        with connect(address, origin=origin, subprotocols=["streamlit"], proxy=None) as socket:
            return socket.response.status_code
    except InvalidStatus as refused:
        return refused.response.status_code


def test_the_running_app_is_guarded(app: AppProcess) -> None:
    assert handshake(app, app.base_url) == 101
    assert handshake(app, "http://localhost:1234") == 403
    assert handshake(app, "http://127.0.0.1:1234") == 403
    for path in ("/", "/_stcore/health", "/api/images/x", "/auth/session", "/static/nothing"):
        answer = httpx2.get(app.base_url + path, headers={"Host": "rebound.example"}, trust_env=False)
        assert answer.status_code == 400
        assert "IMG-REQ-HOST-001" in answer.text
    for path in ("/_stcore/metrics", "/oauth2callback"):
        assert httpx2.get(app.base_url + path, trust_env=False).status_code == 404
    refused = httpx2.post(f"{app.base_url}/auth/sign-out", headers={"Origin": "null"}, trust_env=False)
    assert refused.status_code == 403
    assert "request_rejected" in app.output
    assert "Traceback" not in app.output


UNKNOWN = ("/metrics", "/v1/models", "/v1/images/generations", "/static/nothing", "/index.html", "/gallery/x")


@pytest.mark.parametrize("path", [*UNKNOWN, "//evil.example", "/gallery/_stcore/health"])
def test_an_unknown_address_is_a_json_error_for_programs_and_a_page_for_browsers(
    app: AppProcess, path: str
) -> None:
    for method in ("GET", "POST"):
        answer = httpx2.request(method, app.base_url + path, trust_env=False)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "IMG-REQ-PAGE-001")
    page = httpx2.get(app.base_url + path, headers={"Accept": "text/html,*/*"}, trust_env=False)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert '<a href="/">' in page.text


CLIMBING = (
    "/api/../x",
    "/api/images/..",
    "/api/images/%2e%2e/x",
    "/api/images/..%5Cx",
    "/api/..//x",
    "/auth/..",
)


@pytest.mark.parametrize("path", [*CLIMBING, "/..", "//api/images", "/api//%5C%5Cx", "/C:/api"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_a_path_that_climbs_up_gets_our_error(app: AppProcess, method: str, path: str) -> None:
    """Sent as it stands: other clients resolve such a path first."""
    connection = HTTPConnection("127.0.0.1", app.port, timeout=60)
    connection.request(method, path)
    answer = connection.getresponse()
    error = json.loads(answer.read())["error"]
    connection.close()
    assert answer.status in (401, 404)
    assert error["code"] in ("IMG-REQ-PAGE-001", "IMG-FIND-001", "IMG-AUTH-SESSION-001")
    assert "Traceback" not in app.output


@pytest.mark.parametrize("path", ["/", "/gallery", "/favicon.png", "/manifest.json"])
def test_pages_and_their_files_are_served(app: AppProcess, path: str) -> None:
    assert httpx2.get(app.base_url + path, trust_env=False).status_code == 200


def test_search_engines_are_asked_to_stay_away(app: AppProcess) -> None:
    answer = httpx2.get(f"{app.base_url}/robots.txt", trust_env=False)
    assert answer.headers["content-type"].startswith("text/plain")
    assert "Disallow: /" in answer.text.splitlines()


@pytest.mark.parametrize("path", ["/_stcore/upload_file", "/_stcore/upload_file/some-session/f1"])
def test_nobody_uploads_a_file_that_nothing_asked_for(path: str) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "GET"):
        assert client_of().request(method, path).status_code == 404


def test_a_body_announced_as_too_large_is_rejected_unread() -> None:
    answer = client_of().post("/auth/session", content=b"x" * (MAX_BODY_BYTES + 1))
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "IMG-REQ-SIZE-001"


def test_a_body_that_grows_too_large_is_cut_off() -> None:
    pieces = (b"x" * 1024 for _ in range(1_000))
    with pytest.raises(BodyTooLarge):
        client_of().post("/auth/reading", content=pieces)


@pytest.mark.parametrize("header", ["Host", "Origin"])
def test_a_long_header_is_not_logged_whole(header: str, capfd: pytest.CaptureFixture[str]) -> None:
    name = "a" * 60_000
    sent = {header: name if header == "Host" else f"http://{name}"}
    assert client_of().post("/", headers=sent).status_code in (400, 403)
    assert len("".join(capfd.readouterr())) < 2_000
