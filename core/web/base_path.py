"""The path below which Atelier is served, if it shares its host with other applications."""

from __future__ import annotations

from collections.abc import Callable

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from core.settings import Settings


class BasePath:
    """ASGI middleware that makes BASE_PATH the `root_path` of each request.

    A proxy may pass BASE_PATH on or remove it. Behind this middleware, `path` always begins with it.
    """

    def __init__(self, app: ASGIApp, get_settings: Callable[[], Settings]) -> None:
        self._app = app
        self._get_settings = get_settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket") or not (base := self._get_settings().base_path):
            await self._app(scope, receive, send)
            return
        path: str = scope["path"]
        full = path if path == base or path.startswith(f"{base}/") else base + path
        await self._app({**scope, "path": full, "root_path": base}, receive, send)


def start_page_redirect(scope: Scope) -> RedirectResponse:
    """Return a redirect to the start page, for a request for BASE_PATH without a slash at its end.

    The links in Streamlit's page are relative, so they need that slash.
    """
    query = scope["query_string"].decode("latin-1")
    return RedirectResponse(f"{scope['root_path']}/{'?' if query else ''}{query}")


def route_path(scope: Scope) -> str:
    """Return the request's path without the path below which the application is served."""
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))
