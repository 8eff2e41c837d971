"""Forwarded headers count only from proxies that the settings trust."""

from __future__ import annotations

import sys
from pathlib import Path

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from core import bootstrap
from core.errors import SettingsError
from core.settings import load_settings
from core.web.proxies import TrustedProxies
from tests.support.app_process import ROOT, AppProcess
from tests.support.sign_in import ticket_of

APP = str(ROOT / "app.py")
WAYS = {
    "python app.py": (sys.executable, APP),
    "streamlit run": (sys.executable, "-m", "streamlit", "run", APP, "--server.port", "{port}"),
    "uvicorn": (sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(ROOT), "--port", "{port}"),
    "uvicorn with its own flag": (
        *(sys.executable, "-m", "uvicorn", "app:app", "--app-dir", str(ROOT), "--port", "{port}"),
        "--forwarded-allow-ips=*",
    ),
}
SAID = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "6.6.6.6, 203.0.113.9"}


def cookie_given(folder: Path, way: str, trusted: str) -> str:
    """The name of the cookie that a sign-in sets if its headers claim HTTPS."""
    studio = bootstrap.build(load_settings(_env_file=None, data_dir=folder / "data"))
    studio.registration.create_user("ada", "!")
    ticket = ticket_of(studio, "ada")
    studio.close()
    with AppProcess(folder, command=WAYS[way], env={"TRUSTED_PROXIES": trusted}) as app:
        # The first request loads the API, which takes a while beside other work.
        answer = httpx2.post(
            f"{app.base_url}/auth/session", json={"ticket": ticket}, headers=SAID, timeout=60, trust_env=False
        )
    assert answer.status_code == 204
    return answer.headers["set-cookie"].partition("=")[0]


@pytest.mark.parametrize("way", WAYS)
def test_forwarded_headers_from_this_machine_are_ignored(tmp_path: Path, way: str) -> None:
    assert cookie_given(tmp_path, way, "").startswith("atelier-")


@pytest.mark.parametrize("trusted", ["127.0.0.1", "10.0.0.1, 127.0.0.0/8"])
@pytest.mark.parametrize("way", ["python app.py", "uvicorn"])
def test_forwarded_headers_of_a_trusted_proxy_are_honoured(tmp_path: Path, way: str, trusted: str) -> None:
    assert cookie_given(tmp_path, way, trusted).startswith("__Host-atelier-")


def test_forwarded_headers_of_another_address_are_ignored(tmp_path: Path) -> None:
    assert cookie_given(tmp_path, "python app.py", "10.0.0.1").startswith("atelier-")


@pytest.mark.parametrize(
    ("connected", "told", "seen"),
    [
        pytest.param("10.0.0.7", "203.0.113.9", "203.0.113.9", id="from the proxy"),
        pytest.param("10.0.0.7", "6.6.6.6, 203.0.113.9", "203.0.113.9", id="forged before the proxy"),
        pytest.param("10.0.0.7", "203.0.113.9, 10.0.0.8", "203.0.113.9", id="through two of them"),
        pytest.param("203.0.113.9", "6.6.6.6", "203.0.113.9", id="not from the proxy"),
        pytest.param("127.0.0.1", "6.6.6.6", "127.0.0.1", id="from this machine"),
    ],
)
def test_the_client_is_the_last_address_that_is_no_trusted_proxy(
    connected: str, told: str, seen: str
) -> None:
    async def client(request: Request) -> PlainTextResponse:
        return PlainTextResponse(request.client.host if request.client else "")

    settings = load_settings(trusted_proxies="10.0.0.0/24")
    app = Starlette(
        routes=[Route("/", client)], middleware=[Middleware(TrustedProxies, get_settings=lambda: settings)]
    )
    answer = TestClient(app, client=(connected, 5)).get("/", headers={"X-Forwarded-For": told})
    assert answer.text == seen


@pytest.mark.parametrize("wrong", ["*", "proxy.example", "10.0.0.0/33", "10.0.0.1/8", "127.0.0.1:80"])
def test_a_setting_that_is_no_address_is_refused(wrong: str) -> None:
    with pytest.raises(SettingsError, match="TRUSTED_PROXIES"):
        load_settings(trusted_proxies=wrong)
