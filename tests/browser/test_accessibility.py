"""WCAG 2.2 A and AA: axe-core on every page in light and dark, the keyboard, the contrast; also a phone."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Locator, Page, expect

from tests.support.app_process import PASSWORD, ROOT, AppProcess
from tests.support.browser_user import Visitor
from tests.support.page_tour import ADMIN, tour
from tests.support.waiting import until

LEVELS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
# The rules of these levels whose result depends on colours; a test compares them with axe's own list.
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
# Rules of good practice, which belong to no level.
PRACTICE = {"heading-order": {"enabled": True}, "image-redundant-alt": {"enabled": True}}
RUN = """([only, rules]) =>
  axe.run({ runOnly: only, rules, resultTypes: ["violations"] }).then((found) => found.violations)"""
LIST = "(levels) => axe.getRules(['cat.color']).filter((r) => r.tags.some((t) => levels.includes(t)))"
SCHEMES = ("light", "dark")
# The label of a button appears a moment after the button.
LABELLED = """() => [...document.querySelectorAll("button")].every((one) =>
  one.textContent.trim() || one.ariaLabel || one.querySelector("svg, img"))"""
# The parts that can scroll: the page, a dialog and a popover.
SCROLLED = '[data-testid="stMain"], [role="dialog"], [data-testid="stPopoverBody"]'


class Inspector:
    """Runs axe-core on pages in both colour schemes and collects what it finds in `violations`."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self._script = Axe().axe_script

    def inspect(self, person: Visitor, state: str) -> None:
        """Check all rules in the scheme that the page has, then those about colours in the other one."""
        page = person.page
        now = str(page.get_by_test_id("stApp").evaluate("(app) => getComputedStyle(app).colorScheme"))
        assert now in SCHEMES
        self._run(person, f"{state}, {now}", {"type": "tag", "values": LEVELS}, PRACTICE)
        (other,) = set(SCHEMES) - {now}
        page.emulate_media(color_scheme=other)
        expect(page.get_by_test_id("stApp")).to_have_css("color-scheme", other)
        self._run(person, f"{state}, {other}", {"type": "rule", "values": COLOUR_RULES}, {})

    def load(self, page: Page) -> None:
        if page.evaluate("typeof axe === 'undefined'"):
            page.evaluate(self._script)

    def _run(self, person: Visitor, state: str, only: dict[str, Any], rules: dict[str, Any]) -> None:
        person.settle()
        person.still()
        person.page.wait_for_function(LABELLED)
        self.load(person.page)
        self.violations += [
            f"{state}: {rule['id']}: {node['html'][:200]} ({node['failureSummary']})"
            for rule in person.page.evaluate(RUN, [only, rules])
            for node in rule["nodes"]
        ]


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory, browser: Browser) -> Iterator[AppProcess]:
    """An app whose first page, which is only shown before there are users, was inspected."""
    inspector = Inspector()
    with AppProcess(tmp_path_factory.mktemp("app")) as process:
        with Visitor(browser, process.base_url) as person:
            person.open()
            expect(person.page.get_by_text("The first account")).to_be_visible()
            inspector.inspect(person, "first page")
        assert inspector.violations == []
        process.ticket(ADMIN)
        yield process


def test_no_page_breaks_a_rule_of_accessibility_or_scrolls_sideways_on_a_phone(
    browser: Browser, app: AppProcess
) -> None:
    """One tour for both: it takes half a minute."""
    inspector, wide = Inspector(), list[str]()
    with Visitor(browser, app.base_url) as person:

        def look(state: str) -> None:
            inspector.inspect(person, state)
            wide.extend(f"{state}: {size}" for size in sideways_scroll_on_a_phone(person))

        tour(person, "axe", look)
    assert (inspector.violations, wide) == ([], [])


def sideways_scroll_on_a_phone(person: Visitor) -> list[str]:
    """The sizes of the parts that are wider than a phone shows, on the page as it is."""
    usual = person.page.viewport_size
    assert usual
    person.page.set_viewport_size({"width": 390, "height": 844})
    person.still()
    areas = person.page.locator(SCROLLED)
    assert areas.count()
    sizes = areas.evaluate_all("all => all.map((one) => [one.scrollWidth, one.clientWidth])")
    person.page.set_viewport_size(usual)
    return [f"{inner} > {outer}" for inner, outer in sizes if inner > outer]


def test_the_rules_about_colours_are_all_that_axe_has(browser: Browser) -> None:
    page = browser.new_page()
    Inspector().load(page)
    assert sorted(rule["ruleId"] for rule in page.evaluate(LIST, LEVELS)) == COLOUR_RULES
    page.close()


# The keyboard alone


