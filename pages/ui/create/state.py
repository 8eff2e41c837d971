"""The Create page's state in one browser tab: the draft, the keys of its widgets, and the last errors.

The draft has the values of all input fields and the prompt.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from datetime import datetime

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.common.ids import new_id
from core.enhancement.drafts import DraftState
from core.enhancement.runs import EnhancementRun
from core.generation.existing_images import Offer
from core.generation.quotes import Quote
from pages.ui.echo import show_and_echo
from pages.ui.error_panel import log_failure
from pages.ui.session import studio

STATE_KEY = "create-state"
_FORM_IDS = re.compile("([0-9a-f]{32}) ([0-9a-f]{32})")
FIELDS = (
    "name",
    "traits",
    "base_prompt",
    "style",
    "enhancement",
    "guidance",
    "prompt",
    "many",
    "model",
    "size",
    "quality",
    "images",
)
# The fields that `core`'s errors name if they are about an option. `n` is the number of images.
OPTION_FIELDS = ("model", "size", "quality", "n", "background", "output_format")
# An error about one of these fields is shown beside the field instead of below the buttons.
FIELDS_WITH_FAILURE = ("name", "traits", "base_prompt", "style", "guidance", *OPTION_FIELDS)
SHAPES = {
    "1024x1024": "Square",
    "1536x1024": "Landscape",
    "1024x1536": "Portrait",
    "1792x1024": "Wide",
    "1024x1792": "Tall",
}


@dataclass(slots=True)
class CreateState:
    """The Create page's state in one browser tab.

    `draft` has the values of the input fields and the prompt. The Streamlit keys of the widgets contain
    `form_id` or `prompt_form_id`. If an example or a reused image replaces the draft, the ids change.
    Streamlit then makes new widgets, which show the new draft. Writing a value into an existing widget isn't
    reliable: under load the browser sends the old value back.
    """

    draft: DraftState
    # The draft as this tab last stored it. It is used to find out what another tab has changed since.
    saved_draft: DraftState
    form_id: str = field(default_factory=new_id)
    prompt_form_id: str = field(default_factory=new_id)
    failure: errors.ImageError | None = None
    # Counts the errors about options. Each new error unfolds the options again.
    option_failures: int = 0
    # The error of storing the draft. It is kept until the draft is stored.
    save_failure: errors.ImageError | None = None
    jobs_failure: errors.ImageError | None = None
    # The id of the last enhancement whose text or error this tab has shown.
    shown_run_id: str | None = None
    # Words of the description that the text model left out. They were added at the end of the prompt.
    added_back: tuple[str, ...] = ()
    # The error that the service reported beside the enhanced prompt.
    error_beside: errors.ImageError | None = None
    # If the enhanced prompt was reused from an earlier enhancement, the time of that enhancement.
    reused_from: datetime | None = None
    # The offer of existing images in place of new ones, and the quote for which it was made.
    offer: Offer | None = None
    offer_quote: Quote | None = None
    # The latest quote, and the draft for which it was computed.
    quoted: tuple[DraftState, Quote] | None = None
    # True if a click in the prompt panel has also changed the rest of the page.
    rerun_page: bool = False
    # True if the page shows the welcome box: the tab began with an empty draft. Typing doesn't hide the box,
    # because the fields would move.
    welcome: bool = False

    def key(self, name: str) -> str:
        """Return the Streamlit key of the widget for the field `name`, which is one of FIELDS."""
        form_id = self.prompt_form_id if name in ("prompt", "many") else self.form_id
        return f"draft-{name}-{form_id}"

    @property
    def form_ids(self) -> str:
        return f"{self.form_id} {self.prompt_form_id}"

    def failure_at(self, *names: str) -> errors.ImageError | None:
        """Return the last click's error if it is about one of the fields `names`, otherwise None."""
        return self.failure if self.failure and self.failure.field in names else None

    def keep_failure(self, failure: errors.ImageError) -> None:
        """Keep the error of a click until the page is drawn.

        The page shows the error beside the field that it is about, or below the buttons.
        """
        self.failure = failure
        self.option_failures += failure.field in OPTION_FIELDS

    def keep_jobs_failure(self, failure: errors.ImageError) -> None:
        """Keep the error of a click on a job's card until the page is drawn. It is shown above the cards."""
        self.jobs_failure = failure


def create_state(user: SignedIn, run: EnhancementRun | None) -> CreateState:
    """Return the Create page's state in this tab, with what was typed and the result of `run`.

    In a new tab, the state starts with the user's stored draft. If the app was restarted, a tab that stayed
    open keeps its widgets, with what was typed into them.
    """
    is_new = STATE_KEY not in st.session_state
    state: CreateState = st.session_state.get(STATE_KEY) or _stored_state(user)
    if not is_new:
        _update(user, state, run)
    kept = _FORM_IDS.fullmatch(show_and_echo("form", state.form_ids, adopt=is_new))
    if is_new and kept:
        state.form_id, state.prompt_form_id = kept.groups()
    # Streamlit may interrupt the lines above. Then the next run adopts the browser's ids.
    st.session_state[STATE_KEY] = state
    if is_new:
        shown = state.form_ids
        _update(user, state, run)
        # The browser must have the ids of the widgets that the page shows.
        state.rerun_page = state.form_ids != shown
    return state


