"""The studio's verbs, each for a signed-in user: what the pages and the HTTP API both call."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import filelock
import structlog

from core import errors
from core.accounts.api_tokens import ApiTokens
from core.accounts.audit_log import AuditLog
from core.accounts.identity import SignedIn
from core.accounts.passwords import Passwords
from core.accounts.registration import Registration
from core.accounts.sessions import Sessions
from core.accounts.sign_in_attempts import SignInAttempts
from core.accounts.users import Users
from core.common.clock import utc_now
from core.database.database import Database
from core.database.models import Image, UsageKind
from core.database.process_lock import ProcessLock
from core.enhancement.drafts import Drafts, DraftState
from core.enhancement.orders import EnhancementOrders
from core.enhancement.runs import Enhancements
from core.generation.edits import Remake, recipe_of
from core.generation.existing_images import Offer
from core.generation.jobs import Jobs
from core.generation.quotes import MOST_COUNTED, Quote
from core.generation.views import Batches
from core.images.gallery import Gallery
from core.images.share_links import ShareLinks
from core.images.uploads import Uploads
from core.maintenance.chores import Chores
from core.prompts.expansion import count_prompts, expand_prompts
from core.prompts.recipe import AUTO, Recipe
from core.prompts.styles import with_style
from core.prompts.validation import check_prompt_texts
from core.provider import capabilities, catalogue
from core.provider.client import ServiceClient
from core.settings import Settings
from core.storage.storage import Storage
from core.usage.budget_limits import Need
from core.usage.budgets import Budgets
from core.usage.error_counts import ErrorCounts
from core.usage.idempotency import IdempotencyStore, IdempotentRequest
from core.usage.rate_limits import RateLimits
from core.usage.usage_log import Call, Outcome, UsageLog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """One process's parts, put together by core.bootstrap, and the rules that need more than one of them.

    `process_lock` and `folder_lock` keep a second process out of the database and the data folder for as long
    as the studio lives.
    """

    settings: Settings
    database: Database
    storage: Storage
    users: Users
    registration: Registration
    passwords: Passwords
    sign_in_attempts: SignInAttempts
    sessions: Sessions
    drafts: Drafts
    gallery: Gallery
    share_links: ShareLinks
    usage: UsageLog
    error_counts: ErrorCounts
    budgets: Budgets
    client: ServiceClient
    enhancements: Enhancements
    enhancement_orders: EnhancementOrders
    jobs: Jobs
    uploads: Uploads
    chores: Chores
    process_lock: ProcessLock
    folder_lock: filelock.BaseFileLock | None
    api_tokens: ApiTokens
    audit_log: AuditLog
    batches: Batches
    idempotency: IdempotencyStore
    rate_limits: RateLimits
    clock: Callable[[], datetime] = utc_now

    def models(self) -> tuple[catalogue.ImageModel, ...]:
        """The image models that may be chosen now, the default first."""
        return catalogue.offered_models(self.settings, today=self.clock().date())

    def quote(self, draft: DraftState) -> Quote:
        """What Generate would send now, and for how much; nothing is checked."""
        recipe, excess = draft.recipe(self.settings.default_image_model), None
        try:
            recipes = self._recipes(recipe, draft.images, many=draft.many)
        except errors.TooManyPrompts as error:
            recipes, excess = [], error
        count = max(1, min(count_prompts(recipe.prompt), MOST_COUNTED)) if draft.many else 1
        return Quote(
            recipe=recipe,
            prompts=count,
            images=count * draft.images,
            price=self.price(recipes),
            length=max(len(with_style(each.prompt, each.style)) for each in (recipes or [recipe])),
            limit=catalogue.image_model(recipe.model).max_prompt,
            excess=excess,
        )

    def price(self, recipes: Sequence[Recipe]) -> int | None:
        """What an image of each costs in micro-USD; None where one's price, or what they are, is unknown."""
        prices = [self.budgets.estimate(each) for each in recipes]
        return sum(price or 0 for price in prices) if prices and None not in prices else None

    def shortfall(self, user: SignedIn, quote: Quote) -> errors.BudgetSpent | None:
        """Why the user's budgets wouldn't cover a quote, as far as is known now."""
        each = self.budgets.reservation(quote.recipe) if quote.price is None else None
        aside = quote.price if quote.price is not None else (each or 0) * quote.images
        need = Need(quote.images, aside, unpriced=quote.price is None)
        return self.budgets.refusal(user.user_id, need)

    def _recipes(self, recipe: Recipe, count: int, *, many: bool) -> list[Recipe]:
        """The recipe of each image. Raises TooManyPrompts before any is written out."""
        most = self.settings.max_batch
        if not many:
            return [recipe] * count
        prompts = expand_prompts(recipe.prompt, limit=most)
        if len(prompts) * count > most:
            raise errors.TooManyPrompts(
                f"That would be {len(prompts) * count:,} images; a batch can have at most {most:,}.",
                field="prompt",
            )
        return [replace(recipe, prompt=prompt) for prompt in prompts for _ in range(count)]

    def max_images(self, model: str) -> int:
        return min(self.settings.max_images, catalogue.image_model(model).max_n)

    def generate(self, user: SignedIn, recipe: Recipe, count: int, *, many: bool = False) -> str:
        """Submit a batch and return its id; with `many` of each prompt that the text stands for.

        It is bought whatever is in the gallery; `offer` tells that first. Raises TextRejected, PromptEmpty,
        PromptTooLong, TooManyPrompts, InvalidParameter, ModelRetired, ModelUnavailable, PromptFlagged or
        BudgetSpent before anything is paid.
        """
        recipes = self._checked(user, recipe, count, many=many)
        self._screen(recipes)
        return self.jobs.submit_all(user.user_id, recipes)

    def ordered(self, kept: IdempotentRequest | None) -> str | None:
        """The batch that was submitted under this key within a day. Raises IdempotencyKeyReused."""
        earlier = self.idempotency.find(kept) if kept else None
        return earlier.batch_id if earlier else None

    def order(
        self,
        user: SignedIn,
        recipe: Recipe,
        count: int,
        *,
        kept: IdempotentRequest | None = None,
        screened: bool = False,
    ) -> str:
        """Submit what a program asks for and return the batch's id; it raises what `generate` does.

        A program says itself when it means the same thing again: by a key, under which a day long nothing is
        bought twice. With `screened` the moderation was asked already. Raises IdempotencyKeyReused.
        """
        if earlier := self.ordered(kept):
            return earlier
        recipes = self._checked(user, recipe, count, many=False)
        if not screened:
            self._screen(recipes)
        return self.jobs.submit_all(
            user.user_id,
            recipes,
            repeats=lambda session, batch_id: (
                self.idempotency.batch(session, kept, batch_id) if kept else None
            ),
        )

    def change(
        self, user: SignedIn, image_id: str, *, name: str | None = None, favourite: bool | None = None
    ) -> Image:
        """Give an image another name, or mark it; None leaves things as they are.

        Raises ImageNotFound or TextRejected.
        """
        if name is not None:
            check_prompt_texts(name=name, traits=())
        return self.gallery.change(user.user_id, image_id, name=name, favourite=favourite)

    def offer(self, user: SignedIn, recipe: Recipe, count: int, *, many: bool = False) -> Offer | None:
        """What of this batch the user has already, finished and not in the trash; None if nothing.

        Raises what `generate` does, but not PromptFlagged: only what is going to be sent is looked at.
        """
        recipes = tuple(self._checked(user, recipe, count, many=many))
        had = self.gallery.newest_by_recipe(user.user_id, recipes)
        if not had:
            return None
        new = [each for each in recipes if each not in had]
        return Offer(recipes, had, self.price(recipes), self.price(new), self.clock())

    def take(self, user: SignedIn, offer: Offer) -> None:
        """Count what is saved by an offer whose images are taken instead of bought again."""
        call = Call(
            user_id=user.user_id, kind=UsageKind.GENERATE, model="", offline=False, started_at=self.clock(),
            seconds=0.0, outcome=Outcome.SAVED, price_micros=0,
        )  # fmt: skip
        saved = (
            replace(call, model=image.model, offline=image.offline, saved_micros=image.price_micros)
            for image in offer.taken
        )
        try:
            self.usage.record_now(*saved)
        except errors.ImageError as error:
            log.error("what was saved could not be recorded", code=error.code, details=error.details)

    def generate_new(self, user: SignedIn, offer: Offer) -> str:
        """Submit what of an offer's batch isn't there yet; the rest is taken."""
        batch_id = self._submit_again(user, offer, offer.new)
        self.take(user, offer)
        return batch_id

    def generate_anyway(self, user: SignedIn, offer: Offer) -> str:
        """Submit an offer's whole batch."""
        return self._submit_again(user, offer, offer.recipes)

    def _submit_again(self, user: SignedIn, offer: Offer, recipes: tuple[Recipe, ...]) -> str:
        for each in dict.fromkeys(recipes):
            self._check(user, each)
        self._screen(recipes)
        return self.jobs.submit_all(user.user_id, recipes, asked_at=offer.at)

    def _checked(self, user: SignedIn, recipe: Recipe, count: int, *, many: bool) -> list[Recipe]:
        """The recipe of each image of a batch that may be bought."""
        limit = self.max_images(recipe.model)
        if not 1 <= count <= limit:
            raise errors.InvalidParameter(f"Choose 1 to {limit} images.", field="n")
        recipes = self._recipes(recipe, count, many=many) or [recipe]
        for each in dict.fromkeys(recipes):
            self._check(user, each)
        return recipes

    def retry(self, user: SignedIn, *job_ids: str) -> str:
        """Submit what failed once more, as one batch, and return its id; checked as a first try is.

        Raises ImageNotFound for jobs that aren't this user's, JobNotRetryable, RecipeUnreadable,
        StorageError, and what `generate` does.
        """
        recipes = [self.jobs.recipe(user.user_id, job_id) for job_id in job_ids]
        for each in recipes:
            self._check(user, each)
        self._screen(recipes)
        return self.jobs.retry(user.user_id, *job_ids)

    def _check(self, user: SignedIn, recipe: Recipe) -> None:
        check_prompt_texts(
            name=recipe.name, traits=recipe.traits, base_prompt=recipe.base_prompt, prompt=recipe.prompt
        )
        official = catalogue.is_official(self.settings)
        capabilities.check_params(recipe.params(), today=self.clock().date(), official=official)
        if recipe.model not in {model.name for model in self.models()}:
            raise errors.ModelUnavailable(
                details=f"models: {', '.join(model.name for model in self.models())}", field="model"
            )
        if recipe.source_image:
            self.gallery.get_untrashed(user.user_id, recipe.source_image)
        self.uploads.check(user.user_id, *recipe.uploads)

    def check_edit(self, user: SignedIn, recipe: Recipe, count: int) -> None:
        """Refuse what can't be made, before any picture for it is taken in. Raises what `generate` does."""
        params = replace(recipe.params(), input_count=1)
        capabilities.check_input_images(params, catalogue.image_model(recipe.model))
        recipes = self._checked(user, recipe, count, many=False)
        # It costs what it will with its picture, of which there is nothing yet but that it comes.
        each = self.budgets.reservation(replace(recipe, references=("",)))
        if refusal := self.budgets.refusal(user.user_id, Need.of([each] * count)):
            raise refusal
        self._screen(recipes)

    def remake(self, user: SignedIn, image_id: str, words: str = "") -> Remake:
        """What a variation of an image would be, or with `words` an edit of it. Raises ImageNotFound."""
        image = self.gallery.get_untrashed(user.user_id, image_id)
        model, obstacle = self._editing_model(image.model), None
        recipe = replace(recipe_of(image), source_image=image.id)
        if words.strip():
            recipe = replace(recipe, prompt=words, base_prompt="", enhanced_prompt="")
        if model != recipe.model:
            recipe = replace(recipe, model=model, size=AUTO, quality=AUTO)
        try:
            capabilities.check_input_images(recipe.params(), catalogue.image_model(model))
        except errors.InvalidParameter as error:
            obstacle = error
        return Remake(recipe, self.price([recipe]), obstacle)

    def _editing_model(self, name: str) -> str:
        """The image's own model where that edits and may be chosen, else the default one."""
        offered = {model.name for model in self.models() if model.can_edit}
        return name if name in offered else self.settings.default_image_model

    def variation(self, user: SignedIn, image_id: str) -> str:
        """Submit a variation of an image: the same words, with the image beside them. The batch's id.

        Raises ImageNotFound, and what `generate` does.
        """
        return self.generate(user, self.remake(user, image_id).recipe, 1)

    def edit(self, user: SignedIn, image_id: str, words: str) -> str:
        """Submit an edit of an image by what `words` say. The batch's id.

        Raises PromptEmpty, ImageNotFound, and what `generate` does.
        """
        if not words.strip():
            raise errors.PromptEmpty("Say what to change.", suggestions=("A few words are enough.",))
        return self.generate(user, self.remake(user, image_id, words).recipe, 1)

    def _screen(self, recipes: Sequence[Recipe]) -> None:
        """Have each prompt that is going to be paid for looked at. Raises PromptFlagged."""
        self.client.moderation.screen(
            tuple(dict.fromkeys(with_style(recipe.prompt, recipe.style) for recipe in recipes))
        )

    def reuse(self, user: SignedIn, image_id: str) -> DraftState:
        """Put what an image was made from into the draft. Raises ImageNotFound."""
        return self._take_up(user, recipe_of(self.gallery.get(user.user_id, image_id)))

    def rework(self, user: SignedIn, job_id: str) -> DraftState:
        """Put what a job was asked for into the draft. Raises ImageNotFound or RecipeUnreadable."""
        return self._take_up(user, self.jobs.recipe(user.user_id, job_id))

    def _take_up(self, user: SignedIn, recipe: Recipe) -> DraftState:
        """Make `recipe` the draft; the prompt it replaces stays among the versions."""
        before = self.drafts.load(user.user_id)
        offered = {model.name for model in self.models()}
        draft = replace(
            DraftState.from_recipe(recipe),
            prompt=before.prompt,
            versions=before.versions,
            model=recipe.model if recipe.model in offered else None,
        ).with_prompt(recipe.prompt, "reused", now=self.clock())
        draft = draft.as_new()
        self.drafts.save(user.user_id, draft)
        return draft

    def close(self, *, waited: float = 0.0) -> None:
        """Let running calls finish, then close everything; `waited` seconds of the grace period are over.

        A call that takes longer goes on until the process ends, and keeps the folder till then: a new
        process would take its job for a lost one.
        """
        ends = time.monotonic() + self.settings.shutdown_grace - waited
        jobs_ended = self.jobs.stop(grace_seconds=max(0.0, ends - time.monotonic()))
        texts_ended = self.enhancements.close(grace_seconds=max(0.0, ends - time.monotonic()))
        # Not before: among the chores is what keeps the database to this process.
        self.chores.stop()
        if jobs_ended and texts_ended:
            self.client.close()
            self.process_lock.release()
            self.database.close()
            if self.folder_lock:
                self.folder_lock.release()
