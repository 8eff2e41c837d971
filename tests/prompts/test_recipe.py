"""What a job was asked for, as it lies in the database."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from core.errors import RecipeUnreadable
from core.prompts.recipe import Recipe
from core.prompts.styles import with_style
from tests.support.crashing_worker import RECIPE


def test_a_recipe_comes_back_as_it_was_stored() -> None:
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE


def test_what_another_version_stored_is_read_as_far_as_it_goes() -> None:
    assert Recipe.from_any_version(RECIPE.to_json() | {"seed": 7}) == RECIPE
    assert Recipe.from_any_version({"name": "Ember"}) == Recipe(prompt="", model="", name="Ember")


OTHERWISE_SENT = {
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


@pytest.mark.parametrize("changes", OTHERWISE_SENT.values(), ids=OTHERWISE_SENT)
def test_what_is_sent_otherwise_is_another_request(changes: dict[str, Any]) -> None:
    assert replace(RECIPE, **changes).request_hash != RECIPE.request_hash


def test_what_is_sent_alike_is_one_request_whatever_else_was_typed() -> None:
    typed = replace(RECIPE, name="Juniper", traits=("red",), base_prompt="a fox", enhanced_prompt="A fox.")
    written_out = replace(RECIPE, prompt=with_style(RECIPE.prompt, "ink"))
    assert typed.request_hash == RECIPE.request_hash
    assert written_out.request_hash == replace(RECIPE, style="ink").request_hash
    assert len(RECIPE.request_hash) == 64


@pytest.mark.parametrize(
    "stored",
    [pytest.param(RECIPE.to_json() | {"seed": 7}, id="more"), pytest.param({"name": "Ember"}, id="less")],
)
def test_nothing_is_bought_by_what_another_version_stored(stored: dict[str, Any]) -> None:
    with pytest.raises(RecipeUnreadable):
        Recipe.from_json(stored)


def test_what_was_made_before_there_were_edits_is_known_again() -> None:
    before = "e9ee423c995da8d18453b9b2f7fab08f1ec328c832ff0a2a01954053cc5b2623"
    assert RECIPE.request_hash == before
    stored = RECIPE.to_json()
    assert not stored.keys() & {"source_image", "references", "mask"}, "a version before edits reads it"
    assert Recipe.from_json(stored) == RECIPE


def test_an_edit_comes_back_as_it_was_stored() -> None:
    edit = replace(RECIPE, source_image="1", references=("uploads/ada/1.png",), mask="uploads/ada/2.png")
    assert Recipe.from_json(edit.to_json()) == edit
    assert Recipe.from_json(json.loads(json.dumps(edit.to_json()))) == edit
    assert edit.uploads == ("uploads/ada/1.png", "uploads/ada/2.png")
