"""A line to PostgreSQL's Unix socket in a process of its own: `python -m tests.support.relay SOCKET`.

Frozen, it is the network of a machine that has vanished: nothing arrives, and nothing says so.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from sqlalchemy.engine import URL, make_url

from tests.support.forked_app import ROOT


@contextmanager
def relay(url: str) -> Iterator[tuple[subprocess.Popen[str], URL]]:
    """The process that relays to the server of `url`, and the address at this end."""
    there = make_url(url)
    socket = f"{there.query['host']}/.s.PGSQL.{there.port or 5432}"
    command = [sys.executable, "-m", "tests.support.relay", socket]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        try:
            yield process, there.set(host="127.0.0.1", port=port, query={})
        finally:
            process.kill()


async def _serve(socket: str) -> None:
    async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_unix_connection(socket)
        with suppress(OSError):
            await asyncio.gather(_copy(reader, far_writer), _copy(far_reader, writer))

    server = await asyncio.start_server(carry, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
