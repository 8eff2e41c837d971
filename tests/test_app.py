"""Who a server listens for decides who may make an account by default."""

from __future__ import annotations

import pytest

from app import served_address
from core.settings import Registration, load_settings


@pytest.mark.parametrize(
    ("argv", "registration"),
    [
        pytest.param(["/venv/bin/uvicorn", "app:app"], Registration.OPEN, id="uvicorn on loopback"),
        pytest.param(["uvicorn", "app:app", "--host", "0.0.0.0"], Registration.INVITE, id="uvicorn for all"),
        pytest.param(
            ["/venv/bin/streamlit", "run", "app.py"], Registration.OPEN, id="streamlit's own default"
        ),
        pytest.param(["gunicorn", "app:app"], Registration.INVITE, id="a server we don't know"),
        pytest.param([], Registration.INVITE, id="no arguments"),
    ],
)
def test_accounts_are_open_by_default_only_where_nobody_else_can_reach(
    argv: list[str], registration: Registration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlit.get_option", {"server.address": "127.0.0.1"}.get)
    assert load_settings(host=served_address(argv)).who_may_register is registration
