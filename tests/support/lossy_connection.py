"""A line to PostgreSQL that breaks when a commit has been carried out and before that is said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from sqlalchemy.engine import URL, make_url

_COMMIT = b"COMMIT\0"
Reader, Writer = asyncio.StreamReader, asyncio.StreamWriter


@dataclass
class LossyLine:
    """Every `each`th commit loses its confirmation, `most` times at most; `broken` counts them."""

    socket: str
    each: int
    most: int
    port: int = 0
    commits: int = 0
    broken: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def carry(self, reader: Reader, writer: Writer) -> None:
        """One connection, until either side ends it or it breaks."""
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        far_reader, far_writer = await asyncio.open_unix_connection(self.socket)
        doomed = asyncio.Event()
        ways = (self._ask(reader, far_writer, doomed), self._answer(far_reader, writer, doomed))
        with suppress(OSError, asyncio.CancelledError):
            _, pending = await asyncio.wait(
                [asyncio.ensure_future(way) for way in ways], return_when=asyncio.FIRST_COMPLETED
            )
            for way in pending:
                way.cancel()
        writer.transport.abort()
        far_writer.transport.abort()
        self._tasks.discard(task)

    async def _ask(self, reader: Reader, far: Writer, doomed: asyncio.Event) -> None:
        while data := await reader.read(1 << 16):
            if _COMMIT in data:
                self.commits += 1
                if self.commits % self.each == 0 and self.broken < self.most:
                    self.broken += 1
                    doomed.set()
            far.write(data)
            await far.drain()

    async def _answer(self, far: Reader, writer: Writer, doomed: asyncio.Event) -> None:
        """What the server says; what it says to a doomed commit is the end of the line."""
        while (data := await far.read(1 << 16)) and not doomed.is_set():
            writer.write(data)
            await writer.drain()

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@contextmanager
def lossy_line(url: str, *, each: int, most: int) -> Iterator[tuple[LossyLine, URL]]:
    """The line to the server of `url`, which listens on a Unix socket, and the address at this end."""
    there = make_url(url)
    line = LossyLine(f"{there.query['host']}/.s.PGSQL.{there.port or 5432}", each, most)
    ready, over = threading.Event(), threading.Event()

    async def serve() -> None:
        server = await asyncio.start_server(line.carry, "127.0.0.1", 0)
        line.port = server.sockets[0].getsockname()[1]
        ready.set()
        while not over.is_set():
            await asyncio.sleep(0.02)
        server.close()
        await line.end()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    ready.wait()
    try:
        yield line, there.set(host="127.0.0.1", port=line.port, query={})
    finally:
        over.set()
        thread.join()
