"""WCAG 2.2 A and AA: axe-core on every page in light and dark, the keyboard alone, and the theme's contrast."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.process import ROOT, AppProcess
from tests.tour import ADMIN, tour
from tests.visitor import PASSWORD, Visitor

RULES = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "resultTypes": ["violations"],
}
SCHEMES = [pytest.param(False, id="light"), pytest.param(True, id="dark")]


@pytest.fixture(scope="module")
def axe() -> Axe:
    return Axe()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, browser: Browser, axe: Axe) -> Iterator[AppProcess]:
    """An app whose first page, which is shown once in its life, was looked at in both colours."""
    with AppProcess(tmp_path_factory.mktemp("app")) as process:
        for dark in (False, True):
            with Visitor(browser, process.base_url, dark=dark) as person:
                person.open()
                expect(person.page.get_by_text("The first account")).to_be_visible()
                person.settle()
                assert violations(person.page, axe, "first page") == []
                if dark:
                    person.sign_up(ADMIN)
        yield process


def violations(page: Page, axe: Axe, name: str) -> list[str]:
    found: list[dict[str, Any]] = axe.run(page, options=RULES).response["violations"]
    return [
        f"{name}: {rule['id']}: {node['html'][:200]} ({node['failureSummary']})"
        for rule in found
        for node in rule["nodes"]
    ]


@pytest.mark.parametrize("dark", SCHEMES)
def test_no_page_breaks_a_rule_of_accessibility(
    browser: Browser, app: AppProcess, axe: Axe, dark: bool
) -> None:
    found: list[str] = []
    with Visitor(browser, app.base_url, dark=dark) as person:

        def look(name: str) -> None:
            person.settle()
            person.still()
            found.extend(violations(person.page, axe, name))

        tour(person, f"axe-{'dark' if dark else 'light'}", look)
    assert found == []


# The keyboard alone


class Keyboard:
    """Hands that only press keys, and eyes that want to see where they are."""

    def __init__(self, person: Visitor) -> None:
        self.person = person
        self.press = person.page.keyboard.press
        self.type = person.page.keyboard.type

    def go_to(self, target: Locator, *, most: int = 60) -> None:
        """Press Tab until `target` has the focus; whatever has it on the way must show it."""
        for _ in range(most):
            if target.evaluate("element => element === element.getRootNode().activeElement"):
                assert _focus_is_visible(target), f"the focus isn't visible on {target}"
                return
            self.press("Tab")
        raise AssertionError(f"{target} can't be reached by the Tab key")

    def fill(self, label: str | re.Pattern[str], words: str) -> None:
        self.go_to(self.person.page.get_by_label(label, exact=isinstance(label, str)).last)
        self.press("Control+A")
        self.type(words)

    def push(self, name: str | re.Pattern[str], key: str = "Enter") -> None:
        button = self.person.page.get_by_role("button", name=name, exact=isinstance(name, str)).last
        self.go_to(button)
        self.press(key)


def _focus_is_visible(target: Locator) -> bool:
    """Whether the element, or the field around it, has an outline, a ring or another border or ground."""
    return bool(
        target.evaluate(
            """element => {
              const look = () => {
                const seen = []
                for (let at = element, n = 0; at instanceof Element && n < 5; at = at.parentElement, n++) {
                  const style = getComputedStyle(at)
                  seen.push(style.outlineStyle + style.outlineWidth + style.outlineColor,
                    style.boxShadow, style.borderColor, style.backgroundColor)
                }
                return seen.join()
              }
              const focused = look()
              element.blur()
              const blurred = look()
              element.focus({ focusVisible: true })
              return focused !== blurred
            }"""
        )
    )
