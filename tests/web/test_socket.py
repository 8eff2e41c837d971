"""Forged and odd messages to the running app disturb nobody and write no traceback."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, suppress
from typing import Any

import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState

from core.database.database import Database
from tests.support.app_process import AppProcess
from tests.support.gallery import keeper_of
from tests.support.sign_in import accounts_in
from tests.support.tab import Tab, rerun

FORGED: dict[str, dict[str, Any]] = {
    "a click": {"trigger_value": True},
    "a number": {"double_value": float("nan")},
    "a large number": {"int_value": 2**62},
    "a text": {"string_value": "no such choice"},
    "numbers": {"int_array_value": {"data": [99, -5]}},
    "broken JSON": {"json_value": "{broken"},
    "a broken event": {"json_trigger_value": "{broken"},
    "an event of another shape": {"json_trigger_value": "[7]"},
    "a table": {"arrow_value": {"data": b"no table"}},
    "a file": {"file_uploader_state_value": {"uploaded_file_info": [{"file_id": "none"}]}},
    "nothing": {},
}
# The values of a component reach its callbacks only if no other widget's value is unreadable.
FORGED_BY_COMPONENT = (
    f'{{"open": 7, "lost": {{"ordered": {10**400}}}}}',
    '{"open": ["a"], "lost": 7, "reconnected": {}}',
    r'{"open": "\ud800", "lost": {"label": "\ud800"}}',
)
ODD = {
    "an unknown page": rerun(page_script_hash="none"),
    "a page's name with dots": rerun(page_name="../../etc"),
    "an unknown fragment": rerun(fragment_id="none"),
    "an odd address": rerun(query_string="%ff&&=;" * 500),
    "unknown widgets": rerun(
        widget_states={"widgets": [{"id": f"$$ID-{n}", "trigger_value": True} for n in range(900)]}
    ),
    "a widget twice": rerun(widget_states={"widgets": [{"id": "a", "bool_value": True}, {"id": "a"}]}),
    "an odd time zone": rerun(
        context_info={"timezone": "No/where", "timezone_offset": 2**31 - 1, "url": "http://["}
    ),
}


@pytest.fixture(scope="module")
def tokens(app: AppProcess) -> Iterator[dict[str, str | None]]:
    """The sessions of two users, by name, and None for a visitor."""
    found: dict[str, str | None] = {"visitor": None}
    for name in ("grace", "ada"):
        ticket = app.ticket(name)
        with closing(Database(app.database_url)) as database:
            found[name] = accounts_in(database).sessions.redeem_ticket(ticket.token)
    with keeper_of(app, "ada") as (keeper, user):
        keeper.keep(user)
    return found


def widgets_of(tab: Tab, message: bytes) -> set[str]:
    """Run the page, and return the ids of its widgets."""
    tab.send(message)
    found = set[str]()
    while True:
        answer = ForwardMsg.FromString(tab.socket.recv(60))
        found |= set(_ids(answer))
        if answer.WhichOneof("type") == "script_finished":
            return found


def _ids(message: Any) -> Iterator[str]:
    for field, value in message.ListFields():
        if field.name == "id" and str(value).startswith("$$"):
            yield value
        elif hasattr(value, "ListFields"):
            yield from _ids(value)


@pytest.mark.parametrize(
    ("name", "page"),
    [
        ("visitor", ""),
        ("ada", ""),
        ("ada", "gallery"),
        ("ada", "account"),
        ("grace", "account"),
        ("grace", "audit"),
    ],
)
def test_forged_values_of_every_widget_write_no_traceback(
    app: AppProcess, tokens: dict[str, str | None], name: str, page: str
) -> None:
    with Tab(app.base_url, tokens[name]) as tab, Tab(app.base_url, tokens["grace"]) as other:
        widgets = widgets_of(tab, rerun(page_name=page))
        assert len(widgets) > 2
        for value in FORGED.values():
            states = {"widgets": [WidgetState(id=each, **value) for each in widgets]}
            tab.run(rerun(page_name=page, widget_states=states))
        other.run()
    assert "Traceback" not in app.output
    assert "page_failed" not in app.output


@pytest.mark.parametrize("value", FORGED_BY_COMPONENT, ids=["number", "list", "half a character"])
def test_forged_values_of_a_component_write_no_traceback(
    app: AppProcess, tokens: dict[str, str | None], value: str
) -> None:
    with Tab(app.base_url, tokens["ada"]) as tab:
        widgets = widgets_of(tab, rerun(page_name="gallery"))
        components = [each for each in widgets if each.endswith(("-grid", "-click-watch"))]
        assert len(components) == 2
        for each in components:
            states = {"widgets": [WidgetState(id=each, json_value=value)]}
            tab.run(rerun(page_name="gallery", widget_states=states))
    assert "Traceback" not in app.output
    assert "page_failed" not in app.output


def test_odd_requests_for_pages_write_no_traceback(app: AppProcess, tokens: dict[str, str | None]) -> None:
    with Tab(app.base_url, tokens["ada"]) as tab, Tab(app.base_url, tokens["grace"]) as other:
        for message in ODD.values():
            tab.send(message)
        tab.run()
        other.run()
    assert "Traceback" not in app.output
    assert "page_failed" not in app.output


def test_the_checkout_is_not_told(app: AppProcess) -> None:
    with Tab(app.base_url) as tab:
        tab.send(
            BackMsg(load_git_info=True).SerializeToString(), BackMsg(app_heartbeat=True).SerializeToString()
        )
        assert ForwardMsg.FromString(tab.socket.recv(60)).WhichOneof("type") == "heartbeat_ack"


@pytest.mark.parametrize(
    ("message", "code"),
    [
        pytest.param("text", 1003, id="text"),
        pytest.param(bytes(17 * 1024), 1009, id="too large for a visitor"),
        pytest.param(bytes(600 * 1024), 1009, id="too large for everybody"),
    ],
)
def test_the_socket_is_closed_with_a_code(app: AppProcess, message: str | bytes, code: int) -> None:
    with Tab(app.base_url) as tab:
        tab.socket.send(message)
        assert tab.close_code() == code
    assert "Traceback" not in app.output


FRAMES = {
    "pings": b"\x89\x80\0\0\0\0",
    "empty parts of a message": b"\x00\x80\0\0\0\0",
    "messages of two bytes": b"\x82\x82\0\0\0\0\x88\x01",
}


def is_cut_off(tab: Tab, frame: bytes) -> bool:
    """Whether the server ends the connection while a million frames are sent."""
    with suppress(OSError):
        for _ in range(1_000):
            tab.socket.socket.sendall(frame * 1_000)
        return False
    return True


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_flood_of_frames_ends_the_connection(
    app: AppProcess, tokens: dict[str, str | None], frame: bytes
) -> None:
    with Tab(app.base_url, tokens["ada"]) as tab:
        if frame == FRAMES["empty parts of a message"]:
            tab.socket.socket.sendall(b"\x02\x80\0\0\0\0")
        assert is_cut_off(tab, frame)
    with Tab(app.base_url, tokens["grace"]) as other:
        other.run()
    assert "Traceback" not in app.output
