"""A grid of thumbnails. The user opens an image with a click, Enter or Space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import streamlit as st

from core.database.models import Image
from pages.ui.formatting import image_alt_text, shorten
from pages.ui.links import thumbnail_url


@cache
def _source(suffix: str) -> str:
    return Path(__file__).with_suffix(suffix).read_text()


def image_grid(
    images: Sequence[Image], *, key: str, on_open: Callable[[str], None], closed_id: str | None
) -> None:
    """Draw the thumbnails of `images`. `on_open` is called with the id of an image that the user opens.

    `closed_id` is the image that the user has closed last. Its tile gets the keyboard's focus back.
    """
    grid = st.components.v2.component(
        "atelier.grid",
        html='<div class="frame-of-grid"><div class="grid"></div></div>',
        css=_source(".css"),
        js=_source(".js"),
    )
    tiles = [
        {
            "id": image.id,
            "src": thumbnail_url(image.id),
            "alt": image_alt_text(image.name, image.prompt),
            "caption": image.name.strip() or shorten(image.prompt, 60) or "Untitled",
            "favourite": image.favourite,
            "width": image.width,
            "height": image.height,
        }
        for image in images
    ]

    def opened() -> None:
        # The value may be forged. A lone surrogate isn't alphanumeric, so the address can hold the id.
        image_id = st.session_state[key].open
        if isinstance(image_id, str) and image_id.isalnum():
            on_open(image_id)

    grid(key=key, data={"tiles": tiles, "closed": closed_id}, on_open_change=opened)
