"""Describe a subject, enhance and edit the prompt, generate, and watch the pictures come."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.common.ids import new_id
from core.enhancement.drafts import EXAMPLE, MOST_TEXT, PromptVersion
from core.generation.quotes import Quote
from core.prompts.expansion import find_unclosed_brace
from core.prompts.request import EnhancementLevel
from core.prompts.styles import find_style
from pages.ui.create.draft_form import (
    ENHANCEMENT_WORDS,
    OPTION_FIELDS,
    PLACED,
    CreateState,
    adopt,
    create_state,
    describe_fields,
    field_failure,
    is_news,
    option_fields,
    read_widgets,
    refused,
    take_enhancement,
)
from pages.ui.create.existing_images import offer_panel, on_their_way
from pages.ui.create.job_cards import job_cards
from pages.ui.error_panel import show_failure
from pages.ui.formatting import (
    escape_markdown,
    format_image_count,
    format_price,
    local_time,
    relative_day,
    shorten,
    to_local_time,
)
from pages.ui.session import as_user, require_user, rerun_if_signed_out, studio
from pages.ui.toasts import queue_toast

ENHANCE_POLL_SECONDS = 0.3
_SOURCES = {"enhanced": "Enhanced", "edited": "Your edit", "reused": "Reused"}


def page(user: SignedIn) -> None:
    state = create_state(user)
    run = studio().enhancements.current(user.user_id)
    # What was typed is read before the enhancer's text takes the prompt's place: it stays a version of it.
    read_widgets(user, state)
    take_enhancement(user, state, run)
    with st.container(key="unseen-title"):
        st.title("Create", anchor=False)
    left, right = st.columns([5, 6], gap="large")
    with left:
        st.subheader("Describe", anchor=False)
        welcome = st.empty()
        if state.welcome:
            with welcome.container():
                _welcome(user, state)
        describe_fields(state)
        _enhance_fields(state)
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
            "Show me an example",
            icon=":material/auto_awesome:",
            on_click=as_user(user, _use_example),
            args=(state,),
        )


def _use_example(user: SignedIn, state: CreateState) -> None:
    state.welcome = False
    read_widgets(user, state)
    versions = state.draft.versions
    adopt(user, state, replace(EXAMPLE.as_new(), versions=versions))
    state.epoch = state.prompt_epoch = new_id()


def _enhance_fields(state: CreateState) -> None:
    st.segmented_control(
        "Enhancement",
        list(EnhancementLevel),
        default=state.draft.enhancement,
        key=state.key("enhancement"),
        format_func=lambda level: ENHANCEMENT_WORDS[EnhancementLevel(level)],
        required=True,
        width="stretch",
    )
    st.text_input(
        "Guidance (optional)",
        state.draft.guidance,
        max_chars=MOST_TEXT,
        key=state.key("guidance"),
        placeholder="for a children's book cover",
    )
    field_failure(state, "guidance")


def _prompt_section(user: SignedIn, state: CreateState) -> None:
    """The prompt, in a fragment of its own that polls while an enhancement arrives, and only then.

    What is typed in a fragment is lost when the next thing done is to go to another page.
    """
    run = studio().enhancements.current(user.user_id)
    live = run is not None and run.is_live
    panel = st.fragment(run_every=ENHANCE_POLL_SECONDS)(_prompt_panel) if live else _prompt_panel
    panel(user, state, live)


def _prompt_panel(user: SignedIn, state: CreateState, watching: bool) -> None:
    rerun_if_signed_out(user)
    run = studio().enhancements.current(user.user_id)
    arriving = run if run and run.is_live else None
    if bool(arriving) != watching or is_news(state, run) or state.redraw:
        # Only a whole run can begin or end polling, or draw beside the other fields.
        state.redraw = False
        st.rerun()
    st.subheader("Prompt", anchor=False)
    if arriving:
        _stream_area(arriving.text)
    else:
        _prompt_area(state)
    field_failure(state, "prompt")
    st.toggle(
        "Many prompts",
        state.draft.many,
        key=state.key("many"),
        disabled=bool(arriving),
        help="Each line is its own prompt, and {red|blue} makes one prompt for each alternative.",
    )
    if not arriving:
        read_widgets(user, state)
    _figures(state)
    _buttons(user, state, live=bool(arriving))
    offer_panel(user, state)
    if failure := state.failure_at(*PLACED):
        where = "under More options" if state.failure_at(*OPTION_FIELDS) else "beside the field"
        st.error(f"{escape_markdown(failure.message)} See the details {where}.", icon=":material/error:")
    elif state.failure and not state.failure_at("prompt"):
        show_failure(state.failure, key="create")
    if state.unsaved:
        show_failure(state.unsaved, key="unsaved")


def _prompt_area(state: CreateState) -> None:
    st.text_area(
        "Prompt",
        state.draft.prompt,
        max_chars=MOST_TEXT,
        key=state.key("prompt"),
        height=260,
        label_visibility="collapsed",
        placeholder="Enhance your description, or write the prompt yourself. "
        "Left empty, your description is sent as it is.",
    )


def _stream_area(text: str) -> None:
    """The enhancer's text so far, in a widget of its own: a piece of it never passes for the user's edit."""
    st.session_state["prompt-stream"] = text
    st.text_area("Prompt", key="prompt-stream", height=260, disabled=True, label_visibility="collapsed")


def _figures(state: CreateState) -> None:
    quote = studio().quote(state.draft)
    if quote.excess:
        st.warning(escape_markdown(quote.excess.message), icon=":material/stacks:")
    else:
        _length_and_price(state, quote)
    if state.draft.many and (line := find_unclosed_brace(state.draft.prompt)):
        st.caption(f"Line {line}: a brace isn't closed, so it is sent as it is.")
    if state.added_back:
        words = ", ".join(escape_markdown(word) for word in state.added_back)
        st.caption(f"The enhancer left out {words}, so it was added back at the end.")
    if state.kept_at and state.draft.prompt == state.draft.enhanced_prompt:
        day = relative_day(to_local_time(state.kept_at).date(), to_local_time(utc_now()).date())
        st.caption(f"From your enhancement {day}, free of charge.")
    if outdated := find_style(state.draft.outdated_style):
        st.caption(
            f"This prompt was enhanced for “{escape_markdown(outdated.label)}”: enhance it again, or edit it."
        )


def _length_and_price(state: CreateState, quote: Quote) -> None:
    style = ", style included" if quote.recipe.style else ""
    many = f"{quote.prompts:,} prompts · the longest " if state.draft.many else ""
    price = escape_markdown(format_price(quote.price))
    st.caption(f"{many}{quote.length:,} of {quote.limit:,} characters{style} · {price}")


def _buttons(user: SignedIn, state: CreateState, *, live: bool) -> None:
    quote = studio().quote(state.draft)
    with st.container(horizontal=True):
        st.button(
            _enhance_words(state, live=live),
            icon=":material/auto_fix_high:",
            key="enhance",
            disabled=live,
            on_click=as_user(user, _enhance, keep=partial(refused, state)),
            args=(state,),
        )
        st.button(
            _generate_words(quote),
            icon=":material/brush:",
            type="primary",
            key="generate",
            disabled=live or quote.excess is not None,
            on_click=as_user(user, _generate, keep=partial(refused, state)),
            args=(state,),
        )
        if state.draft.versions:
            _history(user, state)
    _budget_notice(user, state, quote)


def _generate_words(quote: Quote) -> str:
    what = f"Generate {format_image_count(quote.images)}"
    return what if quote.excess else f"{what} · {escape_markdown(format_price(quote.price))}"


def _budget_notice(user: SignedIn, state: CreateState, quote: Quote) -> None:
    """What Generate would be refused for, before it is clicked."""
    short = studio().shortfall(user, quote)
    if short and not isinstance(state.failure, errors.BudgetSpent):
        st.warning(escape_markdown(short.message), icon=":material/savings:")


def _enhance_words(state: CreateState, *, live: bool) -> str:
    if live:
        return "Enhancing…"
    return "Another take" if state.draft.is_enhanced else "Enhance prompt"


def _history(user: SignedIn, state: CreateState) -> None:
    with st.popover(f"History ({len(state.draft.versions)})", icon=":material/history:", type="tertiary"):
        for number, version in reversed(list(enumerate(state.draft.versions))):
            st.button(
                _version_words(version),
                key=f"version-{number}",
                width="stretch",
                disabled=version.text == state.draft.prompt,
                on_click=as_user(user, _bring_back, keep=partial(refused, state)),
                args=(state, version),
            )


def _version_words(version: PromptVersion) -> str:
    when = local_time(datetime.fromisoformat(version.at)).rsplit(", ", 1)[-1]
    return f"{_SOURCES.get(version.source, 'Prompt')} {when}: {escape_markdown(shorten(version.text, 60))}"


def _bring_back(user: SignedIn, state: CreateState, version: PromptVersion) -> None:
    read_widgets(user, state)
    adopt(user, state, replace(state.draft, prompt=version.text))
    state.prompt_epoch = new_id()


def _enhance(user: SignedIn, state: CreateState) -> None:
    _begin(user, state)
    state.added_back, state.kept_at = (), None
    many = state.draft.many and bool(state.draft.prompt.strip())
    studio().enhancement_orders.enhance_draft(user, state.draft)
    state.welcome = False
    if many:
        queue_toast("Your description becomes one prompt; your list of prompts stays under History.")


def _generate(user: SignedIn, state: CreateState) -> None:
    _begin(user, state)
    quote, draft = studio().quote(state.draft), state.draft
    state.offer = studio().offer(user, quote.recipe, draft.images, many=draft.many)
    state.offered = quote
    if state.offer:
        # On a phone the offer is below what one sees, and a screen reader says only this.
        queue_toast("Nothing has been bought yet: look at what you already have.")
        return
    studio().generate(user, quote.recipe, draft.images, many=draft.many)
    state.welcome = False
    on_their_way(quote.images)


def _begin(user: SignedIn, state: CreateState) -> None:
    read_widgets(user, state)
    # The rest of the page, too, has to drop the last failure and show the new jobs.
    state.failure, state.offer, state.redraw = None, None, True


page(require_user())
