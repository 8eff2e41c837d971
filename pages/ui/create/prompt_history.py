"""A popover that lists the earlier prompts of the draft. A click on a prompt restores it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import streamlit as st

from core.accounts.identity import SignedIn
from core.common.ids import new_id
from core.enhancement.drafts import PromptVersion
from pages.ui.create.state import CreateState, read_widgets, update_draft
from pages.ui.formatting import escape_markdown, local_time, shorten
from pages.ui.session import as_user

_SOURCE_LABELS = {
    "enhanced": "Enhanced",
    "unfinished": "Unfinished",
    "edited": "Your edit",
    "reused": "Reused",
}


def prompt_history(user: SignedIn, state: CreateState) -> None:
    with st.popover(f"History ({len(state.draft.versions)})", icon=":material/history:", type="tertiary"):
        for number, version in reversed(list(enumerate(state.draft.versions))):
            st.button(
                _label(version),
                key=f"version-{number}",
                width="stretch",
                disabled=version.text == state.draft.prompt,
                on_click=as_user(user, _restore, on_failure=state.keep_failure),
                args=(state, version),
            )


def _label(version: PromptVersion) -> str:
    source = _SOURCE_LABELS.get(version.source, "Prompt")
    time_of_day = local_time(datetime.fromisoformat(version.at)).rsplit(", ", 1)[-1]
    return f"{source} {time_of_day}: {escape_markdown(shorten(version.text, 60))}"


def _restore(user: SignedIn, state: CreateState, version: PromptVersion) -> None:
    read_widgets(user, state)
    update_draft(user, state, replace(state.draft, prompt=version.text))
    state.prompt_form_id = new_id()
