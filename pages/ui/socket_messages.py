"""Reads the messages that a page sends over its WebSocket, in Streamlit's format."""

from __future__ import annotations

from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ClientState_pb2 import ClientState

from core.web.socket_guard import MessageRefused, SocketMessage

# Streamlit's page also asks for the state of the checkout, clears caches, uploads files and so on. Atelier's
# pages need none of these.
_NEEDED = ("rerun_script", "stop_script", "app_heartbeat")
_TRIGGERS = ("trigger_value", "string_trigger_value", "chat_input_value", "json_trigger_value")
# The largest page has some hundred widgets. The longest address of a page has some hundred characters.
MAX_WIDGETS, MAX_CACHED_MESSAGES, MAX_QUERY_LENGTH = 1_000, 5_000, 4_000
# A whole page takes about four times as long as a part of it.
_PAGE_COST, _FRAGMENT_COST, _BYTES_PER_COST = 1.0, 0.25, 32 * 1024


def read_message(data: bytes) -> SocketMessage:
    """Return what the message costs, and whether a later message can replace it.

    Raises MessageRefused if the pages don't send such a message.
    """
    message = BackMsg()
    try:
        message.ParseFromString(data)
    except DecodeError:
        raise MessageRefused("unreadable") from None
    kind = message.WhichOneof("type")
    if kind not in _NEEDED:
        raise MessageRefused(kind or "empty")
    if kind != "rerun_script":
        return SocketMessage()
    state = message.rerun_script
    if (
        len(state.widget_states.widgets) > MAX_WIDGETS
        or len(state.cached_message_hashes) > MAX_CACHED_MESSAGES
        or len(state.query_string) > MAX_QUERY_LENGTH
    ):
        raise MessageRefused("too_many_values")
    cost = _FRAGMENT_COST if state.fragment_id else _PAGE_COST
    return SocketMessage(cost + len(data) // _BYTES_PER_COST, _snapshot(state))


def _snapshot(state: ClientState) -> bytes | None:
    """Return what is run, without the widgets' values, or None if the message has a click.

    Each message has the values of all widgets, so that the last message is enough. A click is sent only once.
    """
    if any(widget.WhichOneof("value") in _TRIGGERS for widget in state.widget_states.widgets):
        return None
    run = ClientState()
    run.CopyFrom(state)
    run.ClearField("widget_states")
    run.ClearField("cached_message_hashes")
    return bytes(run.SerializeToString(deterministic=True))
