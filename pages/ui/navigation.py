"""The frame of every page: links to the pages, the jobs' progress, the engine's badge and the user menu."""

from __future__ import annotations

import streamlit as st

from core.accounts.identity import SignedIn
from core.common.ids import new_id
from pages.ui.activity import job_status
from pages.ui.browser_scripts import delay_page_links, end_session, improve_text
from pages.ui.error_panel import ADMIN_KEY
from pages.ui.formatting import escape_markdown
from pages.ui.session import studio

SIGNING_OUT_KEY = "_signing_out"


def navigation_bar(user: SignedIn, *, with_toasts: bool) -> None:
    """Draw the navigation bar. On a phone, its page links are at the bottom of the window.

    If `with_toasts` is True, show a toast when jobs end. The Create page needs no toasts, because it shows
    each job.
    """
    if click_id := st.session_state.get(SIGNING_OUT_KEY):
        st.info("Signing out…", icon=":material/logout:")
        end_session(click_id)
        st.stop()
    with st.container(horizontal=True, vertical_alignment="center", key="page-links"):
        st.page_link("create.py", label="Create", icon=":material/brush:")
        st.page_link("gallery.py", label="Gallery", icon=":material/photo_library:")
        st.page_link("account.py", label="Account", icon=":material/manage_accounts:")
        delay_page_links()
        improve_text()
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="status-bar"
    ):
        job_status(user, with_toasts=with_toasts)
        engine_badge()
        name = escape_markdown(user.display_name)
        with st.popover(name, icon=":material/account_circle:", type="tertiary"):
            st.button("Sign out", icon=":material/logout:", type="tertiary", on_click=sign_out)


def engine_badge() -> None:
    """Show what generates the images: the image service's default model, or the offline engine.

    The badge of the offline engine also explains how to connect an image service.
    """
    settings = studio().settings
    if not settings.offline:
        st.badge(escape_markdown(settings.default_image_model), icon=":material/cloud:", color="green")
        return
    is_admin = st.session_state.get(ADMIN_KEY)
    sets, restarts = ("set", "restart") if is_admin else ("your administrator sets", "restarts")
    created = "Images and prompts are" if settings.text_service.offline else "Images are"
    with st.popover("Offline engine", icon=":material/wifi_off:", type="secondary"):
        st.markdown(
            f"{created} created on this computer, free of charge, and **not** by an image model. "
            "They only show how Atelier works.\n\n"
            f"To connect a real image service, {sets} `OPENAI_API_KEY` (or `OPENAI_BASE_URL` "
            f"for a compatible service) in the file `.env` or in the environment, and {restarts} Atelier."
        )


def sign_out() -> None:
    """Mark this browser tab as signing out. `navigation_bar` then ends the session. Use it as a callback."""
    st.session_state[SIGNING_OUT_KEY] = new_id()
