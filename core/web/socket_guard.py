"""Checks of the page's WebSocket: which messages pass, their size and number, and the number of frames."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import HTTPConnection
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from core import errors
from core.common.log_limits import LineLimit
from core.web.socket_limits import SIGNED_IN, VISITOR, Allowance, Allowances, Clock, Policy, TokenBucket

# The codes with which a socket is closed (RFC 6455).
UNSUPPORTED_DATA, POLICY_VIOLATION, TOO_BIG = 1003, 1008, 1009
# Messages of any kind on one socket, dropped ones included: at once, and per second.
MAX_MESSAGES, MESSAGES_PER_SECOND = 60, 15
# Messages that wait on one socket until the page may run again.
MAX_WAITING = 8
# A new socket waits at most so long for its turn. After that it is refused, and the page tries again.
MAX_CONNECT_SECONDS = 5.0
# Page runs that count as used when a socket is closed for a flood, so that opening another one doesn't help.
FLOOD_COST = 60
# Frames of any kind on one connection, at once and per second. A browser sends a message in one or a few.
MAX_FRAMES, FRAMES_PER_SECOND = 300, 50
# The bytes that are read before frames are counted. A frame has 6 bytes at least.
_SLICE_BYTES = 4096
log = structlog.get_logger(__name__)


class MessageRefused(Exception):
    """Raised for a message that Atelier's pages don't send. `reason` is a short name for the log."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class SocketMessage:
    """What SocketGuard knows of a message that it passes on.

    - `cost`: the part of a page run that it costs; 0 if it runs nothing.
    - `snapshot`: None if the message must not be left out. Otherwise a later message with the same `snapshot`
      has everything that this one has.
    """

    cost: float = 0.0
    snapshot: bytes | None = None

    def is_replaced_by(self, later: SocketMessage) -> bool:
        return self.snapshot is not None and self.snapshot == later.snapshot


ReadMessage = Callable[[bytes], SocketMessage]
FindUser = Callable[[Mapping[str, str]], str | None]


