"""Drafts are stored as they were typed, and a replaced prompt stays available as a version."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given
from sqlmodel import select

from core.common.text import storable_text
from core.database.database import Database
from core.database.models import Draft, User
from core.enhancement.drafts import (
    EXAMPLE,
    MAX_FIELD_LENGTH,
    MAX_HISTORY_LENGTH,
    MAX_VERSIONS,
    Drafts,
    DraftState,
    PromptVersion,
    plain_prompt,
)
from core.errors import TextRejected
from core.prompts.recipe import Recipe
from core.prompts.request import EnhancementLevel, PromptRequest
from tests.support.clock import Clock

FULL = DraftState(
    name="Juniper",
    traits=("red fox", "scarf"),
    base_prompt="reading",
    style="ink",
    enhancement=EnhancementLevel.RICH,
    guidance="for a cover",
    prompt="A fox.",
    enhanced_prompt="A red fox.",
    versions=(PromptVersion("A fox.", "edited", "2026-05-01T12:00:00+00:00"),),
    model="gpt-image-2",
    size="1536x1024",
    quality="high",
    images=3,
    variation=2,
    id="fox",
)
FOX = PromptRequest(name="Juniper")


@pytest.fixture
def drafts(database: Database) -> Drafts:
    return Drafts(database, clock=Clock())


def test_a_draft_is_loaded_as_it_was_saved(drafts: Drafts, user: User) -> None:
    drafts.save(user.id, FULL)
    assert drafts.load(user.id) == FULL


def test_a_first_draft_is_blank(drafts: Drafts, user: User) -> None:
    assert drafts.load(user.id) == DraftState()
    assert DraftState().is_blank
    assert not EXAMPLE.is_blank


def test_each_user_has_their_own_draft(drafts: Drafts, user: User, other_user: User) -> None:
    drafts.save(user.id, FULL)
    assert drafts.load(other_user.id).is_blank
    drafts.save(other_user.id, EXAMPLE)
    assert drafts.load(user.id) == FULL


def test_only_the_latest_state_is_stored(drafts: Drafts, database: Database, user: User) -> None:
    for images in (1, 2, 3):
        drafts.save(user.id, replace(FULL, images=images))
    with database.read() as session:
        assert len(session.exec(select(Draft)).all()) == 1
    assert drafts.load(user.id).images == 3


@pytest.mark.parametrize("text", ["\0", "\ud800", "🦊 ￿", "\u202e", "a" * 100_000])
def test_any_text_is_stored_without_its_unstorable_characters(drafts: Drafts, user: User, text: str) -> None:
    drafts.save(user.id, replace(FULL, prompt=text, traits=(text,)))
    assert drafts.load(user.id).prompt == storable_text(text)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda stored: stored | {"mood": "later"}, id="unknown field"),
        pytest.param(
            lambda stored: stored | {"versions": [stored["versions"][0] | {"stars": 5}]},
            id="unknown field of a version",
        ),
        pytest.param(lambda stored: stored | {"enhancement": "extreme"}, id="unknown enhancement"),
    ],
)
def test_a_draft_of_a_newer_release_is_read(
    drafts: Drafts, database: Database, user: User, change: Callable[[dict[str, object]], dict[str, object]]
) -> None:
    with database.write() as session:
        session.add(Draft(user_id=user.id, state=change(FULL.to_json())))
    found = drafts.load(user.id)
    assert replace(found, enhancement=FULL.enhancement) == FULL
    assert found.request()


def test_a_draft_of_an_older_release_is_read(drafts: Drafts, database: Database, user: User) -> None:
    with database.write() as session:
        session.add(Draft(user_id=user.id, state={"name": "Juniper"}))
    assert drafts.load(user.id) == DraftState(name="Juniper")


@given(st.lists(st.tuples(st.text(), st.sampled_from(["edited", "enhanced", "reused"])), max_size=20))
def test_every_earlier_prompt_is_a_version(steps: list[tuple[str, str]]) -> None:
    clock, draft = Clock(), DraftState()
    for text, source in steps:
        clock.forward(seconds=1)
        before = draft
        draft = draft.with_prompt(text, source, now=clock())
        assert draft.prompt == text
        known = {version.text for version in draft.versions}
        assert not before.prompt or before.prompt in known | {draft.prompt}
    assert {text for text, _ in steps if text} <= {version.text for version in draft.versions}


def test_a_typed_prompt_becomes_a_version_when_it_is_enhanced() -> None:
    draft = replace(DraftState(), prompt="typed").with_enhanced("better", "", FOX, now=Clock()())
    assert [version.text for version in draft.versions] == ["typed", "better"]


def test_only_the_latest_versions_are_kept() -> None:
    clock, draft = Clock(), DraftState()
    for number in range(MAX_VERSIONS + 5):
        draft = draft.with_prompt(f"prompt {number}", "edited", now=clock() + timedelta(seconds=number))
    assert len(draft.versions) == MAX_VERSIONS == 50
    assert draft.versions[-1].text == draft.prompt
    assert draft.versions[0].text == "prompt 5"


def test_a_restored_version_counts_as_the_latest() -> None:
    clock, draft = Clock(), DraftState()
    for number in range(MAX_VERSIONS):
        draft = draft.with_prompt(f"prompt {number}", "edited", now=clock())
    draft = replace(draft, prompt="prompt 0").with_prompt("another", "edited", now=clock())
    assert "prompt 0" in {version.text for version in draft.versions}


def test_each_text_is_one_version() -> None:
    now, draft = Clock()(), DraftState()
    for text in ("a", "b", "a", "a"):
        draft = draft.with_prompt(text, "edited", now=now)
    assert [version.text for version in draft.versions] == ["b", "a"]


def test_an_enhancement_is_put_into_the_stored_draft(drafts: Drafts, user: User) -> None:
    drafts.save(user.id, FULL)
    drafts.add_enhancement(user.id, "A red fox, reading.", FULL.id, FULL.request())
    found = drafts.load(user.id)
    assert (found.prompt, found.enhanced_prompt, found.variation) == (
        "A red fox, reading.",
        "A red fox, reading.",
        FULL.variation + 1,
    )
    assert "A fox." in {version.text for version in found.versions}
    assert found.name == FULL.name


def test_enhancing_the_same_description_again_is_a_rewrite() -> None:
    draft, now = FULL, Clock()()
    variations = []
    for number in range(3):
        assert draft.is_enhanced == (number > 0)
        variations.append(draft.request().variation)
        draft = draft.with_enhanced(f"text {number}", FULL.id, draft.request(), now=now)
    assert variations[0] == 0
    assert len(set(variations)) == 3
    changed = replace(draft, guidance="darker")
    assert (changed.is_enhanced, changed.request().variation) == (False, 0)
    assert replace(changed, guidance=draft.guidance).is_enhanced


def test_a_description_that_changed_during_its_enhancement_does_not_count_as_enhanced() -> None:
    draft = replace(FULL, name="Moss").with_enhanced("a fox", FULL.id, FULL.request(), now=Clock()())
    assert not draft.is_enhanced


def test_a_text_for_another_draft_does_not_mark_this_one_as_enhanced() -> None:
    assert not FULL.with_enhanced("a fox", "another", FULL.request(), now=Clock()()).is_enhanced


def test_a_recipe_uses_the_prompt_or_else_the_description() -> None:
    assert FULL.recipe("other").prompt == "A fox."
    assert FULL.recipe("other").model == "gpt-image-2"
    plain = replace(FULL, prompt=" ", model=None).recipe("other")
    assert (plain.prompt, plain.model) == ("Juniper, red fox, scarf\nreading", "other")
    assert plain_prompt(DraftState()) == ""


def test_a_recipe_survives_the_way_through_a_draft() -> None:
    recipe = FULL.recipe("other")
    assert DraftState.from_recipe(recipe).recipe("other") == recipe
    assert Recipe.from_json(recipe.to_json()) == recipe


def test_two_tabs_keep_each_others_changes_and_versions(drafts: Drafts, user: User) -> None:
    drafts.save(user.id, FULL)
    one = replace(FULL, base_prompt="under a tree").with_prompt("by one", "edited", now=Clock()())
    two = replace(FULL, guidance="for a cover").with_enhanced("by two", FULL.id, FOX, now=Clock()())
    drafts.save(user.id, one, before=FULL)
    drafts.save(user.id, two, before=FULL)
    found = drafts.load(user.id)
    assert (found.base_prompt, found.guidance, found.prompt) == ("under a tree", "for a cover", "by two")
    assert {"by one", "by two"} <= {version.text for version in found.versions}


def test_a_tab_can_empty_a_field(drafts: Drafts, user: User) -> None:
    drafts.save(user.id, FULL)
    drafts.save(user.id, replace(FULL, name="", traits=()), before=FULL)
    found = drafts.load(user.id)
    assert (found.name, found.traits, found.base_prompt) == ("", (), FULL.base_prompt)


@pytest.mark.parametrize(
    ("changes", "outdated"),
    [
        pytest.param({"style": "ink"}, "watercolour", id="another style"),
        pytest.param({"style": ""}, "watercolour", id="no style any more"),
        pytest.param({}, None, id="the same style"),
        pytest.param({"style": "ink", "prompt": "A fox.\nIn a scarf."}, "watercolour", id="edited a little"),
        pytest.param({"style": "ink", "prompt": "Something else."}, None, id="written anew"),
        pytest.param({"style": "ink", "prompt": ""}, None, id="emptied"),
    ],
)
def test_a_prompt_with_the_words_of_another_style_names_that_style(
    changes: dict[str, str], outdated: str | None
) -> None:
    blank = DraftState(style="watercolour")
    draft = blank.with_enhanced("A fox.\nIn watercolour.", "", FOX, now=Clock()())
    assert replace(draft, **changes).outdated_style == outdated


@pytest.mark.parametrize("name", ["name", "base_prompt", "guidance", "prompt", "traits"])
def test_a_text_over_the_limit_is_refused_and_the_stored_draft_stays(
    drafts: Drafts, user: User, name: str
) -> None:
    drafts.save(user.id, FULL)
    text = "x" * MAX_FIELD_LENGTH
    longest = replace(FULL, **{name: (text,) if name == "traits" else text})
    longer = replace(FULL, **{name: (text, "y") if name == "traits" else text + "y"})
    with pytest.raises(TextRejected, match="100,000") as refused:
        drafts.save(user.id, longer, before=FULL)
    assert refused.value.field == name
    assert drafts.load(user.id) == FULL
    drafts.save(user.id, longest, before=FULL)
    assert drafts.load(user.id) == longest


def test_long_versions_are_kept_up_to_the_limit(drafts: Drafts, user: User) -> None:
    draft, clock = DraftState(), Clock()
    for number in range(30):
        clock.now += timedelta(seconds=1)
        after = draft.with_prompt(f"{number:02}" + "x" * (MAX_FIELD_LENGTH - 2), "edited", now=clock())
        drafts.save(user.id, after, before=draft)
        draft = after
    for state in (draft, drafts.load(user.id)):
        assert [version.text[:2] for version in state.versions] == [f"{n:02}" for n in range(20, 30)]
        assert sum(len(version.text) for version in state.versions) == MAX_HISTORY_LENGTH


def test_an_edit_ends_an_unfinished_prompt() -> None:
    now = Clock()()
    cut = DraftState(id="one").with_unfinished("A fox in a", "one", now=now)
    assert cut.is_unfinished
    edited = cut.with_prompt("A fox in a coat.", "edited", now=now)
    assert not edited.is_unfinished
    assert edited.has_version("A fox in a")
    assert not DraftState(prompt="A fox in a").is_unfinished
