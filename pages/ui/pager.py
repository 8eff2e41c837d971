"""The buttons below a list that show its newer or older page."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st


def pager(newer: str | None, older: str | None, go_to: Callable[[str | None], None]) -> None:
    """Draw the buttons, unless there is only one page. A click calls `go_to` with the cursor of the page to
    show.

    `go_to` may only change the state of this browser tab, because it runs before the page checks the session.
    """
    if not (newer or older):
        return
    with st.container(horizontal=True, horizontal_alignment="center", key="pager"):
        st.button(
            "Newer", icon=":material/chevron_left:", disabled=newer is None, on_click=go_to, args=(newer,)
        )
        st.button(
            "Older",
            icon=":material/chevron_right:",
            icon_position="right",
            disabled=older is None,
            on_click=go_to,
            args=(older,),
        )
