"""The account page: the user's own account and, for an administrator, the accounts of all users."""

from __future__ import annotations

import streamlit as st

from core.accounts.identity import SignedIn
from core.accounts.passwords import MIN_PASSWORD_LENGTH, RESET_LIFETIME, RESET_PARAM, check_repeated
from core.accounts.registration import INVITE_LIFETIME, OpenInvite
from core.accounts.users import Account
from core.common.clock import utc_now
from core.database.models import INVITE_NAME_LENGTH
from core.settings import RegistrationMode
from core.usage.error_counts import ErrorFrequency
from core.usage.money import format_money
from core.usage.spending import month_of
from core.usage.usage_log import Totals
from pages.ui.account.authenticator import open_authenticator
from pages.ui.account.budget_panel import budget_dialog, budget_panel
from pages.ui.account.sign_in import INVITE_PARAM
from pages.ui.account.token_panel import api_tokens
from pages.ui.browser_scripts import begin_session
from pages.ui.error_panel import failure_panel
from pages.ui.formatting import browser_name, escape_markdown, local_time
from pages.ui.links import page_url, show_loopback_note
from pages.ui.navigation import sign_out
from pages.ui.session import as_user, require_user, studio

INVITE_KEY = "_account_invite"
INVITED_KEY = "invited-name"
CHANGED_PARAM = "changed"
RESET_KEY = "_account_reset"


def page(user: SignedIn) -> None:
    st.title("Account", anchor=False)
    role = "administrator" if user.is_admin else "member"
    st.markdown(f"Signed in as **{escape_markdown(user.display_name)}**, {role}.")
    _month(user)
    budget_panel(user)
    left, right = st.columns(2, gap="large")
    with left:
        _password(user)
    with right:
        _sessions(user)
    api_tokens(user)
    if user.is_admin:
        _invitations(user)
        _people(user)
        _failures(user)
        _audit_log()


def _month(user: SignedIn) -> None:
    """Show the user's calls in the current month and what they cost. Months begin at midnight UTC."""
    st.header("This month", anchor=False)
    totals = studio().usage.totals(user.user_id, month_of(utc_now()))
    metrics = {
        "Images": f"{totals.images:,}",
        "Calls": f"{totals.calls:,}",
        "Spent": escape_markdown(format_money(totals.priced_micros)),
        "Saved calls": f"{totals.saved_calls:,}",
        "Saved": escape_markdown(format_money(totals.saved_micros)),
    }
    with st.container(horizontal=True, gap="large", key="month"):
        for label, value in metrics.items():
            st.metric(label, value, width="content")
    st.caption(" ".join(_footnotes(totals)))


def _footnotes(totals: Totals) -> list[str]:
    notes = ["“Saved” is what you saved by reusing results you already paid for."]
    if unpriced := totals.unpriced_calls + totals.unpriced_saved_calls:
        verbs = "has no known price and isn't" if unpriced == 1 else "have no known price and aren't"
        notes.append(f"{unpriced:,} of the calls {verbs} included in the totals.")
    return notes


def _password(user: SignedIn) -> None:
    st.header("Password", anchor=False)
    with st.form("password"):
        st.text_input("Username", user.username, autocomplete="username", disabled=True)
        current = st.text_input("Current password", type="password", autocomplete="current-password")
        new = st.text_input(
            f"New password ({MIN_PASSWORD_LENGTH} characters or more)",
            type="password",
            autocomplete="new-password",
        )
        repeated = st.text_input("Repeat new password", type="password", autocomplete="new-password")
        submitted = st.form_submit_button("Change password")
    st.caption("A new password signs you out everywhere else and revokes all your API tokens.")
    if submitted:
        with failure_panel("password"):
            _change(user, current or "", new or "", repeated or "")
    if st.query_params.pop(CHANGED_PARAM, None):
        st.success("Your password has been changed.", icon=":material/check:")


def _change(user: SignedIn, current: str, new: str, repeated: str) -> None:
    check_repeated(new, repeated)
    with open_authenticator() as authenticator:
        ticket = authenticator.change_password(user.username, current, new)
    st.info("Signing in with the new password…", icon=":material/login:")
    begin_session(ticket, then=f"/account?{CHANGED_PARAM}=yes")


def _sessions(user: SignedIn) -> None:
    st.header("Where you are signed in", anchor=False)
    for row in studio().sessions.list(user):
        here = " (this browser)" if row.id == user.session_id else ""
        st.markdown(
            f"- {escape_markdown(browser_name(row.browser))}{here}, last used {local_time(row.seen_at)}"
        )
    with st.container(horizontal=True):
        st.button("Sign out", icon=":material/logout:", key="account-sign-out", on_click=sign_out)
        st.button("Sign out everywhere", on_click=as_user(user, _sign_out_everywhere))


def _sign_out_everywhere(user: SignedIn) -> None:
    studio().sessions.sign_out_everywhere(user)
    sign_out()