class SocketGuard:
    """ASGI middleware that passes on only messages that the pages need, at a rate that the app can handle.

    - `read_message` reads a message. It raises MessageRefused if the pages don't need the message, which is
      then dropped.
    - `find_user` returns the id of the user whose session cookie is in the cookies, or None.

    Messages that run a page wait for their turn. Meanwhile, a later message replaces an earlier one
    whose content it includes. Messages that are too large or too many close the socket. The limits are in
    core.web.socket_limits. Each reason is logged once per minute at most, and counted.
    """

    def __init__(
        self,
        app: ASGIApp,
        read_message: ReadMessage,
        find_user: FindUser,
        allowances: Allowances | None = None,
    ) -> None:
        self._app = app
        self._read_message = read_message
        self._find_user = find_user
        self._allowances = allowances or Allowances()
        self._lines = LineLimit(self._allowances.clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "websocket":
            await self._app(scope, receive, send)
            return
        client = await self._client(scope)
        if refusal := client.refusal():
            client.report(refusal)
            response = PlainTextResponse("Too many connections", HTTPStatus.TOO_MANY_REQUESTS)
            await response(scope, receive, send)
            return
        socket = _Socket(client, self._read_message, self._allowances.clock, receive, send)
        client.change_sockets(1)
        try:
            await asyncio.sleep(client.take(1))
            await self._app(scope, socket.receive, socket.send)
        finally:
            client.change_sockets(-1)

    async def _client(self, scope: Scope) -> _Client:
        host, _port = scope.get("client") or ("", 0)
        user_id = None
        # If the database can't be read, the page shows the error. The limits of visitors apply until then.
        with suppress(errors.ImageError):
            user_id = await run_in_threadpool(self._find_user, HTTPConnection(scope).cookies)
        policy = SIGNED_IN if user_id else VISITOR
        owner, of_address = self._allowances.of_owner(user_id, host), self._allowances.of_address(host)
        return _Client(host, user_id, policy, owner, of_address, self._lines)


@dataclass(frozen=True, slots=True)
class _Client:
    """The client that opens a socket, and its limits.

    `owner` is the allowance of the user, or of all visitors from `address`. `of_address` is the allowance of
    all users and visitors from `address` together.
    """

    address: str
    user_id: str | None
    policy: Policy
    owner: Allowance
    of_address: Allowance
    lines: LineLimit

    def refusal(self) -> str | None:
        """Return the reason why the client can't open another socket now, or None if it can."""
        if not (self.owner.has_room and self.of_address.has_room):
            return "too_many_sockets"
        return "connects_too_often" if self.wait(1) > MAX_CONNECT_SECONDS else None

    def change_sockets(self, by: int) -> None:
        self.owner.sockets += by
        self.of_address.sockets += by

    def wait(self, runs: float) -> float:
        return max(self.owner.bucket.wait(runs), self.of_address.bucket.wait(runs))

    def take(self, runs: float) -> float:
        return max(self.owner.bucket.take(runs), self.of_address.bucket.take(runs))

    def report(self, reason: str) -> None:
        left_out = self.lines.admit(reason)
        if left_out is not None:
            fields = {"address": self.address, "user_id": self.user_id, "left_out": left_out}
            log.warning("socket_limited", reason=reason, **fields)


class _Socket:
    """One open socket: `receive` and `send` replace those of the ASGI server."""

    def __init__(
        self, client: _Client, read_message: ReadMessage, clock: Clock, receive: Receive, send: Send
    ) -> None:
        self._client = client
        self._read_message = read_message
        self._receive = receive
        self._send = send
        self._runs = TokenBucket(client.policy.socket.burst, client.policy.socket.rate, clock)
        self._messages = TokenBucket(MAX_MESSAGES, MESSAGES_PER_SECOND, clock)
        self._waiting = deque[_Waiting]()
        self._is_closed = False

    async def send(self, message: Message) -> None:
        """Send a message to the client. Once this class has closed the socket, do nothing."""
        if not self._is_closed:
            await self._send(message)

    async def receive(self) -> Message:
        """Return the next message that passes, when it is its turn."""
        while True:
            seconds = self._seconds_to_next()
            if seconds == 0:
                return self._next()
            try:
                async with asyncio.timeout(seconds):
                    event = await self._receive()
            except TimeoutError:
                continue
            if event["type"] != "websocket.receive":
                return event
            if code := self._accept(event):
                return await self._close(code)

    def _seconds_to_next(self) -> float | None:
        """Return the seconds until the first waiting message may pass, or None if none is waiting."""
        if not self._waiting:
            return None
        cost = self._waiting[0].message.cost
        return max(self._runs.wait(cost), self._client.wait(cost)) if cost else 0.0

    def _next(self) -> Message:
        first = self._waiting.popleft()
        if first.message.cost:
            self._runs.take(first.message.cost)
            self._client.take(first.message.cost)
        return first.event

    def _accept(self, event: Message) -> int | None:
        """Let the event's message wait for its turn, or drop it. Return a code if the socket must close."""
        if self._messages.take(1):
            return self._flooded("too_many_messages")
        data: bytes | None = event.get("bytes")
        if data is None:
            self._client.report("text")
            return UNSUPPORTED_DATA
        if len(data) > self._client.policy.max_bytes:
            self._client.report("too_large")
            return TOO_BIG
        try:
            message = self._read_message(data)
        except MessageRefused as refused:
            self._client.report(refused.reason)
            return None
        if self._waiting and self._waiting[-1].message.is_replaced_by(message):
            self._waiting.pop()
        self._waiting.append(_Waiting(message, event))
        return self._flooded("too_many_waiting") if len(self._waiting) > MAX_WAITING else None

    def _flooded(self, reason: str) -> int:
        # Others at the same address don't pay for it.
        self._client.owner.bucket.take(FLOOD_COST)
        self._client.report(reason)
        return POLICY_VIOLATION

    async def _close(self, code: int) -> Message:
        """Close the socket, and return the event that tells this to the application."""
        self._is_closed = True
        self._waiting.clear()
        await self._send({"type": "websocket.close", "code": code})
        return {"type": "websocket.disconnect", "code": code}


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A message that waits for its turn, with the event of the ASGI server that carried it."""

    message: SocketMessage
    event: Message


class FrameLimit(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which drops a connection that sends too many frames.

    The event loop reads every frame, also pings, empty parts of messages, and what arrives after the socket
    was closed. SocketGuard sees none of these.
    """

    _lines = LineLimit()

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        self._frames = TokenBucket(MAX_FRAMES, FRAMES_PER_SECOND, time.monotonic)

    def data_received(self, data: bytes) -> None:
        for start in range(0, len(data), _SLICE_BYTES):
            super().data_received(data[start : start + _SLICE_BYTES])
            if self._frames.wait(0):
                self._drop()
                return

    def _drop(self) -> None:
        if (left_out := self._lines.admit("frames")) is not None:
            address = self.client[0] if self.client else ""
            log.warning("socket_limited", reason="too_many_frames", address=address, left_out=left_out)
        self.transport.abort()

    def handle_ping(self) -> None:
        self._frames.take(1)
        super().handle_ping()

    def handle_pong(self, event: Frame) -> None:
        self._frames.take(1)
        super().handle_pong(event)

    def handle_cont(self, event: Frame) -> None:
        self._frames.take(1)
        super().handle_cont(event)

    def handle_bytes(self, event: Frame) -> None:
        self._frames.take(1)
        super().handle_bytes(event)

    def handle_text(self, event: Frame) -> None:
        self._frames.take(1)
        super().handle_text(event)
