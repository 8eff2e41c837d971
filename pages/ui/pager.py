"""The buttons below a list that go to its previous or next page. A list begins with its newest items."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st


def pager(newer: str | None, older: str | None, go_to: Callable[[str | None], None]) -> None:
    """Draw the buttons "Newer" and "Older". Draw nothing if the list has only one page.

    `newer` and `older` are the cursors of the neighbouring pages. A cursor marks a page's position in the
    list. It is None if there is no such page. A click calls `go_to` with the cursor. `go_to` may only change
    the state of this browser tab, because Streamlit calls it before the page checks whether the user is
    signed in.
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
