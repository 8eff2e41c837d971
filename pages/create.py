"""The Create page: a user describes an image, enhances and edits the prompt, and generates images.

The page also shows the progress of the images.
"""

from __future__ import annotations

import streamlit as st

from core.accounts.identity import SignedIn
from pages.ui.create.draft_form import description_fields, enhancement_fields, option_fields, welcome_box
from pages.ui.create.job_cards import job_cards
from pages.ui.create.prompt_panel import prompt_panel
from pages.ui.create.state import create_state, read_widgets
from pages.ui.session import require_user, studio


def page(user: SignedIn) -> None:
    run = studio().enhancements.current(user.user_id)
    state = create_state(user, run)
    with st.container(key="hidden-title"):
        st.title("Create", anchor=False)
    left, right = st.columns([5, 6], gap="large")
    with left:
        st.header("Describe", anchor=False)
        welcome = st.empty()
        if state.welcome:
            with welcome.container():
                welcome_box(user, state)
        description_fields(state)
        enhancement_fields(state)
        option_fields(state)
    read_widgets(user, state)
    with right:
        prompt_panel(user, state, run)
        job_cards(user, state)


page(require_user())
