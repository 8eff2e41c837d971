"""Orders for images: checked for what can be made and paid, moderated, then submitted as one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.generation.jobs import Jobs
from core.generation.quotes import Quote, Quotes
from core.images.gallery import Gallery
from core.images.uploads import Uploads
from core.prompts.recipe import Recipe
from core.prompts.styles import with_style
from core.prompts.validation import check_prompt_texts
from core.provider import capabilities, catalogue
from core.provider.moderation import ModerationClient
from core.settings import Settings
from core.usage.idempotency import IdempotencyStore, IdempotentRequest


@dataclass(frozen=True, slots=True)
class CheckedOrder:
    """A batch that `Orders.check` has let pass: the recipe of each image, and the price of all of them."""

    recipes: tuple[Recipe, ...]
    price: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Everything that is ordered goes through here, and is refused here before anything is paid."""

    settings: Settings
    quotes: Quotes
    gallery: Gallery
    uploads: Uploads
    moderation: ModerationClient
    jobs: Jobs
    idempotency: IdempotencyStore
    clock: Callable[[], datetime] = utc_now

    def check(self, user: SignedIn, quote: Quote) -> CheckedOrder:
        """Check every image of a quote, once for all that is then done with the order.

        Raises TextRejected, PromptEmpty, PromptTooLong, TooManyPrompts, InvalidParameter, ModelRetired,
        ModelUnavailable, ImageNotFound or UploadGone.
        """
        self.check_count(quote.recipe.model, quote.per_prompt)
        if quote.excess:
            raise quote.excess
        recipes = quote.recipes or (quote.recipe,)
        self.check_recipes(user, recipes)
        return CheckedOrder(recipes, quote.price)

    def generate(self, user: SignedIn, order: CheckedOrder) -> str:
        """Submit a checked order and return the batch's id; a double click gets the first click's batch.

        Images that the gallery already has are bought again: `ExistingImages.offer` finds those. Raises
        PromptFlagged or BudgetSpent before anything is paid.
        """
        self.screen(order.recipes)
        return self.jobs.submit(user.user_id, order.recipes)

    def generate_offered(self, user: SignedIn, recipes: tuple[Recipe, ...], *, offered_at: datetime) -> str:
        """Check and submit recipes of an offer that the user has accepted; the batch's id.

        What was submitted before the offer was made is no double click of this. Raises what `check` and
        `generate` do.
        """
        self.check_recipes(user, recipes)
        self.screen(recipes)
        return self.jobs.submit(user.user_id, recipes, asked_at=offered_at)

    def earlier_batch(self, idempotency: IdempotentRequest | None) -> str | None:
        """The batch that was ordered with the same idempotency key within a day.

        Raises IdempotencyKeyReused.
        """
        earlier = self.idempotency.find(idempotency) if idempotency else None
        return earlier.batch_id if earlier else None

    def order(
        self, user: SignedIn, recipe: Recipe, count: int, *, idempotency: IdempotentRequest | None = None
    ) -> str:
        """Check and submit a program's order of `count` images; the batch's id.

        Nothing is bought twice under one key, `idempotency`, within a day; the double click's rule doesn't
        apply to programs. Raises what `check` and `generate` do, and IdempotencyKeyReused.
        """
        if earlier := self.earlier_batch(idempotency):
            return earlier
        self.check_count(recipe.model, count)
        self.check_recipes(user, (recipe,))
        self.screen((recipe,))
        return self.submit(user, recipe, count, idempotency=idempotency)

    def submit(
        self, user: SignedIn, recipe: Recipe, count: int, *, idempotency: IdempotentRequest | None
    ) -> str:
        """Submit a program's order that was checked and moderated before.

        Raises IdempotencyKeyReused or BudgetSpent.
        """
        return self.jobs.submit(
            user.user_id,
            [recipe] * count,
            find_earlier=lambda session, batch_id: (
                self.idempotency.claim_batch(session, idempotency, batch_id) if idempotency else None
            ),
        )

    def retry(self, user: SignedIn, *job_ids: str) -> str:
        """Submit failed jobs again as one batch, checked as an order is; the batch's id.

        Raises ImageNotFound for another user's jobs, JobNotRetryable, RecipeUnreadable, StorageError, and
        what `check` and `generate` do.
        """
        recipes = [self.jobs.recipe(user.user_id, job_id) for job_id in job_ids]
        self.check_recipes(user, recipes)
        self.screen(recipes)
        return self.jobs.retry(user.user_id, *job_ids)

    def check_count(self, model: str, count: int) -> None:
        """Raise InvalidParameter for fewer images than one, or more than `model` makes in one order."""
        limit = self.quotes.max_images(model)
        if not 1 <= count <= limit:
            raise errors.InvalidParameter(f"Choose 1 to {limit} images.", field="n")

    def check_recipes(self, user: SignedIn, recipes: Sequence[Recipe]) -> None:
        """Refuse recipes that can't be made; the same recipe is checked once. Raises what `check` does."""
        offered = [model.name for model in self.quotes.models()]
        for each in dict.fromkeys(recipes):
            self._check(user, each, offered)

    def _check(self, user: SignedIn, recipe: Recipe, offered: Sequence[str]) -> None:
        check_prompt_texts(
            name=recipe.name, traits=recipe.traits, base_prompt=recipe.base_prompt, prompt=recipe.prompt
        )
        official = catalogue.is_official(self.settings)
        capabilities.check_params(recipe.params(), today=self.clock().date(), official=official)
        if recipe.model not in offered:
            raise errors.ModelUnavailable(details=f"models: {', '.join(offered)}", field="model")
        if recipe.source_image:
            self.gallery.get_untrashed(user.user_id, recipe.source_image)
        self.uploads.check(user.user_id, *recipe.uploads)

    def screen(self, recipes: Sequence[Recipe]) -> None:
        """Send each different prompt to the service's moderation, if it is on. Raises PromptFlagged."""
        self.moderation.screen(tuple(dict.fromkeys(with_style(each.prompt, each.style) for each in recipes)))
