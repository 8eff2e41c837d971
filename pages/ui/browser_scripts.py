"""Small scripts for the browser: what Streamlit can't do by itself."""

from __future__ import annotations

from typing import Any

import streamlit as st

_SESSION_JS = """
export default function ({ data }) {
  if (window.__atelierSent === data.once) return
  window.__atelierSent = data.once
  fetch(data.path, {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(data.body),
  }).then((answer) => {
    if (answer.ok || data.always) window.location.replace(data.then || window.location.pathname)
    else window.location.reload()
  }, () => window.location.reload())
}
"""

# A text field sends what was typed a moment after it is left. A click that leads to another page would be
# sent before that, and the text then calls the page back that was just left: so the click waits for the text.
_PATIENCE_JS = """
export default function () {
  if (window.__atelierPatient) return
  window.__atelierPatient = true
  let left = -Infinity
  document.addEventListener("blur", ({ target }) => {
    if (target.matches?.("input, textarea")) left = performance.now()
  }, true)
  document.addEventListener("pointerdown", ({ target }) => {
    if (target.closest?.("a") && document.activeElement?.matches("input, textarea"))
      document.activeElement.blur()
  }, true)
  document.addEventListener("click", (event) => {
    const way = event.target.closest?.(".st-key-ways a")
    const other = event.ctrlKey || event.metaKey || event.shiftKey
    if (!way || other || performance.now() - left > 150) return
    event.preventDefault()
    event.stopPropagation()
    left = -Infinity
    setTimeout(() => way.click(), 150)
  }, true)
}
"""


def _component(name: str, js: str) -> Any:
    return st.components.v2.component(name, js=js)


def begin_session(ticket: str, *, then: str | None = None) -> None:
    """Exchange the ticket for the cookie and load the page afresh: a tab's cookies never change in place."""
    _post("/auth/session", {"ticket": ticket}, once=ticket, then=then)


def delay_page_links() -> None:
    """Let a click on a way to another page wait until what was just typed is sent."""
    _component("atelier.patience", _PATIENCE_JS)(key="patience", height="content")


def end_session(once: str) -> None:
    """Clear the cookie, then load the page afresh."""
    _post("/auth/sign-out", {}, once=once, then="/")


def _post(path: str, body: dict[str, str], *, once: str, then: str | None) -> None:
    data = {"path": path, "body": body, "once": once, "then": then, "always": path == "/auth/sign-out"}
    _component("atelier.session", _SESSION_JS)(key="session", data=data, height="content")
