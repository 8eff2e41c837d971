"""Toasts of a widget's callback. They are shown when the run after the click draws the page.

A toast that a callback shows directly would replace the page's first element, which holds the styles.
"""

from __future__ import annotations

import streamlit as st

QUEUE_KEY = "_queued_toasts"


def queue_toast(text: str) -> None:
    """Queue a toast in a callback. `text` is Markdown."""
    st.session_state.setdefault(QUEUE_KEY, []).append(text)


def show_queued_toasts() -> None:
    """Show the queued toasts. If this run is interrupted, the next run shows them."""
    for text in st.session_state.get(QUEUE_KEY, ()):
        st.toast(text)
    st.session_state.pop(QUEUE_KEY, None)
