"""The process: the Streamlit pages, the HTTP API, and the Studio, which holds the parts that both use.

Start it with `python app.py`, `streamlit run app.py` or `uvicorn app:app`.
"""

from __future__ import annotations

import gc

# Imports create no garbage, but garbage collection during the imports takes a seventh of the start.
gc.disable()

import argparse
import asyncio
import logging
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import streamlit as st
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Mount, Route

from core import bootstrap
from core.common.logging import limit_stray_errors
from core.errors import ImageError, SettingsError, terminal_message
from core.settings import Settings, is_loopback, is_unspecified, load_settings
from core.studio import Studio
from core.web.access_rules import PAGES
from core.web.base_path import BasePath
from core.web.guard import Guard
from core.web.health import Readiness, health_routes
from core.web.lazy_app import LazyApp
from core.web.proxies import TrustedProxies, disable_uvicorn_proxy_headers
from core.web.request_context import ClientInfoMiddleware, RequestIdMiddleware
from core.web.security_headers import page_policy
from core.web.socket_guard import FrameLimit, SocketGuard
from core.web.socket_limits import SIGNED_IN
from pages.ui.error_panel import on_script_error
from pages.ui.page_shell import STREAMLIT_FILES, page_scripts, page_shell
from pages.ui.polling import drop_stale_polls
from pages.ui.socket_messages import read_message
from pages.ui.streamlit_log import quieten_streamlit

gc.freeze()
gc.enable()
disable_uvicorn_proxy_headers()

ROOT = Path(__file__).resolve().parent
EXIT_CANT_START = 2
MAX_DESCRIPTORS = 65_536
# Seconds after SHUTDOWN_GRACE: open requests are cut off, and the process ends whatever still runs.
CUT_OFF_AFTER_SECONDS, FORCED_AFTER_SECONDS = 3, 8
# Connections that wait to be accepted. When descriptors are short, asyncio fails so many times per second.
BACKLOG = 128
ANY_ADDRESS = "::"


class StopRequest:
    """Whether the server was asked to stop. `at` is the time, as `time.monotonic()` gives it, or None.

    A signal handler calls `request`, and a second signal can interrupt that handler. A lock that both need
    would block the process for ever, so this class has none.
    """

    at: float | None = None

    def request(self) -> None:
        if self.at is None:
            self.at = time.monotonic()

    def is_set(self) -> bool:
        return self.at is not None

    @property
    def seconds_ago(self) -> float:
        """The seconds since the server was asked to stop, or 0 if it wasn't."""
        return 0.0 if self.at is None else time.monotonic() - self.at


stopping = StopRequest()


@asynccontextmanager
async def lifespan(_app: st.App) -> AsyncIterator[dict[str, Any]]:
    """Build the Studio when the server starts, and close the Studio when the server stops.

    If the app can't start, print the reason and exit.
    """
    limit_stray_errors(asyncio.get_running_loop())
    allow_more_descriptors()
    drop_stale_polls()
    quieten_streamlit()
    studio = await run_in_threadpool(_build_or_exit)
    _handle_stop_signals(studio)
    yield {}
    await run_in_threadpool(lambda: studio.close(waited=stopping.seconds_ago))
    bootstrap.install(None)


def allow_more_descriptors() -> None:
    """Raise the limit of open files to what the system permits. An open page takes four of them."""
    if sys.platform == "win32":
        return
    import resource  # noqa: PLC0415

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MAX_DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, MAX_DESCRIPTORS)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))


def _handle_stop_signals(studio: Studio) -> None:
    """Keep the process from starting further jobs after SIGTERM or SIGINT.

    A server that stops waits for its open requests, and an open request may wait for queued images. Without
    this function, the process would still start these images. Outside the main thread, where Python allows no
    signal handlers, the function does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        previous = signal.getsignal(number)
        signal.signal(number, partial(_on_stop_signal, studio, previous))


def _on_stop_signal(studio: Studio, previous: Any, number: int, frame: FrameType | None) -> None:
    if not stopping.is_set() and sys.platform != "win32":
        # Ends the process if a thread, a request or the closing of a part never ends. The kernel does so
        # without memory, descriptors or a thread, of which this process may have none left.
        signal.alarm(math.ceil(studio.settings.shutdown_grace + FORCED_AFTER_SECONDS))
    stopping.request()
    studio.jobs.closing = True
    if callable(previous):
        previous(number, frame)


def _build_or_exit() -> Studio:
    try:
        return bootstrap.studio(host=served_address(sys.argv))
    except ImageError as error:
        print(f"\n{explain(error)}\n", file=sys.stderr, flush=True)
        # sys.exit would make the server print a traceback that hides the message.
        os._exit(EXIT_CANT_START)


def served_address(argv: Sequence[str]) -> str:
    """Return the address on which `streamlit run` or uvicorn listens. Returns ANY_ADDRESS if it is unknown.

    `argv` is the command line of the process. The address decides two defaults of the settings: who may
    register, and which host names the app accepts.
    """
    program = _program(argv)
    if program == "streamlit":
        return str(st.get_option("server.address") or ANY_ADDRESS)
    return _uvicorn_address(argv[1:]) if program == "uvicorn" else ANY_ADDRESS


def _program(argv: Sequence[str]) -> str:
    """Return the name of the running program. `argv` is its command line.

    After `python -m name`, the command line begins with the path `name/__main__.py`.
    """
    path = Path(argv[0]) if argv else Path()
    return path.parent.name if path.name == "__main__.py" else path.stem


def _uvicorn_address(options: Sequence[str]) -> str:
    """Return the host from uvicorn's command line, or else from its environment, or else uvicorn's default.

    For a Unix socket or an inherited socket, return ANY_ADDRESS, because it is unknown who can reach the
    socket.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name, default in (("host", "127.0.0.1"), ("uds", None), ("fd", None)):
        parser.add_argument(f"--{name}", default=os.environ.get(f"UVICORN_{name.upper()}") or default)
    chosen = parser.parse_known_args(options)[0]
    return ANY_ADDRESS if chosen.uds or chosen.fd else str(chosen.host)


