"""Who is believed when a request says that it was handed on for somebody else."""

from __future__ import annotations

from collections.abc import Callable

import uvicorn.config
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.settings import Settings


class TrustedProxies:
    """ASGI middleware that takes the client and the scheme from `X-Forwarded-For` and `-Proto`.

    Only for connections from TRUSTED_PROXIES: everybody else can write into these headers what they like.
    """

    def __init__(self, app: ASGIApp, get_settings: Callable[[], Settings]) -> None:
        self._app = app
        self._get_settings = get_settings
        self._behind: ProxyHeadersMiddleware | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self._behind is None:
            # The settings aren't there yet while the app is put together.
            trusted = self._get_settings().trusted_networks
            self._behind = ProxyHeadersMiddleware(self._app, trusted_hosts=list(trusted))  # type: ignore[arg-type]
        await self._behind(scope, receive, send)  # type: ignore[arg-type]


def disable_uvicorn_proxy_headers() -> None:
    """Leave it to TrustedProxies alone: uvicorn believes whoever connects from this machine.

    It is told before it wraps the app, which it does when it has loaded it; `streamlit run` has no option.
    """
    vars(uvicorn.config)["ProxyHeadersMiddleware"] = _unchanged


def _unchanged(app: ASGIApp, trusted_hosts: list[str] | str) -> ASGIApp:
    return app
