"""What a click has to say, said when its run draws the page.

A toast from a callback takes the place of the page's first element, its styles, until the next run.
"""

from __future__ import annotations

from dataclasses import dataclass

import streamlit as st

NEWS_KEY = "_news"


@dataclass(frozen=True, slots=True)
class News:
    text: str
    failed: bool = False


def tell_later(text: str, *, failed: bool = False) -> None:
    """For callbacks: `text` is Markdown."""
    st.session_state.setdefault(NEWS_KEY, []).append(News(text, failed))


def tell_now() -> None:
    """Say what is to be said; where a run is cut short, the next one says it."""
    for news in st.session_state.get(NEWS_KEY, ()):
        st.toast(news.text, icon=":material/error:" if news.failed else None)
    st.session_state.pop(NEWS_KEY, None)
