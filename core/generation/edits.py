"""Edits and variations of an image: what would be sent, and its price."""

from __future__ import annotations

from dataclasses import dataclass

from core import errors
from core.database.models import Image
from core.prompts.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Remake:
    """What an image made from another would be sent as, and for how much; `obstacle` is why it can't be."""

    recipe: Recipe
    price: int | None
    obstacle: errors.InvalidParameter | None


def recipe_of(image: Image) -> Recipe:
    """What an image was made from, in words."""
    return Recipe(
        prompt=image.prompt,
        model=image.model,
        name=image.name,
        traits=tuple(image.traits),
        base_prompt=image.base_prompt,
        enhanced_prompt=image.enhanced_prompt,
        style=image.style or None,
        size=image.size,
        quality=image.quality,
    )
