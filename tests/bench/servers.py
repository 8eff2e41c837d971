"""What is measured from outside: the app, a Streamlit without it, and the loopback service, as processes."""

from __future__ import annotations

import http.client
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.support.app_process import PATIENCE_SECONDS, ROOT, AppProcess, free_port

MIB = 2**20
# Short against a start, and long against the CPU time that a question takes.
LOOK_SECONDS = 0.005
# An empty page, served by `streamlit run`, and by an app of the kind that ours is.
PAGE = "import streamlit as st\n\nst.write('nothing')\n"
POLLED_PAGE = "import streamlit as st\n\nst.fragment(run_every=1)(st.write)('nothing')\n"
EMPTY_APP = """import os

import streamlit as st

app = st.App({page!r})

if __name__ == "__main__":
    app.run(config={{"server.port": int(os.environ["PORT"]), "server.address": "127.0.0.1"}})
"""


def empty_page(folder: Path) -> AppProcess:
    """`streamlit run` of a page that only writes a word."""
    page = folder / "page.py"
    page.write_text(PAGE)
    return _empty(folder, "-m", "streamlit", "run", str(page), "--server.port", "{port}")


def empty_app(folder: Path, content: str = PAGE) -> AppProcess:
    """The same page as an `st.App` that runs itself, as `python app.py` does."""
    page, app = folder / "page.py", folder / "empty_app.py"
    page.write_text(content)
    app.write_text(EMPTY_APP.format(page=str(page)))
    return _empty(folder, str(app))


def _empty(folder: Path, *command: str) -> AppProcess:
    return AppProcess(folder, command=(sys.executable, *command))


def seconds_to_health(process: AppProcess) -> float:
    """How long `process` takes from its start until it says that it is well."""
    begun = time.perf_counter()
    process.spawn()
    while not _is_well(process.port):
        if time.perf_counter() - begun > PATIENCE_SECONDS:
            raise RuntimeError(f"it did not start:\n{process.output}")
        time.sleep(LOOK_SECONDS)
    return time.perf_counter() - begun


def _is_well(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/_stcore/health")
        return connection.getresponse().status == http.client.OK
    except OSError:
        return False
    finally:
        connection.close()


def memory(pid: int) -> float:
    """What a process and all below it hold in memory, in MiB."""
    return sum(process.memory_info().rss for process in _tree(pid)) / MIB


def cpu_seconds(pid: int) -> float:
    """What a process and all below it have computed so far."""
    times = [process.cpu_times() for process in _tree(pid)]
    return sum(one.user + one.system for one in times)


def _tree(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def on_two_cores(pid: int) -> None:
    """Keep the process and its threads on two cores, where the machine has more and lets us."""
    process = psutil.Process(pid)
    if hasattr(process, "cpu_affinity") and len(process.cpu_affinity()) > 2:
        cores = process.cpu_affinity()[:2]
        for thread in process.threads():
            psutil.Process(thread.id).cpu_affinity(cores)


@contextmanager
def service(latency: float) -> Iterator[str]:
    """The address of a loopback service in a process of its own, so that it takes no turn of ours."""
    port = free_port()
    command = [
        sys.executable,
        "-m",
        "tests.support.openai_service",
        "--port",
        str(port),
        "--latency",
        str(latency),
    ]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.kill()
