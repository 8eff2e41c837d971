"""A poll that is on its way when somebody changes the page: Streamlit itself would take them back."""

from __future__ import annotations

import pytest
from streamlit.runtime.scriptrunner import script_runner
from streamlit.runtime.scriptrunner_utils.script_requests import (
    RerunData,
    ScriptRequests,
    ScriptRequestType,
)

from pages.ui.polling import StalePollFilter, drop_stale_polls

TO_ACCOUNT = RerunData(page_script_hash="account")
POLL_OF_CREATE = RerunData(page_script_hash="create", fragment_id="panel", is_auto_rerun=True)


def next_page(requests: ScriptRequests) -> str | None:
    asked = requests.on_scriptrunner_ready()
    return asked.rerun_data.page_script_hash if asked.type is ScriptRequestType.RERUN else None


def test_a_poll_of_the_page_before_takes_nobody_back() -> None:
    requests = StalePollFilter()
    requests.request_rerun(TO_ACCOUNT)
    assert requests.request_rerun(POLL_OF_CREATE)
    assert next_page(requests) == "account"


def test_a_poll_that_comes_while_the_new_page_is_drawn_is_let_go() -> None:
    requests = StalePollFilter()
    requests.request_rerun(TO_ACCOUNT)
    assert next_page(requests) == "account"
    requests.request_rerun(POLL_OF_CREATE)
    assert next_page(requests) is None


@pytest.mark.parametrize(
    "asked",
    [
        pytest.param(
            RerunData(page_script_hash="account", fragment_id="panel", is_auto_rerun=True), id="poll"
        ),
        pytest.param(RerunData(page_script_hash="create", fragment_id="form"), id="click in a fragment"),
        pytest.param(RerunData(page_script_hash="create"), id="click"),
    ],
)
def test_what_else_is_asked_is_run(asked: RerunData) -> None:
    requests = StalePollFilter()
    requests.request_rerun(TO_ACCOUNT)
    next_page(requests)
    requests.request_rerun(asked)
    assert next_page(requests) == asked.page_script_hash


def test_the_sessions_of_the_app_ask_in_this_way() -> None:
    before = script_runner.ScriptRequests
    try:
        drop_stale_polls()
        assert script_runner.ScriptRequests is StalePollFilter
    finally:
        script_runner.ScriptRequests = before
