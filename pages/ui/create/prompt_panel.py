"""The Create page's prompt field, the prompt's length and price, and the buttons below it.

The buttons enhance the prompt, generate images and restore earlier prompts.
"""

from __future__ import annotations

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.enhancement.drafts import MAX_FIELD_LENGTH
from core.enhancement.runs import EnhancementRun
from core.generation.quotes import Quote
from core.prompts.expansion import find_unclosed_brace
from core.prompts.styles import find_style
from pages.ui.create.draft_form import field_failure
from pages.ui.create.existing_images import offer_panel, offer_title
from pages.ui.create.prompt_history import prompt_history
from pages.ui.create.state import (
    FIELDS_WITH_FAILURE,
    OPTION_FIELDS,
    CreateState,
    current_quote,
    is_unshown,
    read_widgets,
)
from pages.ui.echo import check_shown, show_and_echo
from pages.ui.error_panel import show_failure
from pages.ui.formatting import (
    escape_markdown,
    format_image_count,
    format_price,
    price_basis,
    relative_day,
    shorten,
    to_local_time,
)
from pages.ui.session import as_user, rerun_if_signed_out, studio
from pages.ui.toasts import queue_toast

ENHANCE_POLL_SECONDS = 0.3
# In characters. A base prompt that was left out may be long.
MAX_SHOWN_FACT = 120
# By this part, words that are typed just before a click may raise the price.
PRICE_TOLERANCE = 0.1


def prompt_panel(user: SignedIn, state: CreateState, run: EnhancementRun | None) -> None:
    """Draw the panel. `run` is the user's last enhancement, or None if there is none.

    While the enhancement is running, the panel is a Streamlit fragment that polls for its text. Otherwise it
    isn't a fragment: Streamlit would lose text typed in a fragment if the user's next click opens another
    page.
    """
    polling = run is not None and run.is_live
    panel = st.fragment(run_every=ENHANCE_POLL_SECONDS)(_panel) if polling else _panel
    panel(user, state, polling)


def _panel(user: SignedIn, state: CreateState, polling: bool) -> None:
    rerun_if_signed_out(user)
    run = studio().enhancements.current(user.user_id)
    live = run if run and run.is_live else None
    if bool(live) != polling or is_unshown(state, run) or state.rerun_page:
        # Only rerunning the whole page can start or stop polling, or redraw the other fields.
        state.rerun_page = False
        st.rerun()
    st.header("Prompt", anchor=False)
    if live:
        _streamed_prompt(live.text)
    else:
        _prompt_field(state)
    field_failure(state, "prompt")
    st.toggle(
        "Many prompts",
        state.draft.many,
        key=state.key("many"),
        disabled=bool(live),
        help="Each line is a separate prompt. {red|blue} creates one prompt for each alternative.",
    )
    if not live:
        read_widgets(user, state)
    quote = current_quote(state)
    _notes(state, quote)
    _buttons(user, state, quote, live=bool(live))
    _budget_warning(user, state, quote)
    offer_panel(user, state, quote)
    _show_failures(state)


def _prompt_field(state: CreateState) -> None:
    st.text_area(
        "Prompt",
        state.draft.prompt,
        max_chars=MAX_FIELD_LENGTH,
        key=state.key("prompt"),
        height=260,
        label_visibility="collapsed",
        placeholder="Click Enhance prompt, or write a prompt of your own. "
        "If you leave this empty, your description is the prompt.",
    )


def _streamed_prompt(text: str) -> None:
    """Show the part of the enhanced prompt that has arrived.

    It has a widget of its own, so that it isn't mistaken for the user's edit of the prompt.
    """
    st.session_state["prompt-stream"] = text
    st.text_area("Prompt", key="prompt-stream", height=260, disabled=True, label_visibility="collapsed")


def _notes(state: CreateState, quote: Quote) -> None:
    """Show the prompt's length and price, then notes, such as an unclosed brace in the prompt.

    If the prompt makes too many images, show a warning in place of the length and price.
    """
    if quote.excess:
        st.warning(escape_markdown(quote.excess.message), icon=":material/stacks:")
    else:
        _length_and_price(state, quote)
    if state.draft.many and (line := find_unclosed_brace(state.draft.prompt)):
        opening, closing = escape_markdown("{"), escape_markdown("}")
        st.caption(f"Line {line}: “{opening}” has no closing “{closing}”, so this line is used as written.")
    if state.draft.is_unfinished:
        st.caption("The enhancement was cut off. Its text so far is the prompt: edit it, or enhance again.")
    if state.added_back:
        words = ", ".join(escape_markdown(shorten(word, MAX_SHOWN_FACT)) for word in state.added_back)
        st.caption(f"Left out by the enhancement and added at the end: {words}.")
    if error := state.error_beside:
        details = shorten(error.details, 160)
        st.caption(escape_markdown(f"The service sent this prompt with an error: {error.message} {details}"))
    if state.reused_from and state.draft.prompt == state.draft.enhanced_prompt:
        day = relative_day(to_local_time(state.reused_from).date(), to_local_time(utc_now()).date())
        st.caption(f"Reused from your enhancement {day}, free of charge.")
    if outdated := find_style(state.draft.outdated_style):
        label = escape_markdown(outdated.label)
        st.caption(f"This prompt was written for the style “{label}”. Enhance it again, or edit it.")


