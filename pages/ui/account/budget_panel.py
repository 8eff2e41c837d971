"""A user's budgets: how much is used and left, and a dialog in which an administrator changes them."""

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
from pages.ui.formatting import escape_markdown, to_local_time
from pages.ui.session import rerun_if_signed_out, studio

DEFAULT, UNLIMITED, CUSTOM = "default", "unlimited", "custom"


def budget_panel(user: SignedIn) -> None:
    """Show the signed-in user's own budgets."""
    st.header("Budget", anchor=False)
    statement = studio().budgets.statement(user.user_id)
    _figures(statement)
    st.caption(" ".join(_footnotes(statement)))


def budget_dialog(user: SignedIn, account: Account) -> None:
    """Open a dialog in which the administrator `user` changes the budgets of `account`."""
    st.dialog(f"Budget for {escape_markdown(account.username)}")(_dialog)(user, account)


def _figures(statement: Statement) -> None:
    with st.container(horizontal=True, gap="large"):
        for line in statement.lines:
            with st.container(width="content", gap=None):
                st.metric(_title(line), escape_markdown(format_amount(line.kind, line.used)), width="content")
                st.caption(escape_markdown(_rest(line)))


def _title(line: BudgetUse) -> str:
    return f"{'Spent' if line.kind.is_money else 'Images'} {_period(line.kind)}"


def _period(kind: BudgetKind) -> str:
    return "today" if kind.is_daily else "this month"


def _rest(line: BudgetUse) -> str:
    if line.limit is None:
        return format_amount(line.kind, None)
    return f"of {format_amount(line.kind, line.limit)}, {format_amount(line.kind, line.left or 0)} left"


def _footnotes(statement: Statement) -> list[str]:
    resets = {line.kind.is_daily: to_local_time(line.renews_at) for line in statement.lines}
    notes = [
        "Images that are queued or being generated are included.",
        f"Resets daily at {resets[True]:%H:%M}, and for the month on {resets[False]:%d %b at %H:%M}.",
    ]
    if any(line.limit is not None for line in statement.lines if line.kind.is_money):
        notes.append(
            "Most prices are known only when an image is ready. Until then, the most it is likely to cost "
            "is set aside."
        )
    return notes


def _dialog(user: SignedIn, account: Account) -> None:
    rerun_if_signed_out(user)
    statement = studio().budgets.statement(account.user_id)
    _figures(statement)
    saved = studio().budgets.user_limits(account.user_id)
    chosen = {kind: _limit_input(account, kind, saved) for kind in BudgetKind}
    if st.button("Save", type="primary", key=f"save-budget-{account.user_id}"):
        with failure_panel("budget"):
            studio().budgets.change(user, account.user_id, UserLimits(*chosen.values()))
            st.rerun()


def _limit_input(account: Account, kind: BudgetKind, saved: UserLimits) -> int | None:
    """Draw the inputs for the limit `kind` of `account`, and return the chosen limit.

    Returns an amount in micro-USD or a number of images. Returns NO_LIMIT for no limit, and None for the
    default limit in the settings. `saved` has the user's present limits.
    """
    own, key = saved.of(kind), f"{kind}-{account.user_id}"
    default = studio().budgets.default_limits.of(kind)
    labels = {
        DEFAULT: f"Default ({format_amount(kind, default)})",
        UNLIMITED: "No limit",
        CUSTOM: "Custom",
    }
    current = DEFAULT if own is None else UNLIMITED if own == NO_LIMIT else CUSTOM
    choice = st.selectbox(
        kind.label,
        list(labels),
        list(labels).index(current),
        key=f"kind-{key}",
        format_func=labels.__getitem__,
    )
    if choice != CUSTOM:
        return NO_LIMIT if choice == UNLIMITED else None
    limit = max(0, own if own is not None else default or 0)
    return _money_input(kind, limit, key) if kind.is_money else _images_input(kind, limit, key)


def _money_input(kind: BudgetKind, limit: int, key: str) -> int:
    """Draw an input for an amount in USD, and return the amount in micro-USD."""
    usd = st.number_input(
        f"Maximum {kind.label.lower()} (USD)",
        0.0,
        float(MAX_USD_LIMIT),
        limit / MICROS,
        1.0,
        format="%.2f",
        key=f"limit-{key}",
    )
    return round(usd * MICROS)


def _images_input(kind: BudgetKind, limit: int, key: str) -> int:
    label = f"Maximum {kind.label.lower()}"
    return int(st.number_input(label, 0, MAX_IMAGES_LIMIT, limit, 1, key=f"limit-{key}"))
