"""A tour through every page of the app, in every state that should be looked at."""

from __future__ import annotations

import re
from collections.abc import Callable

from playwright.sync_api import expect

from tests.support.browser_user import Visitor

ADMIN = "chief"
Look = Callable[[str], None]


def tour(person: Visitor, name: str, look: Look) -> None:
    """Visit all pages as the new account `name`, and call `look` with the name of each state.

    The administrator `ADMIN` must exist already.
    """
    _sign_in(person, name, look)
    _create(person, look)
    _images(person, look)
    _gallery(person, look)
    _account(person, name, look)


def _sign_in(person: Visitor, name: str, look: Look) -> None:
    person.open()
    person.expect_sign_in()
    person.sign_in("nobody", "not the password")
    expect(person.page.get_by_text("don't match")).to_be_visible()
    look("sign-in after a wrong password")
    person.page.get_by_role("tab", name="Create account").click()
    look("register")
    person.sign_up(name)


def _create(person: Visitor, look: Look) -> None:
    page = person.page
    expect(page.get_by_text("New here?")).to_be_visible()
    look("create, empty")
    _open(person, "Offline engine", look, "engine")
    person.go("Gallery")
    expect(page.get_by_text("Your gallery is empty")).to_be_visible()
    look("gallery, empty")
    person.go("Create")
    page.get_by_role("button", name="Show me an example").click()
    expect(page.locator("input[aria-label=Name][value=Juniper]")).to_be_visible()
    person.settle()
    page.get_by_text("More options").click()
    expect(person.field("Quality")).to_be_visible()
    look("create, more options")
    page.get_by_text("More options").click()
    person.enhance()
    _open(person, re.compile("^History"), look, "history")
    person.type("Name", "Moss")
    person.enhance()
    person.type("Name", "Juniper")
    person.enhance()
    expect(page.get_by_text("Reused from your enhancement")).to_be_visible()
    look("create, enhanced before")


def _images(person: Visitor, look: Look) -> None:
    page = person.page
    person.generate()
    person.finished()
    prompt = person.field("Prompt").input_value()
    person.type("Prompt", "!fail quota")
    person.generate()
    page.get_by_text("What can I do?").click()
    expect(page.get_by_text("Code IMG-GEN-QUOTA-001")).to_be_visible()
    person.type("Base prompt", "!fail overloaded")
    page.get_by_role("button", name="Enhance prompt").click()
    expect(page.get_by_text("overloaded right now")).to_be_visible()
    look("create, errors and an image")
    page.get_by_role("button", name="Dismiss").click()
    person.type("Prompt", prompt)
    person.generate()
    expect(page.get_by_text("You already have this image", exact=True)).to_be_visible()
    look("create, image exists already")
    person.type("Prompt", "a fox")
    person.generate()
    person.finished(2)
    look("create, images")
    person.type("Prompt", "a {fox|hare|owl}")
    page.get_by_text("Many prompts", exact=True).click()
    expect(page.get_by_text("3 prompts · longest")).to_be_visible()
    person.generate()
    expect(page.get_by_text("You already have 1 of these 3 images", exact=True)).to_be_visible()
    look("create, some images exist already")


def _gallery(person: Visitor, look: Look) -> None:
    page = person.page
    person.go("Gallery")
    expect(person.tiles).to_have_count(2)
    look("gallery")
    person.type("Search", "no such words")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    look("gallery, nothing found")
    person.type("Search", "")
    dialog = person.open_tile()
    dialog.get_by_role("button", name="Favourite").click()
    expect(dialog.get_by_role("button", name="Remove from favourites")).to_be_visible()
    look("image")
    _open(person, "Download", look, "image, download")
    page.get_by_role("button", name="Delete", exact=True).click()
    expect(page.get_by_role("button", name="Delete it")).to_be_visible()
    look("image, delete")
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_role("button", name="Undo")).to_be_visible()
    look("gallery, undo")
    page.get_by_text("Trash", exact=True).click()
    person.settle()
    expect(person.tiles).to_have_count(1)
    look("trash")
    dialog = person.open_tile()
    expect(dialog.get_by_role("button", name="Restore")).to_be_visible()
    look("image in the trash")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def _account(person: Visitor, name: str, look: Look) -> None:
    _open(person, name, look, "menu")
    person.go("Account")
    expect(person.page.get_by_role("heading", name="Account")).to_be_visible()
    look("account, member")
    person.type("Token name", "Nightly catalogue")
    person.page.get_by_role("button", name="Create token").click()
    expect(person.page.get_by_text("Copy your new token now")).to_be_visible()
    look("account, a new token")
    person.page.get_by_role("button", name="I have copied it").click()
    person.settle()
    person.page.get_by_role("button", name=re.compile("^Revoke")).first.click()
    expect(person.page.get_by_role("button", name="Revoke it")).to_be_visible()
    look("account, revoking a token")
    person.page.keyboard.press("Escape")
    person.go("Gallery")
    person.sign_out(name)
    person.settle()
    person.sign_in(ADMIN)
    person.expect_signed_in(ADMIN)
    person.open("/account")
    expect(person.page.get_by_role("heading", name="People")).to_be_visible()
    look("account, administrator")
    person.page.get_by_role("button", name="Withdraw access").first.click()
    look("account, withdrawing")
    person.page.keyboard.press("Escape")
    person.page.get_by_role("link", name="Open the audit log").click()
    expect(person.page.get_by_role("table")).to_be_visible()
    look("audit")


def _open(person: Visitor, button: str | re.Pattern[str], look: Look, name: str) -> None:
    """Open a popover by its button, look at it, and close it again."""
    opener = person.page.get_by_role("button", name=button, exact=isinstance(button, str))
    opener.click()
    expect(opener).to_have_attribute("aria-expanded", "true")
    look(name)
    person.page.keyboard.press("Escape")
    expect(opener).to_have_attribute("aria-expanded", "false")
