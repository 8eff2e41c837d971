"""The Create page's fields: one typed state, its widgets, and the way between the two."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.common.ids import new_id
from core.enhancement.drafts import MOST_TEXT, DraftState
from core.enhancement.runs import EnhancementRun
from core.generation.existing_images import Offer
from core.generation.quotes import Quote
from core.prompts.request import EnhancementLevel
from core.prompts.styles import STYLES, TRAIT_SUGGESTIONS, find_style
from core.provider.capabilities import check_size
from core.provider.catalogue import ImageModel, quality_label
from pages.ui.error_panel import log_failure, show_failure
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
# As core's checks name them; `n` is the count.
OPTION_FIELDS = ("model", "size", "quality", "n", "background", "output_format")
PLACED = ("name", "traits", "base_prompt", "style", "guidance", *OPTION_FIELDS)
ENHANCEMENT_WORDS = {
    EnhancementLevel.LIGHT: "Light touch",
    EnhancementLevel.BALANCED: "Balanced",
    EnhancementLevel.RICH: "Rich",
}
_SHAPES = {
    "1024x1024": "Square",
    "1536x1024": "Landscape",
    "1024x1536": "Portrait",
    "1792x1024": "Wide",
    "1024x1792": "Tall",
}
_PREFERRED_SIZE = "1024x1024"
_PREFERRED_QUALITIES = ("low", "standard")


@dataclass(slots=True)
class CreateState:
    """What the Create page knows in this tab.

    `epoch` and `prompt_epoch` are part of the widgets' keys: a draft from elsewhere gets new widgets, which
    begin with its values. (A value written into a widget that is on the page may be overtaken by the next
    run, and then the browser sends the old one back.) `saved` is the draft as this tab last stored it, and
    `unsaved` why it isn't stored now. `most` is the highest count that was offered. `redraw`: a click in the
    prompt's panel concerns the rest of the page too. `handled` is the enhancement whose end this tab has
    seen, and `kept_at` when its text was written, if that was before. `offer` stands while the draft is
    what it was made for, which is `offered`. `fault` counts the failures about the options. `welcome`: this
    tab began without a draft, and nothing has been made since; it stays while one types, for fields must not
    jump from under the keyboard.
    """

    draft: DraftState
    saved: DraftState
    epoch: str = field(default_factory=new_id)
    prompt_epoch: str = field(default_factory=new_id)
    most: int = 1
    failure: errors.ImageError | None = None
    unsaved: errors.ImageError | None = None
    added_back: tuple[str, ...] = ()
    kept_at: datetime | None = None
    offer: Offer | None = None
    offered: Quote | None = None
    handled: str | None = None
    redraw: bool = False
    fault: int = 0
    welcome: bool = False

    def key(self, name: str) -> str:
        """The key of a field's widget."""
        epoch = self.prompt_epoch if name in ("prompt", "many") else self.epoch
        return f"draft-{name}-{self.most}-{epoch}" if name == "images" else f"draft-{name}-{epoch}"

    def failure_at(self, *names: str) -> errors.ImageError | None:
        """The failure, if it is about one of these fields."""
        return self.failure if self.failure and self.failure.field in names else None


def create_state(user: SignedIn) -> CreateState:
    """This tab's state; a new tab begins with the stored draft."""
    if STATE_KEY not in st.session_state:
        run = studio().enhancements.current(user.user_id)
        draft = studio().drafts.load(user.user_id)
        stored = run is not None and not run.is_live and draft.has_had(run.text)
        st.session_state[STATE_KEY] = CreateState(
            draft, draft, welcome=draft.is_blank, handled=run.id if run and (stored or run.error) else None
        )
    state: CreateState = st.session_state[STATE_KEY]
    return state


def read_widgets(user: SignedIn, state: CreateState) -> None:
    """Take what was typed into the draft and store it when it has changed."""
    typed = {
        name: st.session_state[state.key(name)] for name in FIELDS if state.key(name) in st.session_state
    }
    typed["traits"] = tuple(
        trait.strip() for trait in typed.get("traits", state.draft.traits) if trait.strip()
    )
    prompt = typed.pop("prompt", state.draft.prompt)
    if "size" in typed:
        typed["size"] = _as_size(typed["size"])
    draft = replace(state.draft, **typed).with_prompt(prompt, "edited", now=utc_now())
    adopt(user, state, draft)


def drop_create_state() -> None:
    """Let the page begin anew with the stored draft, which has come from elsewhere."""
    st.session_state.pop(STATE_KEY, None)


def keep_typed(user: SignedIn) -> None:
    """Take what was typed on the Create page, also when the next page is already being drawn."""
    if STATE_KEY in st.session_state:
        read_widgets(user, st.session_state[STATE_KEY])


def take_enhancement(user: SignedIn, state: CreateState, run: EnhancementRun | None) -> None:
    """Show how an enhancement ended, once in each tab; its text replaces nothing but the prompt."""
    if run is None or not is_news(state, run):
        return
    state.handled = run.id
    state.failure = run.error
    if run.result:
        state.added_back, state.kept_at = run.result.added_back, run.cached_at
        adopt(user, state, state.draft.with_enhanced(run.text, run.draft_id, run.request, now=utc_now()))
        state.prompt_epoch = new_id()


