"""Reuse: copies the prompt and options of an image or a job into the user's draft."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.enhancement.drafts import Drafts, DraftState
from core.generation.edits import recipe_of
from core.generation.jobs import Jobs
from core.generation.quotes import Quotes
from core.images.gallery import Gallery
from core.prompts.recipe import Recipe


@dataclass(frozen=True, slots=True, kw_only=True)
class Reuse:
    """Replaces the user's draft with the prompt and options of an image or a job.

    A draft is the content of the Create page's fields. The previous prompt stays in its list of earlier
    prompts.
    """

    drafts: Drafts
    gallery: Gallery
    jobs: Jobs
    quotes: Quotes
    clock: Callable[[], datetime] = utc_now

    def image(self, user: SignedIn, image_id: str) -> DraftState:
        """Replace the draft with the prompt and options of an image, and return the new draft.

        Raises ImageNotFound if this user has no such image.
        """
        return self._replace_draft(user, recipe_of(self.gallery.get(user.user_id, image_id)))

    def job(self, user: SignedIn, job_id: str) -> DraftState:
        """Replace the draft with the prompt and options of a job, and return the new draft.

        Raises ImageNotFound if this user has no such job, and RecipeUnreadable if another release of the app
        has submitted the job with other fields.
        """
        return self._replace_draft(user, self.jobs.recipe(user.user_id, job_id))

    def _replace_draft(self, user: SignedIn, recipe: Recipe) -> DraftState:
        before = self.drafts.load(user.user_id)
        offered = {model.name for model in self.quotes.models()}
        draft = replace(
            DraftState.from_recipe(recipe),
            prompt=before.prompt,
            versions=before.versions,
            # If the model is no longer available, None selects the default model.
            model=recipe.model if recipe.model in offered else None,
        ).with_prompt(recipe.prompt, "reused", now=self.clock())
        draft = draft.with_new_id()
        self.drafts.save(user.user_id, draft)
        return draft
