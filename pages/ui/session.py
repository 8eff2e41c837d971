"""The signed-in user of a page's tab, checked in every run, and access to the studio."""

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
# Set when this tab's session has ended, even if it was ended elsewhere.
ENDED_KEY = "_session_ended"


def studio() -> Studio:
    return bootstrap.studio()


def token() -> str | None:
    """The session token that the browser sent when this tab connected."""
    return session_token(dict(st.context.cookies))


def current_user() -> SignedIn | None:
    """The user whose session is still valid, or None.

    Every run and poll asks the database, so that withdrawn access takes effect at the next click. If another
    user has signed in, this tab's session state is cleared before anything is drawn.
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
    """The address and browser of this tab. Streamlit reports no address for the server's own computer."""
    address = st.context.ip_address or "127.0.0.1"
    return ClientInfo(address, st.context.headers.get("User-Agent", ""))


def rerun_if_signed_out(user: SignedIn) -> None:
    """For fragments and dialogs, which rerun alone: rerun the whole page if `user` is no longer signed in."""
    if current_user() != user:
        st.rerun()


def as_user(
    user: SignedIn,
    action: Callable[..., None],
    *,
    on_failure: Callable[[ImageError], object] = keep_failure,
) -> Callable[..., None]:
    """Wrap `action` as a widget's callback that runs only if `user` is still signed in.

    Streamlit runs callbacks before the page checks the session. `action` gets `user` as its first argument.
    An ImageError that it raises is logged and passed to `on_failure`.
    """

    def callback(*args: object) -> None:
        with catch_failure(on_failure):
            if current_user() == user:
                action(user, *args)

    return callback


def require_user() -> SignedIn:
    """The signed-in user. Without one the page stops, and the next run shows the sign-in page."""
    user = current_user()
    if user is None:
        st.rerun()
    return user
