"""The part of the image dialog that edits or varies the image and shows the resulting images.

It also links to the image from which the image was made, if any.
"""

from __future__ import annotations

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.database.models import Image
from core.enhancement.drafts import MAX_FIELD_LENGTH
from core.generation.edits import EditPlan
from core.generation.views import Batch
from core.provider.catalogue import image_model
from pages.ui.echo import check_shown, show_and_echo
from pages.ui.error_panel import show_failure
from pages.ui.formatting import escape_markdown, format_image_count, format_price, image_alt_text, price_basis
from pages.ui.gallery.state import EditState, GalleryState
from pages.ui.links import thumbnail_url
from pages.ui.polling import stop_polling
from pages.ui.session import as_user, rerun_if_signed_out, studio

POLL_SECONDS = 1.0
THUMBNAIL_WIDTH = 56


def edit_panel(user: SignedIn, state: GalleryState, image: Image) -> None:
    """Draw a text field for the requested change, two buttons with the price, and the resulting images."""
    plan = studio().edits.plan(user, image.id)
    edits, text_key = state.edits_of(image.id), f"edit-text-{image.id}"
    with st.container(key="edit-panel", gap="small"):
        st.text_area(
            "What should change?",
            max_chars=MAX_FIELD_LENGTH,
            key=text_key,
            height=80,
            placeholder="Make it night, with lanterns in the trees. Keep everything else.",
            disabled=plan.obstacle is not None,
        )
        _buttons(user, edits, image, plan, text_key)
        st.caption(escape_markdown(_caption(image, plan)))
        _results(user, state, edits)


def _buttons(user: SignedIn, edits: EditState, image: Image, plan: EditPlan, text_key: str) -> None:
    price = _price(plan)
    show_and_echo("edit", f"{image.id} {price}")
    disabled = plan.obstacle is not None
    with st.container(horizontal=True):
        st.button(
            f"Edit image · {price}",
            key="edit-image",
            icon=":material/edit:",
            disabled=disabled,
            on_click=as_user(user, _edit, on_failure=edits.keep_failure),
            args=(edits, image.id, text_key),
        )
        st.button(
            f"Create a variation · {price}",
            key="create-variation",
            icon=":material/auto_awesome_motion:",
            disabled=disabled,
            on_click=as_user(user, _vary, on_failure=edits.keep_failure),
            args=(edits, image.id),
        )


def _price(plan: EditPlan) -> str:
    return escape_markdown(format_price(plan.quote.price, limit=plan.quote.price_limit))


def _caption(image: Image, plan: EditPlan) -> str:
    if plan.obstacle:
        return plan.obstacle.message
    model = plan.quote.recipe.model
    by = "" if model == image.model else f" with {image_model(model).label}"
    basis = price_basis(plan.quote.price, plan.quote.price_limit)
    return f"Creates a new image{by}. The original is kept. {basis}".rstrip()


def _results(user: SignedIn, state: GalleryState, edits: EditState) -> None:
    if edits.failure:
        show_failure(edits.failure, key="edit")
    elif edits.batch_ids:
        live = any(batch.is_live for batch in _batches(user, edits))
        st.fragment(run_every=POLL_SECONDS if live else None)(_progress)(user, state, edits)


def _batches(user: SignedIn, edits: EditState) -> list[Batch]:
    return [studio().batches.find(user.user_id, batch_id) for batch_id in edits.batch_ids]


def _progress(user: SignedIn, state: GalleryState, edits: EditState) -> None:
    """Show how many images are still being generated. Below, show the finished images and the errors.

    The newest come first.
    """
    rerun_if_signed_out(user)
    batches = _batches(user, edits)
    if live := sum(batch.is_live for batch in batches):
        st.info(f"{format_image_count(live)} generating", icon=":material/brush:")
        st.page_link("create.py", label="Show on Create", icon=":material/visibility:")
    else:
        stop_polling()
    for batch in reversed(batches):
        for image in batch.images:
            _new_image(state, image)
        for failure in () if batch.is_live else batch.errors:
            show_failure(failure, key=f"edit-{batch.id}")


def _new_image(state: GalleryState, image: Image) -> None:
    if image.trashed_at is None:
        with st.container(
            horizontal=True, vertical_alignment="center", key=f"new-image-{image.id}", gap="small"
        ):
            alt = image_alt_text(image.name, image.prompt)
            st.image(thumbnail_url(image.id), alt=alt, width=THUMBNAIL_WIDTH)
            if st.button("Open the new image", type="tertiary", key=f"open-new-{image.id}"):
                _open(state, image)


def _open(state: GalleryState, image: Image) -> None:
    state.open_image(image.id)
    st.rerun()


def _edit(user: SignedIn, edits: EditState, image_id: str, text_key: str) -> None:
    _check_shown(user, image_id)
    instruction = str(st.session_state.get(text_key, ""))
    edits.add_batch(studio().edits.edit(user, image_id, instruction))


def _vary(user: SignedIn, edits: EditState, image_id: str) -> None:
    _check_shown(user, image_id)
    edits.add_batch(studio().edits.variation(user, image_id))


def _check_shown(user: SignedIn, image_id: str) -> None:
    """Raise PageOutdated if the browser showed another image or another price when the user clicked."""
    check_shown("edit", f"{image_id} {_price(studio().edits.plan(user, image_id))}")


def source_image(user: SignedIn, state: GalleryState, image: Image) -> None:
    """Show the image from which `image` was made as an edit or a variation, with a button that opens it.

    Shows nothing if `image` wasn't made from another image.
    """
    if not image.source_id:
        return
    try:
        source = studio().gallery.get(user.user_id, image.source_id)
    except errors.ImageNotFound:
        st.caption("Based on an image that no longer exists.")
        return
    with st.container(horizontal=True, vertical_alignment="center", key="source-image", gap="small"):
        alt = image_alt_text(source.name, source.prompt)
        st.image(thumbnail_url(source.id), alt=alt, width=THUMBNAIL_WIDTH)
        name = escape_markdown(source.name) or "another image"
        if st.button(f"Based on {name}", icon=":material/arrow_back:", type="tertiary", key="open-source"):
            _open(state, source)
