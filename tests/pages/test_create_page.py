"""The Create page, without a browser."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest
from sqlalchemy import update

from core import bootstrap, errors
from core.database.models import Job, JobState
from core.enhancement.drafts import Drafts, DraftState
from core.enhancement.runs import EnhancementRun, Enhancements
from core.errors.stored import StoredError
from core.prompts.recipe import Recipe
from core.prompts.styles import STYLES
from core.studio import Studio
from pages.ui.error_panel import HELP
from pages.ui.formatting import escape_markdown
from tests.support.counting import Counted
from tests.support.page_elements import WITH_BUDGETS, OpenPage, captions, choices, find, labels, user_id_of
from tests.support.sign_in import ticket_of
from tests.support.waiting import until

MIN_PRESETS = 16


def test_the_fields_have_the_promised_labels(open_page: OpenPage) -> None:
    test = open_page("ada")
    assert {"Name", "Guidance (optional)"} <= set(labels(test.text_input))
    assert labels(test.multiselect) == ["Traits"]
    assert {"Base prompt", "Prompt"} == set(labels(test.text_area))
    assert {"Style", "Model", "Size", "Quality"} <= set(labels(test.selectbox))
    assert labels(test.number_input) == ["Images"]
    assert {"Enhance prompt", "Generate 1 image · free"} <= set(labels(test.button))


def test_every_preset_is_offered_with_its_description(open_page: OpenPage) -> None:
    [style] = [box for box in open_page("ada").selectbox if box.label == "Style"]
    assert style.options[0] == "None"
    assert style.options[1:] == [f"{preset.label} — {preset.description}" for preset in STYLES]
    assert len(STYLES) >= MIN_PRESETS


@pytest.mark.parametrize(
    "settings",
    [pytest.param({"openai_base_url": "http://127.0.0.1:9/v1", "image_model": "dall-e-3"}, id="dall-e-3")],
    indirect=True,
)
def test_each_model_offers_only_what_it_supports(open_page: OpenPage) -> None:
    test = open_page("ada")
    assert [box.value for box in test.selectbox if box.label == "Model"] == ["dall-e-3"]
    assert choices(test, "Size") == ["Square · 1024×1024", "Wide · 1792×1024", "Tall · 1024×1792"]
    assert choices(test, "Quality") == ["Standard", "HD"]
    assert test.number_input[0].max == 10
    [model] = [box for box in test.selectbox if box.label == "Model"]
    model.set_value("gpt-image-2.6-flare").run()
    assert {"Low", "Extra high", "Max"} <= set(choices(test, "Quality"))
    assert test.number_input[0].max == 10


def test_a_draft_is_stored_as_it_is_typed(open_page: OpenPage, studio: Studio) -> None:
    test = open_page("ada")
    next(field for field in test.text_input if field.label == "Name").set_value("Wren").run()
    next(field for field in test.text_area if field.label == "Prompt").set_value("a wren").run()
    token = studio.sessions.redeem_ticket(ticket_of(studio, "ada"))
    user = studio.sessions.authenticate(token)
    assert user
    draft = studio.drafts.load(user.user_id)
    assert (draft.name, draft.prompt) == ("Wren", "a wren")
    assert find(open_page("bert").text_input, "Name").value == ""


class FullDrafts(Drafts):
    """Drafts on a disk that has no room left."""

    def save(self, user_id: str, draft: DraftState, *, before: DraftState | None = None) -> None:
        raise errors.StorageFull


def test_a_draft_that_can_not_be_stored_stays_on_the_page(open_page: OpenPage, studio: Studio) -> None:
    bootstrap.install(replace(studio, drafts=FullDrafts(studio.database)))
    test = open_page("ada")
    [name] = [field for field in test.text_input if field.label == "Name"]
    name.set_value("Juniper").run()
    assert not test.exception
    assert any(errors.StorageFull.code in caption.value for caption in test.caption)
    assert [field.value for field in test.text_input if field.label == "Name"] == ["Juniper"]
    bootstrap.install(studio)
    test.run()
    assert not test.error
    owner = studio.sessions.authenticate(studio.sessions.redeem_ticket(ticket_of(studio, "ada")))
    assert owner is not None
    assert studio.drafts.load(owner.user_id).name == "Juniper"


@WITH_BUDGETS
def test_create_warns_before_a_click_beyond_the_budget(open_page: OpenPage, studio: Studio) -> None:
    test = open_page("chief")
    assert not test.warning
    test.number_input[0].set_value(3).run()
    [warning] = test.warning
    assert r"You can make 2 more images today; this would make 3\." in warning.value
    find(test.text_area, "Prompt").set_value("a fox").run()
    find(test.button, "Generate 3 images · free").click().run()
    assert not test.exception
    assert any("IMG-GEN-BUDGET-001" in words for words in captions(test))
    # The first account is the administrator's: nobody is sent to themselves.
    assert any("Set up a larger budget" in tips.value for tips in test.markdown)
    assert not test.warning
    owner = user_id_of(studio, "chief")
    assert studio.jobs.recent(owner) == ()


def test_a_large_batch_shows_a_few_cards_and_a_count_and_can_be_cancelled(
    open_page: OpenPage, studio: Studio
) -> None:
    open_page("chief")
    owner = user_id_of(studio, "chief")
    studio.jobs.stop(grace_seconds=10)
    recipes = [Recipe(prompt=f"fox {number}", model="offline-painter") for number in range(30)]
    studio.jobs.submit(owner, recipes)
    test = open_page("chief")
    assert labels(test.button).count("Cancel") == 3
    assert {"fox 0", "fox 1", "fox 2"} <= set(captions(test))
    assert any(words.startswith("30 images waiting") for words in captions(test))
    find(test.button, "Cancel all 30").click().run()
    assert studio.jobs.counts(owner) == {}
    assert "Cancel" not in labels(test.button)


def test_an_image_is_shown_with_the_error_beside_it(
    open_page: OpenPage, studio: Studio, address: str
) -> None:
    open_page("chief")
    owner = user_id_of(studio, "chief")
    studio.jobs.submit(owner, [Recipe(prompt="a fox", model="offline-painter")])
    until(lambda: not any(job.is_live for job in studio.jobs.recent(owner)))
    error = errors.ServiceFailed(details="partial_failure: 1 of 2 images failed")
    with studio.database.write() as session:
        session.execute(update(Job).values(error=asdict(StoredError.of(error))))
    test = open_page("chief")
    told = f"With this image came an error: {error.message} {error.details}"
    assert escape_markdown(told) in captions(test)
    assert "Open" in labels(test.button)
    assert not test.error


def test_a_failed_job_shows_advice_and_its_cost(open_page: OpenPage, studio: Studio) -> None:
    open_page("chief")
    owner = user_id_of(studio, "chief")
    for prompt in ("a fox !fail moderation", "a fox !fail drop"):
        studio.jobs.submit(owner, [Recipe(prompt=prompt, model="offline-painter")])
    until(lambda: not any(job.is_live for job in studio.jobs.recent(owner)))
    test = open_page("chief")
    messages = [error.value for error in test.error]
    assert any("violence" in words and "This cost nothing." in words for words in messages)
    assert any("lost" in words and "This cost nothing." in words for words in messages)
    helps = [box for box in test.expander if box.label == HELP]
    assert len(helps) == 2
    for box in helps:
        assert not box.proto.expanded
        assert box.markdown[0].value.startswith("- ")
        assert any("Code IMG" in caption.value for caption in box.caption)


def test_a_failed_click_on_a_card_shows_a_panel(open_page: OpenPage, studio: Studio) -> None:
    open_page("chief")
    owner = user_id_of(studio, "chief")
    studio.jobs.submit(owner, [Recipe(prompt="a fox !fail key", model="offline-painter")])
    until(lambda: not any(job.is_live for job in studio.jobs.recent(owner)))
    test = open_page("chief")
    [job] = studio.jobs.recent(owner)
    with studio.database.write() as session:
        session.get_one(Job, job.id).state = JobState.DONE
    next(button for button in test.button if button.label.startswith("Try again")).click().run()
    assert any(errors.JobNotRetryable.code in caption.value for caption in test.caption)


def test_a_failed_enhancement_shows_advice(open_page: OpenPage, studio: Studio) -> None:
    test = open_page("chief")
    find(test.text_area, "Base prompt").set_value("a fox !fail key").run()
    find(test.button, "Enhance prompt").click().run()
    owner = user_id_of(studio, "chief")
    until(lambda: (run := studio.enhancements.current(owner)) and not run.is_live)
    test.run()
    [box] = [box for box in test.expander if box.label == HELP]
    assert any(errors.ApiKeyRejected.code in caption.value for caption in box.caption)


class WithError:
    """Enhancements whose last run came with an error."""

    def __init__(self, inner: Enhancements, error: errors.ImageError) -> None:
        self._inner = inner
        self._error = error

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def current(self, user_id: str) -> EnhancementRun | None:
        run = self._inner.current(user_id)
        return run and run.result and replace(run, result=replace(run.result, error=self._error))


def test_an_enhancement_is_shown_with_the_error_beside_it(open_page: OpenPage, studio: Studio) -> None:
    error = errors.ServiceFailed(details="one of two failed")
    bootstrap.install(replace(studio, enhancements=WithError(studio.enhancements, error)))
    test = open_page("chief")
    find(test.text_area, "Base prompt").set_value("a fox").run()
    find(test.button, "Enhance prompt").click().run()
    owner = user_id_of(studio, "chief")
    until(lambda: (run := studio.enhancements.current(owner)) and not run.is_live)
    test.run()
    told = f"The service sent this prompt with an error: {error.message} {error.details}"
    assert escape_markdown(told) in captions(test)
    assert "fox" in find(test.text_area, "Prompt").value


def test_one_click_on_generate_prices_checks_and_moderates_each_prompt_once(
    open_page: OpenPage, studio: Studio
) -> None:
    test = open_page("chief")
    find(test.toggle, "Many prompts").set_value(True).run()
    find(test.text_area, "Prompt").set_value("a {red|blue} owl").run()
    budgets, uploads, moderation = (
        Counted(studio.budgets),
        Counted(studio.uploads),
        Counted(studio.client.moderation),
    )
    quotes = replace(studio.quotes, budgets=budgets)
    orders = replace(studio.orders, quotes=quotes, uploads=uploads, moderation=moderation)
    existing_images = replace(studio.existing_images, orders=orders)
    bootstrap.install(replace(studio, quotes=quotes, orders=orders, existing_images=existing_images))
    find(test.text_area, "Prompt").set_value("a {red|blue} fox")
    test.button(key="generate").click().run()
    assert not test.exception
    assert len(studio.jobs.recent(user_id_of(studio, "chief"))) == 2
    # The last part of each check is that of the uploads.
    assert (budgets.calls["estimate"], uploads.calls["check"], moderation.calls["screen"]) == (2, 2, 1)


def test_a_click_on_a_button_that_said_another_number_of_images_buys_nothing(
    open_page: OpenPage, studio: Studio
) -> None:
    test = open_page("chief")
    find(test.toggle, "Many prompts").set_value(True).run()
    find(test.text_area, "Prompt").set_value("a {red|blue} fox")
    test.button(key="generate").click().run()
    assert escape_markdown(errors.PageOutdated.message) in " ".join(error.value for error in test.error)
    assert studio.jobs.recent(user_id_of(studio, "chief")) == ()
    test.button(key="generate").click().run()
    assert len(studio.jobs.recent(user_id_of(studio, "chief"))) == 2


@pytest.mark.parametrize(
    "settings", [pytest.param({"openai_base_url": "http://127.0.0.1:9/v1"}, id="service")], indirect=True
)
def test_a_price_that_is_not_published_is_an_estimate_with_its_basis(open_page: OpenPage) -> None:
    test = open_page("ada")
    assert any(label.startswith(r"Generate 1 image · up to about \$") for label in labels(test.button))
    assert any("token counts of gpt-image-2.5-flare" in words for words in captions(test))


def test_one_prompt_of_many_is_one_prompt(open_page: OpenPage) -> None:
    test = open_page("ada")
    find(test.toggle, "Many prompts").set_value(True).run()
    assert any(words.startswith("1 prompt · longest") for words in captions(test))


@pytest.mark.usefixtures("address")
def test_new_images_come_before_an_old_failure(open_page: OpenPage, studio: Studio) -> None:
    open_page("chief")
    owner = user_id_of(studio, "chief")
    for prompt in ("a fox !fail key", "an owl"):
        studio.jobs.submit(owner, [Recipe(prompt=prompt, model="offline-painter", size="256x256")])
        until(lambda: not any(job.is_live for job in studio.jobs.recent(owner)))
    drawn = [button.label for button in open_page("chief").button]
    assert drawn.index("Open") < drawn.index("Try again · free")
