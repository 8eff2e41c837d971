"""The buttons below a list that go to its previous or next page. A list begins with its newest items."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core.common.ids import new_id
from pages.ui.browser_scripts import scroll_to_top

TURN_KEY = "_page_turn"


def pager(newer: str | None, older: str | None, go_to: Callable[[str | None], None]) -> None:
    """Draw the buttons "Newer" and "Older". Draw nothing if the list has only one page.

    `newer` and `older` are the cursors of the neighbouring pages. A cursor marks a page's position in the
    list. It is None if there is no such page. A click calls `go_to` with the cursor. `go_to` may only change
    the state of this browser tab, because Streamlit calls it before the page checks whether the user is
    signed in. The page that it turns to begins at its top.
    """
    if not (newer or older):
        return

    def turn(cursor: str | None) -> None:
        st.session_state[TURN_KEY] = new_id()
        go_to(cursor)

    scroll_to_top(once=st.session_state.get(TURN_KEY, ""))
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
