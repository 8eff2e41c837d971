"""The logo, and the styles that Streamlit's theme settings can't express."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import streamlit as st

ASSETS = Path(__file__).parent / "assets"
ICON = str(ASSETS / "icon.svg")


def show_logo() -> None:
    """Show the logo in the colour of the browser's theme.

    Streamlit embeds a local SVG file as a data URL.
    """
    variant = "dark" if st.context.theme.type == "dark" else "light"
    st.logo(str(ASSETS / f"logo-{variant}.svg"), size="large")


def apply_theme() -> None:
    st.html(f"<style>{_css()}</style>")


@cache
def _css() -> str:
    """Return theme.css and the theme's colours as CSS variables. Streamlit sets them only in components."""
    names = {"--ground": "backgroundColor", "--accent": "primaryColor"}
    colours = " ".join(f"{name}: {_light_dark(option)};" for name, option in names.items())
    return f".stApp {{ {colours} }}\n{(ASSETS / 'theme.css').read_text()}"


def _light_dark(option: str) -> str:
    light, dark = (st.get_option(f"theme.{variant}.{option}") for variant in ("light", "dark"))
    return f"light-dark({light}, {dark})"
