"""The gallery's search field and filters."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.accounts.identity import SignedIn
from core.images.gallery_queries import Filters
from core.prompts.styles import find_style
from core.provider.catalogue import image_model
from pages.ui.formatting import escape_markdown
from pages.ui.gallery.state import GalleryState
from pages.ui.session import studio


def filter_bar(user: SignedIn, state: GalleryState) -> Filters:
    """Draw the search field and the filters, and return the user's current choice."""
    choices, chosen = studio().gallery.styles_and_models(user.user_id), state.filters
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        search = st.text_input(
            "Search",
            chosen.search,
            type="search",
            placeholder="Name or words from the prompt",
            icon=":material/search:",
            key=state.key("search"),
        )
        style = _select(state, "style", choices.styles, _style_label, width=170)
        model = _select(state, "model", choices.models, _model_label, width=190)
        favourites = st.toggle("Favourites", chosen.favourites, key=state.key("favourites"))
        trash = st.toggle("Trash", chosen.trash, key=state.key("trash"), help=trash_text())
    return Filters(search or "", style or None, model or None, favourites, trash)


def trash_text() -> str:
    return f"Deleted images can be restored for {studio().settings.trash_days} days."


def _select(
    state: GalleryState, name: str, values: tuple[str, ...], label: Callable[[str], str], *, width: int
) -> str:
    """Draw a select box for the filter `name`, and return the selected value.

    The options are `values`, and an empty string that selects all images. The filter's current value stays an
    option, even if no image has this value any more. `label` returns the text of an option.
    """
    chosen: str = getattr(state.filters, name) or ""
    options = list(dict.fromkeys(("", *values, chosen)))
    selected: str = st.selectbox(
        name.capitalize(),
        options,
        options.index(chosen),
        format_func=label,
        key=state.key(name),
        width=width,
    )
    return selected


def _model_label(name: str) -> str:
    return escape_markdown(image_model(name).label) if name else "Any model"


def _style_label(key: str) -> str:
    style = find_style(key)
    return style.label if style else key or "Any style"
