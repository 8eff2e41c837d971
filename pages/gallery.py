"""A person's own images: find them, open them, keep or delete them."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from core.accounts import SignedIn
from core.gallery import Filters
from core.prompts import style_of
from pages.ui.image_dialog import TRASHED_KEY, image_dialog
from pages.ui.image_grid import image_grid
from pages.ui.links import OPEN_PARAM
from pages.ui.session import require_user, studio
from pages.ui.text import plain

STATE_KEY = "gallery-state"
TRASH = "Trash"


@dataclass(slots=True)
class GalleryState:
    """Where in the gallery this tab is. `cursor` belongs to `filters` and is dropped with them."""

    filters: Filters = field(default_factory=Filters)
    cursor: str | None = None


def page(user: SignedIn) -> None:
    if STATE_KEY not in st.session_state:
        st.session_state[STATE_KEY] = GalleryState()
    state: GalleryState = st.session_state[STATE_KEY]
    st.title("Gallery", anchor=False)
    filters = _filter_bar(user)
    if filters != state.filters:
        state.filters, state.cursor = filters, None
    _undo_bar(user)
    found = studio().gallery.page(user.user_id, filters, after=state.cursor)
    if not found.images:
        _nothing(filters)
    opened = image_grid(found.images, key="grid") if found.images else None
    _pager(state, found.newer, found.next)
    if opened:
        image_dialog(user, opened)
    elif linked := st.query_params.get(OPEN_PARAM):
        del st.query_params[OPEN_PARAM]
        image_dialog(user, linked)


def _filter_bar(user: SignedIn) -> Filters:
    choices = studio().gallery.styles_and_models(user.user_id)
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        search = st.text_input(
            "Search",
            type="search",
            placeholder="Name, trait or words of the prompt",
            icon=":material/search:",
            key="g-search",
        )
        style = st.selectbox(
            "Style", [None, *choices.styles], format_func=_style_words, key="g-style", width=170
        )
        model = st.selectbox(
            "Model",
            [None, *choices.models],
            format_func=lambda name: name or "Any model",
            key="g-model",
            width=190,
        )
        favourites = st.toggle("Favourites", key="g-favourites")
        trash = st.toggle(TRASH, key="g-trash", help=_trash_words())
    return Filters(search=search or "", style=style, model=model, favourites=favourites, trash=trash)


def _style_words(key: str | None) -> str:
    if key is None:
        return "Any style"
    style = style_of(key)
    return style.label if style else key or "No style"


def _trash_words() -> str:
    return f"Deleted images can be brought back for {studio().settings.trash_days} days."


def _undo_bar(user: SignedIn) -> None:
    if image_id := st.session_state.get(TRASHED_KEY):
        with st.container(horizontal=True, vertical_alignment="center", key="undo-bar"):
            st.markdown("Image moved to the trash.")
            st.button("Undo", icon=":material/undo:", on_click=_undo, args=(user, image_id))


def _undo(user: SignedIn, image_id: str) -> None:
    studio().gallery.restore(user.user_id, image_id)
    st.session_state.pop(TRASHED_KEY, None)


def _nothing(filters: Filters) -> None:
    """What an empty page says, and the way on."""
    with st.container(border=True, horizontal_alignment="center", key="empty"):
        if filters == Filters():
            st.markdown("### Your gallery is empty")
            st.markdown("Every picture you generate is kept here, for you alone.")
            st.page_link("create.py", label="Make your first image", icon=":material/brush:")
        elif filters == Filters(trash=True):
            st.markdown("### The trash is empty")
            st.markdown(_trash_words())
        else:
            st.markdown("### Nothing matches")
            words = f" for “{plain(filters.search)}”" if filters.search else ""
            st.markdown(f"No image was found{words}. Try fewer words or another filter.")


def _pager(state: GalleryState, newer: str | None, older: str | None) -> None:
    if not (newer or older):
        return
    with st.container(horizontal=True, horizontal_alignment="center", key="pager"):
        st.button(
            "Newer", icon=":material/chevron_left:", disabled=newer is None, on_click=_go, args=(state, newer)
        )
        st.button(
            "Older",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=older is None,
            on_click=_go,
            args=(state, older),
        )


def _go(state: GalleryState, cursor: str | None) -> None:
    state.cursor = cursor


page(require_user())
