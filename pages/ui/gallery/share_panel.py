"""The part of the image dialog that creates share links for the image and revokes them.

A share link is a URL that shows one image to anyone who has it.
"""

from __future__ import annotations

from datetime import timedelta
from functools import partial

import streamlit as st
import structlog

from core import errors
from core.accounts.identity import SignedIn
from core.database.models import Image
from core.images.share_links import LIFETIMES
from pages.ui.error_panel import show_failure
from pages.ui.formatting import local_time
from pages.ui.gallery.state import GalleryState, ShareState
from pages.ui.links import share_url, show_loopback_note
from pages.ui.session import as_user, studio

LIFETIME_KEY = "share-life"
log = structlog.get_logger(__name__)


def share_panel(user: SignedIn, state: GalleryState, image: Image) -> None:
    with st.popover("Share", icon=":material/share:", key="share"):
        st.markdown("Anyone with the link can see this image, its name and yours, but not the prompt.")
        st.segmented_control(
            "Expires in",
            sorted(LIFETIMES),
            default=LIFETIMES[0],
            key=LIFETIME_KEY,
            format_func=_lifetime_label,
            required=True,
        )
        st.button(
            "Create a link",
            key="make-share",
            icon=":material/add_link:",
            on_click=as_user(user, _create, on_failure=partial(_keep_failure, state, image)),
            args=(state, image),
        )
        _new_link(state, image)
        _open_links(user, state, image)


def _new_link(state: GalleryState, image: Image) -> None:
    """Show the share link that was just created, or the error if creating it failed.

    The link can't be shown again later, because only a hash of its token is stored.
    """
    share = state.share
    if share is None or share.image_id != image.id:
        return
    if share.failure:
        show_failure(share.failure, key="share")
    elif share.token:
        st.code(share_url(image.id, share.token), language=None, wrap_lines=True)
        show_loopback_note()
        st.caption("Copy the link now. It won't be shown again.")


def _open_links(user: SignedIn, state: GalleryState, image: Image) -> None:
    for share in studio().share_links.list(user, image.id):
        with st.container(horizontal=True, vertical_alignment="center", key=f"share-{share.id}"):
            created, expires = local_time(share.created_at), local_time(share.expires_at)
            st.markdown(f"Link created on {created}, expires on {expires}")
            st.button(
                "Stop sharing",
                key=f"stop-share-{share.id}",
                on_click=as_user(user, _stop),
                args=(state, share.id),
            )


def _create(user: SignedIn, state: GalleryState, image: Image) -> None:
    token = studio().share_links.create(user, image.id, st.session_state[LIFETIME_KEY])
    state.share = ShareState(image.id, token=token)


def _keep_failure(state: GalleryState, image: Image, failure: errors.ImageError) -> None:
    state.share = ShareState(image.id, failure=failure)


def _stop(user: SignedIn, state: GalleryState, share_id: str) -> None:
    state.share = None
    try:
        studio().share_links.revoke(user, share_id)
    except errors.ImageNotFound as error:
        # The link was revoked in another tab, or has expired: the page shows no error.
        log.info("share_link_gone", code=error.code)


def _lifetime_label(life: timedelta) -> str:
    return "1 day" if life.days == 1 else f"{life.days} days"
