"""Quotes: the number of images that an order would make, and their price."""

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

# The highest number of prompts that is counted. It is far above the limit of any batch.
MAX_COUNTED = 10**9


@dataclass(frozen=True, slots=True)
class Quote:
    """The images and the price of an order that has not been checked yet.

    - `recipe`: the prompt and options as the user entered them.
    - `recipes`: the prompt and options of each image. Empty if there are no prompts or too many.
    - `excess`: the error if there are too many prompts, else None.
    - `prompts`: the number of different prompts. Each of them makes `per_prompt` images.
    - `price`: the price of all images in micro-USD. None if it is unknown, 0 for the offline engine.
    - `price_limit`: the likely maximum of the price in micro-USD. None if that is unknown, too.
    - `length`: the number of characters of the longest prompt, including the words of the style.
    - `limit`: the most characters that the model accepts.
    """

    recipe: Recipe
    recipes: tuple[Recipe, ...]
    per_prompt: int
    prompts: int
    price: int | None
    price_limit: int | None
    length: int
    limit: int
    excess: errors.TooManyPrompts | None = field(default=None, compare=False)

    @property
    def images(self) -> int:
        return self.prompts * self.per_prompt


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotes:
    """Lists the available image models, and computes the price of images."""

    settings: Settings
    budgets: Budgets
    clock: Callable[[], datetime] = utc_now

    def models(self) -> tuple[catalogue.ImageModel, ...]:
        """Return the image models that can be chosen now. The default model comes first."""
        return catalogue.offered_models(self.settings, today=self.clock().date())

    def quote(self, recipe: Recipe, per_prompt: int = 1, *, many: bool = False) -> Quote:
        """Return a quote for `per_prompt` images of each prompt of a recipe.

        With `many`, each line of the recipe's prompt is a prompt of its own. Braces in a line list
        alternatives, and each alternative makes another prompt (see core.prompts.expansion). Apart from the
        number of images, nothing is checked. If there are too many images, no error is raised: the quote has
        the error in `excess`.
        """
        recipes, excess = self._expand(recipe, per_prompt, many=many)
        return Quote(
            recipe=recipe,
            recipes=recipes,
            per_prompt=per_prompt,
            prompts=_prompts_of(recipe, recipes, per_prompt, many=many),
            price=self.price(recipes),
            price_limit=self.price_limit(recipes),
            length=max(len(with_style(each.prompt, each.style)) for each in (recipes or (recipe,))),
            limit=catalogue.image_model(recipe.model).max_prompt_length,
            excess=excess,
        )

    def price(self, recipes: Sequence[Recipe]) -> int | None:
        """Return the total price of one image of each recipe, in micro-USD.

        Returns None if there are no recipes, or if the price of one of them is unknown.
        """
        prices = [self.budgets.estimate(each) for each in recipes]
        return sum(price or 0 for price in prices) if prices and None not in prices else None

    def price_limit(self, recipes: Sequence[Recipe]) -> int | None:
        """Return the likely maximum of the total price of one image of each recipe, in micro-USD.

        Returns None if there are no recipes, or if a model among theirs has no published price.
        """
        limits = [self.budgets.reservation(each) for each in recipes]
        return sum(limit or 0 for limit in limits) if limits and None not in limits else None

    def shortfall(self, user: SignedIn, quote: Quote) -> errors.BudgetSpent | None:
        """Return the BudgetSpent error if the user's budgets don't cover this quote now, and None if they do.

        If the price is unknown, the likely maximum price is used instead.
        """
        unpriced = quote.price is None
        each = self.budgets.reservation(quote.recipe) if unpriced else None
        reserved = (each or 0) * quote.images if quote.price is None else quote.price
        return self.budgets.refusal(user.user_id, Need(quote.images, reserved, unpriced=unpriced))

    def _expand(
        self, recipe: Recipe, per_prompt: int, *, many: bool
    ) -> tuple[tuple[Recipe, ...], errors.TooManyPrompts | None]:
        """Return the recipe of each image, and None.

        With `many`, there may be more images than a batch can have. Then return no recipes, and the error.
        """
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
    """Return how many prompts the prompt field of `recipe` contains: at least 1, at most MAX_COUNTED."""
    if not many:
        return 1
    if recipes:
        return len(recipes) // per_prompt
    return max(1, min(count_prompts(recipe.prompt), MAX_COUNTED))
