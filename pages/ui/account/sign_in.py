"""The sign-in page: sign in, create an account, or set a new password with a reset link."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import streamlit as st

from core import errors
from core.accounts.passwords import MIN_PASSWORD_LENGTH, RESET_PARAM, check_repeated
from pages.ui.account.authenticator import Authenticator, open_authenticator
from pages.ui.browser_scripts import begin_session
from pages.ui.error_panel import failure_panel, log_failure, show_failure
from pages.ui.formatting import escape_markdown
from pages.ui.navigation import engine_badge
from pages.ui.session import ENDED_KEY, studio
from pages.ui.theme import ICON

STATE_KEY = "_sign_in"
LOGGED_KEY = "_sign_in_errors_logged"
INVITE_PARAM = "invite"


@dataclass(slots=True)
class SignInState:
    """The state of the sign-in in this browser tab.

    A successful sign-in gives a one-time `ticket`, which the browser exchanges for a session cookie. `ticket`
    is None before that.

    If the user clicks twice, Streamlit starts the page's script again while the first click is being
    processed. `lock` makes the second click wait for the first.
    """

    ticket: str | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)


def sign_in_page() -> None:
    failure = None
    if ticket := _state().ticket:
        try:
            begin_session(ticket, without=(INVITE_PARAM, RESET_PARAM))
        except errors.SignInMisdirected as error:
            _state().ticket, failure = None, error
            log_failure(error)
        else:
            st.info("Signing in…", icon=":material/login:")
            return
    with st.container(key="sign-in-page", horizontal_alignment="center"):
        st.image(ICON, width=72, alt="")
        st.title("Atelier", anchor=False, text_alignment="center")
        st.markdown(
            "Describe a subject, read and edit the prompt, generate the image, "
            "and keep it in your own gallery.",
            text_alignment="center",
        )
        if st.session_state.pop(ENDED_KEY, False):
            show_failure(errors.SessionEnded(), key="ended")
        if failure:
            show_failure(failure, key="misdirected")
        _forms()
        engine_badge()


def _state() -> SignInState:
    if STATE_KEY not in st.session_state:
        st.session_state[STATE_KEY] = SignInState()
    state: SignInState = st.session_state[STATE_KEY]
    return state


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
        error_area = st.container()
        submitted = st.form_submit_button("Sign in", type="primary", width="stretch")
    if submitted:
        with error_area:
            _finish(lambda authenticator: authenticator.sign_in(name or "", password or ""), key="sign-in")


def _register(invite: str | None) -> None:
    with st.form("register", border=True):
        name = st.text_input("Username", autocomplete="username", max_chars=64, key="new-username")
        st.caption(escape_markdown(errors.UsernameRejected.suggestions[0]))
        password = st.text_input(
            f"Password ({MIN_PASSWORD_LENGTH} characters or more)",
            type="password",
            autocomplete="new-password",
            key="new-password",
        )
        repeated = st.text_input(
            "Repeat password", type="password", autocomplete="new-password", key="new-password-again"
        )
        error_area = st.container()
        submitted = st.form_submit_button("Create account", type="primary", width="stretch")

    def register(authenticator: Authenticator) -> str:
        check_repeated(password or "", repeated or "")
        return authenticator.register(name or "", password or "", invite=invite)

    if submitted:
        with error_area:
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
        repeated = st.text_input("Repeat new password", type="password", autocomplete="new-password")
        error_area = st.container()
        submitted = st.form_submit_button("Set password", type="primary", width="stretch")

    def reset(authenticator: Authenticator) -> str:
        check_repeated(password or "", repeated or "")
        return authenticator.reset_password(token, password or "")

    if submitted:
        with error_area:
            _finish(reset, key="reset")


def _log_once(error: errors.ImageError) -> None:
    """Log the error of an invalid link. Log it only once per browser tab.

    Streamlit executes the page's script after each click, and every time the page shows the error.
    """
    logged = st.session_state.setdefault(LOGGED_KEY, set())
    if error.code not in logged:
        logged.add(error.code)
        log_failure(error)


def _finish(action: Callable[[Authenticator], str], *, key: str) -> None:
    """Call `action`, which submits the form and returns a ticket, and finish the sign-in with the ticket.

    If the user clicks twice, `action` is called only once. A second call would fail, because the first call
    has already taken the username.
    """
    state = _state()
    with failure_panel(key):
        with open_authenticator() as authenticator, state.lock:
            # Don't call Streamlit before the ticket is stored. After a second click, any call ends the first
            # click's run.
            state.ticket = state.ticket or action(authenticator)
        st.rerun()
