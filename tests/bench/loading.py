"""How light the pages are to load: what Lighthouse scores, beside a page of Streamlit with one word."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from playwright.sync_api import Browser, Page, sync_playwright

from tests.bench.figures import Figure
from tests.bench.servers import empty_app
from tests.support import chromium
from tests.support.app_process import START_COMMAND, AppProcess
from tests.support.browser_user import Visitor
from tests.support.gallery import keeper_of
from tests.support.page_shifts import MOST_SHIFT, layout_shift, watch_shifts

SIZES = ((390, 844), (1280, 900), (1920, 1080))
ROUNDS = 5
IMAGES = 24
# Who opens the page, and its path.
VISITS = {
    "sign-in": ("", "/"),
    "Create": ("bare", "/"),
    "empty gallery": ("bare", "/gallery"),
    "gallery": ("full", "/gallery"),
    "Account": ("full", "/account"),
    "audit": ("full", "/audit"),
}
# Lighthouse's weights, and its values for 90 and for 50 points, on a desktop. The speed index, which needs a
# film of the page, is left out.
_CURVES = {"fcp": (10, 934, 1600), "lcp": (25, 1200, 2400), "tbt": (30, 150, 350), "cls": (25, 0.1, 0.25)}
_WATCH = """
window.loading = { fcp: 0, lcp: 0, tbt: 0 }
const note = (type, take) => new PerformanceObserver((list) => list.getEntries().forEach(take))
  .observe({ type, buffered: true })
note("paint", (one) => { if (one.name === "first-contentful-paint") loading.fcp = one.startTime })
note("largest-contentful-paint", (one) => { loading.lcp = one.startTime })
note("longtask", (one) => { loading.tbt += Math.max(0, one.duration - 50) })
"""


@dataclass(frozen=True, slots=True)
class Load:
    """A page that was loaded: first and largest paint and blocked time in milliseconds, and layout shift."""

    fcp: float
    lcp: float
    tbt: float
    cls: float

    @property
    def score(self) -> float:
        """0 to 100, as Lighthouse computes it: complements of log-normal distributions."""
        points = sum(
            weight * _points(getattr(self, name), good, middle)
            for name, (weight, good, middle) in _CURVES.items()
        )
        return 100 * points / sum(weight for weight, *_ in _CURVES.values())


def _points(value: float, good: float, middle: float) -> float:
    """1 for 0, 0.9 for `good` and 0.5 for `middle`."""
    if value <= 0:
        return 1.0
    # 1.2816 is where nine tenths of the normal distribution lie below.
    return 0.5 * math.erfc(math.log(value / middle) / math.log(middle / good) * 1.2816 / math.sqrt(2))


def loading(folder: Path) -> Iterator[Figure]:
    """Each page and the one-word page by turns, in a browser without a cache, at three sizes."""
    loads: dict[str, list[Load]] = {}
    with (
        AppProcess(folder, command=START_COMMAND) as app,
        empty_app(folder) as baseline,
        _browser() as browser,
    ):
        for username in ("full", "bare"):
            app.ticket(username)
        with keeper_of(app, "full") as (keeper, user):
            for _ in range(IMAGES):
                keeper.keep(user)
        for _ in range(ROUNDS):
            for size in SIZES:
                loads.setdefault("", []).append(_load(browser, baseline, "", "/", size))
                for name, (username, path) in VISITS.items():
                    loads.setdefault(name, []).append(_load(browser, app, username, path, size))
    floor = median(load.score for load in loads.pop(""))
    worst = max(load.cls for found in loads.values() for load in found)
    yield Figure("loading", "layout shift, worst of all pages", worst, "", MOST_SHIFT, f"{ROUNDS} rounds")
    for name, found in loads.items():
        score = median(load.score for load in found)
        how = ", ".join(f"{part} {median(getattr(load, part) for load in found):.0f} ms" for part in _TIMES)
        how = f"{score:.0f} beside {floor:.0f}; {how}; medians of {len(found)}"
        yield Figure("loading", f"points below the one-word page: {name}", floor - score, "", 10, how)


_TIMES = ("fcp", "lcp", "tbt")


@contextmanager
def _browser() -> Iterator[Browser]:
    path = chromium.find()
    if path is None:
        raise SystemExit(chromium.MEND)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=chromium.flags())
        yield browser
        browser.close()


def _load(browser: Browser, app: AppProcess, username: str, path: str, size: tuple[int, int]) -> Load:
    with Visitor(browser, app.base_url, width=size[0], height=size[1], fresh=True) as person:
        watch_shifts(person.page)
        person.page.add_init_script(_WATCH)
        if username:
            person.enter(app.ticket(username), path)
        else:
            person.open(path)
            _wait_for_text(person.page)
        shift = layout_shift(person)
        return Load(**person.page.evaluate("loading"), cls=shift)


def _wait_for_text(page: Page) -> None:
    page.locator(".stElementContainer").first.wait_for()
