"""Out of descriptors or memory, the app logs a line a minute, and it ends in time when it is asked to."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import httpx2
import psutil
import pytest
from websockets.exceptions import WebSocketException

from core.database.database import Database
from core.web.cookies import LEGACY_COOKIE
from tests.support.app_process import ROOT, START_COMMAND, AppProcess
from tests.support.sign_in import accounts_in
from tests.support.tab import Tab
from tests.support.waiting import until

MIB = 2**20
# Events and libraries that may each write their line, in two minutes at most.
MAX_LINES = 30


@pytest.fixture
def app(tmp_path: Path) -> Iterator[AppProcess]:
    with AppProcess(tmp_path, command=START_COMMAND, env={"SHUTDOWN_GRACE": "0"}) as process:
        yield process


def token_of(app: AppProcess) -> str:
    """The token of a user whose page and API have been used, so that all code is loaded."""
    ticket = app.ticket("ada")
    with closing(Database(app.database_url)) as database:
        token = accounts_in(database).sessions.redeem_ticket(ticket.token)
    use(app, token)
    return token


def use(app: AppProcess, token: str) -> None:
    """Open a page and ask the API. Either may fail."""
    with suppress(httpx2.HTTPError):
        headers = {"Cookie": f"{LEGACY_COOKIE}={token}"}
        httpx2.get(f"{app.base_url}/api/images", headers=headers, timeout=5, trust_env=False)
    with suppress(WebSocketException, OSError, EOFError), Tab(app.base_url, token) as tab:
        tab.run()


def shorten(app: AppProcess, kind: int, limit: int) -> None:
    resource.prlimit(app.pid, kind, (limit, limit))


def lines_since(app: AppProcess, before: str) -> list[str]:
    return app.output[len(before) :].splitlines()


def test_without_descriptors_the_log_stays_short_and_the_process_ends(app: AppProcess) -> None:
    token, before = token_of(app), app.output
    shorten(app, resource.RLIMIT_NOFILE, len(os.listdir(f"/proc/{app.pid}/fd")) + 6)
    with ExitStack() as opened:
        for _ in range(40):
            opened.enter_context(socket.create_connection(("127.0.0.1", app.port)))
        until(lambda: "missing=descriptors" in app.output)
    for _ in range(10):
        use(app, token)
    with ExitStack() as opened:
        for _ in range(40):
            opened.enter_context(socket.create_connection(("127.0.0.1", app.port)))
        assert app.stop() == -signal.SIGTERM
    lines = lines_since(app, before)
    assert len(lines) < MAX_LINES, lines
    assert "Traceback" not in app.output


def test_without_memory_the_log_stays_short_and_the_process_ends(app: AppProcess) -> None:
    token, before = token_of(app), app.output
    shorten(app, resource.RLIMIT_AS, psutil.Process(app.pid).memory_info().vms + MIB)
    until(lambda: use(app, token) or "missing=" in app.output)
    for _ in range(10):
        use(app, token)
    assert app.stop() == -signal.SIGTERM
    lines = lines_since(app, before)
    assert len(lines) < MAX_LINES, lines
    assert "Traceback" not in app.output


def test_half_a_request_does_not_keep_the_process(app: AppProcess) -> None:
    with socket.create_connection(("127.0.0.1", app.port)) as client:
        client.sendall(b"POST /auth/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        assert app.stop() == -signal.SIGTERM


STUCK = """
import app, sys, threading, types

app.FORCED_AFTER_SECONDS = 1
app._handle_stop_signals(types.SimpleNamespace(
    settings=types.SimpleNamespace(shutdown_grace=0.5), jobs=types.SimpleNamespace()
))
print("ready", flush=True)
while True:
    threading.Event().wait(60)
"""


def test_a_process_that_is_stuck_after_the_signal_is_ended(empty_folder: Path) -> None:
    """It takes no thread, memory or descriptor to end it."""
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", STUCK], cwd=empty_folder, env=env, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGALRM
