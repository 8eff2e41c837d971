"""Recipes as they are stored with a job, and their request hash."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from core.errors import RecipeUnreadable
from core.prompts.recipe import Recipe
from core.prompts.styles import with_style
from tests.support.crashing_worker import RECIPE


def test_a_stored_recipe_is_read_unchanged() -> None:
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE


def test_a_recipe_of_another_version_is_read_for_display() -> None:
    assert Recipe.from_any_version(RECIPE.to_json() | {"seed": 7}) == RECIPE
    assert Recipe.from_any_version({"name": "Ember"}) == Recipe(prompt="", model="", name="Ember")


SENT_CHANGES = {
    "prompt": {"prompt": "an owl"},
    "model": {"model": "gpt-image-2.5-flare"},
    "size": {"size": "1536x1024"},
    "quality": {"quality": "high"},
    "style in words": {"style": "ink"},
    "style of the model's own": {"style": "vivid"},
    "from an image": {"source_image": "1"},
    "from an upload": {"references": ("uploads/ada/1.png",)},
    "from two": {"references": ("uploads/ada/1.png", "uploads/ada/2.png")},
    "with a mask": {"references": ("uploads/ada/1.png",), "mask": "uploads/ada/2.png"},
}


@pytest.mark.parametrize("changes", SENT_CHANGES.values(), ids=SENT_CHANGES)
def test_a_change_of_what_is_sent_changes_the_request_hash(changes: dict[str, Any]) -> None:
    assert replace(RECIPE, **changes).request_hash != RECIPE.request_hash


def test_texts_that_are_not_sent_do_not_change_the_request_hash() -> None:
    typed = replace(RECIPE, name="Juniper", traits=("red",), base_prompt="a fox", enhanced_prompt="A fox.")
    written_out = replace(RECIPE, prompt=with_style(RECIPE.prompt, "ink"))
    assert typed.request_hash == RECIPE.request_hash
    assert written_out.request_hash == replace(RECIPE, style="ink").request_hash
    assert len(RECIPE.request_hash) == 64


@pytest.mark.parametrize(
    "stored",
    [pytest.param(RECIPE.to_json() | {"seed": 7}, id="more"), pytest.param({"name": "Ember"}, id="less")],
)
def test_a_recipe_of_another_version_is_never_bought(stored: dict[str, Any]) -> None:
    with pytest.raises(RecipeUnreadable):
        Recipe.from_json(stored)


def test_recipes_from_before_edits_keep_their_request_hash() -> None:
    before = "e9ee423c995da8d18453b9b2f7fab08f1ec328c832ff0a2a01954053cc5b2623"
    assert RECIPE.request_hash == before
    stored = RECIPE.to_json()
    assert not stored.keys() & {"source_image", "references", "mask"}, "a version before edits reads it"
    assert Recipe.from_json(stored) == RECIPE


def test_a_stored_edit_is_read_unchanged() -> None:
    edit = replace(RECIPE, source_image="1", references=("uploads/ada/1.png",), mask="uploads/ada/2.png")
    assert Recipe.from_json(edit.to_json()) == edit
    assert Recipe.from_json(json.loads(json.dumps(edit.to_json()))) == edit
    assert edit.uploads == ("uploads/ada/1.png", "uploads/ada/2.png")
