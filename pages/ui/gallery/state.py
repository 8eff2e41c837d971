"""The Gallery page's state in one browser tab."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import streamlit as st

from core import errors
from core.common.ids import new_id
from core.images.gallery_queries import Filters
from pages.ui.echo import show_and_echo

STATE_KEY = "gallery-state"
_FORM_ID = re.compile("[0-9a-f]{32}")


@dataclass(slots=True)
class EditState:
    """The edits and variations of one image that the user has requested in this browser tab.

    `batch_ids` are the ids of their batches, oldest first. `failure` is the error of the last click, or None
    if the click succeeded.
    """

    batch_ids: tuple[str, ...] = ()
    failure: errors.ImageError | None = None

    def add_batch(self, batch_id: str) -> None:
        """Add the id of a new batch, and forget the last error.

        An id that is already known isn't added. A double click calls this function twice with the same id.
        """
        self.batch_ids, self.failure = tuple(dict.fromkeys((*self.batch_ids, batch_id))), None

    def keep_failure(self, failure: errors.ImageError) -> None:
        self.failure = failure


@dataclass(slots=True)
class ShareState:
    """The result of the last click on "Create a link" for the image `image_id`.

    `token` is the new share link's token, or None if creating the link failed. `failure` is then the error.
    """

    image_id: str
    token: str | None = None
    failure: errors.ImageError | None = None


@dataclass(slots=True)
class GalleryState:
    """The Gallery page's state in one browser tab.

    - `filters`: the search and the filters.
    - `cursor`: the page of the results; None is the first. New filters set it to None.
    - `image_id`: the image that is open in the dialog, or None.
    - `closed_id`: the image that was closed last, or None.
    - `address`: the query parameters that were written last, or None (see pages.ui.gallery.address).
    - `clicked`: whether a click has changed the page or the open image since the page was drawn.
    - `form_id`: a part of the filter widgets' keys. If it changes, Streamlit makes new widgets, which show
      the values of `filters`.
    - `trashed_id`: the image that was moved to the trash last, while the page shows the button "Undo".
    """

    filters: Filters = field(default_factory=Filters)
    cursor: str | None = None
    image_id: str | None = None
    address: dict[str, str] | None = None
    clicked: bool = False
    closed_id: str | None = None
    form_id: str = field(default_factory=new_id)
    trashed_id: str | None = None
    share: ShareState | None = None
    edits: dict[str, EditState] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """Return the Streamlit key of the widget for the filter `name`."""
        return f"g-{name}-{self.form_id}"

    def show_page(self, cursor: str | None) -> None:
        self.cursor, self.trashed_id, self.image_id, self.clicked = cursor, None, None, True

    def show_all(self) -> None:
        """Remove all filters, and show the first page."""
        self.filters, self.form_id = Filters(), new_id()
        self.show_page(None)

    def open_image(self, image_id: str) -> None:
        self.image_id, self.closed_id, self.clicked = image_id, None, True

    def close_image(self) -> None:
        self.closed_id, self.image_id, self.clicked = self.image_id, None, True

    def edits_of(self, image_id: str) -> EditState:
        return self.edits.setdefault(image_id, EditState())


def gallery_state() -> GalleryState:
    """Return the Gallery page's state in this tab.

    If the app was restarted, a tab that stayed open keeps its widgets, with what was typed into them.
    """
    is_new = STATE_KEY not in st.session_state
    state: GalleryState = st.session_state.get(STATE_KEY) or GalleryState()
    kept = show_and_echo("gallery", state.form_id, adopt=is_new)
    if is_new and _FORM_ID.fullmatch(kept):
        state.form_id = kept
    st.session_state[STATE_KEY] = state
    return state
