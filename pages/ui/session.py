"""Who is using this page, and the studio that serves them."""

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
# Whether a sign-in of this tab has ended, from wherever.
ENDED_KEY = "_session_ended"


def studio() -> Studio:
    return bootstrap.studio()


def token() -> str | None:
    """The session's token as it was when this tab connected; the guard lets through what may hold one."""
    return session_token(dict(st.context.cookies))


def current_user() -> SignedIn | None:
    """The person whose session row still stands.

    Asked on every run and poll, so that a withdrawn user is out at the next click. Whatever another person
    left in this tab's state is dropped before anything is drawn.
    """
    client_info.set(current_client())
    user = studio().accounts.signed_in(token())
    owner = user.session_id if user else None
    if st.session_state.get(OWNER_KEY, owner) != owner:
        st.session_state.clear()
        st.session_state[ENDED_KEY] = owner is None
    st.session_state[OWNER_KEY] = owner
    return user


def current_client() -> ClientInfo:
    """From where this tab is connected; of the server's own computer Streamlit says no address."""
    address = st.context.ip_address or "127.0.0.1"
    return ClientInfo(address, st.context.headers.get("User-Agent", ""))


def rerun_if_signed_out(user: SignedIn) -> None:
    """For what reruns alone (a fragment, a dialog): a whole run when this person is no longer here."""
    if current_user() != user:
        st.rerun()


def as_user(
    user: SignedIn,
    action: Callable[..., None],
    *,
    keep: Callable[[ImageError], object] = keep_failure,
) -> Callable[..., None]:
    """`action` as a widget's callback, called with `user` first; `keep` gets what it is refused.

    Callbacks run before the page asks who is there: for a person who is no longer signed in, nothing is done.
    """

    def act(*args: object) -> None:
        with catch_failure(keep):
            if current_user() == user:
                action(user, *args)

    return act


def require_user() -> SignedIn:
    """The signed-in user; without one the page goes no further, and the next run shows the sign-in."""
    user = current_user()
    if user is None:
        st.rerun()
    return user
