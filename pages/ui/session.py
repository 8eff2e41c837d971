"""The signed-in user of a browser tab, and access to the Studio (core.studio).

Each time a page is drawn, it checks that the user is still signed in.
"""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core import bootstrap
from core.accounts.client_info import ClientInfo, client_info
from core.accounts.identity import SignedIn
from core.errors import ImageError
from core.studio import Studio
from pages.ui.error_panel import ADMIN_KEY, catch_failure, keep_failure

OWNER_KEY = "_session_owner"
# True if this tab's session has ended, for example because the user has signed out in another tab.
ENDED_KEY = "_session_ended"
# How many clicks this tab's session has taken. The browser compares it with the clicks that it has sent.
TAKEN_KEY = "_taken_clicks"
# The label of the button whose click wasn't taken. The page says so until the next click.
LOST_KEY = "_lost_click"


def studio() -> Studio:
    return bootstrap.studio()


def token() -> str | None:
    """Return the session token from the cookie that the browser sent when this tab connected, if any."""
    return studio().cookie.token(dict(st.context.cookies))


def current_user() -> SignedIn | None:
    """Return the user of this tab's session, or None if the tab has no valid session.

    Each call reads the session from the database, so a user whose access was withdrawn is signed out at the
    next click. If the session has ended or was replaced by another session, this tab's state is cleared
    before anything is drawn.
    """
    client_info.set(current_client())
    user = studio().sessions.authenticate(token())
    owner = user.session_id if user else None
    if st.session_state.get(OWNER_KEY, owner) != owner:
        st.session_state.clear()
        st.session_state[ENDED_KEY] = owner is None
    st.session_state[OWNER_KEY] = owner
    st.session_state[ADMIN_KEY] = bool(user and user.is_admin)
    return user


def current_client() -> ClientInfo:
    """Return the IP address and the User-Agent header of this tab's browser.

    The address is 127.0.0.1 if Streamlit reports none, as for a browser on the server's own computer.
    """
    address = st.context.ip_address or "127.0.0.1"
    return ClientInfo(address, st.context.headers.get("User-Agent", ""))


def rerun_if_signed_out(user: SignedIn) -> None:
    """Rerun the whole page if `user` is no longer the signed-in user.

    Fragments and dialogs call this first, because Streamlit can redraw them without the rest of the page.
    """
    if current_user() != user:
        st.rerun()


def as_user(
    user: SignedIn,
    action: Callable[..., None],
    *,
    on_failure: Callable[[ImageError], object] = keep_failure,
) -> Callable[..., None]:
    """Return a callback for a widget that calls `action` if `user` is still signed in.

    The callback checks this itself, because Streamlit runs it before the page checks the session. `action`
    gets `user` and then the widget's `args`. If `action` raises an ImageError, the error is logged and passed
    to `on_failure`.
    """

    def callback(*args: object) -> None:
        with catch_failure(on_failure):
            st.session_state[TAKEN_KEY] = st.session_state.get(TAKEN_KEY, 0) + 1
            st.session_state.pop(LOST_KEY, None)
            if current_user() == user:
                action(user, *args)

    return callback


def require_user() -> SignedIn:
    """Return the signed-in user. If nobody is signed in, rerun the app, which shows the sign-in page."""
    user = current_user()
    if user is None:
        st.rerun()
    return user
