"""A hundred people who watch their images being made, as browsers do it, without the browsers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.asyncio.client import ClientConnection, connect

from core.common.ids import new_id
from core.database.database import Database
from core.database.models import Job
from core.web.cookies import LEGACY_COOKIE
from tests.bench.figures import Figure, p95
from tests.bench.servers import POLLED_PAGE, cpu_seconds, empty_app, memory, on_two_cores, service
from tests.support.app_process import START_COMMAND, AppProcess
from tests.support.crashing_worker import RECIPE
from tests.support.sign_in import accounts_in, ticket_of

PEOPLE = 100
# As many images as the app lets run at once; who has to wait is told of their place instead.
AT_ONCE = 64
WARM_UP_SECONDS, WATCHED_SECONDS = 8, 30
LONG = 3600.0


@dataclass(frozen=True, slots=True)
class _Watched:
    """What a hundred tabs took: milliseconds of every poll, CPU of one in the mean, MiB of a tab."""

    alone: list[float]
    taken: list[float]
    cpu_each: float
    opened: float
    polled: float


def poll(folder: Path) -> Iterator[Figure]:
    """Every poll of the Create page, from its request to the end of its run; and of a page with one word."""
    with empty_app(folder, POLLED_PAGE) as empty:
        on_two_cores(empty.pid)
        floor = asyncio.run(_watched(empty, [""] * PEOPLE))
    people = _sign_up(folder / "data")
    env = {"CONCURRENCY": str(AT_ONCE), "USER_CONCURRENCY": "1"}
    with (
        service(LONG) as url,
        AppProcess(
            folder, env=env | {"OPENAI_BASE_URL": url, "PARTIAL_IMAGES": "1"}, command=START_COMMAND
        ) as app,
    ):
        on_two_cores(app.pid)
        ours = asyncio.run(_watched(app, people))
    how = (
        f"median {median(ours.taken):.0f} ms; one alone: p95 {p95(ours.alone):.0f} ms; "
        f"{AT_ONCE} painting, {PEOPLE - AT_ONCE} waiting; one-word page: p95 {p95(floor.taken):.0f} ms"
    )
    yield Figure("poll", f"p95 of a poll, {PEOPLE} people", p95(ours.taken), "ms", 50, how)
    yield Figure("poll", "CPU of a poll", ours.cpu_each, "ms", None, f"one-word page {floor.cpu_each:.1f} ms")
    grown = f"{ours.polled:.2f} MiB once polled; one-word page {floor.opened:.2f} and {floor.polled:.2f} MiB"
    yield Figure("poll", "memory of an open session", ours.opened, "MiB", None, grown)


def _sign_up(folder: Path) -> list[str]:
    """The tokens of so many people who each have asked for an image."""
    folder.mkdir(parents=True)
    database = Database(f"sqlite:///{folder / 'atelier.db'}")
    database.migrate()
    accounts = accounts_in(database)
    tokens = []
    for number in range(PEOPLE):
        user = accounts.registration.create_user(f"person-{number}", "!")
        tokens.append(accounts.sessions.redeem_ticket(ticket_of(accounts, user.username)))
        with database.write() as session:
            session.add(Job(batch_id=new_id(), owner_id=user.id, request=RECIPE.to_json()))
    database.close()
    return tokens


async def _watched(app: AppProcess, tokens: list[str]) -> _Watched:
    async with asyncio.TaskGroup() as group:
        first = _Tab(app.base_url, tokens[0])
        await first.open(group)  # what the first page of all loads counts for none
        alone = await _alone(first)
        before = memory(app.pid)
        tabs = [_Tab(app.base_url, token) for token in tokens[1:]]
        for tab in tabs:
            await tab.open(group)
        opened = (memory(app.pid) - before) / len(tabs)
        await asyncio.sleep(WARM_UP_SECONDS)
        for tab in tabs:
            tab.taken.clear()
        computed = cpu_seconds(app.pid)
        await asyncio.sleep(WATCHED_SECONDS)
        taken = [1000 * one for tab in tabs for one in tab.taken]
        cpu_each = 1000 * (cpu_seconds(app.pid) - computed) / len(taken)
        polled = (memory(app.pid) - before) / len(tabs)
        for tab in (first, *tabs):
            tab.close()
    return _Watched(alone, taken, cpu_each, opened, polled)


async def _alone(tab: _Tab) -> list[float]:
    await asyncio.sleep(WARM_UP_SECONDS / 2)
    tab.taken.clear()
    await asyncio.sleep(WARM_UP_SECONDS)
    return [1000 * one for one in tab.taken]


@dataclass(slots=True)
class _Tab:
    """One browser tab on the Create page: it sends what Streamlit's own page sends, and times the answers.

    `taken` are the seconds of each poll. One poll is under way at a time, as the script's runs are.
    """

    base_url: str
    token: str
    taken: list[float] = field(default_factory=list)
    _socket: ClientConnection | None = None
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)
    _timers: dict[str, asyncio.Task[None]] = field(default_factory=dict)
    _finished: asyncio.Queue[int] = field(default_factory=asyncio.Queue)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _page: str = ""

    async def open(self, group: asyncio.TaskGroup) -> None:
        """Connect, draw the whole page once, and begin to poll."""
        self._socket = await connect(
            f"{self.base_url.replace('http', 'ws', 1)}/_stcore/stream",
            additional_headers={"Cookie": f"{LEGACY_COOKIE}={self.token}"},
            subprotocols=["streamlit"],
            max_size=None,
            proxy=None,
        )
        self._tasks.append(group.create_task(self._listen(group)))
        await self._run(BackMsg(rerun_script={"query_string": ""}))
        if not self._timers:
            raise RuntimeError("the page doesn't poll: nobody is watching")

    def close(self) -> None:
        for task in (*self._tasks, *self._timers.values()):
            task.cancel()

    async def _listen(self, group: asyncio.TaskGroup) -> None:
        assert self._socket is not None
        try:
            async for data in self._socket:
                message = ForwardMsg()
                message.ParseFromString(data)
                self._take(message, group)
        finally:
            self._socket.transport.abort()

    def _take(self, message: ForwardMsg, group: asyncio.TaskGroup) -> None:
        kind = message.WhichOneof("type")
        if kind == "new_session":
            self._page = message.new_session.page_script_hash
        elif kind == "script_finished":
            self._finished.put_nowait(message.script_finished)
        elif kind == "auto_rerun" and message.auto_rerun.fragment_id not in self._timers:
            wanted = message.auto_rerun
            timer = self._poll(wanted.fragment_id, wanted.interval)
            self._timers[wanted.fragment_id] = group.create_task(timer)
        elif kind == "stop_auto_rerun":
            for name in message.stop_auto_rerun.fragment_ids:
                self._timers.pop(name).cancel()

    async def _poll(self, fragment_id: str, interval: float) -> None:
        asked = {"fragment_id": fragment_id, "is_auto_rerun": True, "page_script_hash": self._page}
        due = time.perf_counter() + interval
        while True:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            due += interval
            self.taken.append(await self._run(BackMsg(rerun_script=asked)))

    async def _run(self, message: BackMsg) -> float:
        """The seconds from `message` to the end of the run that it asked for."""
        assert self._socket is not None
        async with self._turn:
            begun = time.perf_counter()
            await self._socket.send(message.SerializeToString())
            while await self._finished.get() == ForwardMsg.FINISHED_EARLY_FOR_RERUN:
                pass
            return time.perf_counter() - begun
