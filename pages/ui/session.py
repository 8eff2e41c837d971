"""The signed-in user of a browser tab, checked in every run of a page, and access to the studio."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from core import bootstrap
from core.accounts.client_info import ClientInfo, client_info
from core.accounts.identity import SignedIn
from core.errors import ImageError
from core.studio import Studio
from core.web.cookies import session_token
from pages.ui.error_panel import catch_failure, keep_failure

OWNER_KEY = "_session_owner"
# True if this tab's session has ended, for example because the user has signed out in another tab.
ENDED_KEY = "_session_ended"


def studio() -> Studio:
    return bootstrap.studio()


def token() -> str | None:
    """Return the session token that the browser sent when this tab connected."""
    return session_token(dict(st.context.cookies))


def current_user() -> SignedIn | None:
    """Return the user of this tab's session, or None if there is no valid session.

    Every run and poll asks the database, so that a withdrawal of access takes effect at the next click. If
    the session has ended or changed, this tab's state is cleared before anything is drawn.
    """
    client_info.set(current_client())
    user = studio().sessions.authenticate(token())
    owner = user.session_id if user else None
    if st.session_state.get(OWNER_KEY, owner) != owner:
        st.session_state.clear()
        st.session_state[ENDED_KEY] = owner is None
    st.session_state[OWNER_KEY] = owner
    return user


def current_client() -> ClientInfo:
    """Return the address and the browser of this tab.

    Streamlit reports no address for a browser on the server's own computer.
    """
    address = st.context.ip_address or "127.0.0.1"
    return ClientInfo(address, st.context.headers.get("User-Agent", ""))


def rerun_if_signed_out(user: SignedIn) -> None:
    """Rerun the whole page if `user` is no longer signed in.

    Fragments and dialogs call this, because Streamlit reruns them without the rest of the page.
    """
    if current_user() != user:
        st.rerun()


def as_user(
    user: SignedIn,
    action: Callable[..., None],
    *,
    on_failure: Callable[[ImageError], object] = keep_failure,
) -> Callable[..., None]:
    """Return a widget's callback that calls `action` only if `user` is still signed in.

    The callback must check this itself, because Streamlit runs callbacks before the page checks the session.
    `action` gets `user` as its first argument. An ImageError that `action` raises is logged and passed to
    `on_failure`.
    """

    def callback(*args: object) -> None:
        with catch_failure(on_failure):
            if current_user() == user:
                action(user, *args)

    return callback


def require_user() -> SignedIn:
    """Return the signed-in user. If there is none, rerun the app, which then shows the sign-in page."""
    user = current_user()
    if user is None:
        st.rerun()
    return user
