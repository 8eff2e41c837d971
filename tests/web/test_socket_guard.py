"""Only the messages that the pages need reach Streamlit, and no more of them than the app can take."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.WidgetStates_pb2 import WidgetState
from structlog.testing import capture_logs

from core.common.log_limits import SECONDS_BETWEEN_LINES
from core.errors import DatabaseUnreachable
from core.web.socket_guard import MAX_MESSAGES, MAX_WAITING, SocketGuard
from core.web.socket_limits import SIGNED_IN, VISITOR, Allowances, network_of
from pages.ui.socket_messages import MAX_CACHED_MESSAGES, MAX_QUERY_LENGTH, MAX_WIDGETS, read_message

HEARTBEAT = BackMsg(app_heartbeat=True).SerializeToString()
GIT = BackMsg(load_git_info=True).SerializeToString()
OFFICE, HOME = "203.0.113.9", "198.51.100.7"


def rerun(**fields: Any) -> bytes:
    return BackMsg(rerun_script=fields).SerializeToString()


def typed(text: str) -> bytes:
    return rerun(widget_states={"widgets": [WidgetState(id="name", string_value=text)]})


def clicked(button: str) -> bytes:
    return rerun(widget_states={"widgets": [WidgetState(id=button, trigger_value=True)]})


def padded(message: bytes, length: int) -> bytes:
    """`message` with an unknown field, which makes it `length` bytes long."""
    return message + b"\xa2\x06" + _varint(length - len(message) - 5) + bytes(length - len(message) - 5)


def _varint(number: int) -> bytes:
    return bytes((number & 0x7F | 0x80, number >> 7 & 0x7F | 0x80, number >> 14))


class Server:
    """The guard before an application that notes what reaches it. Only a test moves the time."""

    def __init__(self) -> None:
        self.seconds = 0.0
        allowances = Allowances(lambda: self.seconds)
        self._guard = SocketGuard(self._app, read_message, _find_user, allowances)

    async def open(self, user: str = "", address: str = OFFICE) -> Tab:
        tab = Tab(self)
        scope = {
            "type": "websocket",
            "client": (address, 50_000),
            "headers": [(b"cookie", f"user={user}".encode())] if user else [],
            "tab": tab,
        }
        tab.task = asyncio.ensure_future(self._guard(scope, tab.incoming.get, tab.send_out))
        await tab.answered.wait()
        return tab

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "websocket.accept"})
        while (event := await receive())["type"] == "websocket.receive":
            scope["tab"].passed.append(event["bytes"])
        await send({"type": "websocket.send", "bytes": b"the last words of a page"})


class Tab:
    """One socket. `passed` are the messages that reached the application, `code` how the server closed it."""

    def __init__(self, server: Server) -> None:
        self.incoming = asyncio.Queue[Message]()
        self.answered = asyncio.Event()
        self.passed: list[bytes] = []
        self.code: int | None = None
        self.status: int | None = None
        self.task: asyncio.Future[None] | None = None
        self._server = server

    async def send_out(self, message: Message) -> None:
        assert self.code is None, "nothing may be sent after the close"
        self.code = message.get("code", self.code)
        self.status = message.get("status", self.status)
        self.answered.set()

    async def send(self, *messages: bytes | str) -> None:
        for message in messages:
            kind = "text" if isinstance(message, str) else "bytes"
            self.incoming.put_nowait({"type": "websocket.receive", kind: message})
        await self.settle()

    async def settle(self) -> None:
        """Let the guard take all that has come in, and pass on what it lets pass."""
        for _ in range(10 * (self.incoming.qsize() + 10)):
            await asyncio.sleep(0)

    async def later(self, seconds: float) -> None:
        """Move the time on, and wake the guard."""
        self._server.seconds += seconds
        await self.send(HEARTBEAT)

    async def close(self) -> None:
        self.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
        assert self.task is not None
        await self.task


def _find_user(cookies: Mapping[str, str]) -> str | None:
    if cookies.get("user") == "unreadable":
        raise DatabaseUnreachable
    return cookies.get("user")


def on_server(test: Callable[[Server], Awaitable[None]]) -> list[str]:
    """Run `test` on a new server, and return the reasons that were logged."""

    async def run() -> None:
        await test(Server())
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    with capture_logs() as lines:
        asyncio.run(run())  # type: ignore[arg-type]
    assert {line["event"] for line in lines} <= {"socket_limited"}
    return [line["reason"] for line in lines]


# Kinds of messages

NEEDED = {
    "rerun": rerun(),
    "rerun of a fragment": rerun(fragment_id="part", is_auto_rerun=True),
    "stop": BackMsg(stop_script=True).SerializeToString(),
    "heartbeat": HEARTBEAT,
}
REFUSED = {
    "load_git_info": GIT,
    "clear_cache": BackMsg(clear_cache=True).SerializeToString(),
    "set_run_on_save": BackMsg(set_run_on_save=True).SerializeToString(),
    "debug_disconnect_websocket": BackMsg(debug_disconnect_websocket=True).SerializeToString(),
    "debug_shutdown_runtime": BackMsg(debug_shutdown_runtime=True).SerializeToString(),
    "file_urls_request": BackMsg(file_urls_request={"file_names": ["", ""]}).SerializeToString(),
    "backend_operation_request": BackMsg(backend_operation_request={}).SerializeToString(),
    "empty": b"",
    "unreadable": b"\xff\xff\xff",
}
FORGED = {
    "a kind behind another": (rerun() + GIT, "load_git_info"),
    "a text that isn't UTF-8": (b"\x5a\x05\x0a\x03\xff\xfe\xfd", "unreadable"),
    "a long address": (rerun(query_string="x" * (MAX_QUERY_LENGTH + 1)), "too_many_values"),
    "many widgets": (rerun(widget_states={"widgets": [{}] * (MAX_WIDGETS + 1)}), "too_many_values"),
    "many hashes": (rerun(cached_message_hashes=[""] * (MAX_CACHED_MESSAGES + 1)), "too_many_values"),
}


def test_every_kind_of_message_is_needed_or_refused() -> None:
    kinds = {field.name for field in BackMsg.DESCRIPTOR.fields}
    assert kinds == {"rerun_script", "stop_script", "app_heartbeat"} | REFUSED.keys() - {
        "empty",
        "unreadable",
    }


@pytest.mark.parametrize("user", ["", "ada"])
@pytest.mark.parametrize("message", NEEDED.values(), ids=NEEDED)
def test_messages_that_pages_send_pass(message: bytes, user: str) -> None:
    async def test(server: Server) -> None:
        tab = await server.open(user)
        await tab.send(message)
        assert tab.passed == [message]

    assert on_server(test) == []


@pytest.mark.parametrize("user", ["", "ada"])
@pytest.mark.parametrize(
    ("message", "reason"),
    [
        *(pytest.param(message, reason, id=reason) for reason, message in REFUSED.items()),
        *(pytest.param(*forged, id=name) for name, forged in FORGED.items()),
    ],
)
def test_other_messages_are_dropped_and_counted(message: bytes, reason: str, user: str) -> None:
    async def test(server: Server) -> None:
        tab = await server.open(user)
        await tab.send(message, HEARTBEAT)
        assert tab.passed == [HEARTBEAT]
        assert tab.code is None

    assert on_server(test) == [reason]


def test_text_closes_the_socket() -> None:
    async def test(server: Server) -> None:
        tab = await server.open("ada")
        await tab.send("text", HEARTBEAT)
        assert (tab.passed, tab.code) == ([], 1003)

    assert on_server(test) == ["text"]


# Size


@pytest.mark.parametrize(
    ("user", "max_bytes"), [("", VISITOR.max_bytes), ("ada", SIGNED_IN.max_bytes), ("unreadable", 16 * 1024)]
)
def test_a_message_above_the_size_closes_the_socket(user: str, max_bytes: int) -> None:
    async def test(server: Server) -> None:
        tab = await server.open(user)
        server.seconds += 100
        largest, larger = padded(HEARTBEAT, max_bytes), padded(HEARTBEAT, max_bytes + 1)
        await tab.send(largest, larger, HEARTBEAT)
        assert (tab.passed, tab.code) == ([largest], 1009)

    assert on_server(test) == ["too_large"]


def test_a_large_message_counts_as_several_runs() -> None:
    async def test(server: Server) -> None:
        tab = await server.open("ada")
        server.seconds += 100
        large = padded(clicked("one"), SIGNED_IN.max_bytes)
        await tab.send(large, clicked("two"))
        assert tab.passed == [large]
        await tab.later(SIGNED_IN.max_bytes / 32_768)
        assert tab.passed[1] == clicked("two")

    on_server(test)


# Rate


def clicks(count: int) -> list[bytes]:
    return [clicked(f"button {number}") for number in range(count)]


@pytest.mark.parametrize(("user", "limits"), [("", VISITOR.socket), ("ada", SIGNED_IN.socket)])
def test_after_a_burst_clicks_on_one_socket_wait_their_turn(user: str, limits: Any) -> None:
    async def test(server: Server) -> None:
        tab = await server.open(user)
        server.seconds += 100
        wanted = clicks(int(limits.burst) + 3)
        await tab.send(*wanted)
        assert tab.passed == wanted[:-3]
        for passed in (-2, -1):
            await tab.later(1 / limits.rate)
            assert tab.passed == wanted[:passed]
        await tab.later(1 / limits.rate)
        assert [message for message in tab.passed if message != HEARTBEAT] == wanted

    assert on_server(test) == []


def test_while_a_run_waits_later_values_replace_it_and_clicks_stay() -> None:
    async def test(server: Server) -> None:
        tab = await server.open("ada")
        server.seconds += 100
        await tab.send(*clicks(int(SIGNED_IN.socket.burst)))
        tab.passed.clear()
        other = rerun(page_script_hash="gallery")
        stop = NEEDED["stop"]
        await tab.send(typed("F"), typed("Fe"), clicked("save"), typed("Fer"), typed("Fern"), stop, other)
        await tab.later(100)
        assert tab.passed == [typed("Fe"), clicked("save"), typed("Fern"), stop, other, HEARTBEAT]

    assert on_server(test) == []


def test_a_flood_of_empty_runs_passes_slowly() -> None:
    async def test(server: Server) -> None:
        tab = await server.open()
        server.seconds += 100
        await tab.send(*[rerun()] * 3000)
        assert tab.passed == [rerun()] * int(VISITOR.socket.burst)
        assert tab.code == 1008

    assert on_server(test) == ["too_many_messages"]


def test_the_tabs_of_one_user_share_a_limit_and_other_users_have_their_own() -> None:
    async def test(server: Server) -> None:
        tabs = [await server.open("ada", address) for address in (OFFICE, HOME)]
        other = await server.open("grace", OFFICE)
        server.seconds += 100
        wanted = clicks(int(SIGNED_IN.owner.burst) + 2)
        await tabs[0].send(*wanted[:10])
        await tabs[1].send(*wanted[10:])
        assert tabs[0].passed + tabs[1].passed == wanted[:-2]
        await other.send(*clicks(5))
        assert other.passed == clicks(5)

    assert on_server(test) == []


def test_visitors_of_one_address_share_a_limit_and_its_users_have_their_own() -> None:
    async def test(server: Server) -> None:
        server.seconds += 100
        tabs = [await server.open("", OFFICE) for _ in range(10)]
        for tab in tabs:
            await tab.send(*clicks(4))
        assert sum(len(tab.passed) for tab in tabs) == VISITOR.owner.burst - len(tabs)
        for other in (await server.open("ada", OFFICE), await server.open("", HOME)):
            await other.send(*clicks(5))
            assert other.passed == clicks(5)

    assert on_server(test) == []


@pytest.mark.parametrize("message", [GIT, HEARTBEAT, rerun(fragment_id="part")])
def test_too_many_messages_close_the_socket_and_delay_the_next_one(message: bytes) -> None:
    async def test(server: Server) -> None:
        tab = await server.open("ada")
        await tab.send(*[message] * (MAX_MESSAGES + 1), HEARTBEAT)
        assert tab.code == 1008
        again = await server.open("ada", HOME)
        assert again.status == 429
        for other in ("grace", ""):
            assert (await server.open(other)).status is None, "others at the address don't pay for it"
        server.seconds += 60
        assert (await server.open("ada")).status is None

    assert on_server(test)[-2:] == ["too_many_messages", "connects_too_often"]


def test_more_clicks_than_may_wait_close_the_socket() -> None:
    async def test(server: Server) -> None:
        tab = await server.open("ada")
        server.seconds += 100
        await tab.send(*clicks(int(SIGNED_IN.socket.burst) + MAX_WAITING))
        assert tab.code is None
        await tab.send(clicked("one more"))
        assert tab.code == 1008

    assert on_server(test) == ["too_many_waiting"]


# Sockets


@pytest.mark.parametrize(("user", "limits"), [("", VISITOR.owner), ("ada", SIGNED_IN.owner)])
def test_more_sockets_than_allowed_are_refused(user: str, limits: Any) -> None:
    async def test(server: Server) -> None:
        tabs = []
        for _ in range(limits.sockets):
            server.seconds += 1
            tabs.append(await server.open(user))
        assert {tab.status for tab in tabs} == {None}
        assert (await server.open(user)).status == 429
        for allowed in (await server.open("grace"), await server.open("", HOME)):
            assert allowed.status is None
        await tabs[0].close()
        assert (await server.open(user)).status is None

    assert on_server(test) == ["too_many_sockets"]


# The log


def test_a_reason_is_logged_once_a_minute_with_the_number_left_out() -> None:
    async def test(server: Server) -> None:
        tab = await server.open("ada", HOME)
        await tab.send(GIT, GIT, GIT)
        server.seconds += SECONDS_BETWEEN_LINES
        await tab.send(GIT)

    with capture_logs() as lines:
        asyncio.run(test(Server()))
    assert [(line["reason"], line["left_out"]) for line in lines] == [
        ("load_git_info", 0),
        ("load_git_info", 2),
    ]
    assert {(line["user_id"], line["address"]) for line in lines} == {("ada", HOME)}


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("203.0.113.9", "203.0.113.9"),
        ("::ffff:203.0.113.9", "203.0.113.9"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::", "2001:db8:1:2::/64"),
        ("", ""),
    ],
)
def test_an_ipv6_customer_counts_as_one_address(address: str, network: str) -> None:
    assert network_of(address) == network
