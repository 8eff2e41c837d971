"""Changes to private classes of Streamlit, for fragments that poll. A fragment is a part of a page.

A fragment polls if a timer redraws it regularly. Streamlit 1.67 has no public way to stop this timer from
inside the fragment. It has no public way to ignore a poll from a page that the user has left, either.
tests/pages/test_polling.py fails if the private classes change.
"""

from __future__ import annotations

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import script_runner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState, get_script_run_ctx


def stop_polling() -> None:
    """Stop the timer of the fragment that calls this function.

    Rerunning the whole page would also stop the timer, but would close an open dialog. The function sends the
    message with which Streamlit stops the timers of nested fragments that are no longer drawn.
    """
    context, state = get_script_run_ctx(), ThreadState.get()
    if context and state.fragment_id:
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.append(state.fragment_id)
        context.enqueue(message)


class StalePollFilter(ScriptRequests):
    """Streamlit's queue of rerun requests of a browser session, without polls from a page that was left.

    Streamlit merges waiting requests, and runs the page of the latest one. Without this filter, a poll that
    arrives while the user changes the page would take the user back to the old page.
    """

    _page = ""

    def _request_rerun_locked(self, new_data: RerunData) -> bool:
        if not (new_data.fragment_id or new_data.fragment_id_queue):
            self._page = new_data.page_script_hash
        elif new_data.is_auto_rerun and self._page and new_data.page_script_hash != self._page:
            return True
        return super()._request_rerun_locked(new_data)


def drop_stale_polls() -> None:
    """Make Streamlit use StalePollFilter for all browser sessions that start after this call."""
    script_runner.ScriptRequests = StalePollFilter  # type: ignore[attr-defined]
