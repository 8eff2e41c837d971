"""Beside an open image: make a variation of it, or edit it with words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import streamlit as st

from core import errors
from core.accounts import SignedIn
from core.catalogue import image_model
from core.drafts import MOST_TEXT
from core.models import Image
from core.studio import Remake
from pages.ui.failure import log_failure, show_failure
from pages.ui.links import OPEN_PARAM, thumbnail_url
from pages.ui.session import as_user, studio
from pages.ui.text import image_alt, images_words, plain, price_words

STATE_KEY = "remake-state"
THUMBNAIL_WIDTH = 56


@dataclass(slots=True)
class RemakeState:
    """What was done with the open image: how many images are on their way, or what went wrong."""

    sent: frozenset[str] = frozenset()
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
        st.caption(plain(_caption(image, remake)))
        _outcome(state)


def _buttons(user: SignedIn, image: Image, remake: Remake, state: RemakeState, words_key: str) -> None:
    price, off = plain(price_words(remake.price)), remake.obstacle is not None
    with st.container(horizontal=True):
        st.button(
            f"Edit with words · {price}",
            key="edit-with-words",
            icon=":material/edit:",
            disabled=off,
            on_click=as_user(user, _edit),
            args=(state, image.id, words_key),
        )
        st.button(
            f"Make a variation · {price}",
            key="make-variation",
            icon=":material/auto_awesome_motion:",
            disabled=off,
            on_click=as_user(user, _vary),
            args=(state, image.id),
        )


def _caption(image: Image, remake: Remake) -> str:
    if remake.obstacle:
        return remake.obstacle.message
    other = remake.recipe.model != image.model
    label = image_model(remake.recipe.model).label
    return f"A new image, made by {label}; this one stays." if other else "A new image; this one stays."


def _outcome(state: RemakeState) -> None:
    if state.failure:
        show_failure(state.failure, key="remake")
    elif state.sent:
        st.success(
            f"{images_words(len(state.sent))} on the way, also while you go on.", icon=":material/brush:"
        )
        st.page_link("create.py", label="Watch it on Create", icon=":material/visibility:")


def _edit(user: SignedIn, state: RemakeState, image_id: str, words_key: str) -> None:
    words = str(st.session_state.get(words_key, ""))
    _submit(state, partial(studio().edit, user, image_id, words))


def _vary(user: SignedIn, state: RemakeState, image_id: str) -> None:
    _submit(state, partial(studio().variation, user, image_id))


def _submit(state: RemakeState, submit: Callable[[], str]) -> None:
    try:
        state.sent, state.failure = state.sent | {submit()}, None
    except errors.ImageError as error:
        log_failure(error)
        state.failure = error


def made_from(user: SignedIn, image: Image) -> None:
    """The image that this one was made from, and the way to it."""
    if not image.source_id:
        return
    try:
        source = studio().gallery.get(user.user_id, image.source_id)
    except errors.ImageNotFound:
        st.caption("Made from an image that is gone.")
        return
    with st.container(horizontal=True, vertical_alignment="center", key="made-from", gap="small"):
        alt = image_alt(source.name, source.prompt)
        st.image(thumbnail_url(source.id), alt=alt, width=THUMBNAIL_WIDTH)
        name = plain(source.name) or "another image"
        if st.button(f"Made from {name}", icon=":material/arrow_back:", type="tertiary", key="open-source"):
            st.query_params[OPEN_PARAM] = source.id
            st.rerun()
