"""Toasts from a widget's callback, shown when the run after the click draws the page.

Streamlit draws a toast from a callback in place of the page's first element, which holds the styles.
"""

from __future__ import annotations

import streamlit as st

QUEUE_KEY = "_queued_toasts"


def queue_toast(text: str) -> None:
    """Queue a toast from a callback. `text` is Markdown."""
    st.session_state.setdefault(QUEUE_KEY, []).append(text)


def show_queued_toasts() -> None:
    """Show the queued toasts. If this run is interrupted, the next one shows them."""
    for text in st.session_state.get(QUEUE_KEY, ()):
        st.toast(text)
    st.session_state.pop(QUEUE_KEY, None)
