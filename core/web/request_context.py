"""Sets the client and the id of each request for the log and the audit log."""

from __future__ import annotations

import re

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.accounts.client_info import ClientInfo, client_info
from core.common.ids import new_id

HEADER = "X-Request-ID"
_WELL_FORMED = re.compile(r"[A-Za-z0-9-]{8,64}")
_OURS = ("/api", "/auth")
_NAME = "request_id"


class ClientInfoMiddleware:
    """ASGI middleware that sets `caller` for each HTTP request.

    The address is the one in the scope. No header is read for it here, for whoever sends a request can write
    any: a forwarded address counts only where the server has put it into the scope, because a proxy that the
    settings trust said so. The id is `request.state.request_id`, from a middleware before this one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            client_info.set(client_info_of(scope))
        await self._app(scope, receive, send)


def client_info_of(scope: Scope) -> ClientInfo:
    """The caller of a request; without a client in it (a socket in a file) the address is unknown."""
    address, _port = scope.get("client") or ("", 0)
    request_id = scope.get("state", {}).get("request_id", "")
    return ClientInfo(address, Headers(scope=scope).get("user-agent", ""), request_id)


def current() -> str:
    """The id of the request that is being answered, or a new one where none is."""
    known: str | None = structlog.contextvars.get_contextvars().get(_NAME)
    return known or new_id()


class RequestIdMiddleware:
    """ASGI middleware before all others; the id is also `request.state.request_id`.

    Only what is served below `/api` and `/auth` gets one: the pages' own files have nothing to be traced.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_ours(scope["path"]):
            await self._app(scope, receive, send)
            return
        request_id = _wanted(scope)
        scope.setdefault("state", {})[_NAME] = request_id

        async def named(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[HEADER] = request_id
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            await self._app(scope, receive, named)


def _is_ours(path: str) -> bool:
    return any(path == ours or path.startswith(f"{ours}/") for ours in _OURS)


def _wanted(scope: Scope) -> str:
    given = Headers(scope=scope).get(HEADER, "")
    return given if _WELL_FORMED.fullmatch(given) else new_id()
