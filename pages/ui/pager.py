"""The two buttons below a list that lead to its newer and its older page."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st


def pager(newer: str | None, older: str | None, turn: Callable[[str | None], None]) -> None:
    """Nothing where one page holds everything; else `turn` is called with the cursor of the page asked for.

    It may touch nothing but this tab: it runs before the page asks who is there.
    """
    if not (newer or older):
        return
    with st.container(horizontal=True, horizontal_alignment="center", key="pager"):
        st.button(
            "Newer", icon=":material/chevron_left:", disabled=newer is None, on_click=turn, args=(newer,)
        )
        st.button(
            "Older",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=older is None,
            on_click=turn,
            args=(older,),
        )
