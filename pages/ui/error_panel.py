"""How a failure looks: what happened, and folded below it what can be done, the code and the details."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import streamlit as st
import structlog

from core import bootstrap
from core.common.ids import new_id
from core.errors import COST_MESSAGES, ImageError, OutcomeUnknown, PromptBlocked, by_code
from core.errors.stored import StoredError
from pages.ui.formatting import escape_markdown

REFUSED_KEY = "_refused"
HELP = "What can I do?"
_RETRY_WORDS = {
    True: "Trying again may help.",
    False: "Trying again helps only once something has changed.",
}
log = structlog.get_logger(__name__)


def show_failure(failure: ImageError | StoredError, *, key: str) -> None:
    """The panel for one failure; `key` tells it from others on the page."""
    tips = "\n".join(f"- {escape_markdown(tip)}" for tip in failure.suggestions)
    words = (f"**{escape_markdown(failure.message)}**", cost_text(failure))
    with st.container(key=f"failure-{key}", gap="small"):
        st.error(" ".join(filter(None, words)), icon=":material/error:")
        with st.expander(HELP):
            st.markdown(tips)
            st.caption(f"Code {failure.code} · {_retry_words(failure)}")
            if failure.details:
                st.text(failure.details)


def _retry_words(failure: ImageError | StoredError) -> str:
    unknown = issubclass(by_code(failure.code) or ImageError, OutcomeUnknown)
    if unknown and failure.charged is not False:
        return "Trying again may be charged a second time."
    return _RETRY_WORDS[unknown or failure.retryable]


def cost_text(failure: ImageError | StoredError) -> str:
    """What a failure has cost, where something might have been paid and its message doesn't say so."""
    might = isinstance(failure, StoredError | PromptBlocked) or failure.charged is not False
    kind = by_code(failure.code)
    told = kind is not None and kind.states_cost and failure.message == kind.message
    return COST_MESSAGES[failure.charged] if might and not told else ""


def log_failure(failure: ImageError) -> None:
    """The log has everything, the administrator the count; the page only what helps."""
    log.warning(
        "shown to a user", code=failure.code, details=failure.details, service_request_id=failure.request_id
    )
    _count(failure)


@contextmanager
def catch_failure(keep: Callable[[ImageError], object]) -> Iterator[None]:
    """What fails within is logged and given to `keep`, and the page goes on."""
    try:
        yield
    except ImageError as error:
        log_failure(error)
        keep(error)


def failure_panel(key: str) -> AbstractContextManager[None]:
    """What fails within is shown in its place."""
    return catch_failure(partial(show_failure, key=key))


def keep_failure(failure: ImageError) -> None:
    """For a widget's callback, which can't draw: `show_refusal` does, in the run that the click has begun."""
    st.session_state[REFUSED_KEY] = failure


def show_kept_failure() -> None:
    if failure := st.session_state.pop(REFUSED_KEY, None):
        show_failure(failure, key="refused")


def _count(failure: ImageError) -> None:
    try:
        bootstrap.studio().error_counts.count(failure)
    except Exception as error:
        # Without a studio there is nothing to count in, and the page has its panel to show.
        log.error("a failure could not be counted", code=failure.code, error=repr(error))


def on_script_error(error: Exception) -> bool:
    """Show what a page didn't expect as a panel, never as a traceback; True: nothing more is drawn."""
    if isinstance(error, ImageError):
        failure = error
        log_failure(failure)
    else:
        log.error("a page failed", exc_info=error)
        failure = ImageError(details=type(error).__name__)
        _count(failure)
    show_failure(failure, key=f"page-{new_id()}")
    return True
