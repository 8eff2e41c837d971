"""The input fields of the Create page: the description, the enhancement and the options."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.common.ids import new_id
from core.enhancement.drafts import EXAMPLE, MAX_FIELD_LENGTH
from core.prompts.request import EnhancementLevel
from core.prompts.styles import STYLES, TRAIT_SUGGESTIONS, find_style
from core.provider.capabilities import check_size
from core.provider.catalogue import ImageModel, quality_label
from pages.ui.create.state import OPTION_FIELDS, SHAPES, CreateState, read_widgets, update_draft
from pages.ui.error_panel import show_failure
from pages.ui.session import as_user, studio

ENHANCEMENT_LABELS = {
    EnhancementLevel.LIGHT: "Light touch",
    EnhancementLevel.BALANCED: "Balanced",
    EnhancementLevel.RICH: "Rich",
}
_PREFERRED_SIZE = "1024x1024"
_PREFERRED_QUALITIES = ("low", "standard")


def welcome_box(user: SignedIn, state: CreateState) -> None:
    with st.container(border=True):
        st.markdown(
            "**New here?** Describe who or what you want to see. **Enhance prompt** turns your description "
            "into a detailed prompt, which you can edit. **Generate** creates an image from the prompt and "
            "saves it in your gallery."
        )
        st.button(
            "Show me an example",
            icon=":material/auto_awesome:",
            on_click=as_user(user, _use_example),
            args=(state,),
        )


def _use_example(user: SignedIn, state: CreateState) -> None:
    state.welcome = False
    read_widgets(user, state)
    versions = state.draft.versions
    update_draft(user, state, replace(EXAMPLE.with_new_id(), versions=versions))
    state.form_id = state.prompt_form_id = new_id()


def field_failure(state: CreateState, *names: str) -> None:
    """Show the last click's error here if it is about one of the fields `names`. Call this below the field.

    If there is no such error, an empty element keeps the position. Otherwise a later error would move the
    elements below, and Streamlit would show them twice for a moment.
    """
    placeholder = st.empty()
    if failure := state.failure_at(*names):
        with placeholder.container():
            show_failure(failure, key=names[0])


def description_fields(state: CreateState) -> None:
    st.text_input(
        "Name", state.draft.name, max_chars=MAX_FIELD_LENGTH, key=state.key("name"), placeholder="Juniper"
    )
    field_failure(state, "name")
    own_traits = [trait for trait in state.draft.traits if trait not in TRAIT_SUGGESTIONS]
    st.multiselect(
        "Traits",
        [*own_traits, *TRAIT_SUGGESTIONS],
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
        max_chars=MAX_FIELD_LENGTH,
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
        format_func=_style_label,
    )
    field_failure(state, "style")


def enhancement_fields(state: CreateState) -> None:
    st.segmented_control(
        "Enhancement",
        list(EnhancementLevel),
        default=state.draft.enhancement,
        key=state.key("enhancement"),
        format_func=lambda level: ENHANCEMENT_LABELS[EnhancementLevel(level)],
        required=True,
        width="stretch",
    )
    st.text_input(
        "Guidance (optional)",
        state.draft.guidance,
        max_chars=MAX_FIELD_LENGTH,
        key=state.key("guidance"),
        placeholder="for a children's book cover",
    )
    field_failure(state, "guidance")


def option_fields(state: CreateState) -> None:
    """Draw the fields for the model, the size, the quality and the number of images.

    The size and quality fields have the options that the chosen model supports.
    """
    models = {model.name: model for model in studio().quotes.models()}
    has_failure = state.failure_at(*OPTION_FIELDS) is not None
    # Use a new key for each failure. With the same key, an expander that the user has closed would stay
    # closed.
    with st.expander(
        "More options", has_failure, icon=":material/tune:", key=f"options-{state.option_failures}"
    ):
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
                labels=_size_label,
                accept_new=model.accepts_custom_sizes,
            )
        with right:
            _select(state, "quality", model.qualities, _PREFERRED_QUALITIES, labels=quality_label)
        limit = studio().settings.max_images
        count = min(max(state.draft.images, 1), limit)
        st.number_input("Images", 1, limit, count, key=state.key("images"), disabled=limit == 1)
        field_failure(state, *OPTION_FIELDS)
        if not has_failure:
            _show_size_failure(state.draft.size, model)
        if model.accepts_custom_sizes:
            st.caption(f"You can also type a size, such as 2048x1152: {model.size_rule}.")


def _show_size_failure(size: str, model: ImageModel) -> None:
    """Show an error if `model` doesn't support `size`, so that the user sees it before clicking Generate."""
    try:
        check_size(size, model)
    except errors.InvalidParameter as failure:
        show_failure(failure, key="size-now")


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
    accept_new: bool = False,
) -> str:
    """Draw a select box for the draft's field `name`, and return the selected option.

    If the draft's value isn't one of `options`, the first value of `preferred` that is an option is selected.
    If there is none, the first option is selected. `labels` returns the text of an option. With `accept_new`,
    the user may type another value.
    """
    fallback = next((value for value in preferred if value in options), options[0])
    value = getattr(state.draft, name)
    chosen = st.selectbox(
        name.capitalize(),
        options,
        options.index(value if value in options else fallback),
        key=state.key(name),
        format_func=labels,
        accept_new_options=accept_new,
    )
    return chosen or fallback


def _style_label(key: str) -> str:
    style = find_style(key)
    return f"{style.label} — {style.description}" if style else "None"


def _size_label(size: str) -> str:
    shape = SHAPES.get(size)
    return f"{shape} · {size.replace('x', '×')}" if shape else size.capitalize()
