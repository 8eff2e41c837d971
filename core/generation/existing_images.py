"""Images of an order that the user already has, offered before they are bought again."""

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
    """An order of which the user already has images: the user chooses which of the others to buy.

    `existing` has the newest image of each recipe that has one. `price` is for all images of the order in
    micro-USD, `missing_price` for those that the user doesn't have; None where unknown. `offered_at` is when
    the offer was made.
    """

    recipes: tuple[Recipe, ...]
    existing: dict[Recipe, Image]
    price: int | None
    missing_price: int | None
    offered_at: datetime

    @property
    def missing(self) -> tuple[Recipe, ...]:
        """The recipe of each image that the user doesn't have."""
        return tuple(recipe for recipe in self.recipes if recipe not in self.existing)

    @property
    def images(self) -> tuple[Image, ...]:
        """The existing image in place of each image that need not be bought, as often as it was ordered."""
        return tuple(self.existing[recipe] for recipe in self.recipes if recipe in self.existing)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExistingImages:
    """Offers existing images in place of new ones, and records what was saved by using them."""

    orders: Orders
    gallery: Gallery
    usage: UsageLog
    clock: Callable[[], datetime] = utc_now

    def offer(self, user: SignedIn, order: CheckedOrder) -> Offer | None:
        """The images of an order that the user has, finished and not in the trash; None if there are none."""
        existing = self.gallery.newest_by_recipe(user.user_id, order.recipes)
        if not existing:
            return None
        missing = [each for each in order.recipes if each not in existing]
        missing_price = self.orders.quotes.price(missing)
        return Offer(order.recipes, existing, order.price, missing_price, self.clock())

    def use(self, user: SignedIn, offer: Offer) -> None:
        """Record the calls that the offer's existing images have saved. A failure is logged, not raised."""
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
        """Order the images that the user doesn't have, and use the others; the batch's id.

        Raises what `Orders.check` and `Orders.generate` do.
        """
        batch_id = self.orders.generate_offered(user, offer.missing, offered_at=offer.offered_at)
        self.use(user, offer)
        return batch_id

    def generate_all(self, user: SignedIn, offer: Offer) -> str:
        """Order all images of the offer anew; the batch's id. Raises what `generate_missing` does."""
        return self.orders.generate_offered(user, offer.recipes, offered_at=offer.offered_at)
