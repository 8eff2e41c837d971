"""Words from people are shown as they are, whatever Markdown or Streamlit would make of them."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from playwright.sync_api import Browser, expect

from tests.support.app_process import ROOT, AppProcess
from tests.support.browser_user import Visitor

TEXTS = [
    "www.example.com and WWW.Example.com/a?b=c",
    "http://example.com, https://example.com/a_b_(c) ftp://example.com",
    "<https://example.com> mailto:ada@example.com xmpp:a@b.example",
    "ada@example.com, ada.b+c@mail.example.co.uk",
    ":smile: :+1: :-1: a:heart:b ::fire::",
    ":material/delete: :material_delete: :streamlit: x:material/home:y",
    ":red[alarm] :blue-background[x] :small[s] :rainbow[y] :orange-badge[z] :help[h] :shimmer[w]",
    ":color[x]{foreground=red} :unknown[z] :name{#id .c} ::leaf[x] :::box",
    "a -> b <- c <-> d -- e --- f >= g <= h ~= i",
    "->", "<-", "--", "<->", ">=", "<=", "~=", "x:-> y", "@-- z", "-->", "<--", "<-->", ">==",
    "$x^2$ and $$y$$ cost $5 or $6",
    "**bold** *em* __b__ _e_ ~~gone~~ ~one~ `code` ``c`` ```x```",
    "[link](https://example.com) [ref][1] [1]: /u ![img](https://example.com/x.png) [^1] [ ] [x]",
    '<img src=x onerror="window.ran=1"> <script>window.ran=1</script> <b>b</b> <!-- c -->',
    "&amp; &#58; &#x40; &lt;b&gt; &nbsp;",
    "# one", "## two", "> quote", "- item", "+ item", "* item", "1. first", "2) second", "---", "***", "===",
    "| a | b |", "\\", "\\\\ \\* a\\", "a\\", "!", "![", "5:30, 16:9, C:\\temp", "::", ":", "@", "www.",
    "Ünïcödé 🦊 :fox: 日本語 «quotes» 'single' \"double\" (c) ... …",
]  # fmt: skip
SCRIPT = """
import json, sys
sys.path.insert(0, {root!r})
import streamlit as st
from pages.ui.formatting import escape_markdown
for number, text in enumerate(json.loads({texts!r})):
    with st.container(key=f"text-{{number}}"):
        st.markdown(escape_markdown(text))
        st.caption(escape_markdown(text))
        st.button(escape_markdown(text), key=f"button-{{number}}")
        st.markdown(f"before **{{escape_markdown(text)}}** after")
st.text("the end")
"""


# What each of a container's texts reads like, and the elements made inside it besides those that hold text.
SHOWN = '[data-testid="stMarkdownContainer"], [data-testid="stCaptionContainer"]'
READ = """
(containers, selector) => containers.map(container => {
  const shown = [...container.querySelectorAll(selector)]
  const made = shown.flatMap(one => [...one.querySelectorAll("*")]).map(one => one.tagName)
    .filter(name => !["P", "SPAN", "STRONG"].includes(name))
  return { shown: shown.map(one => one.textContent), made }
})
"""


def test_words_from_people_stay_words(browser: Browser, tmp_path: Path) -> None:
    script = tmp_path / "shown.py"
    script.write_text(SCRIPT.format(root=str(ROOT), texts=json.dumps(TEXTS)))
    command = (sys.executable, "-m", "streamlit", "run", str(script), "--server.port", "{port}")
    with AppProcess(tmp_path, command=command) as app, Visitor(browser, app.base_url) as person:
        person.open()
        person.page.get_by_text("the end").wait_for()
        person.settle()
        containers = person.page.locator("[class*='st-key-text-']")
        # What a button says is drawn a moment after the button.
        expect(containers.locator(SHOWN)).to_have_count(4 * len(TEXTS))
        found = containers.evaluate_all(READ, SHOWN)
        assert person.page.evaluate("window.ran") is None
    assert found == [{"shown": [text, text, text, f"before {text} after"], "made": []} for text in TEXTS]
