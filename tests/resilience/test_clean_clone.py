"""The README's first command, on a clone that nobody has touched."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.app_process import ROOT, free_port, healthy

pytestmark = pytest.mark.proof
# The first start downloads and installs; a slow connection is no failure.
PATIENCE = 480


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What is committed, and nothing that only lies in this folder."""
    assert shutil.which("git"), "git is missing: apt-get install git"
    folder = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def run_until_healthy(clone: Path, port: int) -> str:
    """What `make run` prints up to the moment the pages are served; it is stopped then."""
    log = clone.parent / f"run-{port}.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["make", "run", f"PORT={port}"],
            cwd=clone,
            env={**os.environ, "DATA_DIR": str(clone / "data")},
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + PATIENCE
        while not healthy(f"http://127.0.0.1:{port}"):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
    finally:
        # make and the app are one group of processes, and this one's own.
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(60)
    return log.read_text()


def test_make_run_installs_once_and_says_where_it_is(clone: Path) -> None:
    first, second = free_port(), free_port()
    said = run_until_healthy(clone, first)
    assert f"Atelier is at http://localhost:{first}" in said
    assert "Engine: offline engine" in said
    # The installation shows that it goes on.
    assert (
        said.index("Installing Atelier's packages") < said.index("Collecting") < said.index("Atelier is at")
    )
    ready = clone / ".venv" / ".app-ready"
    installed = ready.stat().st_mtime_ns
    assert f"http://localhost:{second}" in run_until_healthy(clone, second)
    assert ready.stat().st_mtime_ns == installed
