"""What a click has to say, said when its run draws the page.

A toast from a callback takes the place of the page's first element, its styles, until the next run.
"""

from __future__ import annotations

import streamlit as st

NEWS_KEY = "_news"


def queue_toast(text: str) -> None:
    """For callbacks: `text` is Markdown."""
    st.session_state.setdefault(NEWS_KEY, []).append(text)


def show_queued_toasts() -> None:
    """Say what is to be said; where a run is cut short, the next one says it."""
    for text in st.session_state.get(NEWS_KEY, ()):
        st.toast(text)
    st.session_state.pop(NEWS_KEY, None)
