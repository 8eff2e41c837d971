"""How a failure looks: what happened, what can be done, the code small, the details folded."""

from __future__ import annotations

import streamlit as st
import structlog

from core.endings import JobError
from core.errors import ImageError
from core.models import new_id
from pages.ui.text import plain

_RETRY_WORDS = {
    True: "Trying again may help.",
    False: "Trying again helps only once something has changed.",
}
log = structlog.get_logger(__name__)


def show_failure(failure: ImageError | JobError, *, key: str) -> None:
    """The panel for one failure; `key` tells it from others on the page."""
    tips = "\n".join(f"- {plain(tip)}" for tip in failure.suggestions)
    with st.container(key=f"failure-{key}"):
        st.error(f"**{plain(failure.message)}**\n\n{tips}", icon=":material/error:")
        st.caption(f"Code {failure.code} · {_RETRY_WORDS[failure.retryable]}")
        if failure.details:
            with st.expander("Details"):
                st.text(failure.details)


def log_failure(failure: ImageError) -> None:
    """The log has everything; the page only what helps."""
    log.warning("shown to a user", code=failure.code, details=failure.details, request_id=failure.request_id)


def on_script_error(error: Exception) -> bool:
    """Show what a page didn't expect as a panel, never as a traceback; True: nothing more is drawn."""
    if isinstance(error, ImageError):
        log_failure(error)
        failure = error
    else:
        log.error("a page failed", exc_info=error)
        failure = ImageError(details=type(error).__name__)
    show_failure(failure, key=f"page-{new_id()}")
    return True
