"""Trusted proxies: whose `X-Forwarded-*` headers are honoured."""

from __future__ import annotations

from collections.abc import Callable

import uvicorn.config
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from core.settings import Settings


class TrustedProxies:
    """ASGI middleware that sets a request's client address and scheme to those that a proxy reports.

    A proxy reports them in `X-Forwarded-For` and `X-Forwarded-Proto`. The headers are read only if the
    connection comes from an address in TRUSTED_PROXIES, because any other client could forge them.
    """

    def __init__(self, app: ASGIApp, get_settings: Callable[[], Settings]) -> None:
        self._app = app
        self._get_settings = get_settings
        self._proxied_app: ProxyHeadersMiddleware | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        if self._proxied_app is None:
            # Read the settings here: they aren't loaded yet when the middleware is created.
            trusted = self._get_settings().trusted_networks
            self._proxied_app = ProxyHeadersMiddleware(self._app, trusted_hosts=list(trusted))  # type: ignore[arg-type]
        await self._proxied_app(scope, receive, send)  # type: ignore[arg-type]


def disable_uvicorn_proxy_headers() -> None:
    """Switch off uvicorn's own handling of `X-Forwarded-*` headers, which trusts clients on this machine.

    Call this while the app's module is imported, because uvicorn wraps the app in its own middleware right
    after that. uvicorn also has an option for this, but `streamlit run` offers no way to set it.
    """
    vars(uvicorn.config)["ProxyHeadersMiddleware"] = _return_unchanged


def _return_unchanged(app: ASGIApp, trusted_hosts: list[str] | str) -> ASGIApp:
    return app
