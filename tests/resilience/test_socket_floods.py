"""While one client floods the page's WebSocket, another user's page and API answer, and memory stays."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus

import httpx2
import psutil
import pytest
from streamlit.proto.BackMsg_pb2 import BackMsg
from websockets.exceptions import WebSocketException

from core.database.database import Database
from core.web.cookies import LEGACY_COOKIE
from tests.support.app_process import START_COMMAND, AppProcess
from tests.support.sign_in import accounts_in
from tests.support.tab import Tab, rerun

pytestmark = [pytest.mark.proof, pytest.mark.xdist_group("socket floods")]
MIB = 2**20
MAX_SECONDS, MAX_MIB = 1.0, 50
CALM_SECONDS, FLOOD_SECONDS = 4, 20
GIT = BackMsg(load_git_info=True).SerializeToString()


@dataclass
class Waits:
    """How long another user waits, in seconds, and what the app holds in memory, in MiB."""

    page: list[float] = field(default_factory=list)
    api: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    @property
    def longest(self) -> float:
        return max(*self.page, *self.api)


@dataclass(frozen=True)
class Floods:
    """A running app, with the sessions of the user who floods it and of another one."""

    app: AppProcess
    flooder: str
    other: str

    @contextmanager
    def tabs(self, count: int, token: str | None) -> Iterator[list[Tab]]:
        """So many open tabs, each of which reads what it is sent. Fewer, if the app refuses some."""
        with ExitStack() as opened:
            found = []
            for _ in range(count):
                with suppress(WebSocketException, OSError, EOFError):
                    found.append(opened.enter_context(Tab(self.app.base_url, token)))
            for tab in found:
                threading.Thread(target=tab.close_code, daemon=True).start()
            yield found

    def send_at_once(self, message: bytes, count: int, token: str | None = None) -> None:
        with self.tabs(1, token) as [tab]:
            tab.send(*[message] * count)

    def send_for_long(self, message: bytes, count: int, token: str | None = None) -> None:
        """Send `message` from `count` tabs again and again. Open others when the app has closed one."""
        ends = time.monotonic() + FLOOD_SECONDS
        while time.monotonic() < ends:
            with self.tabs(count, token) as tabs:
                while time.monotonic() < ends and tabs and all(tab.send(message) for tab in tabs):
                    time.sleep(0.02)

    def reconnect(self, token: str | None = None) -> None:
        ends = time.monotonic() + FLOOD_SECONDS
        while time.monotonic() < ends:
            with self.tabs(1, token) as tabs:
                for tab in tabs:
                    tab.send(rerun())

    def watch(self, flood: Callable[[], None]) -> Waits:
        """What the other user waits for pages and the API while `flood` runs, and shortly after."""
        waits, ended = Waits(), threading.Event()
        watchers = [
            threading.Thread(target=self._repeat, args=(action, waits_of, ended))
            for action, waits_of in ((self._page, waits.page), (self._api, waits.api))
        ]
        watchers.append(threading.Thread(target=self._weigh, args=(waits.memory, ended)))
        for watcher in watchers:
            watcher.start()
        flood()
        time.sleep(2)
        ended.set()
        for watcher in watchers:
            watcher.join()
        return waits

    def _repeat(self, action: Callable[[], None], waits: list[float], ended: threading.Event) -> None:
        while not ended.wait(0.2):
            begun = time.perf_counter()
            action()
            waits.append(time.perf_counter() - begun)

    def _weigh(self, memory: list[float], ended: threading.Event) -> None:
        process = psutil.Process(self.app.pid)
        while not ended.wait(0.02):
            memory.append(process.memory_info().rss / MIB)

    def _page(self) -> None:
        with Tab(self.app.base_url, self.other) as tab:
            tab.run()

    def _api(self) -> None:
        headers = {"Cookie": f"{LEGACY_COOKIE}={self.other}"}
        answer = httpx2.get(f"{self.app.base_url}/api/images", headers=headers, timeout=60, trust_env=False)
        assert answer.status_code == HTTPStatus.OK


@pytest.fixture(scope="module")
def floods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Floods]:
    with AppProcess(tmp_path_factory.mktemp("floods"), command=START_COMMAND) as app:
        tokens = []
        for name in ("admin", "flooder", "other"):
            ticket = app.ticket(name)
            with closing(Database(app.database_url)) as database:
                tokens.append(accounts_in(database).sessions.redeem_ticket(ticket.token))
        found = Floods(app, *tokens[1:])
        # What the first page and the first request load counts for none.
        for token in (None, *tokens):
            with Tab(app.base_url, token) as tab:
                tab.run()
        found.watch(lambda: time.sleep(CALM_SECONDS))
        yield found


def file_urls(size: int) -> bytes:
    return BackMsg(file_urls_request={"file_names": [""] * (size // 2)}).SerializeToString()


def many_values(floods: Floods) -> None:
    states = BackMsg(rerun_script={"widget_states": {"widgets": [{"id": f"{n}"} for n in range(60_000)]}})
    floods.send_at_once(states.SerializeToString(), 3, floods.flooder)


FLOODS: dict[str, Callable[[Floods], None]] = {
    "400 questions for the checkout": lambda floods: floods.send_at_once(GIT, 400),
    "file addresses of 1 MB": lambda floods: floods.send_at_once(file_urls(10**6), 1),
    "file addresses of 8 MB": lambda floods: floods.send_at_once(file_urls(8 * 10**6), 1),
    "3,000 empty runs": lambda floods: floods.send_at_once(rerun(), 3_000),
    "3,000 empty runs of a user": lambda floods: floods.send_at_once(rerun(), 3_000, floods.flooder),
    "eight tabs of one user": lambda floods: floods.send_for_long(rerun(), 8, floods.flooder),
    "eight tabs of a visitor": lambda floods: floods.send_for_long(rerun(), 8),
    "connecting again and again": lambda floods: floods.reconnect(),
    "a user who connects again and again": lambda floods: floods.reconnect(floods.flooder),
    "60,000 values of widgets": many_values,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_a_flood_delays_no_other_user(
    floods: Floods, flood: Callable[[Floods], None], record_property: Callable[[str, object], None]
) -> None:
    calm = floods.watch(lambda: time.sleep(CALM_SECONDS))
    flooded = floods.watch(lambda: flood(floods))
    grown = max(flooded.memory) - calm.memory[-1]
    told = (
        f"page {max(flooded.page):.2f} s, API {max(flooded.api):.2f} s at most; "
        f"before: {max(calm.page):.2f} s, {max(calm.api):.2f} s; memory +{grown:.0f} MiB"
    )
    record_property("counted", told)
    # Other work on this machine delays both: what was waited before the flood is added.
    assert flooded.longest < MAX_SECONDS + calm.longest, told
    assert grown < MAX_MIB, told
    assert "Traceback" not in floods.app.output
