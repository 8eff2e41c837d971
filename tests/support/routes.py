"""Prints the routes of the running app as JSON, Streamlit's own included: `python -m tests.support.routes`.

In a process of its own: Streamlit's runtime is there once for each.
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
class Address:
    path: str
    method: str


def running_routes(folder: Path) -> set[Address]:
    """Every address and method of the app that is started in `folder`."""
    command = [sys.executable, "-m", "tests.support.routes"]
    (folder / ".streamlit").symlink_to(ROOT / ".streamlit", target_is_directory=True)
    asked = subprocess.run(
        command, cwd=folder, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    return {Address(**found) for found in json.loads(asked.stdout)}


def walk(routes: Iterable[BaseRoute], below: str = "") -> Iterator[Address]:
    """What stands in `routes`, and in what is mounted there, to the bottom."""
    for route in routes:
        path = f"{below}{getattr(route, 'path', '')}"
        if isinstance(route, WebSocketRoute):
            yield Address(path, "WEBSOCKET")
        elif isinstance(route, Mount) and route.routes:
            yield from walk(route.routes, path)
        elif isinstance(route, Mount):
            # Files: nothing else than these two is answered.
            yield from (Address(path or "/", method) for method in ("GET", "HEAD"))
        elif methods := getattr(route, "methods", None):
            yield from (Address(path, method) for method in methods)
        else:
            yield from walk(_within(route), path)


def _within(route: Any) -> Iterable[BaseRoute]:
    """The routes of a router that another one has taken in. Anything else must be looked at here first."""
    inner = getattr(route, "routes", None) or getattr(getattr(route, "original_router", None), "routes", None)
    if not inner:
        raise TypeError(f"what is a {type(route).__name__}?")
    return list(inner)


if __name__ == "__main__":
    from app import app

    found = sorted({(one.path, one.method) for one in walk(app._build_starlette_app().routes)})
    print(json.dumps([{"path": path, "method": method} for path, method in found]))
