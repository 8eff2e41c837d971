"""Orders as the Create page places them: quoted, checked, and then submitted or offered."""

from __future__ import annotations

from core.accounts.identity import SignedIn
from core.enhancement.drafts import DraftState
from core.generation.existing_images import Offer
from core.generation.quotes import Quote
from core.prompts.recipe import Recipe
from core.studio import Studio


def generate(studio: Studio, user: SignedIn, recipe: Recipe, count: int = 1, *, many: bool = False) -> str:
    """Order images in place of those that the user may have already; the batch's id."""
    order = studio.orders.check(user, studio.quotes.quote(recipe, count, many=many))
    return studio.orders.generate(user, order)


def offer_existing(
    studio: Studio, user: SignedIn, recipe: Recipe, count: int = 1, *, many: bool = False
) -> Offer | None:
    """The offer of existing images that the user would see before anything is bought."""
    order = studio.orders.check(user, studio.quotes.quote(recipe, count, many=many))
    return studio.existing_images.offer(user, order)


def quote_draft(studio: Studio, draft: DraftState) -> Quote:
    recipe = draft.recipe(studio.settings.default_image_model)
    return studio.quotes.quote(recipe, draft.images, many=draft.many)
