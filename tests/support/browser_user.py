"""A user at a real browser, who finds things by their visible text."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Locator,
    Page,
    Request,
    expect,
)
from playwright.sync_api import TimeoutError as PlaywrightTimeout

from tests.support.app_process import PASSWORD, Ticket
from tests.support.streamlit_reruns import Reruns
from tests.support.waiting import until

FOX = {
    "name": "Juniper",
    "traits": ("red fox", "green scarf"),
    "base_prompt": "reading under a tree at sunset",
}
WAIT_MS = 60_000
expect.set_options(timeout=WAIT_MS)


@dataclass(frozen=True)
class _Kind:
    """The properties of a browser profile."""

    width: int
    height: int
    dark: bool

    def context(self, browser: Browser) -> BrowserContext:
        made = browser.new_context(
            viewport={"width": self.width, "height": self.height},
            color_scheme="dark" if self.dark else "light",
            accept_downloads=True,
        )
        made.set_default_timeout(WAIT_MS)
        return made


# Profiles that are free for the next visitor.
_idle: WeakKeyDictionary[Browser, dict[_Kind, list[BrowserContext]]] = WeakKeyDictionary()


class Visitor:
    """One browser profile.

    At its end it asserts that the pages have sent no request to another host, that no script has failed, and
    that the Content-Security-Policy has blocked nothing. Without `fresh` it reuses the profile of an earlier
    visitor, signed out and with empty storage: its cache saves a third of the time to load a page.
    """

    def __init__(
        self,
        browser: Browser,
        base_url: str,
        *,
        width: int = 1280,
        height: int = 900,
        dark: bool = False,
        fresh: bool = False,
    ) -> None:
        self.base_url = base_url
        self._fresh = fresh
        self._kind = _Kind(width, height, dark)
        idle = _idle.setdefault(browser, {}).setdefault(self._kind, [])
        self.context = idle.pop() if idle and not fresh else self._kind.context(browser)
        self._idle = idle
        self.foreign: list[str] = []
        self.failures: list[str] = []
        self._reruns: dict[Page, Reruns] = {}
        self._noted: dict[str, Callable[[Any], None]] = {
            "request": self._note_request,
            "weberror": lambda error: self.failures.append(str(error.error)),
            "console": self._note_refusal,
            "page": lambda page: self._reruns.update({page: Reruns(page)}),
        }
        for event, note in self._noted.items():
            self.context.on(event, note)
        self.page = self.context.new_page()

    def __enter__(self) -> Visitor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._fresh or error:
            self.context.close()
        else:
            self._leave()
        if error is None:
            assert self.foreign == []
            assert self.failures == []

    def _leave(self) -> None:
        """Hand the profile on to the next visitor."""
        for event, note in self._noted.items():
            self.context.remove_listener(event, note)
        for page in self.context.pages:
            if page.url.startswith(self.base_url):
                page.evaluate("localStorage.clear(); sessionStorage.clear()")
            page.close()
        self.context.clear_cookies()
        self._idle.append(self.context)

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and parts.netloc != urlsplit(self.base_url).netloc:
            self.foreign.append(request.url)

    def _note_refusal(self, line: ConsoleMessage) -> None:
        if "Content Security Policy" in line.text:
            self.failures.append(line.text)

    # Sign-in

    def open(self, path: str = "/") -> None:
        self.page.goto(self.base_url + path)

    def enter(self, ticket: Ticket, path: str = "/") -> None:
        """Sign in by the session route, without the form, and open the page at `path`."""
        answer = self.context.request.post(
            f"{self.base_url}/auth/session", data={"ticket": ticket.token}, headers={"Origin": self.base_url}
        )
        assert answer.status == HTTPStatus.NO_CONTENT, answer.text()
        self.open(path)
        self.expect_signed_in(ticket.username)

    def sign_up(self, name: str, *, path: str = "/") -> None:
        self.open(path)
        self.page.get_by_role("button", name="Create account").or_(
            self.page.get_by_role("tab", name="Create account")
        ).first.wait_for()
        tab = self.page.get_by_role("tab", name="Create account")
        if tab.count():
            tab.click()
        form = (
            self.page.get_by_role("form")
            .or_(self.page.get_by_test_id("stForm"))
            .filter(has=self.page.get_by_label("Repeat password"))
        )
        form.get_by_label("Username").fill(name)
        form.get_by_label(re.compile(r"^Password \(")).fill(PASSWORD)
        form.get_by_label("Repeat password").fill(PASSWORD)
        form.get_by_role("button", name="Create account").click()
        self.expect_signed_in(name)

    def sign_in(self, name: str, password: str = PASSWORD) -> None:
        self.page.get_by_label("Username").first.fill(name)
        self.page.get_by_label("Password", exact=True).fill(password)
        self.page.get_by_role("button", name="Sign in", exact=True).click()

    def expect_signed_in(self, name: str) -> None:
        expect(self.page.get_by_role("button", name=name, exact=True)).to_be_visible()

    def expect_sign_in(self) -> None:
        expect(self.page.get_by_role("button", name="Sign in", exact=True)).to_be_visible()

    def sign_out(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).click()
        self.page.get_by_role("button", name="Sign out", exact=True).click()
        self.expect_sign_in()

    # Links between the pages

    def go(self, title: str) -> None:
        self.page.get_by_role("link", name=title, exact=True).first.click()

    # Create

    def field(self, label: str) -> Locator:
        """The field; until the end of a run the one that it replaces may still follow it."""
        return self.page.get_by_label(label, exact=True).first

    def describe(self, *, name: str = "", traits: tuple[str, ...] = (), base_prompt: str = "") -> None:
        if name:
            self.type("Name", name)
        for trait in traits:
            self.field("Traits").fill(trait)
            self.field("Traits").press("Enter")
            self.field("Traits").press("Escape")
            expect(self.page.get_by_role("button", name=f"Remove {trait}")).to_be_visible()
        if base_prompt:
            self.type("Base prompt", base_prompt)

    def type(self, label: str, text: str) -> None:
        """Fill a field and leave it: the page gets the text only then."""
        self.field(label).fill(text)
        self.field(label).blur()
        self.settle()

    def settle(self) -> None:
        """Wait until the page has handled the last action."""
        self._reruns[self.page].wait()
        expect(self.page.locator('[data-testid="stApp"][data-test-script-state="running"]')).to_have_count(0)

    def still(self) -> None:
        """Wait until all animations have ended, except endless ones."""
        self.page.wait_for_function(
            """() => document.getAnimations().every((one) =>
              one.playState !== "running" || one.effect.getComputedTiming().iterations === Infinity)"""
        )

    def choose(self, label: str, option: str) -> None:
        """Choose an option by typing its start: a long list draws only the visible options."""
        entry = self.page.get_by_role("option", name=re.compile(f"^{re.escape(option)}"))

        def chosen() -> bool:
            # A run for the text typed before may still arrive and close the list.
            self.field(label).scroll_into_view_if_needed()
            self.field(label).click()
            self.field(label).press_sequentially(option)
            try:
                entry.click(timeout=3_000)
            except PlaywrightTimeout:
                return False
            return True

        until(chosen)
        self.settle()

    def enhance(self) -> str:
        """Enhance the prompt, wait for the end, and return it."""
        before = self.field("Prompt").input_value()
        enhance = self.page.get_by_role("button", name=re.compile("^(Enhance prompt|Rewrite)$"))
        enhance.click()
        expect(self.page.locator("textarea[aria-label='Prompt']:enabled").first).not_to_have_value(before)
        expect(enhance).to_be_enabled()
        return self.field("Prompt").input_value()

    def generate(self, count: int | None = None) -> None:
        """Click Generate, once it says `count` images if that is given."""
        number = r"[\d,]+" if count is None else str(count)
        self.page.get_by_role("button", name=re.compile(f"^Generate {number} image")).click()

    def finished(self, count: int = 1) -> None:
        """Wait until `count` images are finished and drawn. A card that is being replaced may exist twice."""
        cards = self.page.get_by_text(re.compile("^Finished"))
        expect(cards).to_have_count(count)
        live = self.page.get_by_text(re.compile("^(Queued|Next in line|Generating|Waiting)"))
        expect(live).to_have_count(0)
        self.settle()
        expect(cards).to_have_count(count)
        self.page.wait_for_function(
            """() => [...document.querySelectorAll('[data-testid="stImage"] img')]
              .every((one) => one.complete && one.naturalWidth)"""
        )

    # Gallery

    @property
    def tiles(self) -> Locator:
        return self.page.locator(".tile")

    def open_tile(self, place: int = 0) -> Locator:
        self.tiles.nth(place).click()
        dialog = self.page.get_by_role("dialog")
        expect(dialog).to_be_visible()
        return dialog
