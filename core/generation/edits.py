"""Edits and variations: new images that are made from an existing image."""

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
    """The quote for an edit or a variation, and whether the model can make it.

    `obstacle` is None if the model can work from an image with these options. Otherwise, it is the error.
    """

    quote: Quote
    obstacle: errors.InvalidParameter | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Edits:
    """Plans and orders edits and variations of a user's images.

    An edit changes an image as the user's instruction says. A variation is made from the image's own prompt.
    """

    settings: Settings
    quotes: Quotes
    orders: Orders
    gallery: Gallery
    budgets: Budgets

    def plan(self, user: SignedIn, image_id: str, instruction: str = "") -> EditPlan:
        """Return the plan for an edit of an image. If `instruction` is blank, plan a variation instead.

        Raises ImageNotFound if this user has no such image, or if the image is in the trash.
        """
        image = self.gallery.get_untrashed(user.user_id, image_id)
        recipe = replace(recipe_of(image), source_image=image.id)
        if instruction.strip():
            recipe = replace(recipe, prompt=instruction, base_prompt="", enhanced_prompt="")
        if (model := self._editing_model(image.model)) != recipe.model:
            # The other model may not support the image's size and quality.
            recipe = replace(recipe, model=model, size=AUTO, quality=AUTO)
        return EditPlan(self.quotes.quote(recipe), _obstacle(recipe))

    def variation(self, user: SignedIn, image_id: str) -> str:
        """Order a variation of an image, and return the id of the new batch.

        The service gets the image and the image's own prompt. Raises ImageNotFound, and the errors of
        `Orders.check` and `Orders.generate`.
        """
        return self._generate(user, self.plan(user, image_id))

    def edit(self, user: SignedIn, image_id: str, instruction: str) -> str:
        """Order an edit of an image as `instruction` says, and return the id of the new batch.

        Raises PromptEmpty if the instruction is blank, ImageNotFound if there is no such image, and the
        errors of `Orders.check` and `Orders.generate`.
        """
        if not instruction.strip():
            raise errors.PromptEmpty("Say what to change.", suggestions=("A few words are enough.",))
        return self._generate(user, self.plan(user, image_id, instruction))

    def check(self, user: SignedIn, recipe: Recipe, count: int) -> None:
        """Check an API client's edit of `count` images before the client's input images are stored.

        If the edit is refused, no input image has been stored. Raises the errors of `Orders.check` and
        `Orders.generate`.
        """
        capabilities.check_input_images(replace(recipe.params(), input_count=1), image_model(recipe.model))
        self.orders.check_count(count)
        self.orders.check_recipes(user, (recipe,))
        # An input image changes the price. The empty key stands for the image that will be uploaded.
        reserved = self.budgets.reservation(replace(recipe, references=("",)))
        if refusal := self.budgets.refusal(user.user_id, Need.of([reserved] * count)):
            raise refusal
        self.orders.screen((recipe,))

    def _generate(self, user: SignedIn, plan: EditPlan) -> str:
        return self.orders.generate(user, self.orders.check(user, plan.quote))

    def _editing_model(self, name: str) -> str:
        """Return `name` if that model is available and can edit images, else the default model."""
        offered = {model.name for model in self.quotes.models() if model.can_edit}
        return name if name in offered else self.settings.default_image_model


def _obstacle(recipe: Recipe) -> errors.InvalidParameter | None:
    try:
        capabilities.check_input_images(recipe.params(), image_model(recipe.model))
    except errors.InvalidParameter as error:
        return error
    return None


def recipe_of(image: Image) -> Recipe:
    """Return the recipe (the prompt and options) to generate an image like `image`.

    The recipe leaves out the input images from which `image` was made.
    """
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
