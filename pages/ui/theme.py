"""The few rules of style that Streamlit's theme settings don't reach."""

from __future__ import annotations

import streamlit as st

_CSS = """
<style>
  .block-container { max-width: 80rem; padding-top: 4.5rem; padding-bottom: 4rem; }
  [data-testid="stImage"] img { border-radius: .75rem; }
  @media (max-width: 640px) { .block-container { padding-left: 1rem; padding-right: 1rem; } }
</style>
"""


def apply_theme() -> None:
    st.html(_CSS)
