"""Clicks on Generate shortly before and after the app is killed: each is taken once, or said to be lost."""

from __future__ import annotations

import re
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from sqlmodel import select

from core.database.database import Database
from core.database.models import Job
from tests.support.app_process import AppProcess
from tests.support.browser_user import Visitor
from tests.support.waiting import until

CLICKS = 20
# Of the click, before and after the kill.
SPAN_MS = 300
LOST = re.compile("The click wasn't taken")
# The click of a script, which doesn't wait until the button is enabled. Returns whether it was.
_CLICK = """() => {
  const button = document.querySelector(".st-key-generate button")
  const enabled = !button.disabled
  button.click()
  return enabled
}"""


def batches(app: AppProcess) -> Counter[str]:
    """How many batches were ordered of each prompt."""
    with closing(Database(app.database_url)) as database, database.read() as session:
        jobs = session.exec(select(Job)).all()
    return Counter(prompt for _, prompt in {(job.batch_id, str(job.request["prompt"])) for job in jobs})


def click_near_a_kill(person: Visitor, app: AppProcess, after_ms: float) -> bool:
    """Click `after_ms` after the kill, or before it. Returns whether the button was enabled."""
    if after_ms >= 0:
        app.kill()
        person.page.wait_for_timeout(after_ms)
        return bool(person.page.evaluate(_CLICK))
    killer = threading.Timer(-after_ms / 1000, app.kill)
    killer.start()
    enabled = bool(person.page.evaluate(_CLICK))
    killer.join()
    return enabled


@pytest.mark.proof
def test_each_click_near_a_kill_is_taken_once_or_said_to_be_lost(browser: Browser, tmp_path: Path) -> None:
    counts: Counter[str] = Counter()
    replaced: list[str] = []
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("clicker"))
        for number in range(CLICKS):
            after_ms = SPAN_MS * (2 * number / (CLICKS - 1) - 1)
            prompt = f"lighthouse {number}"
            person.type("Prompt", prompt)
            expect(person.page.locator(".st-key-generate button")).to_be_enabled()
            enabled = click_near_a_kill(person, app, after_ms)
            app.start()
            expect(person.page.locator('[data-test-connection-state="CONNECTED"]')).to_have_count(1)
            lost = person.page.get_by_text(LOST)
            if enabled:
                until(lambda prompt=prompt, lost=lost: batches(app)[prompt] or lost.count())
            # After one more run nothing is left to be said.
            person.type("Name", prompt)
            taken, said = batches(app)[prompt], bool(lost.count())
            result = "taken" if taken else "said to be lost" if said else "on a disabled button"
            counts[result] += 1
            print(f"{after_ms:+.0f} ms: {result}")
            assert (taken, said) == {"taken": (1, False), "said to be lost": (0, True)}.get(
                result, (0, False)
            )
            assert enabled or not (taken or said)
            if (shown := person.field("Prompt").input_value()) != prompt:
                replaced.append(f"{prompt} by {shown}")
        assert all(count == 1 for count in batches(app).values())
    print(f"of {CLICKS} clicks: {dict(counts)}")
    assert replaced == []
