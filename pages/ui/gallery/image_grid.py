"""A grid of thumbnails; a click, Enter or Space opens one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import streamlit as st

from core.database.models import Image
from pages.ui.formatting import image_alt_text, shorten
from pages.ui.links import thumbnail_url

ASSETS = Path(__file__).parents[1] / "assets"


@cache
def _asset(name: str) -> str:
    return (ASSETS / name).read_text()


def image_grid(images: Sequence[Image], *, key: str) -> str | None:
    """Draw the tiles and return the id of the one that was opened just now."""
    grid = st.components.v2.component(
        "atelier.grid", html='<div class="grid"></div>', css=_asset("grid.css"), js=_asset("grid.js")
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
    opened: str | None = grid(key=key, data={"tiles": tiles}, on_open_change=lambda: None).open
    return opened