def _update(user: SignedIn, state: CreateState, run: EnhancementRun | None) -> None:
    # Store the typed prompt in the history before the enhanced prompt replaces it.
    read_widgets(user, state)
    _apply_enhancement(user, state, run)


def _stored_state(user: SignedIn) -> CreateState:
    run = studio().enhancements.current(user.user_id)
    draft = studio().drafts.load(user.user_id)
    already_stored = run is not None and not run.is_live and draft.has_version(run.text)
    shown = run is not None and (already_stored or run.error is not None)
    return CreateState(draft, draft, welcome=draft.is_blank, shown_run_id=run.id if run and shown else None)


def reset_create_state() -> None:
    """Discard the Create page's state in this tab. The page then starts again with the stored draft.

    Call this after code outside the Create page's form has changed the stored draft.
    """
    st.session_state[STATE_KEY] = None


def store_typed_text(user: SignedIn) -> None:
    """Store what the user typed last on the Create page.

    Call this on every page, because the user may have opened another page while the text was sent.
    """
    if state := st.session_state.get(STATE_KEY):
        read_widgets(user, state)


def read_widgets(user: SignedIn, state: CreateState) -> None:
    """Copy the values of the widgets into the draft of `state`. Store the draft if it has changed."""
    typed = {
        name: st.session_state[state.key(name)] for name in FIELDS if state.key(name) in st.session_state
    }
    typed["traits"] = tuple(
        trait.strip() for trait in typed.get("traits", state.draft.traits) if trait.strip()
    )
    prompt = typed.pop("prompt", state.draft.prompt)
    if "size" in typed:
        typed["size"] = parse_size(typed["size"])
    draft = replace(state.draft, **typed).with_prompt(prompt, "edited", now=utc_now())
    update_draft(user, state, draft)


def update_draft(user: SignedIn, state: CreateState, draft: DraftState) -> None:
    """Make `draft` this tab's draft, and store it in the database.

    If storing fails, the tab keeps the draft, and the page shows the error.
    """
    if draft == state.draft and not state.save_failure:
        return
    state.draft = draft
    try:
        studio().drafts.save(user.user_id, draft, before=state.saved_draft)
        state.saved_draft, state.save_failure = draft, None
    except errors.ImageError as error:
        if state.save_failure is None:
            log_failure(error)
        state.save_failure = error


def current_quote(state: CreateState) -> Quote:
    """Return the quote for the draft: the number of images and their price.

    The quote is computed only if the draft has changed since the last call.
    """
    if state.quoted is None or state.quoted[0] is not state.draft:
        draft = state.draft
        recipe = draft.recipe(studio().settings.default_image_model)
        state.quoted = (draft, studio().quotes.quote(recipe, draft.images, many=draft.many))
    return state.quoted[1]


def is_unshown(state: CreateState, run: EnhancementRun | None) -> bool:
    """Return whether the enhancement `run` has ended and its result wasn't shown in this tab yet."""
    return run is not None and not run.is_live and run.id != state.shown_run_id


def _apply_enhancement(user: SignedIn, state: CreateState, run: EnhancementRun | None) -> None:
    """Copy the result of the ended enhancement `run` into the state: the enhanced prompt, or the error.

    Does nothing if the enhancement is still running, or if this tab has already shown its result.
    """
    if run is None or not is_unshown(state, run):
        return
    state.shown_run_id = run.id
    state.failure = run.error
    if run.error and run.text:
        update_draft(user, state, state.draft.with_unfinished(run.text, run.draft_id, now=utc_now()))
        state.prompt_form_id = new_id()
    if run.result:
        state.added_back, state.reused_from = run.result.added_back, run.cached_at
        state.error_beside = run.result.error
        draft = state.draft.with_enhanced(run.text, run.draft_id, run.request, now=utc_now())
        update_draft(user, state, draft)
        state.prompt_form_id = new_id()


def parse_size(typed: str | None) -> str:
    """Return the size that the user has typed in the service's notation, such as `1024x1024`.

    `typed` may be "1024 × 1024", "1024*1024" or the name of a shape, such as "Square". Returns an empty
    string if `typed` is None. Any other text is returned in lower case and without spaces.
    """
    text = "".join((typed or "").casefold().replace("×", "x").replace("*", "x").split())
    return next((size for size, shape in SHAPES.items() if shape.casefold() == text), text)
