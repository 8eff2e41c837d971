"""Limits the frames of the page's WebSocket, of which one message or none may be made."""

from __future__ import annotations

import time
from typing import Any

import structlog
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from core.common.log_limits import LineLimit
from core.web.socket_limits import TokenBucket

# A browser sends a message in one frame, or a large message in a few.
MAX_FRAMES, FRAMES_PER_SECOND = 300, 50
# The bytes that are read before frames are counted. A frame has 6 bytes at least.
_SLICE_BYTES = 4096
log = structlog.get_logger(__name__)


class FrameLimit(WebSocketsSansIOProtocol):
    """uvicorn's WebSocket protocol, which drops a connection that sends too many frames.

    The event loop reads every frame, also pings, empty parts of messages, and what arrives after the socket
    was closed. core.web.socket_guard sees none of these.
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
