"""Clicks that buy something and that no process has taken, because the app was restarted or out of reach.

The browser notes each such click until the app says that it has taken it. If another session of the app
answers, or the same one after a broken connection, the browser reports the click, and the page says so.
"""

from __future__ import annotations

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.common.ids import new_id
from core.common.text import storable_text
from pages.ui.error_panel import show_failure
from pages.ui.formatting import shorten
from pages.ui.recent_jobs import recent_jobs
from pages.ui.session import LOST_KEY, TAKEN_KEY, current_user, studio

_SESSION_KEY = "_click_session"
_RECONNECTED_KEY = "_reconnected"
_KEY = "click-watch"
# The beginnings of the keys of all buttons that buy something.
_BUYING = ("enhance", "generate", "offer-", "retry-", "edit-image", "create-variation")
_MAX_LABEL = 80

# The script also reconnects a tab for good: Streamlit leaves a page that was idle as it is, and the new
# session would know none of its buttons until the page is drawn again.
_JS = """
export default function ({ data, setTriggerValue }) {
  const watch = (window.__atelierClicks ??= begin())
  watch.report = setTriggerValue
  watch.heard(data)
}

function begin() {
  const watch = { pending: null, last: {}, report: () => {} }
  let connected = true
  document.addEventListener("click", ({ target }) => {
    const button = target.closest?.("button")
    if (!button || button.disabled || !button.closest(watch.last.buttons)) return
    const label = (button.querySelector("p") ?? button).innerText
    watch.pending ??= { ...watch.last, label, cut: false }
  }, true)
  new MutationObserver(([{ target }]) => {
    const now = target.getAttribute("data-test-connection-state") === "CONNECTED"
    if (now && !connected) watch.report("reconnected", true)
    else if (!now && watch.pending) watch.pending.cut = true
    connected = now
  }).observe(document.body, { subtree: true, attributeFilter: ["data-test-connection-state"] })
  watch.heard = (data) => {
    const { pending } = watch
    watch.last = data
    if (!pending) return
    const same = data.session === pending.session
    if (same && data.taken > pending.taken) watch.pending = null
    else if (!same || (pending.cut && data.reconnected > pending.reconnected)) {
      watch.pending = null
      watch.report("lost", { label: pending.label, ordered: pending.ordered, enhanced: pending.enhanced })
    }
  }
  return watch
}
"""


def watch_clicks(user: SignedIn) -> None:
    """Make the browser report clicks that weren't taken. Call this at the end of each page."""
    selector = ", ".join(f'[class*="st-key-{name}"]' for name in _BUYING)
    data = {
        "session": st.session_state.setdefault(_SESSION_KEY, new_id()),
        "taken": st.session_state.get(TAKEN_KEY, 0),
        "reconnected": st.session_state.get(_RECONNECTED_KEY, 0),
        "ordered": _last_order(user),
        "enhanced": _last_run(user),
        "buttons": selector,
    }
    component = st.components.v2.component("atelier.click_watch", js=_JS)
    component(
        key=_KEY, data=data, height="content", on_lost_change=_note_lost, on_reconnected_change=_count_again
    )


def show_lost_click() -> None:
    """Show which click wasn't taken, if any."""
    if label := st.session_state.get(LOST_KEY):
        message = f"Atelier was restarted or out of reach when you clicked “{label}”. The click wasn't taken."
        show_failure(errors.ClickLost(message), key="lost-click")


def _count_again() -> None:
    st.session_state[_RECONNECTED_KEY] = st.session_state.get(_RECONNECTED_KEY, 0) + 1


def _note_lost() -> None:
    """Keep the label of the click that the browser has reported.

    If the user has bought something since the page of the click was drawn, the app has taken the click, and
    ended before it could say so. A report from the browser may be forged.
    """
    report, user = st.session_state[_KEY].lost, current_user()
    if user is None or not isinstance(report, dict):
        return
    ordered_at, run_id = _last_order(user), _last_run(user)
    ordered = ordered_at > _number(report.get("ordered"))
    enhanced = run_id not in ("", report.get("enhanced"))
    if not (ordered or enhanced):
        st.session_state[LOST_KEY] = shorten(storable_text(str(report.get("label"))), _MAX_LABEL)


def _number(value: object) -> float:
    # A forged integer may be too large for a float.
    return value if isinstance(value, int | float) else 0.0


def _last_order(user: SignedIn) -> float:
    """Return the time of the user's last order in seconds since 1970, or 0.0 if there is none."""
    return max((job.created_at.timestamp() for job in recent_jobs(user)), default=0.0)


def _last_run(user: SignedIn) -> str:
    """Return the id of the user's last enhancement in this process, or "" if there is none."""
    run = studio().enhancements.current(user.user_id)
    return run.id if run else ""
