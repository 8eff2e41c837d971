"""The logo, and the CSS for what Streamlit's theme settings can't change."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

ASSETS = Path(__file__).parent / "assets"
ICON = str(ASSETS / "icon.svg")


def show_logo() -> None:
    """Show the variant of the logo that suits the browser's light or dark theme."""
    variant = "dark" if st.context.theme.type == "dark" else "light"
    st.logo(str(ASSETS / f"logo-{variant}.svg"), size="large")


def theme_css() -> str:
    """Return the CSS of all pages: three colours of the theme as CSS variables, then the file theme.css.

    Streamlit defines CSS variables for its theme only inside components.
    """
    names = {"--ground": "backgroundColor", "--text": "textColor", "--accent": "primaryColor"}
    colours = " ".join(f"{name}: {_light_dark(option)};" for name, option in names.items())
    return f":root {{ {colours} }}\n{(ASSETS / 'theme.css').read_text()}"


def _light_dark(option: str) -> str:
    light, dark = (st.get_option(f"theme.{variant}.{option}") for variant in ("light", "dark"))
    return f"light-dark({light}, {dark})"
