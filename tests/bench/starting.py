"""Starting, and doing nothing: time to the first answer, memory, and what an idle server computes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median

from playwright.sync_api import sync_playwright

from tests.bench.figures import Figure, seconds
from tests.bench.servers import cpu_seconds, empty_app, empty_page, memory, seconds_to_health
from tests.support import chromium
from tests.support.app_process import START_COMMAND, AppProcess
from tests.support.browser_user import Visitor

STARTS = 9
IDLE_SECONDS = 20
# What follows a start (the first collection of garbage, a browser's first page) is over by then.
SETTLED_SECONDS = 5


def startup(folder: Path) -> Iterator[Figure]:
    """Atelier on data that is there, an empty page and an empty app by turns: each drift meets all three."""
    kinds: dict[str, Callable[[Path], AppProcess]] = {
        # Not forked from a process with all modules loaded, as the tests start it.
        "atelier": partial(AppProcess, command=START_COMMAND),
        "empty page": empty_page,
        "empty app": empty_app,
    }
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    for turn in range(STARTS + 1):
        for kind, make in kinds.items():
            process = make(folder)
            try:
                time_taken = seconds_to_health(process)
            finally:
                process.kill()
            if turn:  # the first is the warm-up, and makes the tables
                taken[kind].append(time_taken)
    ours = taken.pop("atelier")
    for kind, others in taken.items():
        ratio = median(one / other for one, other in zip(ours, others, strict=True))
        yield Figure(
            "startup",
            f"start-up / {kind} of Streamlit",
            ratio,
            "",
            1.5,
            f"{seconds(ours)} / {seconds(others)}, {STARTS} starts of each",
        )


def idle(folder: Path) -> Iterator[Figure]:
    """Memory and CPU of a server that nobody uses, and with a tab open that nobody touches."""
    with AppProcess(folder, command=START_COMMAND) as app, empty_app(folder) as baseline:
        time.sleep(SETTLED_SECONDS)
        held = memory(app.pid)
        yield Figure(
            "idle", "memory when idle", held, "MiB", 160, f"empty app {memory(baseline.pid):.0f} MiB"
        )
        alone, nothing = _percent(app, baseline)
        yield Figure("idle", "CPU when idle", alone, "%", None, f"of a core over {IDLE_SECONDS} s; {nothing}")
        with _tabs(app, baseline):
            time.sleep(SETTLED_SECONDS)
            watched, nothing = _percent(app, baseline)
        yield Figure("idle", "CPU with a tab open", watched, "%", None, f"Create, untouched; {nothing}")


def _percent(app: AppProcess, baseline: AppProcess) -> tuple[float, str]:
    """What `app` computes in IDLE_SECONDS as percents of one core, and the same of `baseline` in words."""
    before = [cpu_seconds(process.pid) for process in (app, baseline)]
    time.sleep(IDLE_SECONDS)
    after = [cpu_seconds(process.pid) for process in (app, baseline)]
    ours, other = (100 * (late - early) / IDLE_SECONDS for early, late in zip(before, after, strict=True))
    return ours, f"empty app {other:.2f} %"


@contextmanager
def _tabs(app: AppProcess, baseline: AppProcess) -> Iterator[None]:
    """One open tab each: Create of a new user, and the empty page."""
    path = chromium.find()
    if path is None:
        raise SystemExit(chromium.MEND)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=chromium.flags())
        with (
            Visitor(browser, app.base_url, fresh=True) as person,
            Visitor(browser, baseline.base_url, fresh=True) as other,
        ):
            person.sign_up("idle")
            other.open()
            person.settle()
            yield
        browser.close()
