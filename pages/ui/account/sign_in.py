"""The door: sign in, make an account where that is allowed, or set a new password by a link."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import streamlit as st

from core import errors
from core.accounts.passwords import MIN_PASSWORD_LENGTH, RESET_PARAM, check_repeated
from pages.ui.account.authenticator import Authenticator, authenticator
from pages.ui.browser_scripts import begin_session
from pages.ui.error_panel import failure_panel, log_failure, show_failure
from pages.ui.navigation import engine_badge
from pages.ui.session import ENDED_KEY, studio
from pages.ui.theme import ICON

DOOR_KEY = "_door"
TOLD_KEY = "_told"
INVITE_PARAM = "invite"


@dataclass(slots=True)
class Door:
    """What this tab has of a sign-in that has succeeded.

    A second click begins a run of its own while that of the first one still works: `busy` makes it wait.
    """

    ticket: str | None = None
    busy: threading.Lock = field(default_factory=threading.Lock)


def sign_in_page() -> None:
    if ticket := _door().ticket:
        st.info("Signing in…", icon=":material/login:")
        begin_session(ticket)
        return
    with st.container(key="door", horizontal_alignment="center"):
        st.image(ICON, width=72, alt="")
        st.title("Atelier", anchor=False, text_alignment="center")
        st.markdown(
            "Describe a subject, read and edit the prompt, make the picture, "
            "and keep it in a gallery of your own.",
            text_alignment="center",
        )
        if st.session_state.pop(ENDED_KEY, False):
            show_failure(errors.SessionEnded(), key="ended")
        _forms()
        engine_badge()


def _door() -> Door:
    if DOOR_KEY not in st.session_state:
        st.session_state[DOOR_KEY] = Door()
    door: Door = st.session_state[DOOR_KEY]
    return door


def _forms() -> None:
    registration = studio().registration
    invite = st.query_params.get(INVITE_PARAM)
    if not registration.has_users():
        st.info("Welcome! The first account becomes the administrator.", icon=":material/waving_hand:")
        _register(None)
        return
    if reset := st.query_params.get(RESET_PARAM):
        _new_password(reset)
        return
    try:
        registration.check(invite)
    except errors.InviteInvalid as error:
        _log_once(error)
        show_failure(error, key="invite")
        _sign_in()
    except errors.RegistrationClosed as error:
        _sign_in()
        st.caption(f"No account yet? {' '.join(error.suggestions)}")
    else:
        titles = ("Create account", "Sign in") if invite else ("Sign in", "Create account")
        for tab, title in zip(st.tabs(titles), titles, strict=True):
            with tab:
                _register(invite) if title == "Create account" else _sign_in()


def _sign_in() -> None:
    with st.form("sign-in", border=True):
        name = st.text_input("Username", autocomplete="username", max_chars=64)
        password = st.text_input("Password", type="password", autocomplete="current-password")
        place = st.container()
        sent = st.form_submit_button("Sign in", type="primary", width="stretch")
    if sent:
        with place:
            _finish(lambda door: door.sign_in(name or "", password or ""), key="sign-in")


def _register(invite: str | None) -> None:
    with st.form("register", border=True):
        name = st.text_input("Username", autocomplete="username", max_chars=64, key="new-username")
        password = st.text_input(
            f"Password ({MIN_PASSWORD_LENGTH} characters or more)",
            type="password",
            autocomplete="new-password",
            key="new-password",
        )
        again = st.text_input(
            "Repeat password", type="password", autocomplete="new-password", key="new-password-again"
        )
        place = st.container()
        sent = st.form_submit_button("Create account", type="primary", width="stretch")

    def register(door: Authenticator) -> str:
        check_repeated(password or "", again or "")
        return door.register(name or "", password or "", invite=invite)

    if sent:
        with place:
            _finish(register, key="register")


def _new_password(token: str) -> None:
    try:
        name = studio().passwords.check_reset(token)
    except errors.ResetInvalid as error:
        _log_once(error)
        show_failure(error, key="reset")
        _sign_in()
        return
    with st.form("reset", border=True):
        st.text_input("Username", name, autocomplete="username", disabled=True)
        password = st.text_input(
            f"New password ({MIN_PASSWORD_LENGTH} characters or more)",
            type="password",
            autocomplete="new-password",
        )
        again = st.text_input("Repeat new password", type="password", autocomplete="new-password")
        place = st.container()
        sent = st.form_submit_button("Set password", type="primary", width="stretch")

    def reset(door: Authenticator) -> str:
        check_repeated(password or "", again or "")
        return door.reset_password(token, password or "")

    if sent:
        with place:
            _finish(reset, key="reset")


def _log_once(error: errors.ImageError) -> None:
    """A link that doesn't work is drawn by each run of its tab, and is one failure."""
    if error.code not in (told := st.session_state.setdefault(TOLD_KEY, set())):
        told.add(error.code)
        log_failure(error)


def _finish(action: Callable[[Authenticator], str], *, key: str) -> None:
    """Do what the form asks for, once: otherwise a second click would read that its own name is taken."""
    door = _door()
    with failure_panel(key):
        with authenticator() as opened, door.busy:
            # Nothing is said to Streamlit in between, for it would end the run of a first click there.
            door.ticket = door.ticket or action(opened)
        st.rerun()