def is_news(state: CreateState, run: EnhancementRun | None) -> bool:
    """Whether `run` has ended and this tab hasn't seen it yet."""
    return run is not None and not run.is_live and run.id != state.handled


def adopt(user: SignedIn, state: CreateState, draft: DraftState) -> None:
    """Make `draft` this tab's and the stored one; where it can't be stored, the page says so and goes on."""
    if draft != state.draft or state.unsaved:
        state.draft = draft
        try:
            studio().drafts.save(user.user_id, draft, before=state.saved)
            state.saved, state.unsaved = draft, None
        except errors.ImageError as error:
            if state.unsaved is None:
                log_failure(error)
            state.unsaved = error


def refused(state: CreateState, error: errors.ImageError) -> None:
    """Keep what a click was refused, to be shown beside the field that it is about."""
    state.failure = error
    state.fault += error.field in OPTION_FIELDS


def field_failure(state: CreateState, *names: str) -> None:
    """The failure that is about one of these fields, right below it.

    Its place is kept: otherwise what follows would move down, and be on the page twice until the run's end.
    """
    place = st.empty()
    if failure := state.failure_at(*names):
        with place.container():
            show_failure(failure, key=names[0])


def describe_fields(state: CreateState) -> None:
    st.text_input("Name", state.draft.name, max_chars=MOST_TEXT, key=state.key("name"), placeholder="Juniper")
    field_failure(state, "name")
    known = [trait for trait in state.draft.traits if trait not in TRAIT_SUGGESTIONS]
    st.multiselect(
        "Traits",
        [*known, *TRAIT_SUGGESTIONS],
        list(state.draft.traits),
        key=state.key("traits"),
        accept_new_options=True,
        select_all=False,
        wrap=True,
        placeholder="Type a trait and press Enter",
    )
    field_failure(state, "traits")
    st.text_area(
        "Base prompt",
        state.draft.base_prompt,
        max_chars=MOST_TEXT,
        key=state.key("base_prompt"),
        height=120,
        placeholder="reading a book under a tree at sunset",
    )
    field_failure(state, "base_prompt")
    styles = ["", *(style.key for style in STYLES)]
    st.selectbox(
        "Style",
        styles,
        styles.index(state.draft.style) if state.draft.style in styles else 0,
        key=state.key("style"),
        format_func=_style_words,
    )
    field_failure(state, "style")


def option_fields(state: CreateState) -> None:
    """Model, size, quality and count, each offering only what the chosen model can do."""
    models = {model.name: model for model in studio().models()}
    at_fault = state.failure_at(*OPTION_FIELDS) is not None
    # Another fault is another expander: one that was closed by hand would stay closed.
    with st.expander("More options", at_fault, icon=":material/tune:", key=f"options-{state.fault}"):
        chosen = _select(
            state, "model", list(models), (next(iter(models)),), labels=lambda name: models[name].label
        )
        model = models[chosen]
        left, right = st.columns(2)
        with left:
            _select(
                state,
                "size",
                _sizes(model, state.draft.size),
                (_PREFERRED_SIZE,),
                labels=_size_words,
                free=model.accepts_custom_sizes,
            )
        with right:
            _select(state, "quality", model.qualities, _PREFERRED_QUALITIES, labels=quality_label)
        state.most = most = studio().max_images(chosen)
        count = min(max(state.draft.images, 1), most)
        st.number_input("Images", 1, most, count, key=state.key("images"), disabled=most == 1)
        field_failure(state, *OPTION_FIELDS)
        if not at_fault:
            _size_check(state.draft.size, model)
        if model.accepts_custom_sizes:
            st.caption(f"You can also type a size, such as 2048x1152: {model.size_rule}.")


def _size_check(size: str, model: ImageModel) -> None:
    try:
        check_size(size, model)
    except errors.InvalidParameter as fault:
        show_failure(fault, key="size-now")


def _sizes(model: ImageModel, chosen: str) -> list[str]:
    typed = [chosen] if model.accepts_custom_sizes and chosen not in model.sizes else []
    return [*model.sizes, *typed]


def _select(
    state: CreateState,
    name: str,
    options: Sequence[str],
    preferred: Sequence[str],
    *,
    labels: Callable[[str], str],
    free: bool = False,
) -> str:
    """A choice that falls back to a good default when the model doesn't offer the current one."""
    fallback = next((value for value in preferred if value in options), options[0])
    value = getattr(state.draft, name)
    chosen = st.selectbox(
        name.capitalize(),
        options,
        options.index(value if value in options else fallback),
        key=state.key(name),
        format_func=labels,
        accept_new_options=free,
    )
    return chosen or fallback


def _style_words(key: str) -> str:
    style = find_style(key)
    return f"{style.label} — {style.description}" if style else "None"


def _as_size(typed: str) -> str:
    """A size as services write it, from the ways in which people do."""
    text = "".join((typed or "").casefold().replace("×", "x").replace("*", "x").split())
    return next((size for size, shape in _SHAPES.items() if shape.casefold() == text), text)


def _size_words(size: str) -> str:
    shape = _SHAPES.get(size)
    return f"{shape} · {size.replace('x', '×')}" if shape else size.capitalize()
