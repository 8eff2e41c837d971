"""Toasts from widget callbacks. A toast is a short message in a corner of the page.

A callback puts its toasts into a queue, which is shown when the page is drawn after the callback. A toast
that a callback showed directly would replace the page's first element, which holds the styles.
"""

from __future__ import annotations

import streamlit as st

QUEUE_KEY = "_queued_toasts"


def queue_toast(text: str) -> None:
    """Add a toast to the queue. Call this in a widget's callback. `text` is Markdown."""
    st.session_state.setdefault(QUEUE_KEY, []).append(text)


def show_queued_toasts() -> None:
    """Show the toasts in the queue, then empty the queue.

    If Streamlit interrupts this function, the queue stays as it is, and the toasts are shown when the page is
    drawn again.
    """
    for text in st.session_state.get(QUEUE_KEY, ()):
        st.toast(text)
    st.session_state.pop(QUEUE_KEY, None)
