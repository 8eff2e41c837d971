"""The HTML that every page begins with: Streamlit's own, with Atelier's title, styles and words.

Streamlit's HTML is the same for every app. With a page's first content, its styles would come after the first
paint, and the page would jump.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from urllib.parse import quote

import streamlit as st

from pages.ui.theme import ASSETS, ICON, theme_css

STREAMLIT_FILES = Path(st.__file__).parent / "static"
DESCRIPTION = (
    "Atelier is a prompt studio for teams: describe a subject, read and edit the prompt, "
    "generate the image, and find it again in your own gallery."
)
_HEAD = f"""<title>Atelier</title>
    <meta name="description" content="{DESCRIPTION}" />"""
_NO_SCRIPT = (
    "<noscript><p>Atelier needs JavaScript. Allow it for this site, then load the page again.</p></noscript>"
)
# The scripts of Streamlit's elements that the pages have at their first paint. Streamlit itself would load
# each script once it draws the first such element, and would show a grey box of another size meanwhile.
_ELEMENTS = (
    "BidiComponent",
    "Button",
    "ButtonGroup",
    "Checkbox",
    "ImageList",
    "LinkButton",
    "Metric",
    "Multiselect",
    "NumberInput",
    "PageLink",
    "Selectbox",
    "TextArea",
    "TextInput",
)
_IMPORT = re.compile(r'(?:from|import)\s*["\']\./([\w.-]+\.js)["\']')
# What is replaced in Streamlit's HTML. Each pattern occurs once.
_REPLACED = {
    r"<!--.*?Licensed under.*?-->\s*": "",
    r"<title>Streamlit</title>": _HEAD,
    r'<link rel="shortcut icon" href="\./favicon\.png" />': '<link rel="icon" href="{icon}" />',
    # It describes a route that Atelier closes.
    r'<!--\s*Machine-readable.*?-->\s*<link rel="service-desc" [^>]*>\s*': "",
    r"(?=</head>)": "{preloads}",
    r"<noscript>.*?</noscript>": _NO_SCRIPT,
    # The styles follow those that Streamlit's script adds to the head.
    r'<div id="root"></div>': '<div id="root"></div>\n{body}',
}


def page_scripts() -> str:
    """Return HTML with all inline scripts of the pages. The Content-Security-Policy allows these by hash."""
    return _streamlit_page() + _script()


@cache
def page_shell() -> str:
    """Return the HTML of the pages. Call this after Streamlit has read its settings.

    Raises RuntimeError if Streamlit's HTML has changed, so that a part isn't found in it.
    """
    page = _streamlit_page()
    filled = {
        "{icon}": f"data:image/svg+xml,{quote(Path(ICON).read_text())}",
        "{preloads}": _preloads(page),
        "{body}": f"<style>{theme_css()}</style>\n{(ASSETS / 'connection.html').read_text()}{_script()}",
    }
    for pattern, text in _REPLACED.items():
        for name, value in filled.items():
            text = text.replace(name, value)  # noqa: PLW2901
        page, count = re.subn(pattern, text.replace("\\", r"\\"), page, flags=re.DOTALL)
        if count != 1:
            raise RuntimeError(f"Streamlit's page has {count} times: {pattern}")
    return page


def _preloads(page: str) -> str:
    """Return a link for each script of `_ELEMENTS`, and for each script that these import.

    Leaves out the scripts that `page` loads itself.
    """
    folder = STREAMLIT_FILES / "static" / "js"
    found = [path.name for name in _ELEMENTS for path in folder.glob(f"{name}.*.js")]
    for name in found:
        found += dict.fromkeys(_IMPORT.findall((folder / name).read_text())).keys() - {*found}
    missing = (name for name in found if f"js/{name}" not in page)
    return "".join(f'<link rel="modulepreload" href="./static/js/{name}">\n' for name in missing)


# Kept, so that the policy and the pages have the same script.
@cache
def _script() -> str:
    return f"<script>{(ASSETS / 'page_shell.js').read_text()}</script>"


def _streamlit_page() -> str:
    return (STREAMLIT_FILES / "index.html").read_text()
