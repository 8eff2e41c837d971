"""Forks Atelier from a process that has its modules loaded: the whole app, or all of it but the pages.

Either is built from its environment by app.py or core.bootstrap, and ends on SIGTERM as the app does. This
saves the seconds in which Python loads modules. Tests of the start itself run the command of a user instead.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from multiprocessing import forkserver
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import ModuleType

from core import bootstrap
from core.settings import load_settings

ROOT = Path(__file__).resolve().parents[2]
# Not what only a running page may load: components and caches are registered with the runtime.
_PRELOADED = [
    "app",
    "core.api.app",
    "alembic.command",
    "tests.support.reconciliation",
    "tests.support.servers",
    "tests.support.forked_app",
    "tests.support.openai_service",
]
_context = multiprocessing.get_context("forkserver")
# A start changes the environment and `__main__` of this whole process for a moment.
_starting = threading.Lock()


def start_app(environment: Mapping[str, str], log: Path) -> BaseProcess:
    """Start the whole app in the folder of `log`, to which its output is added."""
    return _start(_run_app, environment, log)


def start_worker(environment: Mapping[str, str], log: Path, *, sweep_seconds: float) -> BaseProcess:
    """Start all of the app but the pages; it looks for dead processes every `sweep_seconds`.

    It prints "starting" first, and "ready" with its process number when it works.
    """
    return _start(_run_worker, environment, log, sweep_seconds)


def _start(run: Callable[..., None], environment: Mapping[str, str], log: Path, *rest: float) -> BaseProcess:
    process = _context.Process(target=_run_with, args=(run, dict(environment), log, *rest), daemon=True)
    with _starting:
        _load_modules()
        with _without_main_module():
            process.start()
    return process


@contextmanager
def _without_main_module() -> Iterator[None]:
    """Hide `__main__`, which a forked process would run again: it may be a page that a test has run."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@cache
def _load_modules() -> None:
    """Start the process that all others are forked from, once.

    It finds our modules by PYTHONPATH alone, and is silent when it doesn't.
    """
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = str(ROOT)
    try:
        _context.set_forkserver_preload(_PRELOADED)
        with _without_main_module():
            forkserver.ensure_running()
    finally:
        del os.environ["PYTHONPATH"]
        os.environ.update({"PYTHONPATH": before} if before is not None else {})


def _run_with(run: Callable[..., None], environment: dict[str, str], log: Path, *rest: float) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(log.parent)  # not in the repository: somebody's own `.env` lies there
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for descriptor in (1, 2):
        os.dup2(output, descriptor)
    run(*rest)


def _run_app() -> None:
    from streamlit import config

    # The settings that were read when the modules were loaded are those of another folder.
    config.get_config_options(force_reparse=True)
    sys.argv = [str(ROOT / "app.py")]
    runpy.run_path(sys.argv[0], run_name="__main__")


def _run_worker(sweep_seconds: float) -> None:
    bootstrap.SWEEP_SECONDS = sweep_seconds
    # Waited for, not handled: a handler that set an event could come while the same thread begins to wait.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print("starting", flush=True)
    studio = bootstrap.build(load_settings())
    print(f"ready {studio.process_lock.process_number}.", flush=True)
    signal.sigwait({signal.SIGTERM})
    studio.close()
