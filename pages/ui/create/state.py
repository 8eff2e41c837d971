"""The Create page's state in one browser tab: the draft, its widgets' keys, and the last failure."""

from __future__ import annotations

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
from pages.ui.error_panel import log_failure
from pages.ui.session import studio

STATE_KEY = "create-state"
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
# The names of the option fields in the errors of `core`. `n` is the number of images.
OPTION_FIELDS = ("model", "size", "quality", "n", "background", "output_format")
# A failure about one of these fields is shown beside the field instead of below the buttons.
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

    The keys of the widgets contain `form_id` or `prompt_form_id`. If an example or a reused image replaces
    the draft, a new id makes new widgets, which show the new draft. Writing a value into the session state of
    an existing widget isn't reliable: under load the browser sends the old value back.
    """

    draft: DraftState
    # The draft as this tab stored it last. Another tab's changes are found by comparison with it.
    saved_draft: DraftState
    form_id: str = field(default_factory=new_id)
    prompt_form_id: str = field(default_factory=new_id)
    # The highest number of images that can be entered. It is a part of that widget's key.
    max_images: int = 1
    failure: errors.ImageError | None = None
    # Counts the failures about options. Each failure opens the options again.
    option_failures: int = 0
    # The failure to store the draft, until storing succeeds.
    save_failure: errors.ImageError | None = None
    jobs_failure: errors.ImageError | None = None
    # The id of the last enhancement whose text or failure this tab has shown.
    shown_run_id: str | None = None
    # Words of the description that the enhancement had left out. They were added at the prompt's end.
    added_back: tuple[str, ...] = ()
    # When the enhanced prompt was written, if it was reused from an earlier enhancement.
    reused_from: datetime | None = None
    # The offer of existing images, and the quote for which it was made.
    offer: Offer | None = None
    offer_quote: Quote | None = None
    # The latest quote, and the draft for which it was computed.
    quoted: tuple[DraftState, Quote] | None = None
    # True if a click in the prompt panel has also changed the rest of the page.
    rerun_page: bool = False
    # True if the tab began with an empty draft. Typing doesn't reset it, because the fields would move.
    welcome: bool = False

    def key(self, name: str) -> str:
        """Return the key of a field's widget."""
        form_id = self.prompt_form_id if name in ("prompt", "many") else self.form_id
        return f"draft-{name}-{self.max_images}-{form_id}" if name == "images" else f"draft-{name}-{form_id}"

    def failure_at(self, *names: str) -> errors.ImageError | None:
        """Return the last failure if it is about one of the fields `names`, otherwise None."""
        return self.failure if self.failure and self.failure.field in names else None

    def keep_failure(self, failure: errors.ImageError) -> None:
        """Keep the failure of a click. The next run shows it beside its field or below the buttons."""
        self.failure = failure
        self.option_failures += failure.field in OPTION_FIELDS

    def keep_jobs_failure(self, failure: errors.ImageError) -> None:
        """Keep the failure of a click on a job's card. The next run shows it above the cards."""
        self.jobs_failure = failure


def create_state(user: SignedIn) -> CreateState:
    """Return this tab's state. A new tab starts with the stored draft."""
    if STATE_KEY not in st.session_state:
        run = studio().enhancements.current(user.user_id)
        draft = studio().drafts.load(user.user_id)
        already_stored = run is not None and not run.is_live and draft.has_version(run.text)
        shown = run is not None and (already_stored or run.error is not None)
        st.session_state[STATE_KEY] = CreateState(
            draft, draft, welcome=draft.is_blank, shown_run_id=run.id if run and shown else None
        )
    state: CreateState = st.session_state[STATE_KEY]
    return state


def reset_create_state() -> None:
    """Discard this tab's state, so that the Create page starts again with the stored draft.

    Call this after another page has changed the stored draft.
    """
    st.session_state.pop(STATE_KEY, None)


def store_typed_text(user: SignedIn) -> None:
    """Store the text typed last on the Create page, even if the user has already opened another page."""
    if STATE_KEY in st.session_state:
        read_widgets(user, st.session_state[STATE_KEY])


def read_widgets(user: SignedIn, state: CreateState) -> None:
    """Copy the widgets' values into the draft, and store the draft if it has changed."""
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
    """Make `draft` this tab's draft and store it.

    If storing fails, this tab keeps the draft and the page shows the failure.
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
    """Return the quote for the draft. It is computed again only if the draft has changed."""
    if state.quoted is None or state.quoted[0] is not state.draft:
        draft = state.draft
        recipe = draft.recipe(studio().settings.default_image_model)
        state.quoted = (draft, studio().quotes.quote(recipe, draft.images, many=draft.many))
    return state.quoted[1]


def is_unshown(state: CreateState, run: EnhancementRun | None) -> bool:
    """Return whether the enhancement `run` has ended and this tab hasn't shown its result yet."""
    return run is not None and not run.is_live and run.id != state.shown_run_id


def apply_enhancement(user: SignedIn, state: CreateState, run: EnhancementRun | None) -> None:
    """Copy a finished enhancement's text or failure into the state, once in each tab."""
    if run is None or not is_unshown(state, run):
        return
    state.shown_run_id = run.id
    state.failure = run.error
    if run.result:
        state.added_back, state.reused_from = run.result.added_back, run.cached_at
        draft = state.draft.with_enhanced(run.text, run.draft_id, run.request, now=utc_now())
        update_draft(user, state, draft)
        state.prompt_form_id = new_id()


def parse_size(typed: str | None) -> str:
    """Return a typed size in the notation of the service, such as `1024x1024`.

    `typed` may be "1024 × 1024", "1024*1024" or the name of a shape, such as "Square".
    """
    text = "".join((typed or "").casefold().replace("×", "x").replace("*", "x").split())
    return next((size for size, shape in SHAPES.items() if shape.casefold() == text), text)
