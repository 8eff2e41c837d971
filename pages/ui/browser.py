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


def _component(name: str, js: str) -> Any:
    return st.components.v2.component(name, js=js)


def begin_session(ticket: str, *, then: str | None = None) -> None:
    """Exchange the ticket for the cookie and load the page afresh: a tab's cookies never change in place."""
    _post("/auth/session", {"ticket": ticket}, once=ticket, then=then)


def end_session(once: str) -> None:
    """Clear the cookie, then load the page afresh."""
    _post("/auth/sign-out", {}, once=once, then="/")


def _post(path: str, body: dict[str, str], *, once: str, then: str | None) -> None:
    data = {"path": path, "body": body, "once": once, "then": then, "always": path == "/auth/sign-out"}
    _component("atelier.session", _SESSION_JS)(key="session", data=data, height="content")
