"""Prints the routes of the running app as JSON, Streamlit's own included: `python -m tests.support.routes`.

Runs in a process of its own, because Streamlit allows only one runtime in each.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute, Mount, WebSocketRoute

from tests.support.app_process import ROOT


@dataclass(frozen=True, slots=True)
class RouteAddress:
    path: str
    method: str


def running_routes(folder: Path) -> set[RouteAddress]:
    """The path and method of each route of the app, started in `folder`."""
    command = [sys.executable, "-m", "tests.support.routes"]
    (folder / ".streamlit").symlink_to(ROOT / ".streamlit", target_is_directory=True)
    result = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    return {RouteAddress(**found) for found in json.loads(result.stdout)}


def walk(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[RouteAddress]:
    """All routes in `routes` and, recursively, in the applications mounted there."""
    for route in routes:
        path = f"{prefix}{getattr(route, 'path', '')}"
        if isinstance(route, WebSocketRoute):
            yield RouteAddress(path, "WEBSOCKET")
        elif isinstance(route, Mount) and route.routes:
            yield from walk(route.routes, path)
        elif isinstance(route, Mount):
            # Static files, which answer only these two methods.
            yield from (RouteAddress(path or "/", method) for method in ("GET", "HEAD"))
        elif methods := getattr(route, "methods", None):
            yield from (RouteAddress(path, method) for method in methods)
        else:
            yield from walk(_inner_routes(route), path)


def _inner_routes(route: Any) -> Iterable[BaseRoute]:
    """The routes of an included router. Raises TypeError for a kind that this function doesn't know."""
    inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
    if inner is None:
        raise TypeError(f"unknown kind of route: {type(route).__name__}")
    return list(inner)


if __name__ == "__main__":
    from app import app

    found = sorted({(one.path, one.method) for one in walk(app._build_starlette_app().routes)})
    print(json.dumps([{"path": path, "method": method} for path, method in found]))
