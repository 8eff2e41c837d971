"""Edits and variations of an image, in a real browser on the offline engine."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.support.app_process import AppProcess
from tests.support.browser_user import Visitor

EDIT = "Edit image · free"


def test_an_edited_image_links_to_its_original(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("editor"))
        person.describe(name="Juniper", base_prompt="a fox in the snow")
        person.generate()
        person.finished()
        person.go("Gallery")
        dialog = person.open_tile()
        dialog.get_by_role("button", name=EDIT).click()
        expect(dialog.get_by_text("Say what to change.")).to_be_visible()
        dialog.get_by_label("What should change?").fill("Make it night")
        dialog.get_by_role("button", name=EDIT).click()
        # The new image appears in the open dialog as soon as it is finished.
        dialog.get_by_role("button", name="Open the new image").click()
        expect(dialog.get_by_text("Make it night").first).to_be_visible()
        dialog.get_by_role("button", name="Based on Juniper").click()
        expect(dialog.get_by_text("a fox in the snow").first).to_be_visible()
        expect(dialog.get_by_role("button", name=re.compile("^Based on"))).to_have_count(0)


def test_a_variation_is_one_click(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("varied"))
        person.describe(name="Bramble", base_prompt="a hedgehog under a lamp")
        person.generate()
        person.finished()
        person.go("Gallery")
        dialog = person.open_tile()
        dialog.get_by_role("button", name="Create a variation · free").click()
        expect(dialog.get_by_role("button", name="Open the new image")).to_be_visible()
        expect(dialog.get_by_text("generating")).to_have_count(0)
        person.page.keyboard.press("Escape")
        expect(person.tiles).to_have_count(2)
        person.go("Create")
        person.finished(2)


def test_the_buttons_are_disabled_for_a_model_that_can_not_edit(browser: Browser, tmp_path: Path) -> None:
    env = {"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "IMAGE_MODEL": "dall-e-3"}
    with AppProcess(tmp_path) as app:
        with Visitor(browser, app.base_url) as person:
            person.enter(app.ticket("drawer"))
            person.describe(name="Fern", base_prompt="an owl")
            person.generate()
            person.finished()
        app.stop()
        with (
            AppProcess(tmp_path, env=env, data_dir=app.data_dir) as other,
            Visitor(browser, other.base_url) as later,
        ):
            later.enter(other.ticket("drawer"), "/gallery")
            dialog = later.open_tile()
            expect(dialog.get_by_role("button", name=re.compile("^Edit image"))).to_be_disabled()
            expect(dialog.get_by_role("button", name=re.compile("^Create a variation"))).to_be_disabled()
            expect(dialog.get_by_text("DALL·E 3 makes images from text only.")).to_be_visible()
