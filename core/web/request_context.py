"""Middleware that gives each request an id, and stores its client's address and browser for the audit log."""

from __future__ import annotations

import re

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.accounts.client_info import ClientInfo, client_info
from core.common.ids import new_id
from core.web.base_path import route_path

HEADER = "X-Request-ID"
_WELL_FORMED = re.compile(r"[A-Za-z0-9-]{8,64}")
_PREFIXES_WITH_ID = ("/api", "/auth")
_LOG_FIELD = "request_id"


class ClientInfoMiddleware:
    """ASGI middleware that sets the context variable `client_info` for each HTTP request.

    The address comes from the ASGI scope, because any client could write any address into a header. If a
    trusted proxy forwarded the request, core.web.proxies has already put the client's address into the scope.
    The request id is the `request.state.request_id` that RequestIdMiddleware has set.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client_info.set(client_info_of(scope))
        await self._app(scope, receive, send)


def client_info_of(scope: Scope) -> ClientInfo:
    """Return the address, browser and request id of a request's client.

    The address is empty if `scope` has none, as on a Unix socket.
    """
    address, _port = scope.get("client") or ("", 0)
    request_id = scope.get("state", {}).get("request_id", "")
    return ClientInfo(address, Headers(scope=scope).get("user-agent", ""), request_id)


def current_request_id() -> str:
    """Return the id of the current request. Outside of a request, return a new id."""
    known: str | None = structlog.contextvars.get_contextvars().get(_LOG_FIELD)
    return known or new_id()


class RequestIdMiddleware:
    """ASGI middleware that adds a request id to the log, to the response and to the request's state.

    The id is the request's header `X-Request-ID` if that is well-formed, and otherwise a new id. Only
    requests below `/api` and `/auth` get an id. This middleware must run before all others.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _gets_id(route_path(scope)):
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault("state", {})[_LOG_FIELD] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, send_with_id)


def _gets_id(path: str) -> bool:
    return any(path == prefix or path.startswith(f"{prefix}/") for prefix in _PREFIXES_WITH_ID)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(HEADER, "")
    return given if _WELL_FORMED.fullmatch(given) else new_id()
