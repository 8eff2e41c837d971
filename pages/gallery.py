"""The Gallery page: a user can search, filter and open the images in their own gallery."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.accounts.identity import SignedIn
from core.images.gallery_queries import Filters, Page
from pages.ui.formatting import escape_markdown, format_image_count
from pages.ui.gallery.address import follow_address, write_address
from pages.ui.gallery.filter_bar import filter_bar, trash_text
from pages.ui.gallery.image_dialog import image_dialog
from pages.ui.gallery.image_grid import image_grid
from pages.ui.gallery.new_images import live_job_ids, new_images_button
from pages.ui.gallery.state import GalleryState, gallery_state
from pages.ui.pager import pager
from pages.ui.session import as_user, require_user, studio

EASEL = str(Path(__file__).parent / "ui" / "gallery" / "easel.svg")
SKELETONS = 6


def page(user: SignedIn) -> None:
    st.title("Gallery", anchor=False)
    state = gallery_state()
    # True if the user has just opened this page: Streamlit drops the values of the widgets of other pages.
    entered = state.key("search") not in st.session_state
    follow_address(state, entered=entered)
    filters = filter_bar(user, state)
    if entered or filters != state.filters:
        state.trashed_id = None
    if filters != state.filters:
        state.filters, state.cursor, state.image_id = filters, None, None
    write_address(state)
    _undo_bar(user, state)
    found = _load_images(user, state, with_skeletons=entered)
    if not found.images:
        _empty_gallery(user, state)
    st.caption(_count_text(user, filters, found))
    new_images_button(user, is_empty=not found.images)
    if found.images:
        image_grid(found.images, key="grid", on_open=state.open_image, closed_id=state.closed_id)
    pager(found.newer, found.next, state.show_page)
    if state.image_id:
        image_dialog(user, state, state.image_id)


def _load_images(user: SignedIn, state: GalleryState, *, with_skeletons: bool) -> Page:
    """Load the page of images that `state` names. A page is a limited number of images.

    If `with_skeletons` is True, show grey placeholders while the images are loaded.
    """
    loading = st.empty()
    if with_skeletons:
        with loading.container(), st.container(horizontal=True):
            for _ in range(SKELETONS):
                st.skeleton(height=220, width=200)
    found = studio().gallery.page(user.user_id, state.filters, after=state.cursor)
    loading.empty()
    return found


def _count_text(user: SignedIn, filters: Filters, found: Page) -> str:
    """Return the number of images that match `filters` as text, such as "12 images".

    Returns an empty string if no images match. Returns an empty string for a search with several pages of
    results, too, because counting them is slow.
    """
    if not (found.next or found.newer):
        return format_image_count(len(found.images)) if found.images else ""
    return "" if filters.search else format_image_count(studio().gallery.count(user.user_id, filters))


def _undo_bar(user: SignedIn, state: GalleryState) -> None:
    if image_id := state.trashed_id:
        with st.container(horizontal=True, vertical_alignment="center", key="undo-bar"):
            st.markdown("Image moved to the trash.")
            st.button("Undo", icon=":material/undo:", on_click=as_user(user, _undo), args=(state, image_id))


def _undo(user: SignedIn, state: GalleryState, image_id: str) -> None:
    studio().gallery.restore(user.user_id, image_id)
    state.trashed_id = None


def _empty_gallery(user: SignedIn, state: GalleryState) -> None:
    """Show why no images are found, and a button for what the user can do next."""
    filters = state.filters
    with st.container(horizontal_alignment="center", key="empty"):
        if filters == Filters():
            if live_job_ids(user):
                _empty_message("Your first images are generating", "They will appear here.")
                return
            _empty_message("Your gallery is empty", "Images that you generate are saved here, for you alone.")
            if st.button("Create your first image", icon=":material/brush:", type="primary"):
                st.switch_page("create.py")
        elif filters == Filters(trash=True):
            _empty_message("The trash is empty", trash_text())
        else:
            search = f" for “{escape_markdown(filters.search)}”" if filters.search else ""
            _empty_message("Nothing matches", f"No images found{search}. Try fewer words or another filter.")
            st.button("Show all images", icon=":material/filter_alt_off:", on_click=state.show_all)


def _empty_message(title: str, text: str) -> None:
    st.image(EASEL, width=132, alt="")
    st.header(title, anchor=False, text_alignment="center")
    st.markdown(text, text_alignment="center")


page(require_user())
