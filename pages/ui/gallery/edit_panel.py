"""Beside an open image: make a variation of it, or edit it with words."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.database.models import Image
from core.enhancement.drafts import MOST_TEXT
from core.generation.edits import Remake
from core.generation.views import Batch
from core.provider.catalogue import image_model
from pages.ui.error_panel import show_failure
from pages.ui.formatting import escape_markdown, format_image_count, format_price, image_alt_text
from pages.ui.links import OPEN_PARAM, thumbnail_url
from pages.ui.polling import stop_polling
from pages.ui.session import as_user, rerun_if_signed_out, studio

STATE_KEY = "remake-state"
WATCH_SECONDS = 1.0
THUMBNAIL_WIDTH = 56


@dataclass(slots=True)
class RemakeState:
    """What was done with the open image: the batches that were submitted, or what went wrong."""

    sent: tuple[str, ...] = ()
    failure: errors.ImageError | None = None


def remake_panel(user: SignedIn, image: Image) -> None:
    remake, words_key = studio().remake(user, image.id), f"remake-words-{image.id}"
    state = st.session_state.setdefault(f"{STATE_KEY}-{image.id}", RemakeState())
    with st.container(key="remake", gap="small"):
        st.text_area(
            "What should change?",
            max_chars=MOST_TEXT,
            key=words_key,
            height=80,
            placeholder="Make it night, with lanterns in the trees. Keep everything else.",
            disabled=remake.obstacle is not None,
        )
        _buttons(user, image, remake, state, words_key)
        st.caption(escape_markdown(_caption(image, remake)))
        _outcome(user, state)


def _buttons(user: SignedIn, image: Image, remake: Remake, state: RemakeState, words_key: str) -> None:
    price, off = escape_markdown(format_price(remake.price)), remake.obstacle is not None
    with st.container(horizontal=True):
        st.button(
            f"Edit with words · {price}",
            key="edit-with-words",
            icon=":material/edit:",
            disabled=off,
            on_click=as_user(user, _edit, keep=partial(_refused, state)),
            args=(state, image.id, words_key),
        )
        st.button(
            f"Make a variation · {price}",
            key="make-variation",
            icon=":material/auto_awesome_motion:",
            disabled=off,
            on_click=as_user(user, _vary, keep=partial(_refused, state)),
            args=(state, image.id),
        )


def _caption(image: Image, remake: Remake) -> str:
    if remake.obstacle:
        return remake.obstacle.message
    other = remake.recipe.model != image.model
    label = image_model(remake.recipe.model).label
    return f"A new image, made by {label}; this one stays." if other else "A new image; this one stays."


def _outcome(user: SignedIn, state: RemakeState) -> None:
    if state.failure:
        show_failure(state.failure, key="remake")
    elif state.sent:
        live = any(batch.is_live for batch in _batches(user, state))
        st.fragment(run_every=WATCH_SECONDS if live else None)(_progress)(user, state)


def _batches(user: SignedIn, state: RemakeState) -> list[Batch]:
    return [studio().batches.find(user.user_id, batch_id) for batch_id in state.sent]


def _progress(user: SignedIn, state: RemakeState) -> None:
    """What becomes of the new images, newest first."""
    rerun_if_signed_out(user)
    batches = _batches(user, state)
    if waiting := sum(batch.is_live for batch in batches):
        st.success(f"{format_image_count(waiting)} on the way; you can carry on.", icon=":material/brush:")
        st.page_link("create.py", label="Watch it on Create", icon=":material/visibility:")
    else:
        stop_polling()
    for batch in reversed(batches):
        for image in batch.images:
            _finished(image)
        for failure in () if batch.is_live else batch.failures:
            show_failure(failure, key=f"remake-{batch.id}")


def _finished(image: Image) -> None:
    if image.trashed_at is None:
        with st.container(
            horizontal=True, vertical_alignment="center", key=f"remade-{image.id}", gap="small"
        ):
            alt = image_alt_text(image.name, image.prompt)
            st.image(thumbnail_url(image.id), alt=alt, width=THUMBNAIL_WIDTH)
            if st.button("Open the new image", type="tertiary", key=f"open-remade-{image.id}"):
                _open(image)


def _open(image: Image) -> None:
    st.query_params[OPEN_PARAM] = image.id
    st.rerun()


def _edit(user: SignedIn, state: RemakeState, image_id: str, words_key: str) -> None:
    words = str(st.session_state.get(words_key, ""))
    _sent(state, studio().edit(user, image_id, words))


def _vary(user: SignedIn, state: RemakeState, image_id: str) -> None:
    _sent(state, studio().variation(user, image_id))


def _sent(state: RemakeState, batch_id: str) -> None:
    # The second click of a double click gets the batch of the first.
    state.sent, state.failure = tuple(dict.fromkeys((*state.sent, batch_id))), None


def _refused(state: RemakeState, error: errors.ImageError) -> None:
    state.failure = error


def made_from(user: SignedIn, image: Image) -> None:
    """The image that this one was made from, and the way to it."""
    if not image.source_id:
        return
    try:
        source = studio().gallery.get(user.user_id, image.source_id)
    except errors.ImageNotFound:
        st.caption("Made from an image that no longer exists.")
        return
    with st.container(horizontal=True, vertical_alignment="center", key="made-from", gap="small"):
        alt = image_alt_text(source.name, source.prompt)
        st.image(thumbnail_url(source.id), alt=alt, width=THUMBNAIL_WIDTH)
        name = escape_markdown(source.name) or "another image"
        if st.button(f"Made from {name}", icon=":material/arrow_back:", type="tertiary", key="open-source"):
            _open(source)
