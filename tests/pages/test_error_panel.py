"""The error panel states what a failure cost exactly once."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest
from streamlit.runtime.state.session_state import SessionState

from core.errors import ImageError, JobCancelled, OutcomeUnknown, StoredError, all_errors
from pages.ui.error_panel import cost_text
from pages.ui.streamlit_log import is_unreadable_value

_COST = re.compile("charged for this|cost nothing")


def test_a_key_that_is_missing_from_the_session_state_is_not_taken_for_a_forged_value() -> None:
    with pytest.raises(KeyError) as missing:
        SessionState()["missing"]
    assert not is_unreadable_value(missing.value)


def _shown(failure: StoredError) -> str:
    return f"{failure.message} {cost_text(failure)}"


@pytest.mark.parametrize("kind", all_errors(), ids=lambda kind: kind.__name__)
def test_a_stored_failure_states_its_cost_once(kind: type[ImageError]) -> None:
    assert len(_COST.findall(_shown(StoredError.of(kind())))) == 1


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        pytest.param(
            OutcomeUnknown, "Nobody knows: the service may have charged for this.", id="outcome unknown"
        ),
        pytest.param(JobCancelled, "This picture was stopped. It cost nothing.", id="cancelled"),
    ],
)
def test_an_older_stored_message_states_its_cost_once(kind: type[ImageError], message: str) -> None:
    """The class's message may have changed since the failure was stored."""
    stored = replace(StoredError.of(kind()), message=message)
    assert len(_COST.findall(_shown(stored))) == 1
