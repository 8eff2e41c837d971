"""Fixtures for the pages: a studio of their own, and a function that opens a page as a user."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from core import bootstrap
from core.accounts.client_info import ClientInfo
from core.accounts.passwords import prehash
from core.settings import load_settings
from core.studio import Studio
from tests.support.app_process import MAIN
from tests.support.page_elements import OpenPage
from tests.support.sign_in import ticket_of


@pytest.fixture(params=[pytest.param({}, id="offline")])
def settings(request: pytest.FixtureRequest) -> dict[str, str]:
    given: dict[str, str] = request.param
    return given


@pytest.fixture
def studio(tmp_path: Path, settings: dict[str, str]) -> Iterator[Studio]:
    built = bootstrap.build(load_settings(data_dir=tmp_path / "data", **settings))
    bootstrap.install(built)
    yield built
    bootstrap.install(None)
    built.close()


@pytest.fixture
def open_page(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> OpenPage:
    """A function that opens a page as a user or a visitor; the session token is patched in."""

    def open_as(name: str | None, page: str | None = None) -> AppTest:
        token = None
        if name:
            if studio.passwords.stored_hash(name) is None:
                studio.registration.create_user(name, prehash("unused"))
            token = studio.sessions.redeem_ticket(ticket_of(studio, name))
        monkeypatch.setattr("pages.ui.session.token", lambda: token)
        monkeypatch.setattr(
            "pages.ui.session.current_client", lambda: ClientInfo("192.0.2.1", "Firefox/1 (Linux)")
        )
        test = AppTest.from_file(MAIN, default_timeout=30)
        test.run()
        if page:
            test.switch_page(page).run()
        assert not test.exception
        return test

    return open_as


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """The app's origin, which a real browser would report."""
    monkeypatch.setattr("pages.ui.links.origin", lambda: "http://localhost:8501")
    return "http://localhost:8501"
