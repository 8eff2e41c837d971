"""Absolute URLs of this server's images and pages, because `st.image` rejects relative URLs."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

import streamlit as st

from core.images.share_links import SHARE_PARAM
from core.settings import is_loopback
from pages.ui.session import studio

# The query parameter of the Gallery page with the id of the image to open.
OPEN_PARAM = "image"


def origin() -> str:
    """Return the app's scheme and host as the browser sees them, such as `https://example.org`.

    They come from the address in the browser or, if that is unknown, from the request's Host header. Returns
    an empty string if there is no Host header either.
    """
    parts = urlsplit(st.context.url or "")
    if parts.scheme in ("http", "https") and parts.netloc:
        return f"{parts.scheme}://{parts.netloc}"
    # core.web.guard has checked that the Host header names this server.
    host = st.context.headers.get("Host")
    return f"{'https' if studio().settings.public_https else 'http'}://{host}" if host else ""


def page_url(param: str, value: str) -> str:
    """Return the URL of the app's start page with one query parameter, such as the token of an invitation."""
    return f"{origin()}{studio().urls.base}/?{urlencode({param: value})}"


def show_loopback_note() -> None:
    """Say below a link that only this computer can open it, if that is so."""
    if is_loopback(urlsplit(origin()).hostname or ""):
        st.caption("This link only works on this computer: its address is that of the computer itself.")


def image_url(image_id: str) -> str:
    return f"{origin()}{studio().urls.image(image_id)}"


def share_url(image_id: str, token: str) -> str:
    """Return the URL of an image with the share link's `token`. Anyone who has the URL can see the image."""
    return f"{image_url(image_id)}?{urlencode({SHARE_PARAM: token})}"


def thumbnail_url(image_id: str) -> str:
    return f"{origin()}{studio().urls.thumbnail(image_id)}"


def partial_url(job_id: str, number: int, attempt: int) -> str:
    return f"{origin()}{studio().urls.partial(job_id, number, attempt)}"
