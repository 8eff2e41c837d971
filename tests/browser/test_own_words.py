"""Streamlit's own words, controls and shortcuts don't reach users, not even when the connection is lost."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, WebSocketRoute, expect
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tests.support.app_process import AppProcess
from tests.support.browser_user import Visitor

WORDS = (
    "Stop",
    "Stopping",
    "Rerun",
    "Record",
    "Print",
    "Made with",
    "Clear cache",
    "Deploy",
    "Connecting",
    "Connection error",
    "Running the app's main page",
    "Page not found",
    "Streamlit",
)
# The running man, the menu, and what else Streamlit puts into its header.
CONTROLS = '[data-testid="stStatusWidget"], [data-testid="stMainMenu"], [data-testid="stAppDeployButton"]'
# Notes what a user can see in each frame: the words above, and all of Streamlit's own dialogs that opened.
WATCH = """([words, controls]) => {
  window.seen = { words: new Set(), dialogs: 0 }
  new MutationObserver(() => {
    seen.dialogs += document.querySelectorAll('.stDialog:not(:has([data-testid="stVerticalBlock"]))').length
  }).observe(document.body, { childList: true })
  requestAnimationFrame(function look() {
    const text = document.body.innerText + document.title
    words.filter((word) => text.includes(word)).forEach((word) => seen.words.add(word))
    document.querySelectorAll(controls).forEach((one) => seen.words.add(one.dataset.testid))
    requestAnimationFrame(look)
  })
}"""
# Streamlit shows the running man when a run has taken half a second.
AFTER_THE_RUNNING_MAN = "() => new Promise((done) => setTimeout(done, 800))"
TWO_FRAMES = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"


def watch(page: Page) -> None:
    page.evaluate(WATCH, [list(WORDS), CONTROLS])


def seen_words(page: Page) -> list[str]:
    found: list[str] = page.evaluate(f"async () => {{ await ({TWO_FRAMES})(); return [...seen.words] }}")
    return found


@pytest.fixture
def own_app(tmp_path: Path) -> Iterator[AppProcess]:
    with AppProcess(tmp_path) as process:
        yield process


def test_a_lost_connection_is_told_in_our_words_until_it_is_back(
    browser: Browser, own_app: AppProcess
) -> None:
    with Visitor(browser, own_app.base_url) as person:
        person.enter(own_app.ticket("patient"))
        page, banner = person.page, person.page.get_by_role("status").get_by_text("Reconnecting")
        person.type("Name", "Juniper")
        watch(page)
        expect(banner).to_be_hidden()
        own_app.kill()
        expect(banner).to_be_visible()
        expect(banner).to_have_text("Reconnecting. Your work is safe.")
        # Streamlit opens its dialog after some attempts, and leaves the page to the keyboard again.
        page.wait_for_function("() => seen.dialogs")
        expect(page.get_by_test_id("stDialog")).to_have_count(0)
        expect(banner).to_be_visible()
        own_app.start()
        expect(banner).to_be_hidden()
        expect(person.field("Name")).to_be_enabled()
        expect(person.field("Name")).to_have_value("Juniper")
        assert seen_words(page) == []


def test_a_slow_run_shows_no_running_man_and_no_stop_button(browser: Browser, own_app: AppProcess) -> None:
    with Visitor(browser, own_app.base_url) as person:
        person.enter(own_app.ticket("waiting"))
        person.settle()
        watch(person.page)
        with closing(sqlite3.connect(own_app.data_dir / "atelier.db", isolation_level=None)) as database:
            # The run waits for this write to end before it stores the example.
            database.execute("BEGIN IMMEDIATE")
            person.page.get_by_role("button", name="Show me an example").click()
            person.page.wait_for_selector('.stApp[data-test-script-state="running"]')
            person.page.evaluate(AFTER_THE_RUNNING_MAN)
            database.execute("ROLLBACK")
        expect(person.field("Name")).to_have_value("Juniper")
        assert seen_words(person.page) == []


def test_streamlits_shortcuts_do_nothing(browser: Browser, app: AppProcess) -> None:
    """R would run the page again, and C would offer to clear the caches."""
    sent: list[str | bytes] = []
    with Visitor(browser, app.base_url) as person:
        person.page.on("websocket", lambda socket: socket.on("framesent", lambda data: sent.append(data)))
        person.enter(app.ticket("typist"))
        person.settle()
        watch(person.page)
        sent.clear()
        for key in ("r", "c", "R", "C"):
            person.page.keyboard.press(key)
        assert seen_words(person.page) == []
        assert sent == []
        expect(person.page.get_by_role("dialog")).to_have_count(0)


def test_a_dialog_of_streamlits_own_closes_unseen(browser: Browser, app: AppProcess) -> None:
    """Streamlit opens one to say that it runs the main page, because the page that was asked for is gone."""
    sockets: list[WebSocketRoute] = []

    def pass_on(socket: WebSocketRoute) -> None:
        socket.connect_to_server()
        sockets.append(socket)

    with Visitor(browser, app.base_url) as person:
        person.page.route_web_socket(re.compile("/_stcore/stream"), pass_on)
        person.enter(app.ticket("absent"))
        person.settle()
        watch(person.page)
        sockets[0].send(ForwardMsg(page_not_found={"page_name": ""}).SerializeToString())
        person.page.wait_for_function("() => seen.dialogs")
        expect(person.page.get_by_test_id("stDialog")).to_have_count(0)
        person.type("Name", "Juniper")
        assert seen_words(person.page) == []