def _invitations(user: SignedIn) -> None:
    st.header("Invite someone", anchor=False)
    registration = studio().settings.effective_registration
    if registration is RegistrationMode.CLOSED:
        st.caption("New accounts are switched off (REGISTRATION=closed).")
        return
    if registration is RegistrationMode.OPEN:
        st.caption("Anyone who can open this address can create an account (REGISTRATION=open).")
        return
    with st.form("invite", clear_on_submit=True):
        st.text_input("Who is it for?", key=INVITED_KEY, max_chars=INVITE_NAME_LENGTH)
        st.form_submit_button(
            "Create invitation link", icon=":material/person_add:", on_click=as_user(user, _create_invite)
        )
    if token := st.session_state.get(INVITE_KEY):
        st.code(page_url(INVITE_PARAM, token), language=None)
        show_loopback_note()
        st.caption(
            f"It creates one account. Expires in {INVITE_LIFETIME.days} days. "
            "Copy the link now: it won't be shown again."
        )
    for invite in studio().registration.open_invites(user):
        with st.container(horizontal=True, vertical_alignment="center", key=f"invite-{invite.id}"):
            created, expires = local_time(invite.created_at), local_time(invite.expires_at)
            whose = f"for **{escape_markdown(invite.name)}**, " if invite.name else ""
            st.markdown(f"Invitation {whose}created {created}, expires {expires}")
            st.button(
                f"Withdraw invitation for {escape_markdown(invite.name)}"
                if invite.name
                else "Withdraw invitation",
                key=f"withdraw-invite-{invite.id}",
                on_click=as_user(user, _withdraw_invite),
                args=(invite,),
            )


def _create_invite(user: SignedIn) -> None:
    st.session_state[INVITE_KEY] = studio().registration.create_invite(user, st.session_state[INVITED_KEY])


def _withdraw_invite(user: SignedIn, invite: OpenInvite) -> None:
    studio().registration.withdraw_invite(user, invite.id)
    st.session_state.pop(INVITE_KEY, None)


def _people(user: SignedIn) -> None:
    st.header("People", anchor=False)
    for account in studio().users.list(user):
        with st.container(horizontal=True, vertical_alignment="center", key=f"person-{account.user_id}"):
            role = "administrator" if account.is_admin else "member"
            st.markdown(
                f"**{escape_markdown(account.username)}** · {role} · since {local_time(account.created_at)}"
            )
            if not account.withdrawn_at and st.button("Budget", key=f"budget-{account.user_id}"):
                budget_dialog(user, account)
            if account.user_id != user.user_id:
                _access(user, account)


def _access(user: SignedIn, account: Account) -> None:
    if account.withdrawn_at:
        st.badge("No access", color="red")
        st.button(
            "Restore access",
            key=f"in-{account.user_id}",
            on_click=as_user(user, _reinstate),
            args=(account,),
        )
        return
    _reset(user, account)
    with st.popover("Withdraw access", key=f"out-{account.user_id}"):
        st.markdown(
            f"**{escape_markdown(account.username)}** will be signed out everywhere at once, "
            "and their API tokens revoked. Their images are kept."
        )
        st.button(
            "Withdraw",
            key=f"withdraw-{account.user_id}",
            type="primary",
            on_click=as_user(user, _withdraw),
            args=(account,),
        )


def _reset(user: SignedIn, account: Account) -> None:
    """Show a button that creates a password reset link. Once the link exists, show it too.

    The administrator passes the link on to a user who has forgotten the password.
    """
    with st.popover("Forgotten password", key=f"reset-{account.user_id}"):
        st.button(
            "Create a link to set a new password",
            key=f"create-reset-{account.user_id}",
            on_click=as_user(user, _create_reset),
            args=(account,),
        )
        if token := st.session_state.get(f"{RESET_KEY}-{account.user_id}"):
            st.code(page_url(RESET_PARAM, token), language=None)
            show_loopback_note()
            hours = RESET_LIFETIME.total_seconds() / 3600
            st.caption(
                f"Anyone who opens it can set the password of **{escape_markdown(account.username)}**, once. "
                f"Expires in {hours:.0f} hours."
            )


def _create_reset(user: SignedIn, account: Account) -> None:
    token = studio().passwords.create_reset(user, account.user_id)
    st.session_state[f"{RESET_KEY}-{account.user_id}"] = token


def _withdraw(user: SignedIn, account: Account) -> None:
    studio().users.withdraw(user, account.user_id)


def _reinstate(user: SignedIn, account: Account) -> None:
    studio().users.reinstate(user, account.user_id)


def _audit_log() -> None:
    st.header("Audit", anchor=False)
    st.markdown("Who signed in, and who changed or deleted what, when and from where.")
    st.page_link("audit.py", label="Open the audit log", icon=":material/history:")


def _failures(user: SignedIn) -> None:
    st.header("What failed", anchor=False)
    seen = studio().error_counts.frequencies(user)
    if not seen:
        st.caption("Nothing failed in the last 30 days.")
        return
    with st.container(key="failures"):
        st.table([_failure_row(failure) for failure in seen], border="horizontal")
    st.caption("How often people saw each message. The log has the details.")


def _failure_row(failure: ErrorFrequency) -> dict[str, str]:
    message = escape_markdown(failure.message) or "An error of another version"
    counts = {"Last 24 hours": f"{failure.recent:,}", "Last 30 days": f"{failure.total:,}"}
    return {"Code": escape_markdown(failure.code), "What people saw": message} | counts


page(require_user())
