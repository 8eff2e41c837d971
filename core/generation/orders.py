"""Orders: a user's requests for images. Each order is checked, moderated and submitted as one batch."""

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
from core.provider import capabilities
from core.provider.moderation import ModerationClient
from core.settings import Settings
from core.usage.idempotency import IdempotencyStore, IdempotentRequest


@dataclass(frozen=True, slots=True)
class CheckedOrder:
    """An order that has passed `Orders.check`.

    `recipes` has the prompt and options of each image. `price` is the price of all images in micro-USD, None
    if it is unknown.
    """

    recipes: tuple[Recipe, ...]
    price: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """Checks and submits orders for images. Refuses an order that can't be made before anything is paid."""

    settings: Settings
    quotes: Quotes
    gallery: Gallery
    uploads: Uploads
    moderation: ModerationClient
    jobs: Jobs
    idempotency: IdempotencyStore
    clock: Callable[[], datetime] = utc_now

    def check(self, user: SignedIn, quote: Quote) -> CheckedOrder:
        """Check all images of a quote, and return the checked order to pass to `generate`.

        Raises TextRejected, PromptEmpty, PromptTooLong, TooManyPrompts, InvalidParameter, ModelRetired,
        ModelUnavailable, ImageNotFound or UploadGone.
        """
        self.check_count(quote.per_prompt)
        if quote.excess:
            raise quote.excess
        recipes = quote.recipes or (quote.recipe,)
        self.check_recipes(user, recipes)
        return CheckedOrder(recipes, quote.price)

    def generate(self, user: SignedIn, order: CheckedOrder) -> str:
        """Submit a checked order, and return the id of the new batch.

        The second click of a double click submits nothing, and returns the id of the first click's batch. All
        images are bought, even those that the gallery already has: `ExistingImages.offer` finds those. Raises
        PromptFlagged or BudgetSpent before anything is paid.
        """
        self.screen(order.recipes)
        return self.jobs.submit(user.user_id, order.recipes)

    def generate_offered(self, user: SignedIn, recipes: tuple[Recipe, ...], *, offered_at: datetime) -> str:
        """Check and submit images of an offer that the user has accepted, and return the id of the new batch.

        `offered_at` is the time of the offer. A batch from before that time isn't taken for the first click
        of a double click. Raises the errors of `check` and `generate`.
        """
        self.check_recipes(user, recipes)
        self.screen(recipes)
        return self.jobs.submit(user.user_id, recipes, asked_at=offered_at)

    def earlier_batch(self, idempotency: IdempotentRequest | None) -> str | None:
        """Return the id of the batch that was ordered with the same idempotency key in the last day.

        Returns None if there is no such batch, or if `idempotency` is None. Raises IdempotencyKeyReused if
        the key was used for a different request.
        """
        earlier = self.idempotency.find(idempotency) if idempotency else None
        return earlier.batch_id if earlier else None

    def order(
        self, user: SignedIn, recipe: Recipe, count: int, *, idempotency: IdempotentRequest | None = None
    ) -> str:
        """Check and submit an API client's order of `count` images, and return the id of the new batch.

        If an earlier request of the last day has the same idempotency key, nothing is bought, and the id of
        that request's batch is returned. Double clicks aren't detected. Raises the errors of `check` and
        `generate`, and IdempotencyKeyReused if the key was used for a different request.
        """
        if earlier := self.earlier_batch(idempotency):
            return earlier
        self.check_count(count)
        self.check_recipes(user, (recipe,))
        self.screen((recipe,))
        return self.submit(user, recipe, count, idempotency=idempotency)

    def submit(
        self, user: SignedIn, recipe: Recipe, count: int, *, idempotency: IdempotentRequest | None
    ) -> str:
        """Submit an API client's order that has been checked and moderated. Return the id of the new batch.

        `idempotency` has the same effect as in `order`. Raises BudgetSpent, and IdempotencyKeyReused if the
        key was used for a different request.
        """
        return self.jobs.submit(
            user.user_id,
            [recipe] * count,
            find_earlier=lambda session, batch_id: (
                self.idempotency.claim_batch(session, idempotency, batch_id) if idempotency else None
            ),
        )

    def retry(self, user: SignedIn, *job_ids: str) -> str:
        """Submit jobs that ended without an image again, as one batch. Return the id of the new batch.

        The jobs are first checked like new orders. Raises ImageNotFound if a job is another user's, the other
        errors of `Jobs.retry` and `Jobs.recipe`, and the errors of `check` and `generate`.
        """
        recipes = [self.jobs.recipe(user.user_id, job_id) for job_id in job_ids]
        self.check_recipes(user, recipes)
        self.screen(recipes)
        return self.jobs.retry(user.user_id, *job_ids)

    def check_count(self, count: int) -> None:
        """Raise InvalidParameter if `count` is below 1 or above the limit for one prompt.

        Each image is a call of its own, so the limit is the same for all models.
        """
        limit = self.settings.max_images
        if not 1 <= count <= limit:
            raise errors.InvalidParameter(f"Choose 1 to {limit} images.", field="n")

    def check_recipes(self, user: SignedIn, recipes: Sequence[Recipe]) -> None:
        """Check that an image of each recipe can be made. Equal recipes are checked only once.

        Raises the errors of `check`, for the first recipe that fails.
        """
        offered = [model.name for model in self.quotes.models()]
        for each in dict.fromkeys(recipes):
            self._check(user, each, offered)

    def _check(self, user: SignedIn, recipe: Recipe, offered: Sequence[str]) -> None:
        check_prompt_texts(
            name=recipe.name, traits=recipe.traits, base_prompt=recipe.base_prompt, prompt=recipe.prompt
        )
        official = self.settings.image_service.is_official
        capabilities.check_params(recipe.params(), today=self.clock().date(), official=official)
        if recipe.model not in offered:
            raise errors.ModelUnavailable(details=f"models: {', '.join(offered)}", field="model")
        if recipe.source_image:
            self.gallery.get_untrashed(user.user_id, recipe.source_image)
        self.uploads.check(user.user_id, *recipe.uploads)

    def screen(self, recipes: Sequence[Recipe]) -> None:
        """Send each different prompt to the service's moderation, if moderation is enabled.

        Raises PromptFlagged if the moderation rejects one of the prompts.
        """
        self.moderation.screen(tuple(dict.fromkeys(with_style(each.prompt, each.style) for each in recipes)))
