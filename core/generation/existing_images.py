"""Images that a user already has of a batch, offered before anything is bought."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from core.database.models import Image
from core.prompts.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Offer:
    """A batch of which its user has images already, to be asked about before anything is bought.

    `had` has the newest image of each recipe that has one. Prices are as in Quote: of all images, and of
    those that would be new. `at` is when it was made.
    """

    recipes: tuple[Recipe, ...]
    had: dict[Recipe, Image]
    price: int | None
    new_price: int | None
    at: datetime

    @property
    def new(self) -> tuple[Recipe, ...]:
        return tuple(recipe for recipe in self.recipes if recipe not in self.had)

    @property
    def taken(self) -> tuple[Image, ...]:
        """The image that stands in for each call which needs none."""
        return tuple(self.had[recipe] for recipe in self.recipes if recipe in self.had)
