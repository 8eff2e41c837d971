"""Existing images: finds the ordered images that a user already has, before they are paid for again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.database.models import Image, UsageKind
from core.generation.orders import CheckedOrder, Orders
from core.images.gallery import Gallery
from core.prompts.recipe import Recipe
from core.usage.usage_log import Call, Outcome, UsageLog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """An offer to show images that the user already has. The user chooses whether to buy them again.

    - `recipes`: the prompt and options of each ordered image.
    - `existing`: the user's newest image for each recipe for which there is an image.
    - `price`: the price of all ordered images in micro-USD, None if unknown.
    - `missing_price`: the price of the images that the user doesn't have, in micro-USD, None if unknown.
    - `price_limit`, `missing_limit`: the likely maximum of each price, None if that is unknown, too.
    - `offered_at`: the time at which the offer was made.
    """

    recipes: tuple[Recipe, ...]
    existing: dict[Recipe, Image]
    price: int | None
    missing_price: int | None
    price_limit: int | None
    missing_limit: int | None
    offered_at: datetime

    @property
    def missing(self) -> tuple[Recipe, ...]:
        """The recipe of each ordered image that the user doesn't have."""
        return tuple(recipe for recipe in self.recipes if recipe not in self.existing)

    @property
    def images(self) -> tuple[Image, ...]:
        """The existing images, each as many times as it was ordered."""
        return tuple(self.existing[recipe] for recipe in self.recipes if recipe in self.existing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingImages:
    """Offers a user's existing images instead of new ones, and records each reuse in the usage log."""

    orders: Orders
    gallery: Gallery
    usage: UsageLog
    clock: Callable[[], datetime] = utc_now

    def offer(self, user: SignedIn, order: CheckedOrder) -> Offer | None:
        """Return an offer if the user already has at least one of the ordered images. Otherwise, return None.

        Images in the trash don't count.
        """
        existing = self.gallery.newest_by_recipe(user.user_id, order.recipes)
        if not existing:
            return None
        missing = [each for each in order.recipes if each not in existing]
        quotes = self.orders.quotes
        return Offer(
            recipes=order.recipes,
            existing=existing,
            price=order.price,
            missing_price=quotes.price(missing),
            price_limit=quotes.price_limit(order.recipes),
            missing_limit=quotes.price_limit(missing),
            offered_at=self.clock(),
        )

    def use(self, user: SignedIn, offer: Offer) -> None:
        """Record in the usage log that the user has used the offered images instead of buying them.

        If the usage log can't be written, the error is logged and not raised.
        """
        call = Call(
            user_id=user.user_id, kind=UsageKind.GENERATE, model="", offline=False, started_at=self.clock(),
            seconds=0.0, outcome=Outcome.SAVED, price_micros=0,
        )  # fmt: skip
        saved = (
            replace(call, model=image.model, offline=image.offline, saved_micros=image.price_micros)
            for image in offer.images
        )
        try:
            self.usage.record_now(*saved)
        except errors.ImageError as error:
            log.error("saved_calls_not_recorded", code=error.code, details=error.details)

    def generate_missing(self, user: SignedIn, offer: Offer) -> str:
        """Order only the images that the user doesn't have, and return the id of the new batch.

        The existing images are then recorded as in `use`. Raises the errors of `Orders.check` and
        `Orders.generate`.
        """
        batch_id = self.orders.generate_offered(user, offer.missing, offered_at=offer.offered_at)
        self.use(user, offer)
        return batch_id

    def generate_all(self, user: SignedIn, offer: Offer) -> str:
        """Order all images of `offer`, including the existing ones, and return the id of the new batch.

        Raises the errors of `Orders.check` and `Orders.generate`.
        """
        return self.orders.generate_offered(user, offer.recipes, offered_at=offer.offered_at)
