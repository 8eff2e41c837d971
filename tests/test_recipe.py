"""What a job was asked for, as it lies in the database."""

from __future__ import annotations

from core.recipe import Recipe
from tests.generating import RECIPE


def test_a_recipe_comes_back_as_it_was_stored() -> None:
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE


def test_what_another_version_stored_is_read_as_far_as_it_goes() -> None:
    assert Recipe.from_json(RECIPE.to_json() | {"seed": 7}) == RECIPE
    assert Recipe.from_json({"name": "Ember"}) == Recipe(prompt="", model="", name="Ember")
