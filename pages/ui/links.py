"""Absolute URLs of images and pages on this server; `st.image` takes no relative ones."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

import streamlit as st

from core.images.share_links import SHARE_PARAM
from core.web import urls
from pages.ui.session import studio

# Query parameter of the gallery page: the image to open.
OPEN_PARAM = "image"


def origin() -> str:
    """The app's origin as the browser sees it: from its address bar, or from the request's Host header."""
    parts = urlsplit(st.context.url or "")
    if parts.scheme in ("http", "https") and parts.netloc:
        return f"{parts.scheme}://{parts.netloc}"
    # core.web.guard has checked that the Host header names this server.
    host = st.context.headers.get("Host")
    return f"{'https' if studio().settings.public_https else 'http'}://{host}" if host else ""


def page_url(param: str, value: str) -> str:
    """The sign-in page's URL with one query parameter: an invitation or a password link."""
    return f"{origin()}/?{urlencode({param: value})}"


def image_url(image_id: str) -> str:
    return f"{origin()}{urls.image_url(image_id)}"


def share_url(image_id: str, token: str) -> str:
    """The image's public URL: anyone who has it can see the image."""
    return f"{image_url(image_id)}?{urlencode({SHARE_PARAM: token})}"


def thumbnail_url(image_id: str) -> str:
    return f"{origin()}{urls.thumbnail_url(image_id)}"


def partial_url(job_id: str, number: int, attempt: int) -> str:
    return f"{origin()}{urls.partial_url(job_id, number, attempt)}"
