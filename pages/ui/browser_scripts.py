"""JavaScript for what Streamlit can't do: the session cookie, page links, scrolling, and text's direction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from core.errors import SignInMisdirected
from core.web.urls import SESSION, SIGN_OUT
from pages.ui.session import studio

_SESSION_JS = """
export default function ({ data, setTriggerValue }) {
  if (window.__atelierSent === data.once) return
  window.__atelierSent = data.once
  fetch(data.path, {
    method: "POST",
    credentials: "same-origin",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(data.body),
  }).then((response) => {
    const answered = response.headers.get("Content-Type") === "application/json"
    const here = new URL(window.location.href)
    for (const name of data.without) here.searchParams.delete(name)
    if (response.ok || data.always) window.location.replace(data.then || here.pathname + here.search)
    else if (answered) window.location.reload()
    else setTriggerValue("failed", `${data.path}: HTTP ${response.status}`)
  }, () => window.location.reload())
}
"""

# When a text field loses the focus, the browser sends its text a moment later. If the user has clicked a page
# link, the click is sent before the text. The late text then makes Streamlit go back to the page that the
# user has left. So the script delays the click.
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

# Text that people write runs in its own direction, and is cut at its end. In a row of a list, the name of a
# button is followed by that of its row, which tells the buttons of rows apart for screen readers.
_TEXT_JS = """
const WORDS = `input:not([type="password"]), textarea, pre, td, [role="dialog"] h2,
  [data-testid="stMarkdownContainer"] :is(p, li), [data-testid="stCaptionContainer"] p`
const ROWS = ["person", "invite", "share", "token", "failed", "job", "new-image"]
  .map((kind) => `[class*="st-key-${kind}-"]`).join(", ")
let named = 0

function mark(element) {
  for (const words of element.querySelectorAll(WORDS)) words.dir ||= "auto"
  for (const row of element.querySelectorAll(ROWS)) nameButtons(row)
  if (element.closest(ROWS)) nameButtons(element.closest(ROWS))
}

function nameButtons(row) {
  const title = row.querySelector("strong, p, img[alt]")
  if (!title) return
  for (const button of row.querySelectorAll("button")) {
    if (!button.textContent.trim() || button.contains(title)) continue
    title.id ||= `atelier-row-${++named}`
    button.id ||= `atelier-button-${++named}`
    button.setAttribute("aria-labelledby", `${button.id} ${title.id}`)
  }
}

export default function () {
  if (window.__atelierText) return
  window.__atelierText = true
  mark(document.body)
  new MutationObserver((changes) => {
    const changed = new Set(changes.filter((one) => one.addedNodes.length).map((one) => one.target))
    for (const element of changed) if (element.isConnected) mark(element)
  }).observe(document.body, { childList: true, subtree: true })
}
"""

# `once` names a click. A page that is reloaded stays where the browser puts it.
_TOP_JS = """
export default function ({ data }) {
  if (!data.once || window.__atelierTurned === data.once) return
  window.__atelierTurned = data.once
  document.querySelector('[data-testid="stMain"]')?.scrollTo(0, 0)
  document.activeElement?.blur()
}
"""


def _component(name: str, js: str) -> Any:
    return st.components.v2.component(name, js=js)


def begin_session(ticket: str, *, then: str | None = None, without: Sequence[str] = ()) -> None:
    """Make the browser exchange the sign-in ticket for a session cookie, then load the path `then`.

    If `then` is None, the browser loads the current address again, without the query parameters in `without`,
    such as an invitation that has been used. Loading is necessary, because Streamlit reads the cookies of a
    browser tab only when the tab connects. Raises SignInMisdirected if the browser's request has reached
    another server than Atelier.
    """
    failure = _post(SESSION, {"ticket": ticket}, once=ticket, then=then, without=without)
    if failure:
        raise SignInMisdirected(details=failure)


def end_session(click_id: str) -> None:
    """Make the browser clear the session cookie, then load the sign-in page.

    `click_id` identifies the click on "Sign out". The browser signs out only once for each click, even if the
    page is drawn several times.
    """
    _post(SIGN_OUT, {}, once=click_id, then="/")


def _post(
    path: str, body: dict[str, str], *, once: str, then: str | None, without: Sequence[str] = ()
) -> str | None:
    """Make the browser send `body` to `path`, then load the path `then`. Both are paths below BASE_PATH.

    The browser sends the request only once for each value of `once`. `without` is as in `begin_session`.

    Returns None until the browser has reported a response that isn't Atelier's. Then returns the path and
    the status of that response.
    """
    base = studio().urls.base
    data = {
        "path": base + path,
        "body": body,
        "once": once,
        "then": then and base + then,
        "without": list(without),
        "always": path == SIGN_OUT,
    }
    component = _component("atelier.session", _SESSION_JS)
    failure: str | None = component(
        key="session", data=data, height="content", on_failed_change=lambda: None
    ).failed
    return failure


def scroll_to_top(*, once: str) -> None:
    """Make the browser scroll the page to its top, once for each value of `once` that isn't empty."""
    _component("atelier.top", _TOP_JS)(key="scroll-to-top", data={"once": once}, height="content")


def improve_text() -> None:
    """Lay out people's text in its own direction, and name the buttons of rows after their rows."""
    _component("atelier.text", _TEXT_JS)(key="text-improvement", height="content")


def delay_page_links() -> None:
    """Make the browser delay each click on a page link until it has sent the text typed last."""
    _component("atelier.page_links", _PAGE_LINKS_JS)(key="page-link-delay", height="content")
