"""How far the parts of a page move by themselves while it loads: the sum of all its layout shifts."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.support.browser_user import Visitor

# More than this is a page that jumps; Lighthouse begins to take points off here.
MOST_SHIFT = 0.05
_WATCH = """
window.layoutShifts = { sum: 0, add: (list) => list.forEach((one) => {
  if (!one.hadRecentInput) layoutShifts.sum += one.value
}) }
layoutShifts.observer = new PerformanceObserver((list) => layoutShifts.add(list.getEntries()))
layoutShifts.observer.observe({ type: "layout-shift", buffered: true })
"""
_READ = "() => { layoutShifts.add(layoutShifts.observer.takeRecords()); return layoutShifts.sum }"
_COMPLETE = """() => !document.documentElement.classList.contains("loading")
  && [...document.images].every((one) => one.complete || one.loading === "lazy")"""


def watch_shifts(page: Page) -> None:
    """Call this before the page is opened."""
    page.add_init_script(_WATCH)


def layout_shift(person: Visitor) -> float:
    """The sum of the layout shifts of the page that was opened, once it is complete."""
    person.settle()
    person.page.wait_for_function(_COMPLETE)
    person.settle()
    person.still()
    shift: float = person.page.evaluate(_READ)
    return shift
