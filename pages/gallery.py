"""A person's own images: find them, open them, keep or delete them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import streamlit as st

from core.accounts.identity import SignedIn
from core.common.ids import new_id
from core.images.gallery_queries import Filters, Page
from core.prompts.styles import find_style
from core.provider.catalogue import image_model
from pages.ui.formatting import escape_markdown, format_image_count
from pages.ui.gallery.image_dialog import TRASHED_KEY, image_dialog
from pages.ui.gallery.image_grid import image_grid
from pages.ui.links import OPEN_PARAM
from pages.ui.pager import pager
from pages.ui.polling import stop_polling
from pages.ui.session import as_user, require_user, rerun_if_signed_out, studio

STATE_KEY = "gallery-state"
TRASH = "Trash"
EASEL = str(Path(__file__).parent / "ui" / "assets" / "easel.svg")
SKELETONS = 6
WATCH_SECONDS = 2.0


@dataclass(slots=True)
class GalleryState:
    """Where in the gallery this tab is. `cursor` belongs to `filters` and is dropped with them.

    `epoch` is part of the filters' keys: filters from elsewhere get new widgets, which begin with them.
    """

    filters: Filters = field(default_factory=Filters)
    cursor: str | None = None
    epoch: str = field(default_factory=new_id)

    def key(self, name: str) -> str:
        """The key of a filter's widget."""
        return f"g-{name}-{self.epoch}"


def page(user: SignedIn) -> None:
    if STATE_KEY not in st.session_state:
        st.session_state[STATE_KEY] = GalleryState()
    state: GalleryState = st.session_state[STATE_KEY]
    st.title("Gallery", anchor=False)
    # Widgets don't survive a change of page.
    arriving = state.key("search") not in st.session_state
    filters = _filter_bar(user, state)
    if arriving or filters != state.filters:
        _forget_undo()
    if filters != state.filters:
        state.filters, state.cursor = filters, None
    _undo_bar(user)
    found = _find(user, state, arriving)
    if not found.images:
        _nothing(user, state)
    st.caption(_count_words(user, filters, found))
    _on_their_way(user, found)
    opened = image_grid(found.images, key="grid") if found.images else None
    pager(found.newer, found.next, partial(_turn, state))
    if opened:
        image_dialog(user, opened)
    elif linked := st.query_params.get(OPEN_PARAM):
        del st.query_params[OPEN_PARAM]
        image_dialog(user, linked)


def _on_their_way(user: SignedIn, found: Page) -> None:
    """What is made meanwhile can be shown as soon as it has ended; how far it is, the bar says."""
    if waiting := _being_made(user):
        st.fragment(run_every=WATCH_SECONDS)(_watch)(user, waiting, bool(found.images))


def _watch(user: SignedIn, before: frozenset[str], busy: bool) -> None:
    """Images are not redrawn by themselves: that would close one that is open, and move what is looked at."""
    rerun_if_signed_out(user)
    jobs = [job for job in studio().jobs.recent(user.user_id) if job.id in before]
    if not any(job.is_live for job in jobs):
        stop_polling()
    new = sum(len(job.image_ids) for job in jobs)
    if new and not busy:
        st.rerun()
    if new and st.button(f"Show {new} new", icon=":material/refresh:"):
        st.rerun()


def _being_made(user: SignedIn) -> frozenset[str]:
    return frozenset(job.id for job in studio().jobs.recent(user.user_id) if job.is_live)


def _find(user: SignedIn, state: GalleryState, arriving: bool) -> Page:
    """The page of images, with their places drawn first where one comes from another page."""
    loading = st.empty()
    if arriving:
        with loading.container(), st.container(horizontal=True):
            for _ in range(SKELETONS):
                st.skeleton(height=220, width=200)
    found = studio().gallery.page(user.user_id, state.filters, after=state.cursor)
    loading.empty()
    return found


def _count_words(user: SignedIn, filters: Filters, found: Page) -> str:
    """How many there are; a search that fills more than a page is not counted, which would be slow."""
    if not (found.next or found.newer):
        return format_image_count(len(found.images)) if found.images else ""
    return "" if filters.search else format_image_count(studio().gallery.count(user.user_id, filters))


def _filter_bar(user: SignedIn, state: GalleryState) -> Filters:
    choices, chosen = studio().gallery.styles_and_models(user.user_id), state.filters
    with st.container(horizontal=True, vertical_alignment="bottom", key="filters"):
        search = st.text_input(
            "Search",
            chosen.search,
            type="search",
            placeholder="Name, trait or words from the prompt",
            icon=":material/search:",
            key=state.key("search"),
        )
        style = _choice(state, "style", choices.styles, _style_words, width=170)
        model = _choice(state, "model", choices.models, _model_words, width=190)
        favourites = st.toggle("Favourites", chosen.favourites, key=state.key("favourites"))
        trash = st.toggle(TRASH, chosen.trash, key=state.key("trash"), help=_trash_words())
    return Filters(search or "", style or None, model or None, favourites, trash)


def _choice(
    state: GalleryState, name: str, values: tuple[str, ...], words: Callable[[str], str], *, width: int
) -> str:
    """First anything, then what there is; also what was chosen, for its last image may be gone."""
    chosen: str = getattr(state.filters, name) or ""
    options = list(dict.fromkeys(("", *values, chosen)))
    found: str = st.selectbox(
        name.capitalize(),
        options,
        options.index(chosen),
        format_func=words,
        key=state.key(name),
        width=width,
    )
    return found


def _model_words(name: str) -> str:
    return escape_markdown(image_model(name).label) if name else "Any model"


def _style_words(key: str) -> str:
    style = find_style(key)
    return style.label if style else key or "Any style"


def _trash_words() -> str:
    return f"Deleted images can be restored for {studio().settings.trash_days} days."


def _undo_bar(user: SignedIn) -> None:
    if image_id := st.session_state.get(TRASHED_KEY):
        with st.container(horizontal=True, vertical_alignment="center", key="undo-bar"):
            st.markdown("Image moved to the trash.")
            st.button("Undo", icon=":material/undo:", on_click=as_user(user, _undo), args=(image_id,))


def _undo(user: SignedIn, image_id: str) -> None:
    studio().gallery.restore(user.user_id, image_id)
    _forget_undo()


def _forget_undo() -> None:
    st.session_state.pop(TRASHED_KEY, None)


def _nothing(user: SignedIn, state: GalleryState) -> None:
    """What an empty page says, and the way on."""
    filters = state.filters
    with st.container(horizontal_alignment="center", key="empty"):
        if filters == Filters():
            if _being_made(user):
                _say("Your first images are on the way", "They will be kept here, for you alone.")
                return
            _say("Your gallery is empty", "Every image you generate is kept here, for you alone.")
            if st.button("Make your first image", icon=":material/brush:", type="primary"):
                st.switch_page("create.py")
        elif filters == Filters(trash=True):
            _say("The trash is empty", _trash_words())
        else:
            words = f" for “{escape_markdown(filters.search)}”" if filters.search else ""
            _say("Nothing matches", f"No images found{words}. Try fewer words or another filter.")
            st.button("Show all images", icon=":material/filter_alt_off:", on_click=_show_all, args=(state,))


def _say(title: str, words: str) -> None:
    st.image(EASEL, width=132, alt="")
    st.subheader(title, anchor=False, text_alignment="center")
    st.markdown(words, text_alignment="center")


def _show_all(state: GalleryState) -> None:
    state.filters, state.cursor, state.epoch = Filters(), None, new_id()


def _turn(state: GalleryState, cursor: str | None) -> None:
    state.cursor = cursor
    _forget_undo()


page(require_user())
