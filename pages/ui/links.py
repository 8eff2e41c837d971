"""Addresses of pictures and pages: absolute and of this origin, which is what `st.image` takes."""

from __future__ import annotations

from urllib.parse import urlencode, urlsplit

import streamlit as st

from core.images.share_links import SHARE_PARAM
from core.web import urls
from pages.ui.session import studio

# Opens an image over the gallery page.
OPEN_PARAM = "image"


def origin() -> str:
    """Where the browser sees the app: by its address bar, or else by the host it asked for."""
    parts = urlsplit(st.context.url or "")
    if parts.scheme in ("http", "https") and parts.netloc:
        return f"{parts.scheme}://{parts.netloc}"
    # core.web.guard has let nothing pass that isn't addressed to this server.
    host = st.context.headers.get("Host")
    return f"{'https' if studio().settings.public_https else 'http'}://{host}" if host else ""


def page_url(param: str, value: str) -> str:
    """The sign-in page with one parameter, to be handed on."""
    return f"{origin()}/?{urlencode({param: value})}"


def image_url(image_id: str) -> str:
    return f"{origin()}{urls.image_url(image_id)}"


def share_url(image_id: str, token: str) -> str:
    """The picture alone, for whoever has this address."""
    return f"{image_url(image_id)}?{urlencode({SHARE_PARAM: token})}"


def thumbnail_url(image_id: str) -> str:
    return f"{origin()}{urls.thumbnail_url(image_id)}"


def partial_url(job_id: str, number: int, attempt: int) -> str:
    return f"{origin()}{urls.partial_url(job_id, number, attempt)}"
