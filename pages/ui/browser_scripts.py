"""Small browser scripts for what Streamlit can't do: set session cookies, and delay page links."""

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
  }).then((response) => {
    if (response.ok || data.always) window.location.replace(data.then || window.location.pathname)
    else window.location.reload()
  }, () => window.location.reload())
}
"""

# A text field sends its text a moment after it loses the focus. A click on a page link is sent before that.
# The late text then makes Streamlit go back to the page that the user has left. So the script delays the
# click.
_PAGE_LINKS_JS = """
export default function () {
  if (window.__atelierPageLinks) return
  window.__atelierPageLinks = true
  let leftField = -Infinity
  document.addEventListener("blur", ({ target }) => {
    if (target.matches?.("input, textarea")) leftField = performance.now()
  }, true)
  document.addEventListener("pointerdown", ({ target }) => {
    if (target.closest?.("a") && document.activeElement?.matches("input, textarea"))
      document.activeElement.blur()
  }, true)
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.(".st-key-page-links a")
    const opensTab = event.ctrlKey || event.metaKey || event.shiftKey
    if (!link || opensTab || performance.now() - leftField > 150) return
    event.preventDefault()
    event.stopPropagation()
    leftField = -Infinity
    setTimeout(() => link.click(), 150)
  }, true)
}
"""


def _component(name: str, js: str) -> Any:
    return st.components.v2.component(name, js=js)


def begin_session(ticket: str, *, then: str | None = None) -> None:
    """Exchange the sign-in ticket for the session cookie. Then load the path `then`, or the same page again.

    Loading is necessary, because Streamlit reads the cookies of a tab only when the tab connects.
    """
    _post("/auth/session", {"ticket": ticket}, once=ticket, then=then)


def end_session(click_id: str) -> None:
    """Clear the session cookie, then load the sign-in page. Does so only once for each `click_id`."""
    _post("/auth/sign-out", {}, once=click_id, then="/")


def _post(path: str, body: dict[str, str], *, once: str, then: str | None) -> None:
    data = {"path": path, "body": body, "once": once, "then": then, "always": path == "/auth/sign-out"}
    _component("atelier.session", _SESSION_JS)(key="session", data=data, height="content")


def delay_page_links() -> None:
    """Delay each click on a page link until the text that was just typed has been sent."""
    _component("atelier.page_links", _PAGE_LINKS_JS)(key="page-link-delay", height="content")
