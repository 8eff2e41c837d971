"""An ASGI application that is loaded at the first request, so that the server starts faster."""

from __future__ import annotations

import threading
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send


class LazyApp:
    """An ASGI application that calls `load` in a thread at the first request, and then serves the result.

    Concurrent first requests share one call of `load`. If `load` raises an error, the request that caused the
    call fails with that error, and the next request calls `load` again.
    """

    def __init__(self, load: Callable[[], Starlette]) -> None:
        self._load = load
        self._lock = threading.Lock()
        self._app: Starlette | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if app is None:
            app = await run_in_threadpool(self._get)
        await app(scope, receive, send)

    @property
    def routes(self) -> list[BaseRoute]:
        """Return the routes of the application. Loads the application first if needed."""
        return self._get().routes

    def _get(self) -> Starlette:
        with self._lock:
            if self._app is None:
                self._app = self._load()
            return self._app
