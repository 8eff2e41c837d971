"""The hooks into Streamlit that polling fragments need; these tests fail if Streamlit's classes change."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import script_runner
from streamlit.runtime.scriptrunner_utils.script_requests import (
    RerunData,
    ScriptRequests,
    ScriptRequestType,
)

from pages.ui import polling
from pages.ui.polling import StalePollFilter, drop_stale_polls, stop_polling

TO_ACCOUNT = RerunData(page_script_hash="account")
POLL_OF_CREATE = RerunData(page_script_hash="create", fragment_id="panel", is_auto_rerun=True)


def next_page(requests: ScriptRequests) -> str | None:
    asked = requests.on_scriptrunner_ready()
    return asked.rerun_data.page_script_hash if asked.type is ScriptRequestType.RERUN else None


def test_a_poll_from_the_page_before_does_not_undo_a_page_change() -> None:
    requests = StalePollFilter()
    requests.request_rerun(TO_ACCOUNT)
    assert requests.request_rerun(POLL_OF_CREATE)
    assert next_page(requests) == "account"


def test_a_poll_that_arrives_while_the_new_page_is_drawn_is_dropped() -> None:
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
def test_other_requests_are_run(asked: RerunData) -> None:
    requests = StalePollFilter()
    requests.request_rerun(TO_ACCOUNT)
    next_page(requests)
    requests.request_rerun(asked)
    assert next_page(requests) == asked.page_script_hash


def test_new_sessions_use_the_filter() -> None:
    before = script_runner.ScriptRequests
    try:
        drop_stale_polls()
        assert script_runner.ScriptRequests is StalePollFilter
    finally:
        script_runner.ScriptRequests = before


def test_a_fragment_can_stop_its_own_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[ForwardMsg] = []
    monkeypatch.setattr(polling, "get_script_run_ctx", lambda: SimpleNamespace(enqueue=sent.append))
    monkeypatch.setattr(polling.ThreadState, "get", lambda: SimpleNamespace(fragment_id="panel"))
    stop_polling()
    [message] = sent
    assert list(message.stop_auto_rerun.fragment_ids) == ["panel"]