def _length_and_price(state: CreateState, quote: Quote) -> None:
    style = ", including the style" if quote.recipe.style else ""
    prompts = "1 prompt" if quote.prompts == 1 else f"{quote.prompts:,} prompts"
    many = f"{prompts} · longest: " if state.draft.many else ""
    price = escape_markdown(format_price(quote.price, limit=quote.price_limit))
    st.caption(f"{many}{quote.length:,} of {quote.limit:,} characters{style} · {price}")
    if basis := price_basis(quote.price, quote.price_limit):
        st.caption(basis)


def _buttons(user: SignedIn, state: CreateState, quote: Quote, *, live: bool) -> None:
    show_and_echo("quote", _generate_label(quote))
    with st.container(horizontal=True):
        st.button(
            _enhance_label(state, live=live),
            icon=":material/auto_fix_high:",
            key="enhance",
            disabled=live,
            on_click=as_user(user, _enhance, on_failure=state.keep_failure),
            args=(state,),
        )
        st.button(
            _generate_label(quote),
            icon=":material/brush:",
            type="primary",
            key="generate",
            disabled=live or quote.excess is not None,
            on_click=as_user(user, _generate, on_failure=state.keep_failure),
            args=(state,),
        )
        if state.draft.versions:
            prompt_history(user, state)


def _enhance_label(state: CreateState, *, live: bool) -> str:
    if live:
        return "Enhancing…"
    return "Rewrite" if state.draft.is_enhanced else "Enhance prompt"


def _generate_label(quote: Quote) -> str:
    label = f"Generate {format_image_count(quote.images)}"
    price = escape_markdown(format_price(quote.price, limit=quote.price_limit))
    return label if quote.excess else f"{label} · {price}"


def _budget_warning(user: SignedIn, state: CreateState, quote: Quote) -> None:
    """Show a warning if the user's budget doesn't cover the price of the images."""
    shortfall = studio().quotes.shortfall(user, quote)
    if shortfall and not isinstance(state.failure, errors.BudgetSpent):
        st.warning(escape_markdown(shortfall.message), icon=":material/savings:")


def _show_failures(state: CreateState) -> None:
    """Show the last click's error. If it is shown beside a field, show its message and where that field is.

    Also show the error if storing the draft failed.
    """
    if failure := state.failure_at(*FIELDS_WITH_FAILURE):
        where = "under More options" if state.failure_at(*OPTION_FIELDS) else "below the field"
        st.error(f"{escape_markdown(failure.message)} See the details {where}.", icon=":material/error:")
    elif state.failure and not state.failure_at("prompt"):
        show_failure(state.failure, key="create")
    if state.save_failure:
        show_failure(state.save_failure, key="unsaved")


def _enhance(user: SignedIn, state: CreateState) -> None:
    _begin_click(user, state)
    state.added_back, state.reused_from, state.error_beside = (), None, None
    many = state.draft.many and bool(state.draft.prompt.strip())
    studio().enhancement_orders.enhance_draft(user, state.draft)
    state.welcome = False
    if many:
        queue_toast("The enhancement writes one prompt. Your list of prompts is kept under History.")


def _generate(user: SignedIn, state: CreateState) -> None:
    """Generate the images of the draft. If the user already has some of them, offer these first."""
    shown = state.quoted[1] if state.quoted else None
    _begin_click(user, state)
    quote = current_quote(state)
    check_shown("quote", _generate_label(shown if shown and _is_near(shown, quote) else quote))
    order = studio().orders.check(user, quote)
    state.offer, state.offer_quote = studio().existing_images.offer(user, order), quote
    if state.offer:
        # On a phone the offer is below the visible part of the page. A screen reader speaks only the toast.
        queue_toast(f"{offer_title(state.offer)}. Nothing was charged.")
        return
    studio().orders.generate(user, order)
    state.welcome = False


def _is_near(shown: Quote, quote: Quote) -> bool:
    """Return whether `quote` has as many images as `shown`, and costs at most PRICE_TOLERANCE more.

    The last words before a click are sent with it. They may cost a little, which no button could say yet.
    """
    before, now = (each.price_limit if each.price is None else each.price for each in (shown, quote))
    if before is None or now is None or shown.images != quote.images:
        return False
    return now <= before * (1 + PRICE_TOLERANCE)


def _begin_click(user: SignedIn, state: CreateState) -> None:
    """Read what the user typed last. Raises PageOutdated if the browser showed another prompt."""
    read_widgets(user, state)
    # Rerun the whole page, because it still shows the last error and doesn't show the new jobs yet.
    state.failure, state.offer, state.rerun_page = None, None, True
    check_shown("form", state.form_ids)
