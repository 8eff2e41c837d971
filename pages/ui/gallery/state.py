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
    """The edits and variations of one image that this tab has ordered.

    `failure` is the failure of the last click, if it failed.
    """

    batch_ids: tuple[str, ...] = ()
    failure: errors.ImageError | None = None

    def add_batch(self, batch_id: str) -> None:
        """Add the id of a new batch. A double click adds the same id twice, which counts once."""
        self.batch_ids, self.failure = tuple(dict.fromkeys((*self.batch_ids, batch_id))), None

    def keep_failure(self, failure: errors.ImageError) -> None:
        self.failure = failure


@dataclass(slots=True)
class ShareState:
    """The share link that was created last for one image, or the failure to create it.

    The link itself is shown only once.
    """

    image_id: str
    token: str | None = None
    failure: errors.ImageError | None = None


@dataclass(slots=True)
class GalleryState:
    """The Gallery page's state in one browser tab.

    `cursor` belongs to `filters`, so new filters start at the first page. `form_id` is a part of the filter
    widgets' keys. A new `form_id` makes new widgets, which show the values of `filters`.
    """

    filters: Filters = field(default_factory=Filters)
    cursor: str | None = None
    form_id: str = field(default_factory=new_id)
    # The id of the image that was moved to the trash last, while the page offers to undo that.
    trashed_id: str | None = None
    share: ShareState | None = None
    edits: dict[str, EditState] = field(default_factory=dict)

    def key(self, name: str) -> str:
        """Return the key of a filter's widget."""
        return f"g-{name}-{self.form_id}"

    def edits_of(self, image_id: str) -> EditState:
        return self.edits.setdefault(image_id, EditState())


def gallery_state() -> GalleryState:
    if STATE_KEY not in st.session_state:
        st.session_state[STATE_KEY] = GalleryState()
    state: GalleryState = st.session_state[STATE_KEY]
    return state
