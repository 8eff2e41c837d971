"""How a page loads: nothing jumps, and its HTML says what Atelier is before any script has run."""

from __future__ import annotations

import re

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from core.web.access_rules import PAGES
from tests.support.app_process import AppProcess
from tests.support.browser_user import Visitor
from tests.support.gallery import keeper_of
from tests.support.page_shifts import MOST_SHIFT, layout_shift, watch_shifts

# A phone, a laptop and a large screen.
SIZES = ((390, 844), (1280, 900), (1920, 1080))
VISITS = (
    *(pytest.param("", "/", id="sign-in"), pytest.param("bare", "/", id="create")),
    pytest.param("bare", "/gallery", id="empty gallery"),
    *(pytest.param("full", path, id=path) for path in ("/gallery", "/account", "/audit")),
)


@pytest.fixture(scope="module")
def filled_app(app: AppProcess) -> AppProcess:
    """The app with an administrator, who has images, and a user who has none."""
    app.ticket("full")
    app.ticket("bare")
    with keeper_of(app, "full") as (keeper, user):
        for _ in range(6):
            keeper.keep(user)
    return app


@pytest.mark.parametrize(("username", "path"), VISITS)
def test_no_page_jumps_while_it_loads(
    browser: Browser, filled_app: AppProcess, username: str, path: str
) -> None:
    shifts = {}
    with Visitor(browser, filled_app.base_url) as person:
        if username:
            person.enter(filled_app.ticket(username), path)
        watch_shifts(person.page)
        for width, height in SIZES:
            person.page.set_viewport_size({"width": width, "height": height})
            person.open(path)
            expect(person.page.locator("h1").first).to_be_attached()
            shifts[width] = layout_shift(person)
    assert all(shift < MOST_SHIFT for shift in shifts.values()), shifts


@pytest.mark.parametrize("path", PAGES)
def test_the_html_of_a_page_has_its_language_title_description_and_styles(app: AppProcess, path: str) -> None:
    answer = httpx2.get(app.base_url + (path or "/"), trust_env=False)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    html = answer.text
    assert '<html lang="en">' in html
    assert "<title>Atelier</title>" in html
    assert re.search(r'<meta name="description" content="Atelier is [^"]{50,160}"', html)
    assert ".st-key-page-links" in html
    assert "Streamlit" not in re.sub(r"<!--.*?-->|<(style|script).*?</\1>|<link .*?>", "", html, flags=re.S)


def test_the_scripts_of_a_page_are_named_in_its_html(browser: Browser, filled_app: AppProcess) -> None:
    """A script that is missing there is found only once its first element is drawn, which takes a moment."""
    html = httpx2.get(filled_app.base_url, trust_env=False).text
    with Visitor(browser, filled_app.base_url, fresh=True) as person:
        person.enter(filled_app.ticket("full"), "/account")
        for name in ("Create", "Gallery", "Account"):
            person.go(name)
            expect(person.page.get_by_role("heading", level=1, name=name)).to_be_attached()
            person.settle()
        loaded = person.page.evaluate("performance.getEntriesByType('resource').map((one) => one.name)")
    scripts = [name.rpartition("/")[2] for name in loaded if name.endswith(".js")]
    assert [name for name in scripts if f"/{name}" not in html] == []