class Keyboard:
    """Hands that only press keys, and eyes that want to see where they are."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.press = page.keyboard.press
        self.type = page.keyboard.type

    def go_to(self, target: Locator, *, most: int = 80) -> None:
        """Press Tab until `target` has the focus, and look on till it shows that."""
        away = target.evaluate(APPEARANCE)
        for _ in range(most):
            self.press("Tab")
            if target.evaluate("element => element === element.getRootNode().activeElement"):
                until(lambda: target.evaluate(APPEARANCE) != away, seconds=5)
                return
        raise AssertionError(f"{target} can't be reached by the Tab key")

    def fill(self, label: str | re.Pattern[str], words: str) -> None:
        self.go_to(self.page.get_by_label(label, exact=isinstance(label, str)).last)
        self.type(words)

    def push(self, role: Any, name: str | re.Pattern[str]) -> None:
        self.go_to(self.page.get_by_role(role, name=name, exact=isinstance(name, str)).last)
        self.press("Enter")


# How an element and the field around it look: focus shows by an outline, a ring, or another border or ground.
APPEARANCE = """element => {
  const seen = []
  for (let at = element, n = 0; at instanceof Element && n < 5; at = at.parentElement, n++) {
    const style = getComputedStyle(at)
    const outline = style.outlineStyle === "none" ? "" : style.outlineStyle + style.outlineWidth
    seen.push(outline, style.boxShadow, style.borderColor, style.backgroundColor)
  }
  return seen.join()
}"""


def test_the_keyboard_alone_does_the_whole_main_job(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        page, hands = person.page, Keyboard(person.page)
        person.open()
        person.expect_sign_in()
        hands.go_to(page.get_by_role("tab", name="Sign in"))
        hands.press("ArrowRight")
        hands.press("Enter")
        hands.fill("Username", "hands")
        hands.fill(re.compile(r"^Password \("), PASSWORD)
        hands.fill("Repeat password", PASSWORD)
        hands.press("Enter")
        person.expect_signed_in("hands")
        _generate_an_image(person, hands)
        hands.push("link", "Gallery")
        expect(person.tiles).to_have_count(1)
        hands.go_to(person.tiles.first)
        hands.press("Enter")
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_text("paper lantern").first).to_be_visible()
        hands.push("button", "Favourite")
        expect(dialog.get_by_role("button", name="Remove from favourites")).to_be_visible()
        hands.press("Escape")
        expect(dialog).to_have_count(0)


def _generate_an_image(person: Visitor, hands: Keyboard) -> None:
    prompt = person.field("Prompt")
    hands.fill("Name", "Juniper")
    hands.fill("Traits", "red fox")
    hands.press("Enter")
    hands.press("Escape")
    expect(person.page.get_by_role("button", name="Remove red fox")).to_be_visible()
    hands.fill("Base prompt", "reading under a tree")
    hands.push("button", "Enhance prompt")
    expect(prompt).to_have_value(re.compile("Juniper"))
    expect(person.page.get_by_role("button", name="Rewrite")).to_be_enabled()
    expect(prompt).to_be_enabled()
    hands.go_to(prompt)
    hands.press("Control+End")
    hands.type(" A paper lantern hangs above.")
    hands.push("button", re.compile("^Generate"))
    person.finished()


# The colours of the theme


def theme(scheme: str) -> dict[str, str]:
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text())
    return config["theme"][scheme] | {"white": "#ffffff"}


def channels(colour: str) -> tuple[float, ...]:
    return tuple(int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))


def contrast(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """The ratio of two sRGB colours as WCAG 2 defines it, 1 to 21."""

    def luminance(colour: tuple[float, ...]) -> float:
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in colour]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


TEXT, SHAPE = 4.5, 3.0
CAPTION_OPACITY = 0.6


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(
    ("front", "ground", "least"),
    [
        pytest.param("textColor", "backgroundColor", TEXT, id="text"),
        pytest.param("textColor", "secondaryBackgroundColor", TEXT, id="text in a field"),
        pytest.param("linkColor", "backgroundColor", TEXT, id="link"),
        pytest.param("linkColor", "secondaryBackgroundColor", TEXT, id="link on a panel"),
        pytest.param("white", "primaryColor", TEXT, id="main button"),
        pytest.param("primaryColor", "backgroundColor", SHAPE, id="shape of the main button"),
        pytest.param("primaryColor", "secondaryBackgroundColor", SHAPE, id="focus in a field"),
        pytest.param("borderColor", "backgroundColor", SHAPE, id="outline of a field"),
        pytest.param("borderColor", "secondaryBackgroundColor", SHAPE, id="outline from its inside"),
        pytest.param("redTextColor", "redBackgroundColor", TEXT, id="error"),
        pytest.param("blueTextColor", "blueBackgroundColor", TEXT, id="notice"),
        pytest.param("codeTextColor", "codeBackgroundColor", TEXT, id="code"),
    ],
)
def test_the_themes_colours_can_be_told_apart(scheme: str, front: str, ground: str, least: float) -> None:
    colours = theme(scheme)
    assert contrast(channels(colours[front]), channels(colours[ground])) >= least


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("ground", ["backgroundColor", "secondaryBackgroundColor"])
def test_captions_and_hints_can_be_read(scheme: str, ground: str) -> None:
    """Streamlit draws them in the text's colour at 60 %."""
    text, behind = (channels(theme(scheme)[name]) for name in ("textColor", ground))
    caption = tuple(
        CAPTION_OPACITY * one + (1 - CAPTION_OPACITY) * other for one, other in zip(text, behind, strict=True)
    )
    assert contrast(caption, behind) >= TEXT
