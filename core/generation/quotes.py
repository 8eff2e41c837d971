"""Quotes: how many images an order would make, and their price."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.prompts.expansion import count_prompts, expand_prompts
from core.prompts.recipe import Recipe
from core.prompts.styles import with_style
from core.provider import catalogue
from core.settings import Settings
from core.usage.budget_limits import Need
from core.usage.budgets import Budgets

# A text that stands for more prompts than this is counted as this many: no batch can be so large.
MAX_COUNTED = 10**9


@dataclass(frozen=True, slots=True)
class Quote:
    """An order before it is checked: the recipe of each image, how many they are, and their price.

    `recipe` is the recipe as the user wrote it. `recipes` has one for each image, with alternatives written
    out; it is empty for an empty text of many prompts, and where `excess` says that they are too many.
    `per_prompt` images are made of each of the `prompts`, `images` in all. `price` is for all images in
    micro-USD, None where it is unknown, 0 for the offline engine. `length` is that of the longest prompt in
    characters, with the style's words; `limit` is the most that the model accepts.
    """

    recipe: Recipe
    recipes: tuple[Recipe, ...]
    per_prompt: int
    prompts: int
    price: int | None
    length: int
    limit: int
    excess: errors.TooManyPrompts | None = field(default=None, compare=False)

    @property
    def images(self) -> int:
        return self.prompts * self.per_prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotes:
    """The image models on offer, and what images from them cost."""

    settings: Settings
    budgets: Budgets
    clock: Callable[[], datetime] = utc_now

    def models(self) -> tuple[catalogue.ImageModel, ...]:
        """The image models that can be chosen now, the default one first."""
        return catalogue.offered_models(self.settings, today=self.clock().date())

    def max_images(self, model: str) -> int:
        """The most images of one prompt that `model` makes in one order."""
        return min(self.settings.max_images, catalogue.image_model(model).max_images)

    def quote(self, recipe: Recipe, per_prompt: int = 1, *, many: bool = False) -> Quote:
        """Quote `per_prompt` images of a recipe; nothing is checked but how many prompts they are.

        With `many`, each line of the prompt is a prompt of its own, with alternatives in braces (see
        core.prompts.expansion).
        """
        recipes, excess = self._expand(recipe, per_prompt, many=many)
        return Quote(
            recipe=recipe,
            recipes=recipes,
            per_prompt=per_prompt,
            prompts=_prompts_of(recipe, recipes, per_prompt, many=many),
            price=self.price(recipes),
            length=max(len(with_style(each.prompt, each.style)) for each in (recipes or (recipe,))),
            limit=catalogue.image_model(recipe.model).max_prompt_length,
            excess=excess,
        )

    def price(self, recipes: Sequence[Recipe]) -> int | None:
        """The price of one image of each recipe, in micro-USD.

        None where the price of one is unknown, or where there is no recipe.
        """
        prices = [self.budgets.estimate(each) for each in recipes]
        return sum(price or 0 for price in prices) if prices and None not in prices else None

    def shortfall(self, user: SignedIn, quote: Quote) -> errors.BudgetSpent | None:
        """The refusal that the user's budgets would give to a quote now; None if they cover it.

        An unknown price counts as the most that the images are likely to cost.
        """
        unpriced = quote.price is None
        each = self.budgets.reservation(quote.recipe) if unpriced else None
        reserved = (each or 0) * quote.images if quote.price is None else quote.price
        return self.budgets.refusal(user.user_id, Need(quote.images, reserved, unpriced=unpriced))

    def _expand(
        self, recipe: Recipe, per_prompt: int, *, many: bool
    ) -> tuple[tuple[Recipe, ...], errors.TooManyPrompts | None]:
        """The recipe of each image, or why they are too many for one batch."""
        limit = self.settings.max_batch
        if not many:
            return (recipe,) * per_prompt, None
        try:
            prompts = expand_prompts(recipe.prompt, limit=limit)
        except errors.TooManyPrompts as error:
            return (), error
        if (images := len(prompts) * per_prompt) > limit:
            message = f"That would be {images:,} images; a batch can have at most {limit:,}."
            return (), errors.TooManyPrompts(message, field="prompt")
        return tuple(replace(recipe, prompt=prompt) for prompt in prompts for _ in range(per_prompt)), None


def _prompts_of(recipe: Recipe, recipes: Sequence[Recipe], per_prompt: int, *, many: bool) -> int:
    """The number of prompts that the text stands for: at least 1, at most MAX_COUNTED."""
    if not many:
        return 1
    if recipes:
        return len(recipes) // per_prompt
    return max(1, min(count_prompts(recipe.prompt), MAX_COUNTED))
