"""Test clients of the API: browsers and programs, without a server in between."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlmodel import select
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.testclient import TestClient

from core.accounts.identity import SignedIn
from core.api.app import create_api, create_auth
from core.common.ids import new_id
from core.database.models import Scope
from core.studio import Studio
from core.web.guard import Guard
from core.web.request_context import ClientInfoMiddleware, RequestIdMiddleware
from tests.support.openai_service import OpenAIService
from tests.support.sign_in import ticket_of

BOTH = (Scope.READ, Scope.GENERATE)
ASKED = {"prompt": "a fox in the snow", "size": "1024x1024", "quality": "low"}
GENERATE, ENHANCE = "/api/images/generate", "/api/images/enhance-prompt"
FOX = {"name": "Fern", "traits": ["red scarf"], "base_prompt": "a fox in the snow"}


def client_of(studio: Studio, **headers: str) -> TestClient:
    return client_at(application_of(studio), **headers)


def clients_of(studio: Studio, count: int, **headers: str) -> list[TestClient]:
    """Several clients of one application, which is built only once."""
    application = application_of(studio)
    client_at(application, **headers).get("/api/openapi.json")
    return [client_at(application, **headers) for _ in range(count)]


def application_of(studio: Studio) -> Starlette:
    routes = [Mount("/api", create_api(lambda: studio)), Mount("/auth", create_auth(lambda: studio))]
    middleware = [
        Middleware(RequestIdMiddleware),
        Middleware(Guard, get_settings=lambda: studio.settings),
        Middleware(ClientInfoMiddleware),
    ]
    return Starlette(routes=routes, middleware=middleware)


def client_at(application: Starlette, **headers: str) -> TestClient:
    return TestClient(
        application,
        base_url="http://localhost:8501",
        headers=headers,
        raise_server_exceptions=False,
    )


@dataclass
class Person:
    """A user with a signed-in browser."""

    studio: Studio
    user: SignedIn
    client: TestClient

    @classmethod
    def enter(cls, studio: Studio) -> Person:
        name = f"user-{new_id()[:8]}"
        studio.registration.create_user(name, "!")
        client = client_of(studio)
        response = client.post("/auth/session", json={"ticket": ticket_of(studio, name)})
        assert response.status_code == 204
        user = studio.sessions.authenticate(client.cookies[studio.cookie.plain])
        assert user is not None
        return cls(studio, user, client)

    def token(self, scopes: Iterable[Scope] = BOTH) -> str:
        return self.studio.api_tokens.create(self.user, "script", scopes, None)

    def program(self, scopes: Iterable[Scope] = BOTH) -> TestClient:
        """A program with an API token of this person."""
        return client_of(self.studio, Authorization=f"Bearer {self.token(scopes)}")


def error_of(response: Any) -> dict[str, Any]:
    """The error in a response, after checking its format."""
    body: dict[str, Any] = response.json()
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"code", "message", "details", "suggestions", "retryable", "request_id"}
    assert error["message"]
    assert error["suggestions"]
    assert error["request_id"] == response.headers["x-request-id"]
    return error


def events_of(text: str) -> list[tuple[str, str]]:
    """The names and data of a stream's events, without its comments."""
    blocks = [
        dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        for block in text.split("\n\n")
    ]
    return [(block["event"], block["data"]) for block in blocks if "event" in block]


def rows(studio: Studio, table: Any) -> list[Any]:
    with studio.database.read() as session:
        return list(session.exec(select(table)))


def count_generations(service: OpenAIService) -> int:
    return len(service.requests_to("/images/generations"))


def count_enhancements(service: OpenAIService) -> int:
    return len(service.requests_to("/chat/completions"))
