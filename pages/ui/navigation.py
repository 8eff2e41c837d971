"""What stands around every page: name, ways to go, the engine's badge and the way out."""

from __future__ import annotations

import streamlit as st

from core.accounts.identity import SignedIn
from core.common.ids import new_id
from pages.ui.activity import job_status
from pages.ui.browser_scripts import delay_page_links, end_session
from pages.ui.formatting import escape_markdown
from pages.ui.session import studio

LEAVING_KEY = "_leaving"


def navigation_bar(user: SignedIn, *, tell: bool) -> None:
    """The bar of every page: at the top of a wide window; on a phone its ways stand at the bottom.

    `tell` says that what has ended is to be told, for the page doesn't show it.
    """
    if once := st.session_state.get(LEAVING_KEY):
        st.info("Signing out…", icon=":material/logout:")
        end_session(once)
        st.stop()
    with st.container(horizontal=True, vertical_alignment="center", key="ways"):
        st.page_link("create.py", label="Create", icon=":material/brush:")
        st.page_link("gallery.py", label="Gallery", icon=":material/photo_library:")
        st.page_link("account.py", label="Account", icon=":material/manage_accounts:")
        delay_page_links()
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="bar"
    ):
        job_status(user, tell=tell)
        engine_badge()
        with st.popover(
            escape_markdown(user.display_name), icon=":material/account_circle:", type="tertiary"
        ):
            st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=sign_out)


def engine_badge() -> None:
    """Says on every page when pictures don't come from a real service, and how to change that."""
    settings = studio().settings
    if not settings.offline:
        st.badge(escape_markdown(settings.default_image_model), icon=":material/cloud:", color="green")
        return
    with st.popover("Offline engine", icon=":material/wifi_off:", type="secondary"):
        st.markdown(
            "Pictures and prompts are made on this computer, free of charge, **not** by an image model. "
            "They show how Atelier works.\n\n"
            "For the real service, set `OPENAI_API_KEY` (or `OPENAI_BASE_URL` for a compatible server) "
            "in the file `.env` or in the environment, and start Atelier again."
        )


def sign_out() -> None:
    st.session_state[LEAVING_KEY] = new_id()
