"""Atelier in a forked process with its modules loaded: the whole app, or all of it but the pages.

Either is built from its environment by what is in app.py and core.bootstrap; only the time that Python takes
to load modules is saved. They end on SIGTERM as the app does.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from core import bootstrap
from core.settings import load_settings
from tests.support.app_process import ROOT

_LOADED = [
    "app",
    "tests.support.reconciliation",
    "tests.support.servers",
    "tests.support.forked_app",
    "tests.support.openai_service",
]
_forks = multiprocessing.get_context("forkserver")


def start(environment: Mapping[str, str], log: Path, *, sweep_seconds: float | None) -> BaseProcess:
    """The running process; it takes others' jobs over at the given pace, or is the whole app with its own.

    Without pages it says "starting" when it begins to, and "ready" with its number when it works.
    """
    _load_modules()
    process = _forks.Process(target=_live, args=(dict(environment), log, sweep_seconds), daemon=True)
    with _without_main():
        process.start()
    return process


@contextmanager
def _without_main() -> Iterator[None]:
    """What is forked runs this process's main module first, and that may be a page that a test has run."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@cache
def _load_modules() -> None:
    """Once: what forks finds our modules by its environment alone, and says nothing when it can't."""
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        _forks.set_forkserver_preload(_LOADED)
        with _without_main():
            forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        os.environ.update({"PYTHONPATH": before} if before is not None else {})


def _live(environment: dict[str, str], log: Path, sweep_seconds: float | None) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(log.parent)  # not in the repository: somebody's own `.env` lies there
    said = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(said, descriptor)
    if sweep_seconds is None:
        sys.argv = [str(ROOT / "app.py")]
        runpy.run_path(sys.argv[0], run_name="__main__")
    else:
        bootstrap.SWEEP_SECONDS = sweep_seconds
        _work()


def _work() -> None:
    # Waited for, not handled: a handler that set an event could come while the same thread begins to wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("starting", flush=True)
    studio = bootstrap.build(load_settings())
    print(f"ready {studio.process_lock.process_number}.", flush=True)
    signal.sigwait({signal.SIGTERM})
    studio.close()
