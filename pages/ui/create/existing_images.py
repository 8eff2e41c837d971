"""What the user has already of what Generate was pressed for, before any of it is bought again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import streamlit as st

from core.accounts.identity import SignedIn
from core.database.models import Image
from core.generation.existing_images import Offer
from pages.ui.create.draft_form import CreateState, refused
from pages.ui.error_panel import catch_failure
from pages.ui.formatting import escape_markdown, format_image_count, format_price, image_alt_text
from pages.ui.links import OPEN_PARAM, thumbnail_url
from pages.ui.session import as_user, studio
from pages.ui.toasts import queue_toast

THUMBNAILS = 3
THUMBNAIL_WIDTH = 72


def offer_panel(user: SignedIn, state: CreateState) -> None:
    if state.offered != studio().quote(state.draft):
        state.offer = None
    if state.offer is None:
        return
    offer, images = state.offer, _images(state.offer)
    with st.container(border=True, key="offer", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            for image in images[:THUMBNAILS]:
                alt = image_alt_text(image.name, image.prompt)
                st.image(thumbnail_url(image.id), alt=alt, width=THUMBNAIL_WIDTH)
            st.markdown(f"**{_words(offer, images)}**", width="content")
        _buttons(user, state, offer, images)


def _buttons(user: SignedIn, state: CreateState, offer: Offer, images: list[Image]) -> None:
    open_words = "Open it" if len(images) == 1 else "Open gallery"
    with st.container(horizontal=True):
        if offer.new:
            _new_button(user, state, offer)
        elif st.button(open_words, key="offer-open", icon=":material/open_in_full:"):
            _open(user, state, images)
        _anyway_button(user, state, offer)


def on_their_way(count: int) -> None:
    queue_toast(f"{format_image_count(count)} on the way. You can leave this page meanwhile.")


def _images(offer: Offer) -> list[Image]:
    return list({image.id: image for image in offer.taken}.values())


def _words(offer: Offer, images: list[Image]) -> str:
    if offer.new:
        return f"You already have {len(offer.taken):,} of these {len(offer.recipes):,}"
    return (
        "You already have this image"
        if len(images) == 1
        else f"You already have these {len(images):,} images"
    )


def _new_words(count: int) -> str:
    return "new one" if count == 1 else f"{count:,} new ones"


def _new_button(user: SignedIn, state: CreateState, offer: Offer) -> None:
    st.button(
        f"Generate the {_new_words(len(offer.new))} · {escape_markdown(format_price(offer.new_price))}",
        key="offer-new",
        icon=":material/brush:",
        on_click=as_user(user, _generate, keep=partial(refused, state)),
        args=(state, studio().generate_new, len(offer.new)),
    )


def _anyway_button(user: SignedIn, state: CreateState, offer: Offer) -> None:
    every = "all " if offer.new else ""
    st.button(
        f"Generate {every}anyway · {escape_markdown(format_price(offer.price))}",
        key="offer-anyway",
        on_click=as_user(user, _generate, keep=partial(refused, state)),
        args=(state, studio().generate_anyway, len(offer.recipes)),
    )


def _generate(
    user: SignedIn, state: CreateState, generate: Callable[[SignedIn, Offer], str], count: int
) -> None:
    """Do it once: at the second click of a double click there is no offer any more."""
    offer, state.offer, state.redraw = state.offer, None, True
    if offer is None:
        return
    generate(user, offer)
    state.welcome = False
    on_their_way(count)


def _open(user: SignedIn, state: CreateState, images: list[Image]) -> None:
    offer, state.offer = state.offer, None
    with catch_failure(partial(refused, state)):
        if offer:
            studio().take(user, offer)
        st.switch_page("gallery.py", query_params={OPEN_PARAM: images[0].id} if len(images) == 1 else None)
