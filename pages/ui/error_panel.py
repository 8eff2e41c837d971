"""The panel that shows an error to the user: what failed, what it cost, and what the user can do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

import streamlit as st
import structlog

from core import bootstrap
from core.common.ids import new_id
from core.common.log_limits import LineLimit
from core.errors import (
    COST_MESSAGES,
    ImageError,
    ImagePromptError,
    InvalidParameter,
    ModelUnavailable,
    OutcomeUnknown,
    ParameterRefused,
    PromptBlocked,
    RequestTooLarge,
    by_code,
    for_administrator,
)
from core.errors.stored import StoredError
from pages.ui.formatting import escape_markdown
from pages.ui.streamlit_log import is_unreadable_value

KEPT_KEY = "_kept_failure"
# Whether this tab's user is an administrator. `current_user` (pages.ui.session) sets it.
ADMIN_KEY = "_is_admin"
HELP = "What can I do?"
# Errors that the user can fix on the page.
_USER_CAN_FIX = (ImagePromptError, InvalidParameter, ParameterRefused, RequestTooLarge, ModelUnavailable)
# An error message that contains one of these phrases already states the cost. So do some stored messages from
# older versions of Atelier.
_COST_WORDS = ("charged for this", "cost nothing")
_unreadable = LineLimit()
log = structlog.get_logger(__name__)


def show_failure(failure: ImageError | StoredError, *, key: str) -> None:
    """Draw the panel for one error. `key` identifies the panel, and must be unique on the page."""
    suggestions: Iterable[str] = failure.suggestions
    if st.session_state.get(ADMIN_KEY):
        suggestions = map(for_administrator, suggestions)
    tips = "\n".join(f"- {escape_markdown(tip)}" for tip in suggestions)
    sentences = (f"**{escape_markdown(failure.message)}**", cost_text(failure))
    with st.container(key=f"failure-{key}", gap="small"):
        st.error(" ".join(filter(None, sentences)), icon=":material/error:")
        with st.expander(HELP):
            st.markdown(tips)
            st.caption(f"Code {failure.code} · {_retry_advice(failure)}")
            if failure.details:
                st.text(failure.details)


def _retry_advice(failure: ImageError | StoredError) -> str:
    kind = by_code(failure.code) or ImageError
    if issubclass(kind, OutcomeUnknown) and failure.charged is not False:
        return "You may be charged twice if you try again."
    if failure.retryable or issubclass(kind, OutcomeUnknown):
        return "Trying again may help."
    if issubclass(kind, _USER_CAN_FIX):
        return "Change the prompt or the settings before you try again."
    return "Trying again won't help until the cause is fixed."


def cost_text(failure: ImageError | StoredError) -> str:
    """Return a sentence that says whether the failed call was charged.

    Returns an empty string if nothing was sent to the service, or if the error's message already says this.
    """
    might_cost = isinstance(failure, StoredError | PromptBlocked) or failure.charged is not False
    in_message = any(words in failure.message for words in _COST_WORDS)
    return COST_MESSAGES[failure.charged] if might_cost and not in_message else ""


def log_failure(failure: ImageError) -> None:
    """Log the error with its details, and count it for the list of failures that administrators see."""
    log.warning(
        "failure_shown",
        code=failure.code,
        details=failure.details,
        service_request_id=failure.request_id,
    )
    _count(failure)


@contextmanager
def catch_failure(on_failure: Callable[[ImageError], object]) -> Iterator[None]:
    """If the block raises an ImageError, log the error, pass it to `on_failure` and suppress it."""
    try:
        yield
    except ImageError as error:
        log_failure(error)
        on_failure(error)


def failure_panel(key: str) -> AbstractContextManager[None]:
    """Return a context manager for a block that may raise an ImageError.

    The context manager logs the error, shows it in a panel with this `key`, and suppresses it.
    """
    return catch_failure(partial(show_failure, key=key))


def keep_failure(failure: ImageError) -> None:
    """Keep the error of a widget's callback in this tab's state until the page is drawn.

    A callback can't draw the panel itself. `show_kept_failure` does so.
    """
    st.session_state[KEPT_KEY] = failure


def show_kept_failure() -> None:
    """Show the error that `keep_failure` has kept, if any, and forget it."""
    if failure := st.session_state.pop(KEPT_KEY, None):
        show_failure(failure, key="kept")


def _count(failure: ImageError) -> None:
    try:
        bootstrap.studio().error_counts.count(failure)
    except Exception as error:
        # Counting uses the studio, which may be what failed. The panel is shown even if counting fails.
        log.error("failure_not_counted", code=failure.code, error=repr(error))


def on_script_error(error: Exception) -> bool:
    """Show the panel for an exception that a page didn't catch, in place of Streamlit's traceback.

    Returns True, which tells Streamlit that the exception was handled.
    """
    if isinstance(error, ImageError):
        failure = error
        log_failure(failure)
    elif is_unreadable_value(error):
        failure = ImageError(details="a value on this page can't be read")
        if (left_out := _unreadable.admit("value")) is not None:
            log.warning("widget_value_unreadable", error=repr(error), left_out=left_out)
    else:
        log.error("page_failed", exc_info=error)
        failure = ImageError(details=type(error).__name__)
        _count(failure)
    show_failure(failure, key=f"page-{new_id()}")
    return True
