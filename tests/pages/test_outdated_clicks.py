"""Clicks that buy: they buy only what the page showed at the click, and are never refused without a cause."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from core import errors
from core.generation.views import JobView
from core.prompts.recipe import Recipe
from core.studio import Studio
from pages.ui.formatting import escape_markdown
from tests.support.page_elements import OpenPage, find, open_dialog, open_gallery, user_id_of
from tests.support.waiting import until

# Images have absolute addresses.
pytestmark = pytest.mark.usefixtures("address")
OUTDATED = escape_markdown(errors.PageOutdated.message)
ENDED = Recipe(prompt="a fox !fail key", model="offline-painter")


def asks(test: AppTest) -> bool:
    """Whether the page says that it had changed at the click."""
    assert not test.exception
    return any(OUTDATED in error.value for error in test.error)


def bought(studio: Studio) -> tuple[JobView, ...]:
    return studio.jobs.recent(user_id_of(studio, "chief"))


def click(test: AppTest, button: str, *, shown: dict[str, str] | None = None) -> AppTest:
    """Click the button with this key, as a browser does that showed other values than the app would send."""
    for name, value in (shown or {}).items():
        test.text_input(key=f"echo-{name}").set_value(value)
    test.button(key=button).click().run()
    return test


@pytest.mark.parametrize(
    ("button", "echo"), [("generate", "form"), ("generate", "quote"), ("enhance", "form")]
)
def test_a_click_on_another_prompt_or_price_asks(
    open_page: OpenPage, studio: Studio, button: str, echo: str
) -> None:
    test = open_page("chief")
    owner = user_id_of(studio, "chief")
    find(test.text_input, "Name").set_value("Wren").run()
    assert asks(click(test, button, shown={echo: "what stood there before"}))
    assert not bought(studio)
    assert studio.enhancements.current(owner) is None
    assert not asks(click(test, button))
    assert bought(studio) or studio.enhancements.current(owner)


def offered(open_page: OpenPage, studio: Studio) -> AppTest:
    """The Create page with the offer of an image that exists."""
    test = open_page("chief")
    find(test.text_area, "Prompt").set_value("a wren").run()
    click(test, "generate")
    until(lambda: not any(job.is_live for job in bought(studio)))
    return click(test.run(), "generate")


def test_a_click_on_another_offer_asks(open_page: OpenPage, studio: Studio) -> None:
    test = offered(open_page, studio)
    assert asks(click(test, "offer-anyway", shown={"offer": "2026-01-01T00:00:00+00:00"}))
    assert len(bought(studio)) == 1
    click(test, "generate")
    assert not asks(click(test, "offer-anyway"))
    assert len(bought(studio)) == 2


def test_an_offer_for_another_prompt_than_the_one_typed_asks(open_page: OpenPage, studio: Studio) -> None:
    test = offered(open_page, studio)
    find(test.text_area, "Prompt").set_value("a robin")
    assert asks(click(test, "offer-anyway"))
    assert len(bought(studio)) == 1


def test_a_click_to_try_other_images_again_asks(open_page: OpenPage, studio: Studio) -> None:
    open_page("chief")
    studio.jobs.submit(user_id_of(studio, "chief"), [ENDED, ENDED])
    until(lambda: not any(job.is_live for job in bought(studio)))
    test = open_page("chief")
    [button] = [button for button in test.button if button.label == "Try again · 2 images · free"]
    before = {job.id for job in bought(studio)}
    assert asks(click(test, button.key, shown={button.key: "Try again · free"}))
    assert {job.id for job in bought(studio)} == before
    assert not asks(click(test, button.key))
    assert not {job.id for job in bought(studio)} & before


@pytest.mark.parametrize("button", ["edit-image", "create-variation"])
def test_a_click_on_another_image_asks(open_page: OpenPage, studio: Studio, button: str) -> None:
    test, owner = open_gallery(open_page, studio, 2)
    first, second = studio.gallery.page(owner).images
    open_dialog(test, first.id)
    shown = test.text_input(key="echo-edit").value
    open_dialog(test, second.id)
    test.text_area(key=f"edit-text-{second.id}").set_value("Make it night")
    assert asks(click(test, button, shown={"edit": shown}))
    assert not bought(studio)
    assert not asks(click(test, button))
    [job] = bought(studio)
    assert job.recipe.source_image == second.id


PRICED = pytest.mark.parametrize(
    "settings",
    [
        pytest.param(
            {"openai_base_url": "http://127.0.0.1:9/v1", "image_model": "gpt-image-2.5-flare"}, id="priced"
        )
    ],
    indirect=True,
)


@PRICED
def test_what_is_typed_just_before_the_click_is_bought(open_page: OpenPage, studio: Studio) -> None:
    # A few words change the price by less than the button shows.
    test = open_page("chief")
    find(test.text_area, "Prompt").set_value("a wren").run()
    find(test.text_area, "Prompt").set_value("a wren on a branch over the river")
    assert not asks(click(test, "generate"))
    [job] = bought(studio)
    assert job.recipe.prompt == "a wren on a branch over the river"


@PRICED
@pytest.mark.parametrize(
    ("words", "is_asked"),
    [pytest.param(20, False, id="a little dearer"), pytest.param(4_000, True, id="much dearer")],
)
def test_words_that_move_the_price_ask_only_if_it_moves_far(
    open_page: OpenPage, studio: Studio, words: int, is_asked: bool
) -> None:
    test = open_page("chief")
    find(test.text_area, "Prompt").set_value("a wren").run()
    before = test.button(key="generate").label
    find(test.text_area, "Prompt").set_value("a wren " + "on a branch " * words)
    assert asks(click(test, "generate")) is is_asked
    assert len(bought(studio)) == (not is_asked)
    assert test.run().button(key="generate").label != before
