"""Ends a fragment's polling from inside it, without a whole run: that would close an open dialog."""

from __future__ import annotations

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner_utils.script_run_context import ThreadState, get_script_run_ctx


def stop_polling() -> None:
    """Let the fragment that is running by itself now do so no more.

    Streamlit sends this message only for fragments that a surrounding one no longer draws.
    """
    context, state = get_script_run_ctx(), ThreadState.get()
    if context and state.fragment_id:
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.append(state.fragment_id)
        context.enqueue(message)
