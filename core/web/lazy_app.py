"""An application that is loaded when it is first asked for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.routing import BaseRoute
from starlette.types import Receive, Scope, Send


class LazyApp:
    """What `load` gives: once, whoever asks, and beside the loop. What it raises, the request fails with."""

    def __init__(self, load: Callable[[], Starlette]) -> None:
        self._load = load
        self._guard = threading.Lock()
        self._app: Starlette | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if app is None:
            app = await run_in_threadpool(self._loaded)
        await app(scope, receive, send)

    @property
    def routes(self) -> list[BaseRoute]:
        """Those of what is loaded, which it is by that."""
        return self._loaded().routes

    def _loaded(self) -> Starlette:
        with self._guard:
            if self._app is None:
                self._app = self._load()
            return self._app
