"""Who is at the other end of what is being done, as far as the connection tells: for the audit trail."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send


@dataclass(frozen=True, slots=True)
class Caller:
    """From where, with which program, and under which id in the log; empty for what the app does itself."""

    address: str = ""
    browser: str = ""
    request_id: str = ""


_NOBODY = Caller()
caller: ContextVar[Caller] = ContextVar("caller", default=_NOBODY)


class CallerNamed:
    """ASGI middleware that sets `caller` for each HTTP request.

    The address is the one in the scope. No header is read for it here, for whoever sends a request can write
    any: a forwarded address counts only where the server has put it into the scope, because a proxy that the
    settings trust said so. The id is `request.state.request_id`, from a middleware before this one.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            caller.set(caller_of(scope))
        await self._app(scope, receive, send)


def caller_of(scope: Scope) -> Caller:
    """The caller of a request; without a client in it (a socket in a file) the address is unknown."""
    address, _port = scope.get("client") or ("", 0)
    request_id = scope.get("state", {}).get("request_id", "")
    return Caller(address, Headers(scope=scope).get("user-agent", ""), request_id)
