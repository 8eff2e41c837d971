"""Ends a fragment's polling from inside it, without a whole run: that would close an open dialog."""

from __future__ import annotations

from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.scriptrunner import get_script_run_ctx


def stop_polling() -> None:
    """Let the fragment that is running by itself now do so no more.

    Streamlit sends this message only for fragments that a surrounding one no longer draws.
    """
    context = get_script_run_ctx()
    if context and context.fragment_ids_this_run:
        message = ForwardMsg()
        message.stop_auto_rerun.fragment_ids.extend(context.fragment_ids_this_run)
        context.enqueue(message)
