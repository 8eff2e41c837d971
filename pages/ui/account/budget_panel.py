"""A person's budgets: what is used and left, and for the administrator the way to change them."""

from __future__ import annotations

import streamlit as st

from core.accounts.identity import SignedIn
from core.accounts.users import Account
from core.usage.budget_limits import (
    MAX_IMAGES_LIMIT,
    MAX_USD_LIMIT,
    NO_LIMIT,
    BudgetKind,
    BudgetUse,
    Statement,
    UserLimits,
    format_amount,
)
from core.usage.money import MICROS
from pages.ui.error_panel import failure_panel
from pages.ui.formatting import escape_markdown
from pages.ui.session import rerun_if_signed_out, studio

USUAL, NONE, OWN = "usual", "none", "own"


def budget_panel(user: SignedIn) -> None:
    """One's own."""
    st.subheader("Budget", anchor=False)
    statement = studio().budgets.statement(user.user_id)
    _figures(statement)
    st.caption(" ".join(_footnotes(statement)))


def budget_dialog(user: SignedIn, account: Account) -> None:
    """Another user's budget, or the administrator's own, over the page."""
    st.dialog(f"Budget for {escape_markdown(account.username)}")(_body)(user, account)


def _figures(statement: Statement) -> None:
    with st.container(horizontal=True, gap="large"):
        for line in statement.lines:
            with st.container(width="content", gap=None):
                st.metric(_title(line), escape_markdown(format_amount(line.kind, line.used)), width="content")
                st.caption(escape_markdown(_rest(line)))


def _title(line: BudgetUse) -> str:
    return f"{'Money' if line.kind.is_money else 'Images'} {_period(line.kind)}"


def _period(which: BudgetKind) -> str:
    return "today" if which.is_daily else "this month"


def _rest(line: BudgetUse) -> str:
    if line.limit is None:
        return format_amount(line.kind, None)
    return f"of {format_amount(line.kind, line.limit)}, {format_amount(line.kind, line.left or 0)} left"


def _footnotes(statement: Statement) -> list[str]:
    starts = {_period(line.kind): f"{line.renews_at:%d %b %Y, %H:%M} UTC" for line in statement.lines}
    notes = [
        "Images that are queued or being made are included.",
        f"The daily budget resets on {starts['today']}, the monthly one on {starts['this month']}.",
    ]
    if any(line.limit is not None for line in statement.lines if line.kind.is_money):
        notes.append(
            "Most prices are known only once an image is made: until then, the most it is likely to cost "
            "is set aside."
        )
    return notes


def _body(user: SignedIn, account: Account) -> None:
    rerun_if_signed_out(user)
    statement = studio().budgets.statement(account.user_id)
    _figures(statement)
    before = studio().budgets.user_limits(account.user_id)
    chosen = {which: _choice(account, which, before) for which in BudgetKind}
    if st.button("Save", type="primary", key=f"save-budget-{account.user_id}"):
        with failure_panel("budget"):
            studio().budgets.change(user, account.user_id, UserLimits(*chosen.values()))
            st.rerun()


def _choice(account: Account, which: BudgetKind, before: UserLimits) -> int | None:
    """One limit as it is chosen now."""
    own, key = before.of(which), f"{which}-{account.user_id}"
    usual = studio().budgets.default_limits.of(which)
    words = {
        USUAL: f"As in the settings: {format_amount(which, usual)}",
        NONE: "No limit",
        OWN: "Another limit",
    }
    now = USUAL if own is None else NONE if own == NO_LIMIT else OWN
    kind = st.selectbox(
        which.label, list(words), list(words).index(now), key=f"kind-{key}", format_func=words.__getitem__
    )
    if kind != OWN:
        return NO_LIMIT if kind == NONE else None
    limit = max(0, own if own is not None else usual or 0)
    return _money_input(which, limit, key) if which.is_money else _images_input(which, limit, key)


def _money_input(which: BudgetKind, limit: int, key: str) -> int:
    typed = st.number_input(
        f"{which.label}, USD",
        0.0,
        float(MAX_USD_LIMIT),
        limit / MICROS,
        1.0,
        format="%.2f",
        key=f"limit-{key}",
    )
    return round(typed * MICROS)


def _images_input(which: BudgetKind, limit: int, key: str) -> int:
    label = f"{which.label}, number"
    return int(st.number_input(label, 0, MAX_IMAGES_LIMIT, limit, 1, key=f"limit-{key}"))
