"""The box that offers existing images if the user is about to buy the same images again."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.database.models import Image
from core.generation.existing_images import Offer
from core.generation.quotes import Quote
from pages.ui.create.state import CreateState, current_quote, read_widgets
from pages.ui.echo import check_shown, show_and_echo
from pages.ui.error_panel import catch_failure
from pages.ui.formatting import escape_markdown, format_price, image_alt_text
from pages.ui.links import OPEN_PARAM, thumbnail_url
from pages.ui.session import as_user, studio

MAX_THUMBNAILS = 3
THUMBNAIL_WIDTH = 72


def offer_panel(user: SignedIn, state: CreateState, quote: Quote) -> None:
    """Show the box with the offer, if the user's draft hasn't changed since the offer was made.

    `quote` is the draft's current quote. If the offer was made for another quote, discard the offer.
    """
    if state.offer_quote != quote:
        state.offer = None
    if state.offer is None:
        return
    offer, images = state.offer, _images(state.offer)
    with st.container(border=True, key="offer", gap="small"):
        with st.container(horizontal=True, vertical_alignment="center"):
            for image in images[:MAX_THUMBNAILS]:
                alt = image_alt_text(image.name, image.prompt)
                st.image(thumbnail_url(image.id), alt=alt, width=THUMBNAIL_WIDTH)
            st.markdown(f"**{offer_title(offer)}**", width="content")
        _buttons(user, state, offer, images)


def offer_title(offer: Offer) -> str:
    if offer.missing:
        return f"You already have {len(offer.images):,} of these {len(offer.recipes):,} images"
    count = len(_images(offer))
    return "You already have this image" if count == 1 else f"You already have these {count:,} images"


def _identity(offer: Offer) -> str:
    return offer.offered_at.isoformat()


def _images(offer: Offer) -> list[Image]:
    """Return the offer's existing images. An image that occurs several times is returned once."""
    return list({image.id: image for image in offer.images}.values())


def _buttons(user: SignedIn, state: CreateState, offer: Offer, images: list[Image]) -> None:
    show_and_echo("offer", _identity(offer))
    open_label = "Open image" if len(images) == 1 else "Open gallery"
    with st.container(horizontal=True):
        if offer.missing:
            _generate_missing_button(user, state, offer)
        elif st.button(open_label, key="offer-open", icon=":material/open_in_full:"):
            _open(user, state, images)
        _generate_all_button(user, state, offer)


def _generate_missing_button(user: SignedIn, state: CreateState, offer: Offer) -> None:
    count = len(offer.missing)
    what = "new one" if count == 1 else f"{count:,} new ones"
    price = format_price(offer.missing_price, limit=offer.missing_limit)
    st.button(
        f"Generate the {what} · {escape_markdown(price)}",
        key="offer-new",
        icon=":material/brush:",
        on_click=as_user(user, _generate, on_failure=state.keep_failure),
        args=(state, studio().existing_images.generate_missing),
    )


def _generate_all_button(user: SignedIn, state: CreateState, offer: Offer) -> None:
    every = "all " if offer.missing else ""
    st.button(
        f"Generate {every}anyway · {escape_markdown(format_price(offer.price, limit=offer.price_limit))}",
        key="offer-anyway",
        on_click=as_user(user, _generate, on_failure=state.keep_failure),
        args=(state, studio().existing_images.generate_all),
    )


def _generate(user: SignedIn, state: CreateState, generate: Callable[[SignedIn, Offer], str]) -> None:
    """Remove the offer, then generate images with the function `generate`.

    If the user clicks twice, the second click finds no offer and does nothing. Raises PageOutdated if the
    browser showed another offer, or if the user has changed the draft since the offer was made.
    """
    offer, state.offer, state.rerun_page = state.offer, None, True
    if offer is None:
        return
    check_shown("offer", _identity(offer))
    read_widgets(user, state)
    if current_quote(state) != state.offer_quote:
        raise errors.PageOutdated
    generate(user, offer)
    state.welcome = False


def _open(user: SignedIn, state: CreateState, images: list[Image]) -> None:
    """Record that the user uses the existing images, then open the gallery.

    If there is only one image, open this image in the gallery.
    """
    offer, state.offer = state.offer, None
    with catch_failure(state.keep_failure):
        if offer:
            studio().existing_images.use(user, offer)
        st.switch_page("gallery.py", query_params={OPEN_PARAM: images[0].id} if len(images) == 1 else None)
