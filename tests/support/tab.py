"""A browser tab without a browser: it sends what Streamlit's page sends, and reads the answers."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import Any, Self

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from core.web.cookies import LEGACY_COOKIE

_PATIENCE_SECONDS = 60


def rerun(**fields: Any) -> bytes:
    """A request to run the page, with these fields of Streamlit's ClientState."""
    return BackMsg(rerun_script=fields).SerializeToString()


class Tab:
    """`with Tab(url) as tab:` is a connected tab of a visitor, or of the user with this session token."""

    socket: ClientConnection

    def __init__(self, base_url: str, token: str | None = None) -> None:
        self._connecting = connect(
            f"{base_url.replace('http', 'ws', 1)}/_stcore/stream",
            additional_headers={"Cookie": f"{LEGACY_COOKIE}={token}"} if token else {},
            subprotocols=["streamlit"],  # type: ignore[list-item]
            max_size=None,
            proxy=None,
            open_timeout=_PATIENCE_SECONDS,
            ping_interval=None,
        )

    def __enter__(self) -> Self:
        self.socket = self._connecting.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._connecting.__exit__(*error)

    def send(self, *messages: bytes) -> bool:
        """Send all `messages`, and return whether the socket was still open after the last one."""
        with suppress(ConnectionClosed):
            for message in messages:
                self.socket.send(message)
            return True
        return False

    def receive(self, kind: str) -> ForwardMsg:
        """Return the next message of this kind. Raises ConnectionClosed if the server closes the socket."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while True:
            message = ForwardMsg.FromString(self.socket.recv(deadline - time.monotonic()))  # type: ignore[arg-type]
            if message.WhichOneof("type") == kind:
                return message

    def run(self, message: bytes = rerun()) -> float:
        """Run the page to its end, and return the seconds that it took."""
        begun = time.perf_counter()
        self.socket.send(message)
        while self.receive("script_finished").script_finished == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
            pass
        return time.perf_counter() - begun

    def close_code(self) -> int:
        """The code with which the server closes the socket."""
        with suppress(ConnectionClosed):
            while True:
                self.socket.recv(_PATIENCE_SECONDS)
        assert self.socket.close_code is not None
        return self.socket.close_code
