"""The client in the audit log comes from the connection, never from a header."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextvars import copy_context
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Receive, Scope, Send

from core import bootstrap
from core.accounts.audit_log import Action, AuditFilter
from core.accounts.client_info import ClientInfo, client_info
from core.api.app import create_auth
from core.settings import load_settings
from core.studio import Studio
from core.web.request_context import ClientInfoMiddleware, client_info_of
from tests.support.sign_in import ticket_of


class GivesRequestIds:
    """Gives each request an id, as the server's own middleware does."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope.setdefault("state", {})["request_id"] = "request-1"
        await self._app(scope, receive, send)


def in_the_pool(_request: Request) -> JSONResponse:
    """A plain function, so Starlette runs it in a worker thread."""
    here = client_info.get()
    return JSONResponse([here.address, here.browser, here.request_id])


MIDDLEWARE = [Middleware(GivesRequestIds), Middleware(ClientInfoMiddleware)]
FORWARDED = {
    "X-Forwarded-For": "203.0.113.9",
    "Forwarded": "for=203.0.113.9",
    "X-Real-IP": "203.0.113.9",
    "True-Client-IP": "203.0.113.9",
}


def test_the_client_is_known_in_a_worker_thread_too() -> None:
    app = Starlette(routes=[Route("/", in_the_pool)], middleware=MIDDLEWARE)
    client = TestClient(app, client=("192.0.2.7", 4711))
    answer = client.get("/", headers={"User-Agent": "curl/8", **FORWARDED})
    assert answer.json() == ["192.0.2.7", "curl/8", "request-1"]


def test_a_request_does_not_see_the_client_of_the_previous_one() -> None:
    app = Starlette(routes=[Route("/", in_the_pool)], middleware=MIDDLEWARE)
    TestClient(app, client=("192.0.2.7", 4711)).get("/")
    assert TestClient(app, client=("192.0.2.8", 1)).get("/").json()[0] == "192.0.2.8"
    assert client_info.get() == ClientInfo()


@pytest.mark.parametrize("client", [None, ("", 0)])
def test_a_connection_without_an_address_gives_an_empty_one(client: tuple[str, int] | None) -> None:
    assert client_info_of({"type": "http", "client": client, "headers": []}) == ClientInfo()
    assert client_info_of({"type": "http", "headers": [(b"user-agent", b"x\xff")]}) == ClientInfo("", "xÿ")


def test_a_thread_of_the_app_has_no_client() -> None:
    found: list[ClientInfo] = []

    def look() -> None:
        client_info.set(ClientInfo("192.0.2.7"))
        thread = threading.Thread(target=lambda: found.append(client_info.get()))
        thread.start()
        thread.join()

    copy_context().run(look)
    assert found == [ClientInfo()]


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[Studio]:
    built = bootstrap.build(load_settings(data_dir=tmp_path / "data"))
    yield built
    built.close()


def test_a_sign_in_over_http_is_recorded_with_its_client(studio: Studio) -> None:
    studio.registration.create_user("ada", "!")
    app = Starlette(routes=[Mount("/auth", create_auth(lambda: studio))], middleware=MIDDLEWARE)
    client = TestClient(app, client=("192.0.2.7", 4711), headers={"User-Agent": "Firefox/1", **FORWARDED})
    ticket = ticket_of(studio, "ada")
    assert client.post("/auth/session", json={"ticket": ticket}).status_code == 204
    assert client.post("/auth/sign-out").status_code == 204
    admin = studio.sessions.authenticate(studio.sessions.redeem_ticket(ticket_of(studio, "ada")))
    assert admin
    for action in (Action.SIGN_OUT, Action.SIGN_IN):
        entry = studio.audit_log.page(admin, AuditFilter(action=action)).entries[-1]
        assert (entry.actor_name, entry.address) == ("ada", "192.0.2.7")
        assert (entry.browser, entry.request_id) == ("Firefox/1", "request-1")
