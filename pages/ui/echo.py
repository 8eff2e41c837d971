"""Values that the page shows, and that the browser sends back with each click.

A click thus says which page it was made on. The values also outlive a restart of the app, in the browser.
"""

from __future__ import annotations

import streamlit as st

from core import errors


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


def check_shown(name: str, value: str) -> None:
    """Raise PageOutdated if the browser showed another value than `value` under `name` at this click.

    Call this before a click buys something. `value` names what would be bought, as the buttons say it: what
    the user typed last is sent with the click, and may change a price by less than the page shows.
    """
    if st.session_state.get(_key(name)) != value:
        raise errors.PageOutdated


def _key(name: str) -> str:
    return f"echo-{name}"
