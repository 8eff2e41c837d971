"""The Gallery page's state in one browser tab."""

from __future__ import annotations

from dataclasses import dataclass, field

import streamlit as st

from core import errors
from core.common.ids import new_id
from core.images.gallery_queries import Filters

STATE_KEY = "gallery-state"


@dataclass(slots=True)
class EditState:
    """The edits and variations ordered from one image in this tab, or the last click's failure."""

    batch_ids: tuple[str, ...] = ()
    failure: errors.ImageError | None = None

    def add_batch(self, batch_id: str) -> None:
        """Add a new batch. The second click of a double click gives the id of the first one's batch."""
        self.batch_ids, self.failure = tuple(dict.fromkeys((*self.batch_ids, batch_id))), None

    def keep_failure(self, failure: errors.ImageError) -> None:
        self.failure = failure


@dataclass(slots=True)
class ShareState:
    """The link created last for one image, shown once, or the failure to create it."""

    image_id: str
    token: str | None = None
    failure: errors.ImageError | None = None


@dataclass(slots=True)
class GalleryState:
    """The Gallery page's state in one browser tab.

    `cursor` belongs to `filters`: new filters start at the first page. `form_id` is part of the filter
    widgets' keys: a new one gives new widgets, which start with `filters`.
    """

    filters: Filters = field(default_factory=Filters)
    cursor: str | None = None
    form_id: str = field(default_factory=new_id)
    # The image moved to the trash last, as long as the page offers to undo that.
    trashed_id: str | None = None
    share: ShareState | None = None
    edits: dict[str, EditState] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """The key of a filter's widget."""
        return f"g-{name}-{self.form_id}"

    def edits_of(self, image_id: str) -> EditState:
        return self.edits.setdefault(image_id, EditState())


def gallery_state() -> GalleryState:
    if STATE_KEY not in st.session_state:
        st.session_state[STATE_KEY] = GalleryState()
    state: GalleryState = st.session_state[STATE_KEY]
    return state