def explain(error: ImageError) -> str:
    """Return the message that the terminal shows if `error` keeps the app from starting."""
    return f"Atelier can't start. {terminal_message(error)}"


def banner(settings: Settings) -> str:
    """Return the text to print at the start: the app's address, and the services or offline engine in use."""
    host = (
        "localhost"
        if is_loopback(settings.host) or is_unspecified(settings.host)
        else settings.host.strip("[]")
    )
    address = f"[{host}]" if ":" in host else host
    engine = (
        "offline engine (no key needed; set OPENAI_API_KEY for the real service)"
        if settings.offline
        else f"{settings.image_service.shown_url}, {settings.default_image_model}"
    )
    text = settings.text_service
    if text != settings.image_service:
        engine += f"\n  Prompts: {text.shown_url}, {settings.default_text_model}"
    return f"\n  Atelier is at http://{address}:{settings.port}{settings.base_path}\n  Engine: {engine}\n"


def open_listener(settings: Settings) -> socket.socket:
    """Open and return the socket on which the app will listen. Call this before anything else starts.

    Raises SettingsError if the address or the port can't be used.
    """
    host = settings.host.strip("[]")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    dual_stack = family == socket.AF_INET6 and is_unspecified(host)
    try:
        opened = socket.create_server((host, settings.port), family=family, dualstack_ipv6=dual_stack)
    except OSError as error:
        raise SettingsError(
            f"PORT: {settings.port} at {settings.host} can't be used. Choose another, or stop what uses it.",
            details=str(error),
        ) from error
    # Accepted connections inherit this option. Without it, a small packet waits up to 40 ms until the
    # previous packet is acknowledged.
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return opened


def serve(listener: socket.socket, settings: Settings) -> None:
    """Serve the app on `listener` with uvicorn, until the process is asked to stop.

    Requests that haven't ended some seconds after SHUTDOWN_GRACE are cut off, such as half an upload.

    The options of uvicorn are the same as those of `streamlit run`, but messages of the page are limited to
    the size that is accepted, so that no larger one is held in memory.
    """
    config = uvicorn.Config(
        app,
        ws=FrameLimit,
        ws_max_size=SIGNED_IN.max_bytes,
        ws_per_message_deflate=False,
        backlog=BACKLOG,
        timeout_graceful_shutdown=math.ceil(settings.shutdown_grace + CUT_OFF_AFTER_SECONDS),
        log_level="warning",
    )
    # Filter instead of setting a level, because Streamlit sets these loggers' level again. Without the
    # filter, the health checks of a proxy would fill the log.
    for name in ("uvicorn.access", "uvicorn.error"):
        logging.getLogger(name).addFilter(lambda line: line.levelno >= logging.WARNING)
    uvicorn.Server(config).run(sockets=[listener])


def user_id_of(cookies: Mapping[str, str]) -> str | None:
    """Return the id of the user whose session cookie is in `cookies`, or None.

    Raises DatabaseError if the session can't be read.
    """
    studio = bootstrap.studio()
    user = studio.sessions.authenticate(studio.cookie.token(cookies))
    return user.user_id if user else None


def streamlit_files() -> frozenset[str]:
    """Return the paths at which Streamlit serves its own files, without its page `/index.html`."""
    root = str(STREAMLIT_FILES)
    found = (f"{folder[len(root) :]}/{name}" for folder, _, names in os.walk(root) for name in names)
    return frozenset(path.replace(os.sep, "/") for path in found) - {"/index.html"}


# The API is imported at its first request: FastAPI would be three tenths of the start, and no page needs it.
def _api() -> Starlette:
    from core.api.app import create_api  # noqa: PLC0415

    return create_api(bootstrap.studio, is_stopping=stopping.is_set)


def _auth() -> Starlette:
    from core.api.app import create_auth  # noqa: PLC0415

    return create_auth(bootstrap.studio)


def _page(_request: Request) -> Response:
    return HTMLResponse(page_shell(), headers={"Cache-Control": "no-cache"})


app = st.App(
    ROOT / "pages" / "main.py",
    lifespan=lifespan,
    on_script_error=on_script_error,
    middleware=[
        Middleware(BasePath, get_settings=lambda: bootstrap.studio().settings),
        Middleware(TrustedProxies, get_settings=lambda: bootstrap.studio().settings),
        Middleware(RequestIdMiddleware),
        Middleware(
            Guard,
            get_settings=lambda: bootstrap.studio().settings,
            policy=page_policy(page_scripts()),
            files=streamlit_files(),
        ),
        Middleware(ClientInfoMiddleware),
        Middleware(SocketGuard, read_message=read_message, find_user=user_id_of),
    ],
    routes=[
        *(Route(path or "/", _page) for path in PAGES),
        *health_routes(Readiness(lambda: bootstrap.studio().readiness_checks)),
        Mount("/api", LazyApp(_api)),
        Mount("/auth", LazyApp(_auth)),
    ],
)

if __name__ == "__main__":
    try:
        chosen = load_settings()
        listener = open_listener(chosen)
        bootstrap.studio()
    except ImageError as failure:
        print(f"\n{explain(failure)}\n", file=sys.stderr)
        sys.exit(EXIT_CANT_START)
    print(banner(chosen), flush=True)
    serve(listener, chosen)
