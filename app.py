"""The process: Streamlit's pages, the HTTP routes beside them, and the studio they share.

Starts with `python app.py`, `streamlit run app.py` or `uvicorn app:app`.
"""

from __future__ import annotations

import gc

# What is loaded is here to stay: looking for garbage meanwhile finds none and takes a seventh of the start.
gc.disable()

import argparse
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import streamlit as st
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.routing import Mount

from core import bootstrap
from core.errors import ImageError, SettingsError, terminal_message
from core.settings import Settings, is_loopback, is_unspecified, load_settings
from core.studio import Studio
from core.web.guard import Guard
from core.web.lazy_app import LazyApp
from core.web.proxies import TrustedProxies, disable_uvicorn_proxy_headers
from core.web.request_context import ClientInfoMiddleware, RequestIdMiddleware
from core.web.security_headers import page_policy
from pages.ui.error_panel import on_script_error
from pages.ui.polling import drop_stale_polls

gc.freeze()
gc.enable()
disable_uvicorn_proxy_headers()

ROOT = Path(__file__).resolve().parent
MUST_BE_MENDED = 2
ANY_ADDRESS = "::"


class Stop(threading.Event):
    """Set when the server was asked to stop; `at` is when, by time.monotonic()."""

    at = 0.0

    def ask(self) -> None:
        if not self.is_set():
            self.at = time.monotonic()
            self.set()

    @property
    def waited(self) -> float:
        """Seconds since then."""
        return time.monotonic() - self.at if self.is_set() else 0.0


stopping = Stop()


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[dict[str, Any]]:
    """The studio lives as long as the server; a start that can't succeed says why and exits."""
    drop_stale_polls()
    studio = await run_in_threadpool(_build_or_exit)
    _hear_of_the_end(studio)
    yield {}
    await run_in_threadpool(lambda: studio.close(waited=stopping.waited))
    bootstrap.install(None)


def _hear_of_the_end(studio: Studio) -> None:
    """Note when the server is asked to stop: it waits for open requests, and these may wait for images.

    No image is begun from then on.

    Elsewhere than in the main thread nobody hears of signals.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        signal.signal(number, partial(_note_the_end, studio, before))


def _note_the_end(studio: Studio, before: Any, number: int, frame: FrameType | None) -> None:
    stopping.ask()
    studio.jobs.closing.set()
    if callable(before):
        before(number, frame)


def _build_or_exit() -> Studio:
    try:
        return bootstrap.studio(host=served_address(sys.argv))
    except ImageError as error:
        print(f"\n{explain(error)}\n", file=sys.stderr, flush=True)
        # The server would print where in the code it was asked to exit, and hide what is to be mended.
        os._exit(MUST_BE_MENDED)


def served_address(argv: Sequence[str]) -> str:
    """Where a server other than our own was told to listen; every address where that can't be known.

    Who may make an account by default, and which names are answered to, hang on it.
    """
    program = _program(argv)
    if program == "streamlit":
        return str(st.get_option("server.address") or ANY_ADDRESS)
    return _uvicorn_address(argv[1:]) if program == "uvicorn" else ANY_ADDRESS


def _program(argv: Sequence[str]) -> str:
    """The name of the running program; `python -m name` gives its file `name/__main__.py`."""
    path = Path(argv[0]) if argv else Path()
    return path.parent.name if path.name == "__main__.py" else path.stem


def _uvicorn_address(options: Sequence[str]) -> str:
    """What uvicorn's command line says, or else its environment, as uvicorn itself reads them.

    Who else can reach a socket that it was handed, or one in a file, can't be known.
    """
    known = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, default in (("host", "127.0.0.1"), ("uds", None), ("fd", None)):
        known.add_argument(f"--{name}", default=os.environ.get(f"UVICORN_{name.upper()}") or default)
    chosen = known.parse_known_args(options)[0]
    return ANY_ADDRESS if chosen.uds or chosen.fd else str(chosen.host)


def explain(error: ImageError) -> str:
    """A failure to start, for the person at the terminal."""
    return f"Atelier can't start. {terminal_message(error)}"


def banner(settings: Settings) -> str:
    """Where the app is and which engine answers."""
    host = (
        "localhost"
        if is_loopback(settings.host) or is_unspecified(settings.host)
        else settings.host.strip("[]")
    )
    address = f"[{host}]" if ":" in host else host
    engine = (
        "offline engine (no key needed; set OPENAI_API_KEY for the real service)"
        if settings.offline
        else f"{_service_name(settings)}, {settings.default_image_model}"
    )
    return f"\n  Atelier is at http://{address}:{settings.port}\n  Engine: {engine}\n"


def listening(settings: Settings) -> socket.socket:
    """The socket to serve on: a taken port is found before anything is started. Raises SettingsError."""
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = family == socket.AF_INET6 and is_unspecified(host)
    try:
        found = socket.create_server((host, settings.port), family=family, dualstack_ipv6=both)
    except OSError as error:
        raise SettingsError(
            f"PORT: {settings.port} at {settings.host} can't be used. Choose another, or stop what uses it.",
            details=str(error),
        ) from error
    # Its connections take this over. Without it a page's next piece waits 40 ms for the last one's receipt.
    found.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return found


def serve(on: socket.socket) -> None:
    """What Streamlit's own `run` does, on our socket: it makes one that sends small pieces late."""
    config = uvicorn.Config(app, ws="websockets-sansio", ws_per_message_deflate=False, log_level="warning")
    # Streamlit makes these talk again: each page, and a proxy that looks every second, would fill the log.
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).addFilter(lambda line: line.levelno >= logging.WARNING)
    uvicorn.Server(config).run(sockets=[on])


def _service_name(settings: Settings) -> str:
    """The service's address without the password that may stand in it."""
    url = urlsplit(settings.openai_base_url or "")
    return url._replace(netloc=url.netloc.rpartition("@")[2]).geturl() or "OpenAI"


# FastAPI and what is built with it are three tenths of what a start loads, and no page needs them.
def _api() -> Starlette:
    from core.api.app import create_api  # noqa: PLC0415  # noqa: PLC0415

    return create_api(bootstrap.studio, is_stopping=stopping.is_set)


def _auth() -> Starlette:
    from core.api.app import create_auth  # noqa: PLC0415  # noqa: PLC0415

    return create_auth(bootstrap.studio)


app = st.App(
    ROOT / "pages" / "main.py",
    lifespan=lifespan,
    on_script_error=on_script_error,
    middleware=[
        Middleware(TrustedProxies, get_settings=lambda: bootstrap.studio().settings),
        Middleware(RequestIdMiddleware),
        Middleware(
            Guard,
            get_settings=lambda: bootstrap.studio().settings,
            policy=page_policy((Path(st.__file__).parent / "static" / "index.html").read_text()),
        ),
        Middleware(ClientInfoMiddleware),
    ],
    routes=[
        Mount("/api", LazyApp(_api)),
        Mount("/auth", LazyApp(_auth)),
    ],
)

if __name__ == "__main__":
    try:
        chosen = load_settings()
        door = listening(chosen)
        bootstrap.studio()
    except ImageError as failure:
        print(f"\n{explain(failure)}\n", file=sys.stderr)
        sys.exit(MUST_BE_MENDED)
    print(banner(chosen), flush=True)
    serve(door)
