"""The Create page's fields: one typed state, its widgets, and the way between the two."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import streamlit as st

from core import errors
from core.accounts import SignedIn
from core.catalogue import ImageModel, quality_label
from core.drafts import DraftState
from core.models import utc_now
from core.prompts import STYLES, TRAIT_SUGGESTIONS, Enhancement, style_of
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
    "model",
    "size",
    "quality",
    "images",
)
ENHANCEMENT_WORDS = {
    Enhancement.LIGHT: "Light touch",
    Enhancement.BALANCED: "Balanced",
    Enhancement.RICH: "Rich",
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

    `stale`: the widgets must take the draft's values. `submitted`: a batch was sent by the run just now.
    `welcome`: this tab began without a draft, and nothing has been made since; it stays while one types, for
    fields must not jump from under the keyboard.
    """

    draft: DraftState
    stale: bool = True
    failure: errors.ImageError | None = None
    added_back: tuple[str, ...] = ()
    submitted: bool = False
    welcome: bool = False


def create_state(user: SignedIn) -> CreateState:
    """This tab's state; a new tab begins with the stored draft."""
    if STATE_KEY not in st.session_state:
        draft = studio().drafts.load(user.user_id)
        st.session_state[STATE_KEY] = CreateState(draft, welcome=draft.is_blank)
    state: CreateState = st.session_state[STATE_KEY]
    return state


def widget_key(field: str) -> str:
    return f"draft-{field}"


def fill_widgets(state: CreateState) -> None:
    """Give the widgets the draft's values: after a change of page, which drops them, or from outside."""
    for field in FIELDS:
        key = widget_key(field)
        if state.stale or key not in st.session_state:
            value = getattr(state.draft, field)
            st.session_state[key] = list(value) if field == "traits" else value
    state.stale = False


def read_widgets(user: SignedIn, state: CreateState) -> None:
    """Take what was typed into the draft and store it when it has changed."""
    typed = {
        field: st.session_state[widget_key(field)]
        for field in FIELDS
        if widget_key(field) in st.session_state
    }
    typed["traits"] = tuple(trait.strip() for trait in typed.get("traits", ()) if trait.strip())
    prompt = typed.pop("prompt", state.draft.prompt)
    draft = replace(state.draft, **typed)
    if not is_enhancing(user):
        # Until it has ended, what stands in the area is a piece of the enhancer's text.
        draft = draft.with_prompt(prompt, "edited", now=utc_now())
    adopt(user, state, draft, stale=False)


def is_enhancing(user: SignedIn) -> bool:
    current = studio().enhancements.current(user.user_id)
    return current is not None and current.is_live


def adopt(user: SignedIn, state: CreateState, draft: DraftState, *, stale: bool = True) -> None:
    """Make `draft` this tab's and the stored one."""
    if draft != state.draft:
        state.draft = draft
        studio().drafts.save(user.user_id, draft)
    state.stale = state.stale or stale


def describe_fields(state: CreateState) -> None:
    st.text_input("Name", key=widget_key("name"), placeholder="Juniper", max_chars=200)
    known = [trait for trait in state.draft.traits if trait not in TRAIT_SUGGESTIONS]
    st.multiselect(
        "Traits",
        [*known, *TRAIT_SUGGESTIONS],
        key=widget_key("traits"),
        accept_new_options=True,
        select_all=False,
        placeholder="Type a trait and press Enter",
    )
    st.text_area(
        "Base prompt",
        key=widget_key("base_prompt"),
        height=120,
        placeholder="reading a book under a tree at sunset",
    )
    st.selectbox(
        "Style",
        ["", *(style.key for style in STYLES)],
        key=widget_key("style"),
        format_func=_style_words,
    )


def option_fields(state: CreateState) -> None:
    """Model, size, quality and count, each offering only what the chosen model can do."""
    models = {model.name: model for model in studio().models()}
    with st.expander("More options", icon=":material/tune:"):
        chosen = _select(
            "Model", list(models), "model", (next(iter(models)),), labels=lambda name: models[name].label
        )
        model = models[chosen]
        left, right = st.columns(2)
        with left:
            _select(
                "Size",
                _sizes(model, state.draft.size),
                "size",
                (_PREFERRED_SIZE,),
                labels=_size_words,
                free=model.any_size,
            )
        with right:
            _select("Quality", model.qualities, "quality", _PREFERRED_QUALITIES, labels=quality_label)
        most = studio().max_images(chosen)
        key = widget_key("images")
        st.session_state[key] = min(max(st.session_state.get(key) or 1, 1), most)
        st.number_input("Images", 1, most, key=key, disabled=most == 1)
        if model.any_size:
            st.caption("Another size can be typed, such as 2048x1152: both edges divisible by 16.")


def _sizes(model: ImageModel, chosen: str) -> list[str]:
    typed = [chosen] if model.any_size and chosen not in model.sizes else []
    return [*model.sizes, *typed]


def _select(
    label: str,
    options: Sequence[str],
    field: str,
    preferred: Sequence[str],
    *,
    labels: object = str,
    free: bool = False,
) -> str:
    """A choice that falls back to a good default when the model doesn't offer the current one."""
    key = widget_key(field)
    if st.session_state.get(key) not in options and not (free and st.session_state.get(key)):
        st.session_state[key] = next((value for value in preferred if value in options), options[0])
    return st.selectbox(label, options, key=key, format_func=labels, accept_new_options=free)  # type: ignore


def _style_words(key: str) -> str:
    style = style_of(key)
    return f"{style.label} — {style.description}" if style else "None"


def _size_words(size: str) -> str:
    shape = _SHAPES.get(size)
    return f"{shape} · {size.replace('x', '×')}" if shape else size.capitalize()
