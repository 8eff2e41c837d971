"""The part of the account page about API tokens: make one, see it once, look through them, revoke."""

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

DESK_KEY = "_account_tokens"
_SCOPES = {Scope.READ: "Look at your images", Scope.GENERATE: "Make and change images, which may cost money"}
_SHORT = {Scope.READ: "looks at images", Scope.GENERATE: "makes and changes images"}


@dataclass(slots=True)
class Desk:
    """The token that was just made, until its owner has copied it.

    A second click begins a run of its own while that of the first one still works: `busy` makes it wait.
    """

    token: str | None = None
    busy: threading.Lock = field(default_factory=threading.Lock)


def api_tokens(user: SignedIn) -> None:
    st.subheader("API tokens", anchor=False)
    st.markdown("A script that calls the Images API signs in with a token instead of your password.")
    desk = _desk()
    left, right = st.columns(2, gap="large")
    with left:
        if desk.token:
            _shown_once(desk.token, desk)
        else:
            _form(user, desk)
    with right:
        for token in studio().api_tokens.list(user):
            _line(user, token)


def _desk() -> Desk:
    if DESK_KEY not in st.session_state:
        st.session_state[DESK_KEY] = Desk()
    desk: Desk = st.session_state[DESK_KEY]
    return desk


def _form(user: SignedIn, desk: Desk) -> None:
    with st.form("token"):
        name = st.text_input(
            "Token name", max_chars=max(NAME_LENGTH), placeholder="What it is for", autocomplete="off"
        )
        scopes = [scope for scope, words in _SCOPES.items() if st.checkbox(words, scope is Scope.READ)]
        life = st.selectbox(
            "Valid", [life or 0 for life in LIFETIMES_DAYS], format_func=_life_words, width=220
        )
        sent = st.form_submit_button("Make a token", icon=":material/key:")
    if sent:
        _attempt(lambda: studio().api_tokens.create(user, name or "", scopes, life or None), desk)


def _life_words(life: int) -> str:
    return f"for {life} days" if life else "until I revoke it"


def _attempt(make: Callable[[], str], desk: Desk) -> None:
    """Make one token, however often the button was clicked."""
    with failure_panel("token"):
        with desk.busy:
            desk.token = desk.token or make()
        st.rerun()


def _shown_once(token: str, desk: Desk) -> None:
    with st.container(border=True, key="new-token"):
        st.markdown("**Copy your new token now.** Only its hash is kept, so it can't be shown again.")
        st.code(token, language=None, wrap_lines=True)
        st.caption("Scripts send it in a header: `Authorization: Bearer` followed by the token.")
        st.button("I have copied it", icon=":material/check:", on_click=_copied, args=(desk,))


def _copied(desk: Desk) -> None:
    desk.token = None


def _line(user: SignedIn, token: TokenSummary) -> None:
    with st.container(horizontal=True, vertical_alignment="center", key=f"token-{token.id}"):
        with st.container(width="stretch", gap=None):
            st.markdown(f"**{escape_markdown(token.name)}**")
            st.caption(" · ".join(_facts(token)))
        if token.expired(utc_now()):
            st.badge("Expired", color="red")
        with st.popover("Revoke", key=f"revoke-{token.id}"):
            st.markdown(f"Anything that uses **{escape_markdown(token.name)}** will be shut out at once.")
            st.button(
                "Revoke it",
                key=f"revoke-now-{token.id}",
                type="primary",
                on_click=as_user(user, _revoke),
                args=(token,),
            )


def _facts(token: TokenSummary) -> list[str]:
    """What it may do, since when and how long, and when it was last used."""
    ends = f"valid until {_day(token.expires_at)}" if token.expires_at else "valid until revoked"
    used = f"last used {local_time(token.used_at)}" if token.used_at else "never used"
    scopes = [_SHORT[scope] for scope in Scope if scope in token.scopes]
    return [*scopes, f"made {_day(token.created_at)}", ends, used]


def _day(moment: datetime) -> str:
    return f"{to_local_time(moment):%d %b %Y}"


def _revoke(user: SignedIn, token: TokenSummary) -> None:
    studio().api_tokens.revoke(user, token.id)
