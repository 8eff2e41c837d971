"""Describe a subject, enhance and edit the prompt, generate, and watch the pictures come."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import streamlit as st

from core import errors
from core.accounts import SignedIn
from core.catalogue import image_model
from core.drafts import EXAMPLE, PromptVersion
from core.models import utc_now
from core.prompts import Enhancement
from pages.ui.draft_form import (
    ENHANCEMENT_WORDS,
    CreateState,
    adopt,
    create_state,
    describe_fields,
    fill_widgets,
    is_enhancing,
    option_fields,
    read_widgets,
    widget_key,
)
from pages.ui.failure import log_failure, show_failure
from pages.ui.job_cards import job_cards
from pages.ui.session import check_still, require_user, studio
from pages.ui.text import clipped, images_words, local_time, plain, price_words

ENHANCE_POLL_SECONDS = 0.3
_SOURCES = {"enhanced": "Enhanced", "edited": "Your edit", "reused": "Reused"}


def page(user: SignedIn) -> None:
    state = create_state(user)
    _take_enhancement(user, state)
    fill_widgets(state)
    left, right = st.columns([5, 6], gap="large")
    with left:
        st.subheader("Describe", anchor=False)
        if state.welcome:
            _welcome(user, state)
        describe_fields(state)
        _enhance_fields()
        option_fields(state)
    read_widgets(user, state)
    with right:
        _prompt_section(user, state)
        job_cards(user)


def _welcome(user: SignedIn, state: CreateState) -> None:
    with st.container(border=True):
        st.markdown(
            "**New here?** Describe who or what you want to see, let the enhancer write the prompt, edit it, "
            "and generate. Every picture lands in your own gallery."
        )
        st.button(
            "Show me an example", icon=":material/auto_awesome:", on_click=_use_example, args=(user, state)
        )


def _use_example(user: SignedIn, state: CreateState) -> None:
    state.welcome = False
    adopt(user, state, EXAMPLE)


def _enhance_fields() -> None:
    st.segmented_control(
        "Enhancement",
        list(Enhancement),
        key=widget_key("enhancement"),
        format_func=lambda level: ENHANCEMENT_WORDS[Enhancement(level)],
        required=True,
        width="stretch",
    )
    st.text_input(
        "Guidance (optional)",
        key=widget_key("guidance"),
        placeholder="for a children's book cover",
        max_chars=500,
    )


def _prompt_section(user: SignedIn, state: CreateState) -> None:
    """The prompt, in a fragment of its own that polls only while an enhancement arrives."""
    live = is_enhancing(user)
    poll = ENHANCE_POLL_SECONDS if live else None
    st.fragment(run_every=poll)(_prompt_panel)(user, state, live)


def _prompt_panel(user: SignedIn, state: CreateState, watching: bool) -> None:
    check_still(user)
    current = studio().enhancements.current(user.user_id)
    live = current is not None and current.is_live
    if live != watching or state.submitted:
        # Only a whole run can begin or end polling; a click in here runs this panel alone.
        state.submitted = False
        _take_enhancement(user, state)
        st.rerun()
    fill_widgets(state)
    if current and live:
        st.session_state[widget_key("prompt")] = current.text
    st.subheader("Prompt", anchor=False)
    st.text_area(
        "Prompt",
        key=widget_key("prompt"),
        height=260,
        disabled=live,
        label_visibility="collapsed",
        placeholder="Enhance your description, or write the prompt yourself.",
    )
    read_widgets(user, state)
    _figures(state)
    _buttons(user, state, live)
    if state.failure:
        show_failure(state.failure, key="create")


def _take_enhancement(user: SignedIn, state: CreateState) -> None:
    ended = studio().enhancements.take(user.user_id)
    if ended is None:
        return
    state.failure = ended.error
    state.stale = True
    if ended.result:
        state.added_back = ended.result.added_back
        adopt(user, state, state.draft.with_enhanced(ended.result.text, now=utc_now()))


def _figures(state: CreateState) -> None:
    recipe = state.draft.recipe(studio().settings.default_image_model)
    limit = image_model(recipe.model).max_prompt
    price = price_words(studio().estimate(recipe, state.draft.images))
    st.caption(f"{len(recipe.prompt):,} of {limit:,} characters · {plain(price)}")
    if state.added_back:
        words = ", ".join(plain(word) for word in state.added_back)
        st.caption(f"The enhancer had left out {words}; put back at the end.")


def _buttons(user: SignedIn, state: CreateState, live: bool) -> None:
    recipe = state.draft.recipe(studio().settings.default_image_model)
    price = price_words(studio().estimate(recipe, state.draft.images))
    with st.container(horizontal=True):
        st.button(
            "Enhancing…" if live else "Enhance prompt",
            icon=":material/auto_fix_high:",
            key="enhance",
            disabled=live,
            on_click=_enhance,
            args=(user, state),
        )
        st.button(
            f"Generate {images_words(state.draft.images)} · {plain(price)}",
            icon=":material/brush:",
            type="primary",
            key="generate",
            disabled=live,
            on_click=_generate,
            args=(user, state),
        )
        if state.draft.versions:
            _history(user, state)


def _history(user: SignedIn, state: CreateState) -> None:
    with st.popover(f"History ({len(state.draft.versions)})", icon=":material/history:", type="tertiary"):
        for number, version in reversed(list(enumerate(state.draft.versions))):
            st.button(
                _version_words(version),
                key=f"version-{number}",
                width="stretch",
                disabled=version.text == state.draft.prompt,
                on_click=_bring_back,
                args=(user, state, version),
            )


def _version_words(version: PromptVersion) -> str:
    when = local_time(datetime.fromisoformat(version.at)).rsplit(", ", 1)[-1]
    return f"{_SOURCES.get(version.source, 'Prompt')} {when}: {plain(clipped(version.text, 60))}"


def _bring_back(user: SignedIn, state: CreateState, version: PromptVersion) -> None:
    read_widgets(user, state)
    adopt(user, state, replace(state.draft, prompt=version.text))


def _enhance(user: SignedIn, state: CreateState) -> None:
    read_widgets(user, state)
    state.failure, state.added_back, state.welcome = None, (), False
    try:
        studio().enhance(user, state.draft)
    except errors.ImageError as error:
        state.failure = error
        log_failure(error)


def _generate(user: SignedIn, state: CreateState) -> None:
    read_widgets(user, state)
    state.failure, state.welcome = None, False
    recipe = state.draft.recipe(studio().settings.default_image_model)
    try:
        studio().generate(user, recipe, state.draft.images)
        state.submitted = True
    except errors.ImageError as error:
        state.failure = error
        log_failure(error)


page(require_user())
