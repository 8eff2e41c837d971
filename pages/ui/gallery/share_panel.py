"""Sharing one image: making a link, and ending those that are there."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from urllib.parse import urlsplit

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.database.models import Image
from core.images.share_links import LIVES
from core.settings import is_loopback
from pages.ui.error_panel import log_failure, show_failure
from pages.ui.formatting import local_time
from pages.ui.links import origin, share_url
from pages.ui.session import as_user, studio

MADE_KEY = "_share_made"
LIFE_KEY = "share-life"


def share_panel(user: SignedIn, image: Image) -> None:
    with st.popover("Share", icon=":material/share:", key="share"):
        st.markdown("Anyone with the link can see this picture, but nothing of what it was made from.")
        st.segmented_control(
            "The link lasts",
            sorted(LIVES),
            default=LIVES[0],
            key=LIFE_KEY,
            format_func=_life_words,
            required=True,
        )
        st.button(
            "Make a link",
            key="make-share",
            icon=":material/add_link:",
            on_click=as_user(user, _make, keep=partial(_keep, image)),
            args=(image,),
        )
        _made(image)
        _open_links(user, image)


def _made(image: Image) -> None:
    """The link just made: it can be read here alone, and only now."""
    made = st.session_state.get(MADE_KEY, {}).get(image.id)
    if isinstance(made, errors.ImageError):
        show_failure(made, key="share")
    elif made:
        st.code(share_url(image.id, made), language=None, wrap_lines=True)
        if is_loopback(urlsplit(origin()).hostname or ""):
            st.caption("This link opens on this computer alone: Atelier can't be reached from elsewhere.")
        st.caption("Copy it now: it won't be shown again.")


def _open_links(user: SignedIn, image: Image) -> None:
    for share in studio().share_links.list(user, image.id):
        with st.container(horizontal=True, vertical_alignment="center", key=f"share-{share.id}"):
            st.markdown(
                f"Link made on {local_time(share.created_at)}, valid until {local_time(share.expires_at)}"
            )
            st.button(
                "Stop sharing",
                key=f"stop-share-{share.id}",
                on_click=as_user(user, _stop),
                args=(image, share.id),
            )


def _make(user: SignedIn, image: Image) -> None:
    _keep(image, studio().share_links.create(user, image.id, st.session_state[LIFE_KEY]))


def _keep(image: Image, made: str | errors.ImageError) -> None:
    st.session_state[MADE_KEY] = {image.id: made}


def _stop(user: SignedIn, image: Image, share_id: str) -> None:
    st.session_state.pop(MADE_KEY, None)
    try:
        studio().share_links.revoke(user, share_id)
    except errors.ImageNotFound as error:
        # Ended already, in another tab or by its time.
        log_failure(error)


def _life_words(life: timedelta) -> str:
    return "1 day" if life.days == 1 else f"{life.days} days"
