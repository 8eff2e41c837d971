"""An application that is loaded lazily is loaded once and serves like any other."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient
from starlette.types import Receive, Scope, Send

from core.web.lazy_app import LazyApp
from tests.support.waiting import until


def served() -> Starlette:
    return Starlette(routes=[Route("/here", lambda request: PlainTextResponse(request.url.path))])


def test_the_first_request_loads_the_app_once() -> None:
    loads: list[int] = []
    asked: list[str] = []

    def load() -> Starlette:
        loads.append(1)
        until(lambda: len(asked) == 8)
        return served()

    lazy = LazyApp(load)

    async def noting(scope: Scope, receive: Receive, send: Send) -> None:
        asked.append(scope["path"])
        await lazy(scope, receive, send)

    with TestClient(Starlette(routes=[Mount("/api", noting)])) as client:
        assert not loads
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda _: client.get("/api/here").text, range(8)))
        assert client.get("/api/elsewhere").status_code == 404
    assert answers == ["/api/here"] * 8
    assert len(loads) == 1


def test_a_failed_load_is_tried_again_by_the_next_request() -> None:
    faults = [MemoryError()]

    def load() -> Starlette:
        if faults:
            raise faults.pop()
        return served()

    with TestClient(Starlette(routes=[Mount("/api", LazyApp(load))])) as client:
        with pytest.raises(MemoryError):
            client.get("/api/here")
        assert client.get("/api/here").text == "/api/here"


def test_the_routes_of_the_app_can_be_listed() -> None:
    (route,) = LazyApp(served).routes
    assert isinstance(route, Route)
    assert route.path == "/here"
