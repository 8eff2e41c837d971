"""Addresses of pictures: absolute and of this origin, which is what `st.image` takes."""

from __future__ import annotations

from urllib.parse import urlsplit

import streamlit as st

# Opens an image over the gallery page.
OPEN_PARAM = "image"


def _origin() -> str:
    parts = urlsplit(st.context.url or "")
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else ""


def image_url(image_id: str) -> str:
    return f"{_origin()}/api/images/{image_id}"


def thumbnail_url(image_id: str) -> str:
    return f"{_origin()}/api/images/{image_id}/thumbnail"


def partial_url(job_id: str, number: int) -> str:
    """Another number is another address, so that the picture changes without a flicker."""
    return f"{_origin()}/api/images/jobs/{job_id}/partials/{number}"


def download_url(image_id: str, *, with_prompt: bool) -> str:
    return f"/api/images/{image_id}/download?prompt={str(with_prompt).lower()}"
