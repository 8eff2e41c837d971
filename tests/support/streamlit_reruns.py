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
        self._whole: _Asked | None = None
        self._part: _Asked | None = None
        page.on("websocket", self._opened)

    def wait(self) -> None:
        """Return when all that was asked for has been run to its end; polls don't count.

        Nor is it waited for longer than PATIENCE_MS: what the page itself shows decides then.
        """
        self._page.evaluate("() => new Promise((done) => setTimeout(done))")
        for _ in range(0, PATIENCE_MS, _STEP_MS):
            if not (self._whole or self._part):
                return
            self._page.wait_for_timeout(_STEP_MS)  # which is when frames are heard of
        self._whole = self._part = None

    def _opened(self, socket: WebSocket) -> None:
        # Nothing is asked of the page that was there before.
        self._whole = self._part = None
        socket.on("framesent", self._sent)
        socket.on("framereceived", self._received)

    def _sent(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes) and (message := BackMsg.FromString(frame)).HasField("rerun_script"):
            wanted = message.rerun_script
            if wanted.fragment_id and not wanted.is_auto_rerun:
                self._part = _Asked()
            elif not wanted.is_auto_rerun:
                self._whole = _Asked()

    def _received(self, frame: str | bytes) -> None:
        asked = [one for one in (self._whole, self._part) if one]
        if not asked or not isinstance(frame, bytes):
            return
        message = ForwardMsg.FromString(frame)
        if message.HasField("new_session"):
            for one in asked:
                one.begun = True
        elif message.HasField("script_finished"):
            self._ended(message.script_finished)

    def _ended(self, how: int) -> None:
        """A part of the page is drawn with all of it, but not the other way round."""
        if self._part and self._part.begun and how in (*_WHOLE, _PART):
            self._part = None
        if self._whole and self._whole.begun and how in _WHOLE:
            self._whole = None


class _Asked:
    """One request; `begun` once a run has begun since."""

    def __init__(self) -> None:
        self.begun = False


PATIENCE_MS = 15_000
_STEP_MS = 20
_WHOLE = (ForwardMsg.FINISHED_SUCCESSFULLY, ForwardMsg.FINISHED_WITH_COMPILE_ERROR)
_PART = ForwardMsg.FINISHED_FRAGMENT_RUN_SUCCESSFULLY
