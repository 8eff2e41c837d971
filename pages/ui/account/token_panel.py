"""API tokens on the account page: create a token and copy it, list the tokens, and revoke them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

import streamlit as st

from core.accounts.api_tokens import LIFETIMES_DAYS, NAME_LENGTH, TokenSummary
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.database.models import Scope
from pages.ui.error_panel import failure_panel
from pages.ui.formatting import escape_markdown, local_time, to_local_time
from pages.ui.session import as_user, studio

STATE_KEY = "_account_tokens"
_SCOPE_LABELS = {
    Scope.READ: "View your images",
    Scope.GENERATE: "Generate and change images (this may cost money)",
}
_SCOPE_SUMMARIES = {Scope.READ: "views images", Scope.GENERATE: "generates and changes images"}


@dataclass(slots=True)
class NewTokenState:
    """A new API token. `token` is None before it is created, and again once the user has copied it.

    If the user clicks twice, Streamlit starts the page's script again while the first click is being
    processed. `lock` makes the second click wait for the first.
    """

    token: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def api_tokens(user: SignedIn) -> None:
    st.header("API tokens", anchor=False)
    st.markdown("A script that calls the Images API signs in with a token instead of your password.")
    state = _state()
    left, right = st.columns(2, gap="large")
    with left:
        if state.token:
            _new_token(state.token, state)
        else:
            _form(user, state)
    with right:
        for token in studio().api_tokens.list(user):
            _line(user, token)


def _state() -> NewTokenState:
    if STATE_KEY not in st.session_state:
        st.session_state[STATE_KEY] = NewTokenState()
    state: NewTokenState = st.session_state[STATE_KEY]
    return state


def _form(user: SignedIn, state: NewTokenState) -> None:
    with st.form("token"):
        name = st.text_input(
            "Token name", max_chars=max(NAME_LENGTH), placeholder="What it is for", autocomplete="off"
        )
        scopes = [scope for scope, label in _SCOPE_LABELS.items() if st.checkbox(label, scope is Scope.READ)]
        days = st.selectbox(
            "Expires", [days or 0 for days in LIFETIMES_DAYS], format_func=_expiry_label, width=220
        )
        submitted = st.form_submit_button("Create token", icon=":material/key:")
    if submitted:
        _create(lambda: studio().api_tokens.create(user, name or "", scopes, days or None), state)


def _expiry_label(days: int) -> str:
    return f"in {days} days" if days else "never"


def _create(create: Callable[[], str], state: NewTokenState) -> None:
    """Create one token by calling `create`. If the user clicks twice, `create` is called only once."""
    with failure_panel("token"):
        with state.lock:
            state.token = state.token or create()
        st.rerun()


def _new_token(token: str, state: NewTokenState) -> None:
    with st.container(border=True, key="new-token"):
        st.markdown("**Copy your new token now.** It won't be shown again.")
        st.code(token, language=None, wrap_lines=True)
        st.caption("Scripts send it in a header: `Authorization: Bearer` followed by the token.")
        st.button("I have copied it", icon=":material/check:", on_click=_copied, args=(state,))


def _copied(state: NewTokenState) -> None:
    state.token = None


def _line(user: SignedIn, token: TokenSummary) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"token-{token.id}"):
        with st.container(width="stretch", gap=None):
            st.markdown(f"**{escape_markdown(token.name)}**")
            st.caption(" · ".join(_facts(token)))
        if token.expired(utc_now()):
            st.badge("Expired", color="red")
        with st.popover("Revoke", key=f"revoke-{token.id}"):
            st.markdown(f"Anything that uses **{escape_markdown(token.name)}** stops working at once.")
            st.button(
                "Revoke it",
                key=f"revoke-now-{token.id}",
                type="primary",
                on_click=as_user(user, _revoke),
                args=(token,),
            )


def _facts(token: TokenSummary) -> list[str]:
    """Return short texts about a token: its permissions, its dates, and its last use."""
    expiry = f"expires on {_day(token.expires_at)}" if token.expires_at else "never expires"
    used = f"last used {local_time(token.used_at)}" if token.used_at else "never used"
    scopes = [_SCOPE_SUMMARIES[scope] for scope in Scope if scope in token.scopes]
    return [*scopes, f"created on {_day(token.created_at)}", expiry, used]


def _day(moment: datetime) -> str:
    return f"{to_local_time(moment):%d %b %Y}"


def _revoke(user: SignedIn, token: TokenSummary) -> None:
    studio().api_tokens.revoke(user, token.id)
