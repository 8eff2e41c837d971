"""Values that the page shows, and that the browser sends back with each click.

A click thus says which page it was made on. The values also outlive a restart of the app, in the browser.
"""

from __future__ import annotations

import streamlit as st


def show_and_echo(name: str, value: str, *, adopt: bool = False) -> str:
    """Give the browser `value` under this `name`, to be sent back with each later click, and return it.

    With `adopt`, a value that the browser has kept from before a restart of the app is left there and
    returned instead. It may be forged.
    """
    key = _key(name)
    if not adopt and st.session_state.get(key) != value:
        st.session_state[key] = value
    # A text field is the only widget whose value the app can set without another run of the page.
    with st.container(key=f"unseen-{name}"):
        return st.text_input(f"Shown {name}", value if adopt else "", key=key, label_visibility="collapsed")


def sent_back(name: str) -> str | None:
    """Return the value that the browser has sent with this click, or None if it has sent none."""
    value: str | None = st.session_state.get(_key(name))
    return value


def _key(name: str) -> str:
    return f"echo-{name}"
