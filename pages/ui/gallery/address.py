"""The Gallery page's address: the query parameters that name the filters, the page and the open image.

The address is written whenever one of them changes, so it can be reloaded, gone back to and opened elsewhere.
"""

from __future__ import annotations

import streamlit as st

from core.common.ids import new_id
from core.images.gallery_queries import SEARCH_LENGTH, Filters
from pages.ui.gallery.state import GalleryState
from pages.ui.links import OPEN_PARAM

PAGE_PARAM = "page"
YES = "yes"


def follow_address(state: GalleryState, *, entered: bool) -> None:
    """Change `state` to what the address names, if the user has gone back or forward, or opened a link.

    `entered` says whether the user has just come from another page of the app. An address that then names no
    filters and no page keeps those that the user left behind. After a click on this page the address may
    still be the one from before the click, so it isn't followed.
    """
    address, clicked = st.query_params.to_dict(), state.clicked or _widgets_changed(state)
    state.clicked = False
    if address == state.address or clicked:
        return
    keeps_list = entered and state.address is not None and not address.keys() - {OPEN_PARAM}
    if not keeps_list:
        state.filters, state.cursor = _filters_in(address), address.get(PAGE_PARAM)
        if state.address is not None:
            state.form_id = new_id()
    state.image_id = address.get(OPEN_PARAM)


def write_address(state: GalleryState) -> None:
    """Write what `state` names into the address. The browser keeps the address before it in its history."""
    filters = state.filters
    parameters = {
        "search": filters.search,
        "style": filters.style,
        "model": filters.model,
        "favourites": filters.favourites and YES,
        "trash": filters.trash and YES,
        PAGE_PARAM: state.cursor,
        OPEN_PARAM: state.image_id,
    }
    state.address = {name: str(value) for name, value in parameters.items() if value}
    if st.query_params.to_dict() != state.address:
        st.query_params.from_dict(state.address)


def _filters_in(address: dict[str, str]) -> Filters:
    return Filters(
        address.get("search", "")[:SEARCH_LENGTH],
        address.get("style") or None,
        address.get("model") or None,
        address.get("favourites") == YES,
        address.get("trash") == YES,
    )


def _widgets_changed(state: GalleryState) -> bool:
    """Return whether the user has changed a filter since the page was drawn."""
    shown = ((name, getattr(state.filters, name)) for name in Filters.__dataclass_fields__)
    return any(
        (st.session_state.get(state.key(name), value) or None) != (value or None) for name, value in shown
    )
