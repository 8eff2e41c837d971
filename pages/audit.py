"""The audit page for administrators: the audit log as a table with filters, and as a CSV file."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial

import streamlit as st

from core.accounts.audit_log import Action, AuditFilter, format_utc
from core.accounts.identity import SignedIn
from core.database.models import AuditEntry
from core.errors import NotAllowed
from pages.ui.error_panel import show_failure
from pages.ui.formatting import browser_name, escape_markdown, shorten
from pages.ui.pager import pager
from pages.ui.session import require_user, studio

STATE_KEY = "_audit"
_ID_LENGTH = 40


@dataclass(slots=True)
class AuditState:
    """The filters and the page of the audit log that one browser tab shows.

    `cursor` is the page's cursor for `AuditLog.page`, or None for the first page.
    """

    filters: AuditFilter = field(default_factory=AuditFilter)
    cursor: str | None = None


def page(user: SignedIn) -> None:
    st.title("Audit", anchor=False)
    if not user.is_admin:
        # `AuditLog` would raise the same error, but that would be logged and counted as a failed page.
        show_failure(NotAllowed(), key="audit")
        return
    st.markdown("Newest first, in UTC. Nobody can change or remove an entry.")
    state = _state()
    filters = _choose_filters(user, state.filters)
    if filters != state.filters:
        state.filters, state.cursor = filters, None
    found = studio().audit_log.page(user, filters, after=state.cursor)
    if found.entries:
        with st.container(key="audit"):
            st.markdown(_table(found.entries))
    else:
        st.info("No matching entries.", icon=":material/history:")
    pager(found.newer, found.next, partial(_go_to, state))


def _state() -> AuditState:
    if STATE_KEY not in st.session_state:
        st.session_state[STATE_KEY] = AuditState()
    state: AuditState = st.session_state[STATE_KEY]
    return state


def _choose_filters(user: SignedIn, chosen: AuditFilter) -> AuditFilter:
    people = ["", *sorted(account.username for account in studio().users.list(user))]
    actions = ["", *Action]
    with st.container(horizontal=True, vertical_alignment="bottom", key="audit-filters"):
        person = st.selectbox(
            "Person",
            people,
            people.index(chosen.person or ""),
            format_func=lambda name: name or "Everyone",
            key="audit-person",
            width=220,
        )
        action = st.selectbox(
            "Action",
            actions,
            actions.index(chosen.action or ""),
            format_func=lambda action: action.capitalize() or "Everything",
            key="audit-action",
            width=220,
        )
        filters = AuditFilter(person or None, Action(action) if action else None)
        st.link_button("Download as CSV", _file_url(filters), icon=":material/download:")
    return filters


def _file_url(filters: AuditFilter) -> str:
    chosen = {"person": filters.person, "action": filters.action}
    return studio().urls.audit_file({name: value for name, value in chosen.items() if value})


def _table(entries: tuple[AuditEntry, ...]) -> str:
    """Return a Markdown table of the entries, with all texts escaped."""
    titles = "| When | What | Who | Target | Details | From |\n|---|---|---|---|---|---|\n"
    return titles + "\n".join(_row(entry) for entry in entries)


def _row(entry: AuditEntry) -> str:
    origin = ", ".join(
        part for part in (entry.address, entry.browser and browser_name(entry.browser)) if part
    )
    texts = (
        format_utc(entry.at),
        entry.action.capitalize(),
        entry.actor_name,
        shorten(entry.subject, _ID_LENGTH),
        entry.details,
        origin or "Atelier itself",
    )
    return f"| {' | '.join(map(escape_markdown, texts))} |"


def _go_to(state: AuditState, cursor: str | None) -> None:
    state.cursor = cursor


page(require_user())
