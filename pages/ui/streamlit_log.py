"""The lines that Streamlit logs by itself, and the errors that a forged message causes in Streamlit."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

# Streamlit logs each error of a page before it calls `on_script_error`, which logs the error again.
_PAGE_ERRORS = "streamlit.error_util"
# Streamlit logs a component's value that it can't read with a traceback.
_COMPONENT_VALUES = "streamlit.components.v2.bidi_component.serialization"
# The functions of Streamlit that read a widget's value when it is needed.
_SESSION_STATE = str(Path("streamlit", "runtime", "state", "session_state.py"))
_READS_VALUES = {"__getitem__", "get_serialized"}


def quieten_streamlit() -> None:
    """Keep errors out of Streamlit's log that are logged elsewhere, or that only a forged message causes."""
    logging.getLogger(_PAGE_ERRORS).addFilter(lambda line: line.msg != "Uncaught app execution")
    logging.getLogger(_COMPONENT_VALUES).addFilter(_without_traceback)


def _without_traceback(line: logging.LogRecord) -> bool:
    line.exc_info = line.exc_text = None
    return True


def is_unreadable_value(error: BaseException) -> bool:
    """Whether Streamlit raised `error` because it can't read the value that a browser sent for a widget.

    Streamlit's own page never sends such a value. A key that isn't in the session state is another error.
    """
    frames = traceback.extract_tb(error.__traceback__)
    functions = [frame.name if frame.filename.endswith(_SESSION_STATE) else "" for frame in frames]
    return not _READS_VALUES.isdisjoint(functions) and functions[-1] != "__getitem__"
