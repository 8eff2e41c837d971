"""Out of descriptors, the app logs little, and it ends in time when it is asked to, whatever is stuck."""

from __future__ import annotations

import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx2
import pytest

from tests.support.app_process import ROOT, START_COMMAND, AppProcess
from tests.support.tab import Tab
from tests.support.waiting import until

# By the signal itself, or by the alarm that it sets, if this machine is busy with other work.
ENDED = (-signal.SIGTERM, -signal.SIGALRM)
# Events and libraries that may each write their line, in two minutes at most.
MAX_LINES = 30


@pytest.fixture
def app(tmp_path: Path) -> Iterator[AppProcess]:
    with AppProcess(tmp_path, command=START_COMMAND, env={"SHUTDOWN_GRACE": "0"}) as process:
        yield process


def connections(app: AppProcess) -> ExitStack:
    """More open connections than the app has descriptors for."""
    opened = ExitStack()
    for _ in range(100):
        opened.enter_context(socket.create_connection(("127.0.0.1", app.port), timeout=60))
    return opened


def test_without_descriptors_the_log_stays_short_and_the_process_ends(app: AppProcess) -> None:
    with Tab(app.base_url) as tab:
        tab.run()
    before = app.output
    limit = len(os.listdir(f"/proc/{app.pid}/fd")) + 4
    resource.prlimit(app.pid, resource.RLIMIT_NOFILE, (limit, limit))
    with connections(app):
        until(lambda: "missing=descriptors" in app.output)
    with connections(app):
        for _ in range(3):
            with suppress(httpx2.HTTPError):
                httpx2.get(f"{app.base_url}/api/images", timeout=1, trust_env=False)
        assert app.stop() in ENDED
    lines = app.output[len(before) :].splitlines()
    assert len(lines) < MAX_LINES, lines
    assert "Traceback" not in app.output


def test_half_a_request_does_not_keep_the_process(app: AppProcess) -> None:
    with socket.create_connection(("127.0.0.1", app.port)) as client:
        client.sendall(b"POST /auth/session HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99\r\n\r\n{")
        assert app.stop() in ENDED


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
