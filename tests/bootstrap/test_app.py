"""The address that a server listens on decides who may register, and a signal always ends the process."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from app import served_address
from core.settings import RegistrationMode, load_settings
from tests.support.app_process import AppProcess


@pytest.mark.parametrize(
    ("argv", "registration"),
    [
        pytest.param(["/venv/bin/uvicorn", "app:app"], RegistrationMode.OPEN, id="uvicorn on loopback"),
        pytest.param(
            ["uvicorn", "app:app", "--host", "0.0.0.0"], RegistrationMode.INVITE, id="uvicorn for all"
        ),
        pytest.param(
            ["/venv/bin/streamlit", "run", "app.py"], RegistrationMode.OPEN, id="streamlit's own default"
        ),
        pytest.param(
            ["/x/uvicorn/__main__.py", "app:app", "--host=::1"], RegistrationMode.OPEN, id="python -m uvicorn"
        ),
        pytest.param(["uvicorn", "app:app", "--uds", "/run/a"], RegistrationMode.INVITE, id="a socket file"),
        pytest.param(["uvicorn", "app:app", "--fd=3"], RegistrationMode.INVITE, id="a socket handed over"),
        pytest.param(["/x/streamlit/__main__.py", "run"], RegistrationMode.OPEN, id="python -m streamlit"),
        pytest.param(["/my-uvicorn-and-streamlit/serve.py"], RegistrationMode.INVITE, id="a folder's name"),
        pytest.param(["gunicorn", "app:app"], RegistrationMode.INVITE, id="a server we don't know"),
        pytest.param([], RegistrationMode.INVITE, id="no arguments"),
    ],
)
def test_registration_is_open_by_default_only_on_a_loopback_address(
    argv: list[str], registration: RegistrationMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("streamlit.get_option", {"server.address": "127.0.0.1"}.get)
    assert load_settings(host=served_address(argv)).effective_registration is registration


@pytest.mark.parametrize(
    ("variable", "value", "options", "registration"),
    [
        ("UVICORN_HOST", "0.0.0.0", (), RegistrationMode.INVITE),
        ("UVICORN_HOST", "0.0.0.0", ("--host", "127.0.0.1"), RegistrationMode.OPEN),
        ("UVICORN_HOST", "", (), RegistrationMode.OPEN),
        ("UVICORN_UDS", "/run/atelier.sock", (), RegistrationMode.INVITE),
        ("UVICORN_FD", "0", (), RegistrationMode.INVITE),
    ],
)
def test_uvicorns_environment_counts_like_its_options(
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
    value: str,
    options: tuple[str, ...],
    registration: RegistrationMode,
) -> None:
    monkeypatch.setenv(variable, value)
    address = served_address(["uvicorn", "app:app", *options])
    assert load_settings(host=address).effective_registration is registration


def test_a_process_that_is_asked_to_stop_many_times_at_once_ends(tmp_path: Path) -> None:
    """`make run` passes each signal on, so one Ctrl+C or SIGTERM can reach the app several times."""
    with AppProcess(tmp_path) as app:
        assert app.stop(signals=2000) == -signal.SIGTERM
