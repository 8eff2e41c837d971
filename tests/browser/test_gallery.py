"""The gallery's address, its pages and its open image, in a real browser."""

from __future__ import annotations

import re

from playwright.sync_api import Browser, Page, expect

from core.images.gallery_queries import PAGE_SIZE
from core.prompts.recipe import Recipe
from tests.support.app_process import AppProcess
from tests.support.browser_user import Visitor
from tests.support.gallery import keeper_of

ARABIC = "ثعلب أحمر يقرأ كتابا قديما تحت شجرة كبيرة عند غروب الشمس في يوم ربيعي جميل"
FOXES = 2 * PAGE_SIZE + 3


def keep_images(app: AppProcess, username: str) -> None:
    """Store FOXES foxes and then one owl for the user."""
    with keeper_of(app, username) as (keeper, user):
        for number in range(FOXES):
            keeper.keep(user, Recipe(name=f"Fox {number}", prompt="a fox", model="offline-painter"))
        keeper.keep(user, Recipe(name="Strix", prompt="an owl", model="offline-painter"))


def row_lengths(page: Page) -> list[int]:
    """The number of tiles in each row of the grid."""
    tops: list[float] = page.locator(".tile").evaluate_all("all => all.map(one => one.offsetTop)")
    return [tops.count(top) for top in sorted(set(tops))]


def test_page_search_and_open_image_are_in_the_address(browser: Browser, app: AppProcess) -> None:
    ticket = app.ticket("keeper")
    keep_images(app, "keeper")
    with Visitor(browser, app.base_url) as person:
        person.enter(ticket, "/gallery")
        page = person.page
        for width in (390, 760, 1280, 1920):
            page.set_viewport_size({"width": width, "height": 900})
            expect(person.tiles).to_have_count(PAGE_SIZE)
            assert len(set(row_lengths(page))) == 1
        page.set_viewport_size({"width": 1280, "height": 900})
        expect(person.tiles.first).to_contain_text("Strix")

        # "Older" begins at the top, and its page is one of its own in the browser's history.
        page.get_by_role("button", name="Older").click()
        expect(person.tiles.first).to_contain_text(f"Fox {FOXES - PAGE_SIZE}")
        expect(page.get_by_role("heading", name="Gallery")).to_be_in_viewport()
        expect(page).to_have_url(re.compile(r"/gallery\?page=\w+$"))
        page.reload()
        expect(person.tiles.first).to_contain_text(f"Fox {FOXES - PAGE_SIZE}")
        page.go_back()
        expect(person.tiles.first).to_contain_text("Strix")

        page.get_by_label("Search").fill("owl")
        page.keyboard.press("Enter")
        expect(person.tiles).to_have_count(1)
        expect(page).to_have_url(re.compile(r"/gallery\?search=owl$"))

        # A closed dialog gives the focus back to its tile.
        dialog = person.open_tile()
        expect(page).to_have_url(re.compile(r"/gallery\?search=owl&image=\w+$"))
        opened = page.url
        page.keyboard.press("Escape")
        expect(dialog).to_have_count(0)
        expect(person.tiles.first).to_be_focused()
        expect(page).to_have_url(re.compile(r"/gallery\?search=owl$"))
        page.go_back()
        expect(dialog).to_be_visible()
        page.go_forward()
        expect(dialog).to_have_count(0)
        person.open_tile()
        page.reload()
        expect(dialog.get_by_text("an owl").first).to_be_visible()

        # In a new tab, the address shows the same.
        other = person.context.new_page()
        other.goto(opened)
        expect(other.get_by_role("dialog").get_by_text("an owl").first).to_be_visible()
        expect(other.get_by_label("Search")).to_have_value("owl")
        other.close()

    # To another user it shows nothing.
    with Visitor(browser, app.base_url) as stranger:
        stranger.enter(app.ticket("stranger"))
        stranger.page.goto(opened)
        expect(stranger.page.get_by_text("There is no such image.")).to_be_visible()
        expect(stranger.tiles).to_have_count(0)
        expect(stranger.page.get_by_role("dialog")).to_have_count(0)


def test_peoples_text_runs_in_its_own_direction_and_rows_name_their_buttons(
    browser: Browser, app: AppProcess
) -> None:
    """Arabic is laid out from right to left: a caption that is too long is cut at its end, on the left."""
    app.ticket("first-of-all")
    ticket = app.ticket("reader")
    with keeper_of(app, "reader") as (keeper, user):
        keeper.keep(user, Recipe(name=ARABIC, prompt=ARABIC, model="offline-painter"))
    with Visitor(browser, app.base_url) as person:
        person.enter(ticket, "/gallery")
        caption = person.tiles.first.locator(".caption")
        assert caption.evaluate("one => getComputedStyle(one).direction") == "rtl"
        search = person.page.get_by_label("Search")
        search.fill(ARABIC)
        expect(search).to_have_css("direction", "rtl")
        search.fill("fox")
        expect(search).to_have_css("direction", "ltr")
        search.fill("")
        dialog = person.open_tile()
        expect(dialog.locator("pre").first).to_have_css("direction", "rtl")
        dialog.get_by_role("button", name="Share").click()
        for _ in range(2):
            person.page.get_by_role("button", name="Create a link").click()
            person.settle()
        stops = person.page.get_by_role("button", name=re.compile("^Stop sharing Link created on"))
        expect(stops).to_have_count(2)
