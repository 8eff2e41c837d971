"""What polling asks of Streamlit beyond its own ways."""

from __future__ import annotations

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import script_runner
from streamlit.runtime.scriptrunner_utils.script_requests import RerunData, ScriptRequests
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState, get_script_run_ctx


def stop_polling() -> None:
    """Let the fragment that is running by itself now do so no more: a whole run would close an open dialog.

    Streamlit sends this message only for fragments that a surrounding one no longer draws.
    """
    context, state = get_script_run_ctx(), ThreadState.get()
    if context and state.fragment_id:
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.append(state.fragment_id)
        context.enqueue(message)


class StalePollFilter(ScriptRequests):
    """A session's requests, where a poll that was sent from the page before takes nobody back to it.

    Streamlit puts what waits together under the latest request's page, be it a timer's.
    """

    _page = ""

    def _request_rerun_locked(self, new_data: RerunData) -> bool:
        if not (new_data.fragment_id or new_data.fragment_id_queue):
            self._page = new_data.page_script_hash
        elif new_data.is_auto_rerun and self._page and new_data.page_script_hash != self._page:
            return True
        return super()._request_rerun_locked(new_data)


def drop_stale_polls() -> None:
    """Give the sessions that begin from now on StalePollFilter."""
    script_runner.ScriptRequests = StalePollFilter  # type: ignore[attr-defined]
