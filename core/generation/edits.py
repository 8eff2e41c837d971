"""Edits and variations: new images made from an existing one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from core import errors
from core.accounts.identity import SignedIn
from core.database.models import Image
from core.generation.orders import Orders
from core.generation.quotes import Quote, Quotes
from core.images.gallery import Gallery
from core.prompts.recipe import AUTO, Recipe
from core.provider import capabilities
from core.provider.catalogue import image_model
from core.settings import Settings
from core.usage.budget_limits import Need
from core.usage.budgets import Budgets


@dataclass(frozen=True, slots=True)
class EditPlan:
    """The quote of an image that is made from another one; `obstacle` is why it can't be made."""

    quote: Quote
    obstacle: errors.InvalidParameter | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """Plans and orders edits and variations of a user's images."""

    settings: Settings
    quotes: Quotes
    orders: Orders
    gallery: Gallery
    budgets: Budgets

    def plan(self, user: SignedIn, image_id: str, instruction: str = "") -> EditPlan:
        """Plan a variation of an image, or with an `instruction` an edit of it. Raises ImageNotFound."""
        image = self.gallery.get_untrashed(user.user_id, image_id)
        recipe = replace(recipe_of(image), source_image=image.id)
        if instruction.strip():
            recipe = replace(recipe, prompt=instruction, base_prompt="", enhanced_prompt="")
        if (model := self._editing_model(image.model)) != recipe.model:
            # The other model may not have the image's size and quality.
            recipe = replace(recipe, model=model, size=AUTO, quality=AUTO)
        return EditPlan(self.quotes.quote(recipe), _obstacle(recipe))

    def variation(self, user: SignedIn, image_id: str) -> str:
        """Order a variation: the image's own prompt, with the image beside it. The batch's id.

        Raises ImageNotFound, and what `Orders.check` and `Orders.generate` do.
        """
        return self._generate(user, self.plan(user, image_id))

    def edit(self, user: SignedIn, image_id: str, instruction: str) -> str:
        """Order an edit of an image as `instruction` says. The batch's id.

        Raises PromptEmpty, ImageNotFound, and what `Orders.check` and `Orders.generate` do.
        """
        if not instruction.strip():
            raise errors.PromptEmpty("Say what to change.", suggestions=("A few words are enough.",))
        return self._generate(user, self.plan(user, image_id, instruction))

    def check(self, user: SignedIn, recipe: Recipe, count: int) -> None:
        """Check a program's edit before its image is uploaded: a refused one would be stored for nothing.

        Raises what `Orders.check` and `Orders.generate` do.
        """
        capabilities.check_input_images(replace(recipe.params(), input_count=1), image_model(recipe.model))
        self.orders.check_count(recipe.model, count)
        self.orders.check_recipes(user, (recipe,))
        # Its price depends on its having an input image; the empty key stands for the one to come.
        reserved = self.budgets.reservation(replace(recipe, references=("",)))
        if refusal := self.budgets.refusal(user.user_id, Need.of([reserved] * count)):
            raise refusal
        self.orders.screen((recipe,))

    def _generate(self, user: SignedIn, plan: EditPlan) -> str:
        return self.orders.generate(user, self.orders.check(user, plan.quote))

    def _editing_model(self, name: str) -> str:
        """The image's own model if it is on offer and can edit, else the default model."""
        offered = {model.name for model in self.quotes.models() if model.can_edit}
        return name if name in offered else self.settings.default_image_model


def _obstacle(recipe: Recipe) -> errors.InvalidParameter | None:
    try:
        capabilities.check_input_images(recipe.params(), image_model(recipe.model))
    except errors.InvalidParameter as error:
        return error
    return None


def recipe_of(image: Image) -> Recipe:
    """The recipe of an image as a new generation would use it, without the images that it was made from."""
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
