"""What a page has asked Streamlit to run, and whether the answer has come: read from its WebSocket."""

from __future__ import annotations

from playwright.sync_api import Page, WebSocket
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg


class Reruns:
    """Of one page, whatever it has loaded.

    The page itself shows a run only once it has begun: right after a click it looks as if all had ended.
    """

    def __init__(self, page: Page) -> None:
        self._page = page
        self._asked: _Asked | None = None
        page.on("websocket", self._opened)

    def wait(self, patience_ms: int) -> None:
        """Return when all that was asked for has been run to its end; polls don't count."""
        self._page.evaluate("() => new Promise((done) => setTimeout(done))")
        for _ in range(0, patience_ms, _STEP_MS):
            if self._asked is None:
                return
            self._page.wait_for_timeout(_STEP_MS)  # which is when frames are heard of
        raise AssertionError("the page's last request was not run to its end")

    def _opened(self, socket: WebSocket) -> None:
        # Nothing is asked of the page that was there before.
        self._asked = None
        socket.on("framesent", self._sent)
        socket.on("framereceived", self._received)

    def _sent(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes) and (message := BackMsg.FromString(frame)).HasField("rerun_script"):
            wanted = message.rerun_script
            if not wanted.is_auto_rerun:
                whole = not wanted.fragment_id or (self._asked is not None and self._asked.whole)
                self._asked = _Asked(whole)

    def _received(self, frame: str | bytes) -> None:
        if self._asked is None or not isinstance(frame, bytes):
            return
        message = ForwardMsg.FromString(frame)
        if message.HasField("new_session"):
            self._asked.begun = True
        ended = message.HasField("script_finished") and message.script_finished in _ENDS[self._asked.whole]
        if ended and self._asked.begun:
            self._asked = None


class _Asked:
    def __init__(self, whole: bool) -> None:
        self.whole = whole
        self.begun = False


_STEP_MS = 20
_WHOLE = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_WITH_COMPILE_ERROR)
# A part of the page is drawn with all of it, but not the other way round.
_ENDS = {True: _WHOLE, False: (*_WHOLE, ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY)}
