"""What a job was asked for, as it lies in the database."""

from __future__ import annotations

from typing import Any

import pytest

from core.errors import RecipeUnreadable
from core.recipe import Recipe
from tests.generating import RECIPE


def test_a_recipe_comes_back_as_it_was_stored() -> None:
    assert Recipe.from_json(RECIPE.to_json()) == RECIPE


def test_what_another_version_stored_is_read_as_far_as_it_goes() -> None:
    assert Recipe.read(RECIPE.to_json() | {"seed": 7}) == RECIPE
    assert Recipe.read({"name": "Ember"}) == Recipe(prompt="", model="", name="Ember")


@pytest.mark.parametrize(
    "stored",
    [pytest.param(RECIPE.to_json() | {"seed": 7}, id="more"), pytest.param({"name": "Ember"}, id="less")],
)
def test_nothing_is_bought_by_what_another_version_stored(stored: dict[str, Any]) -> None:
    with pytest.raises(RecipeUnreadable):
        Recipe.from_json(stored)
