"""The same pages on a service that speaks OpenAI's wire format, slow and fallible as a real one."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from pages.ui.error_panel import HELP
from tests.support.app_process import AppProcess
from tests.support.browser_user import Visitor
from tests.support.openai_service import Behaviour, OpenAIService

KEY = "sk-test-0123456789abcdef"


@pytest.fixture(scope="module")
def app(shared_service: OpenAIService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    folder = tmp_path_factory.mktemp("service-app")
    env = {"OPENAI_BASE_URL": shared_service.base_url, "OPENAI_API_KEY": KEY, "PARTIAL_IMAGES": "1"}
    with AppProcess(folder, env=env) as process:
        yield process


def images_asked(service: OpenAIService, marker: str) -> int:
    """How many image calls with this text the service has seen: what was paid."""
    return sum(marker in str(request.body) for request in service.requests_to("/images/generations"))


def test_the_main_job_against_a_service(browser: Browser, app: AppProcess, service: OpenAIService) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("service-main"))
        expect(person.page.get_by_text("Offline engine")).to_have_count(0)
        person.describe(name="Pip", traits=("striped",), base_prompt="on a kite")
        enhanced = person.enhance()
        for words in ("Pip", "striped", "on a kite", "loopback service"):
            assert words in enhanced
        expect(
            person.page.get_by_role("button", name=re.compile("^Generate 1 image · up to about"))
        ).to_be_enabled()
        person.generate()
        person.finished()
        person.go("Gallery")
        dialog = person.open_tile()
        expect(dialog.get_by_text("loopback service").first).to_be_visible()


def test_the_price_stands_on_the_button(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("priced"))
        person.describe(base_prompt="a kite")
        person.page.get_by_text("More options").click()
        person.choose("Model", "GPT Image 2.5 Flare")
        person.field("Images").fill("2")
        person.field("Images").press("Enter")
        expect(
            person.page.get_by_role("button", name=re.compile(r"^Generate 2 images · about \$0\.0"))
        ).to_be_enabled()


def test_the_prompt_streams_in(browser: Browser, app: AppProcess, service: OpenAIService) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("streamer"))
        person.describe(name="Pip", base_prompt="a kite")
        service.script(Behaviour(hold="middle"))
        person.page.get_by_role("button", name="Enhance prompt").click()
        expect(person.page.get_by_role("button", name="Enhancing…")).to_be_visible()
        expect(person.field("Prompt")).to_have_value(re.compile("."))
        begun = person.field("Prompt").input_value()
        service.let_go()
        expect(person.page.get_by_role("button", name="Rewrite")).to_be_enabled()
        ended = person.field("Prompt").input_value()
        assert len(ended) > len(begun)


def test_a_text_that_was_cut_off_can_be_edited(
    browser: Browser, app: AppProcess, service: OpenAIService
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("cut"))
        person.describe(name="Pip", base_prompt="a kite")
        service.script("truncated")
        person.page.get_by_role("button", name="Enhance prompt").click()
        expect(person.page.get_by_text("cut off before it was finished")).to_be_visible()
        expect(person.page.get_by_text("Its text so far is the prompt")).to_be_visible()
        expect(person.field("Prompt")).to_have_value(re.compile("^Subject: Pip"))
        person.type("Prompt", "Pip flies a kite.")
        expect(person.page.get_by_text("Its text so far is the prompt")).to_have_count(0)


@pytest.mark.parametrize("leave", ["another page", "a reload", "a closed tab"])
def test_leaving_during_a_generation_loses_nothing(
    browser: Browser, app: AppProcess, service: OpenAIService, leave: str
) -> None:
    marker = f"leaving by {leave}"
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket(f"leaver-{leave.replace(' ', '-')}"))
        person.type("Prompt", marker)
        service.script(Behaviour(hold="start"))
        person.generate()
        expect(person.page.get_by_text(re.compile("^(Queued|Next in line|Generating)"))).to_be_visible()
        if leave == "another page":
            person.go("Gallery")
            expect(person.page.get_by_text("Your first images are generating")).to_be_visible()
            person.go("Create")
        elif leave == "a reload":
            person.page.reload()
        else:
            person.page.close()
            person.page = person.context.new_page()
            person.open()
        service.let_go()
        person.finished()
        person.go("Gallery")
        expect(person.tiles).to_have_count(1)
        assert images_asked(service, marker) == 1


def test_what_the_service_refused_without_charge_is_tried_again_and_said(
    browser: Browser, app: AppProcess, service: OpenAIService
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("patient"))
        person.type("Prompt", "a patient fox")
        service.script("slow down")
        person.generate()
        expect(person.page.get_by_text("Waiting for the service · next try in")).to_be_visible()
        expect(person.page.get_by_text("The service is asking us to slow down.")).to_be_visible()
        person.finished()
        assert images_asked(service, "a patient fox") == 2


def test_every_page_tells_what_is_made_and_when_it_has_ended(
    browser: Browser, app: AppProcess, service: OpenAIService
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("elsewhere"))
        person.type("Name", "Ember")
        person.type("Prompt", "a fox elsewhere")
        service.script(Behaviour(hold="start"))
        person.generate()
        person.go("Account")
        panel = person.page.get_by_role("button", name="1 generating")
        panel.click()
        expect(person.page.get_by_text("0 of 1 image finished")).to_be_visible()
        service.let_go()
        expect(person.page.get_by_text("Ember is finished.")).to_be_visible()
        expect(panel).to_have_count(0)


def test_when_all_has_ended_nothing_is_asked_and_an_open_image_stays(
    browser: Browser, app: AppProcess, service: OpenAIService
) -> None:
    with Visitor(browser, app.base_url) as person:
        sent: list[object] = []
        person.page.on("websocket", lambda socket: socket.on("framesent", lambda frame: sent.append(frame)))
        person.enter(app.ticket("quiet"))
        person.type("Prompt", "a quiet fox")
        person.generate()
        person.finished()
        person.type("Prompt", "a second fox")
        service.script(Behaviour(hold="start"))
        person.generate()
        person.go("Gallery")
        expect(person.page.get_by_role("button", name="1 generating")).to_be_visible()
        person.settle()
        dialog = person.open_tile()
        service.let_go()
        show = person.page.get_by_text("Show 1 new")
        expect(show).to_have_count(1)
        expect(person.page.get_by_text("1 generating")).to_have_count(0)
        expect(dialog).to_be_visible()
        person.settle()
        before = len(sent)
        # As long as two polls of each that had been watching.
        person.page.wait_for_timeout(4_500)
        assert len(sent) - before <= 1  # a poll that was on its way already
        expect(dialog).to_be_visible()
        expect(show).to_have_count(1)


def test_a_double_click_buys_once(browser: Browser, app: AppProcess, service: OpenAIService) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("double"))
        person.type("Prompt", "a double click")
        person.page.get_by_role("button", name=re.compile("^Generate")).dblclick()
        person.finished()
        person.go("Gallery")
        expect(person.tiles).to_have_count(1)
        assert images_asked(service, "a double click") == 1


def test_a_withdrawn_persons_click_buys_nothing(
    browser: Browser, service: OpenAIService, tmp_path: Path
) -> None:
    env = {"OPENAI_BASE_URL": service.base_url, "OPENAI_API_KEY": KEY}
    with AppProcess(tmp_path, env=env) as app, Visitor(browser, app.base_url) as chief:
        chief.enter(app.ticket("chief"))
        with Visitor(browser, app.base_url) as guest:
            guest.enter(app.ticket("guest"))
            guest.type("Prompt", "withdrawn-marker")
            chief.go("Account")
            chief.page.get_by_role("button", name="Withdraw access").click()
            chief.page.get_by_role("button", name="Withdraw", exact=True).click()
            expect(chief.page.get_by_text("No access")).to_be_visible()
            guest.generate()
            expect(guest.field("Username").first).to_be_visible()
        assert images_asked(service, "withdrawn-marker") == 0


def test_a_preview_is_shown_before_the_image_is_finished(
    browser: Browser, app: AppProcess, service: OpenAIService
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("previewer"))
        person.type("Prompt", "a slow one")
        service.script(Behaviour(hold="middle"))
        person.generate()
        preview = person.page.get_by_role("img", name=re.compile("^Preview of"))
        expect(preview).to_be_visible()
        expect(preview).to_have_js_property("complete", True)
        assert preview.evaluate("image => image.naturalWidth") > 0
        service.let_go()
        person.finished()


def test_the_key_is_nowhere_a_person_or_a_log_could_see_it(
    browser: Browser, app: AppProcess, service: OpenAIService
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("key-hunter"))
        person.type("Prompt", "[[image error:key rejected]]")
        person.generate()
        expect(person.page.get_by_text("doesn't accept the API key")).to_be_visible()
        person.page.get_by_text(HELP).click()
        assert KEY not in person.page.content()
        assert KEY not in app.output
        assert KEY[:12] not in person.page.content()


def test_an_unreachable_service_at_start_degrades(browser: Browser, tmp_path: Path) -> None:
    with (
        AppProcess(tmp_path, env={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1", "OPENAI_API_KEY": KEY}) as app,
        Visitor(browser, app.base_url) as person,
    ):
        person.enter(app.ticket("patient"))
        person.type("Prompt", "a kite")
        person.generate()
        expect(person.page.get_by_text("The image service can't be reached.")).to_be_visible()
        person.page.get_by_role("button", name="Cancel").click()
        expect(person.page.get_by_text("Cancelled")).to_be_visible()
        person.go("Gallery")
        expect(person.page.get_by_text("Your gallery is empty")).to_be_visible()
