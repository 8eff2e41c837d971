"""The logo, and the rules of style that Streamlit's theme settings don't reach."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import streamlit as st

ASSETS = Path(__file__).parent / "assets"
ICON = str(ASSETS / "icon.svg")


def show_logo() -> None:
    """The wordmark in the ink of the browser's theme; Streamlit draws a local SVG as a data address."""
    variant = "dark" if st.context.theme.type == "dark" else "light"
    st.logo(str(ASSETS / f"logo-{variant}.svg"), size="large")


def apply_theme() -> None:
    st.html(f"<style>{_css()}</style>")


@cache
def _css() -> str:
    """The rules, with the theme's colours as variables, which Streamlit gives only to components."""
    names = {"--ground": "backgroundColor", "--accent": "primaryColor"}
    colours = " ".join(f"{name}: {_both(option)};" for name, option in names.items())
    return f".stApp {{ {colours} }}\n{(ASSETS / 'theme.css').read_text()}"


def _both(option: str) -> str:
    light, dark = (st.get_option(f"theme.{variant}.{option}") for variant in ("light", "dark"))
    return f"light-dark({light}, {dark})"
