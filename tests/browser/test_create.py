"""The Create page in a real browser: text that is typed is kept, and errors say what the user can do."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, Locator, expect

from pages.ui.error_panel import HELP
from tests.support.app_process import AppProcess
from tests.support.browser_user import FOX, Visitor
from tests.support.waiting import until


def test_the_draft_survives_a_change_of_page_and_a_reload(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("drafter"))
        person.describe(**FOX)
        person.choose("Style", "Ink")
        person.type("Prompt", "My own words.")
        person.go("Gallery")
        expect(person.page.get_by_text("Your gallery is empty")).to_be_visible()
        person.go("Create")
        for _ in range(2):
            expect(person.field("Name")).to_have_value("Juniper")
            expect(person.page.get_by_role("button", name="Remove green scarf")).to_be_visible()
            expect(person.field("Base prompt")).to_have_value(FOX["base_prompt"])
            expect(person.field("Prompt")).to_have_value("My own words.")
            expect(person.field("Style")).to_have_value("Ink — Black brush and pen on white")
            person.page.reload()


def test_every_earlier_prompt_can_be_brought_back(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("historian"))
        person.describe(**FOX)
        first = person.enhance()
        person.type("Prompt", "Something else entirely.")
        second = person.enhance()
        assert "Juniper" in second
        assert second != first
        person.page.get_by_role("button", name=re.compile("^History")).click()
        person.page.get_by_role("button", name=re.compile("Something else entirely")).click()
        expect(person.field("Prompt")).to_have_value("Something else entirely.")


def test_enhancing_the_same_description_again_is_free_but_a_rewrite_is_not(
    browser: Browser, app: AppProcess
) -> None:
    with Visitor(browser, app.base_url) as person:
        page = person.page
        person.enter(app.ticket("economist"))
        person.describe(**FOX)
        first = person.enhance()
        person.type("Name", "Moss")
        expect(page.get_by_role("button", name="Enhance prompt")).to_be_enabled()
        person.enhance()
        person.type("Name", FOX["name"])
        assert person.enhance() == first
        free = page.get_by_text("Reused from your enhancement today, free of charge.")
        expect(free).to_be_visible()

        def rewritten() -> bool:
            # A click right after a reused enhancement counts as the second click of a double click.
            page.get_by_role("button", name="Rewrite").first.click()
            return person.field("Prompt").input_value() != first

        until(rewritten)
        expect(free).to_have_count(0)
        expect(page.get_by_role("button", name="Rewrite")).to_be_enabled()


def saved_calls(person: Visitor) -> Locator:
    """The number of saved calls on the account page."""
    person.go("Account")
    return (
        person.page.get_by_test_id("stMetric").filter(has_text="Saved calls").get_by_test_id("stMetricValue")
    )


def test_an_existing_image_is_opened_or_generated_anyway(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        page = person.page
        offer = page.get_by_text("You already have this image", exact=True)
        person.enter(app.ticket("repeater"))
        person.type("Prompt", "a heron in the reeds")
        person.generate()
        person.finished()
        person.generate()
        expect(offer).to_be_visible()
        person.type("Prompt", "a heron in the rain")
        expect(offer).to_have_count(0)
        person.type("Prompt", "a heron in the reeds")
        person.generate()
        expect(offer).to_be_visible()
        page.get_by_role("button", name="Generate anyway · free").dblclick()
        person.finished(2)
        expect(offer).to_have_count(0)
        expect(saved_calls(person)).to_have_text("0")
        person.go("Create")
        person.generate()
        page.get_by_role("button", name="Open image").click()
        expect(page.get_by_role("dialog").get_by_text("a heron in the reeds").first).to_be_visible()
        page.keyboard.press("Escape")
        expect(person.tiles).to_have_count(2)
        expect(saved_calls(person)).to_have_text("1")


def test_only_the_new_ones_of_many_prompts_are_generated(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        page = person.page
        person.enter(app.ticket("cataloguer"))
        person.type("Prompt", "a heron\nan egret")
        page.get_by_text("Many prompts", exact=True).click()
        page.get_by_role("button", name="Generate 2 images · free").click()
        person.finished(2)
        person.type("Prompt", "a {heron|stork}\nan egret")
        page.get_by_role("button", name="Generate 3 images · free").click()
        expect(page.get_by_text("You already have 2 of these 3 images", exact=True)).to_be_visible()
        expect(page.get_by_role("button", name="Generate all anyway · free")).to_be_enabled()
        page.get_by_role("button", name="Generate the new one · free").click()
        person.finished(3)
        page.get_by_role("button", name="Generate 3 images · free").click()
        expect(page.get_by_text("You already have these 3 images", exact=True)).to_be_visible()
        page.get_by_role("button", name="Open gallery").click()
        expect(person.tiles).to_have_count(3)
        expect(saved_calls(person)).to_have_text("5")


def test_the_example_is_one_click_away(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("newcomer"))
        expect(person.page.get_by_text("New here?")).to_be_visible()
        person.page.get_by_role("button", name="Show me an example").click()
        expect(person.page.locator("input[aria-label=Name][value=Juniper]")).to_be_visible()
        expect(person.page.get_by_text("New here?")).to_have_count(0)


@pytest.mark.parametrize(
    ("prompt", "message", "code"),
    [
        pytest.param(
            "!fail quota", "credit with the image service is used up", "IMG-GEN-QUOTA-001", id="quota"
        ),
        pytest.param(
            "!fail moderation", "safety system refused this prompt", "IMG-PRM-BLOCK-001", id="moderation"
        ),
        pytest.param("!fail key", "doesn't accept the API key", "IMG-AUTH-KEY-001", id="key"),
        pytest.param("!fail timeout", "No answer came in time", "IMG-GEN-UNKNOWN-002", id="timeout"),
    ],
)
def test_an_error_says_what_can_be_done_and_keeps_the_form(
    browser: Browser, app: AppProcess, prompt: str, message: str, code: str
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket(f"person-of-{len(message)}"))
        person.describe(**FOX)
        person.type("Prompt", prompt)
        person.generate()
        expect(person.page.get_by_text(message)).to_be_visible()
        expect(person.page.get_by_text(f"Code {code}")).to_be_hidden()
        # The panel opens with the keyboard alone.
        person.page.locator("summary", has_text=HELP).press("Enter")
        expect(person.page.get_by_text(f"Code {code}")).to_be_visible()
        expect(person.page.get_by_role("button", name="Try again")).to_be_visible()
        expect(person.field("Prompt")).to_have_value(prompt)
        expect(person.field("Name")).to_have_value("Juniper")
        person.page.get_by_role("button", name="Dismiss").click()
        expect(person.page.get_by_text(message)).to_have_count(0)


def test_an_enhancement_that_fails_keeps_the_prompt(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("unlucky"))
        person.describe(name="Juniper", base_prompt="!fail overloaded")
        person.type("Prompt", "Words of my own.")
        person.page.get_by_role("button", name="Enhance prompt").click()
        expect(person.page.get_by_text("overloaded right now")).to_be_visible()
        expect(person.field("Prompt")).to_have_value("Words of my own.")


def test_an_empty_description_is_refused_before_anything_is_sent(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("blank"))
        person.generate()
        expect(person.page.get_by_text("There is nothing to draw yet.")).to_be_visible()


@pytest.mark.parametrize(
    ("label", "text", "words"),
    [
        pytest.param("Name", "x" * 200, "at most 120 characters", id="name"),
        pytest.param("Base prompt", "x" * 8001, "at most 8,000 characters", id="base prompt"),
    ],
)
def test_a_field_error_is_shown_at_its_field_and_nothing_typed_is_lost(
    browser: Browser, app: AppProcess, label: str, text: str, words: str
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket(f"beside-{len(text)}"))
        person.type("Prompt", "a prompt of my own")
        person.type(label, text)
        person.generate()
        panel = person.page.locator(f".st-key-failure-{label.lower().replace(' ', '_')}")
        expect(panel.get_by_text(words)).to_be_visible()
        panel.get_by_text(HELP).click()
        expect(panel.get_by_text("Code IMG-PRM-WORDS-001")).to_be_visible()
        expect(person.field(label)).to_have_value(text)
        expect(person.field("Prompt")).to_have_value("a prompt of my own")


def test_an_error_in_the_options_opens_them(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("sized"))
        person.type("Prompt", "a lighthouse")
        person.page.get_by_text("More options").click()
        person.field("Size").fill("huge")
        person.field("Size").press("Enter")
        person.settle()
        person.page.get_by_text("More options").click()
        person.generate()
        panel = person.page.locator(".st-key-failure-model")
        panel.get_by_text(HELP).click()
        expect(panel.get_by_text("Code IMG-GEN-PARAM-001")).to_be_visible()
        expect(person.field("Size")).to_be_visible()


def test_text_typed_just_before_enhance_is_clicked_is_kept_in_the_history(
    browser: Browser, app: AppProcess
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("hasty"))
        person.describe(base_prompt="a lighthouse at dusk")
        person.field("Prompt").fill("Half a thought of my own")
        person.enhance()
        person.page.get_by_role("button", name="History").click()
        person.page.get_by_role("button", name="Half a thought of my own").click()
        expect(person.field("Prompt")).to_have_value("Half a thought of my own")


@pytest.mark.parametrize("label", ["Name", "Base prompt", "Prompt"])
def test_text_typed_just_before_a_page_link_is_clicked_is_kept(
    browser: Browser, app: AppProcess, label: str
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket(f"quick-typist-{label.replace(' ', '-')}"))
        person.field(label).press_sequentially("typed in haste")
        person.go("Gallery")
        expect(person.page.get_by_role("heading", name="Gallery", exact=True)).to_be_visible()
        person.go("Create")
        expect(person.field(label)).to_have_value("typed in haste")


def test_a_refused_prompt_is_edited_before_it_is_tried_again(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("second-thoughts"))
        person.type("Prompt", "a fox !fail moderation")
        person.generate()
        person.type("Prompt", "something else meanwhile")
        person.page.get_by_role("button", name="Edit prompt").click()
        expect(person.field("Prompt")).to_have_value("a fox !fail moderation")
        person.type("Prompt", "a fox")
        person.generate()
        person.finished()


def test_a_wrong_size_is_shown_at_once_and_a_shape_can_be_typed(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("own-sizes"))
        person.type("Prompt", "a fox")
        options = person.page.get_by_text("More options", exact=True)
        options.click()
        person.field("Size").press_sequentially("1000x999")
        person.field("Size").press("Enter")
        person.page.get_by_text(HELP).click()
        expect(person.page.get_by_text("Choose a size from the list.")).to_be_visible()
        options.click()
        person.generate()
        expect(person.page.get_by_text("See the details under More options.")).to_be_visible()
        expect(person.page.get_by_text(HELP)).to_be_visible()
        person.field("Size").press_sequentially("landscape")
        person.field("Size").press("Enter")
        person.settle()
        person.generate()
        person.finished()
        person.go("Gallery")
        expect(person.open_tile().get_by_text("1536 × 1024", exact=True)).to_be_visible()


def test_many_prompts_are_counted_before_they_are_sent(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("explorer"))
        person.type("Prompt", "a {red|blue} fox\nan owl")
        person.page.get_by_text("Many prompts", exact=True).click()
        expect(person.page.get_by_text("3 prompts · longest")).to_be_visible()
        person.page.get_by_role("button", name="Generate 3 images · free").click()
        person.finished(3)
        person.type("Prompt", "{1|2|3|4|5}" * 3)
        expect(person.page.get_by_role("button", name="Generate 125 images", exact=True)).to_be_disabled()
        expect(
            person.page.get_by_text("These are 125 prompts; a batch can have at most 100.")
        ).to_be_visible()
        person.type("Prompt", "an {otter|elk")
        expect(person.page.get_by_text("Line 1: “{” has no closing “}”")).to_be_visible()
        person.go("Gallery")
        expect(person.tiles).to_have_count(3)
        assert {tile.get_attribute("alt") for tile in person.tiles.locator("img").all()} == {
            "a red fox",
            "a blue fox",
            "an owl",
        }
