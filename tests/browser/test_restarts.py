"""A tab that stays open while the app is killed and started again: what is typed stays, no click is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from sqlmodel import select

from core.database.database import Database
from core.database.models import Job
from tests.support.app_process import AppProcess
from tests.support.browser_user import FOX, Visitor
from tests.support.waiting import until

LOST = "The click wasn't taken"


@pytest.fixture
def killed(tmp_path: Path) -> Iterator[AppProcess]:
    """An app that the test kills."""
    with AppProcess(tmp_path) as app:
        yield app


def prompts(app: AppProcess) -> list[str]:
    """The prompts that were ordered."""
    with closing(Database(app.database_url)) as database, database.read() as session:
        return [str(request["prompt"]) for request in session.exec(select(Job.request)).all()]


def restart(person: Visitor, app: AppProcess) -> None:
    """Kill and start the app, and return as soon as the open page is connected again."""
    app.kill()
    expect(person.page.locator('[data-test-connection-state="CONNECTED"]')).to_have_count(0)
    app.start()
    connected(person)


def connected(person: Visitor) -> None:
    expect(person.page.locator('[data-test-connection-state="CONNECTED"]')).to_have_count(1)


@pytest.mark.parametrize("enhanced", [False, True])
def test_what_is_typed_after_a_restart_is_kept_and_bought(
    browser: Browser, killed: AppProcess, enhanced: bool
) -> None:
    with Visitor(browser, killed.base_url) as person:
        person.enter(killed.ticket("stayer"))
        person.describe(**FOX)
        if enhanced:
            person.enhance()
        person.type("Prompt", "Typed before.")
        restart(person, killed)
        person.settle()
        person.field("Name").fill("Moss")
        person.field("Prompt").fill("Typed after.")
        person.generate()
        person.finished()
        expect(person.field("Name")).to_have_value("Moss")
        expect(person.field("Prompt")).to_have_value("Typed after.")
        assert prompts(killed) == ["Typed after."]


def test_what_is_typed_in_the_gallery_after_a_restart_is_kept(browser: Browser, killed: AppProcess) -> None:
    with Visitor(browser, killed.base_url) as person:
        person.enter(killed.ticket("searcher"))
        person.type("Prompt", "a lighthouse")
        person.generate()
        person.finished()
        person.go("Gallery")
        person.type("Search", "light")
        restart(person, killed)
        person.type("Search", "lighthouse")
        expect(person.tiles).to_have_count(1)
        expect(person.field("Search")).to_have_value("lighthouse")
        person.open_tile()
        person.type("What should change?", "Make it")
        restart(person, killed)
        person.type("What should change?", "Make it night")
        expect(person.field("What should change?")).to_have_value("Make it night")
        person.page.get_by_role("button", name=re.compile("^Edit image")).click()
        until(lambda: prompts(killed)[1:] == ["Make it night"])


def test_a_click_that_nobody_took_is_said(browser: Browser, killed: AppProcess) -> None:
    with Visitor(browser, killed.base_url) as person:
        person.enter(killed.ticket("clicker"))
        person.type("Prompt", "a lighthouse")
        # Frozen, the app gets the click and never takes it.
        killed.freeze()
        person.generate()
        killed.kill()
        killed.start()
        expect(person.page.get_by_text(re.compile(LOST))).to_be_visible()
        person.settle()
        assert prompts(killed) == []
        person.generate()
        person.finished()
        expect(person.page.get_by_text(re.compile(LOST))).to_have_count(0)
        assert prompts(killed) == ["a lighthouse"]


def test_a_click_that_was_taken_before_a_kill_is_not_called_lost(
    browser: Browser, killed: AppProcess
) -> None:
    with Visitor(browser, killed.base_url) as person:
        person.enter(killed.ticket("lucky"))
        person.type("Prompt", "a lighthouse")
        person.generate()
        until(lambda: prompts(killed))
        killed.kill()
        killed.start()
        connected(person)
        # What the image becomes depends on how far its call had come.
        expect(person.page.get_by_text(re.compile("^Finished|outcome unknown")).first).to_be_visible()
        person.settle()
        assert prompts(killed) == ["a lighthouse"]
        expect(person.page.get_by_text(re.compile(LOST))).to_have_count(0)
