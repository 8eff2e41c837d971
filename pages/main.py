"""The script that Streamlit starts for every page: it shows the page that the browser asks for.

Visitors who aren't signed in see the sign-in page at every address.
"""

from __future__ import annotations

import streamlit as st

from pages.ui.account.sign_in import sign_in_page
from pages.ui.create.state import store_typed_text
from pages.ui.error_panel import show_kept_failure
from pages.ui.lost_clicks import show_lost_click, watch_clicks
from pages.ui.navigation import navigation_bar
from pages.ui.recent_jobs import read_jobs_once
from pages.ui.session import current_user
from pages.ui.theme import ICON, show_logo
from pages.ui.toasts import show_queued_toasts

st.set_page_config(page_title="Atelier", page_icon=ICON, layout="wide")
show_logo()
user = current_user()
if user is None:
    page = st.navigation(
        [
            st.Page(sign_in_page, title="Sign in", url_path=path, default=not path)
            for path in ("", "gallery", "account", "audit")
        ],
        position="hidden",
    )
    page.run()
else:
    page = st.navigation(
        [
            st.Page("create.py", title="Create", icon=":material/brush:", default=True),
            st.Page("gallery.py", title="Gallery", icon=":material/photo_library:"),
            st.Page("account.py", title="Account", icon=":material/manage_accounts:"),
            st.Page("audit.py", title="Audit", icon=":material/history:"),
        ],
        position="hidden",
    )
    store_typed_text(user)
    with read_jobs_once(user):
        navigation_bar(user, with_toasts=page.title != "Create")
        show_kept_failure()
        show_lost_click()
        page.run()
        # After the page, whose buttons take clicks only once they are drawn.
        watch_clicks(user)
show_queued_toasts()
