"""The app as a process of its own, on a free port of the loopback address."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from types import TracebackType
from typing import Self

import bcrypt
import httpx2

from core.accounts.passwords import prehash
from core.database.database import Database
from tests.support import forked_app
from tests.support.forked_app import ROOT
from tests.support.sign_in import accounts_in, ticket_of

PATIENCE_SECONDS = 120
MAIN = str(ROOT / "pages" / "main.py")
START_COMMAND = (sys.executable, str(ROOT / "app.py"))
PASSWORD = "seven quiet lighthouses"
# bcrypt's lowest cost: a thousandth of the time that the app's own hashes take.
_FAST_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Ticket:
    """What the session route takes from a user who has given the right password."""

    username: str
    token: str


class AppProcess:
    """`with AppProcess(folder) as app:` is a running Atelier, ended by its own process id afterwards.

    Its settings are the test's scrubbed environment, `env`, and what `port` and `data_dir` give. It is forked
    from a process with all modules loaded. With a `command`, such as START_COMMAND, it starts as a user
    starts it; `{port}` in the command is filled in.
    """

    def __init__(
        self,
        folder: Path,
        *,
        env: Mapping[str, str] | None = None,
        data_dir: Path | None = None,
        port: int | None = None,
        command: Sequence[str] | None = None,
    ) -> None:
        self.data_dir = data_dir or folder / "data"
        self.port = port or free_port()
        self.base_url = f"http://127.0.0.1:{self.port}"
        self._command = [part.format(port=self.port) for part in command or ()]
        given = {"PORT": str(self.port), "DATA_DIR": str(self.data_dir), **(env or {})}
        self._env = os.environ | {"PYTHONUNBUFFERED": "1"} | given
        # Not started in the repository: somebody's own `.env` lies there.
        self._folder = folder / f"run-{self.port}"
        self._folder.mkdir(parents=True, exist_ok=True)
        if not (self._folder / ".streamlit").exists():
            (self._folder / ".streamlit").symlink_to(ROOT / ".streamlit", target_is_directory=True)
        self._log = self._folder / "output.txt"
        self._process: subprocess.Popen[bytes] | _Fork | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    @property
    def output(self) -> str:
        """All that the process has printed, over restarts too."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    @property
    def pid(self) -> int:
        return self._running().pid

    @property
    def database_url(self) -> str:
        return self._env.get("DATABASE_URL") or f"sqlite:///{self.data_dir / 'atelier.db'}"

    def ticket(self, username: str) -> Ticket:
        """A ticket for this user, who is created with PASSWORD if there is none of the name.

        The first user of an app becomes its administrator.
        """
        return ticket_at(self.database_url, username)

    def spawn(self) -> None:
        """Start without waiting for anything."""
        if not self._command:
            self._process = _Fork(forked_app.start_app(self._env, self._log))
            return
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=self._folder, env=self._env, stdout=log, stderr=subprocess.STDOUT
            )

    def start(self) -> None:
        """Start and return when the pages are being served."""
        self.spawn()
        try:
            self._wait_for_health()
        except BaseException:
            self.kill()
            raise

    def wait(self) -> int:
        """The exit code of a process that ends by itself."""
        return self._running().wait(PATIENCE_SECONDS)

    def stop(self, *, signals: int = 1) -> int:
        """Ask it to end `signals` times, as an operator does, and return its exit code."""
        if self._process is None:
            return 0
        for _ in range(signals):
            self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(PATIENCE_SECONDS)
        self._process = None
        return code

    def kill(self) -> None:
        """End it at once, as a power cut does."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_SECONDS)
            self._process = None

    def freeze(self) -> None:
        """Stop its threads without ending them, as a paused machine does."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def restart(self) -> None:
        """Stop and start again, at the same address and on the same data."""
        self.stop()
        self.start()

    def _running(self) -> subprocess.Popen[bytes] | _Fork:
        if self._process is None:
            raise RuntimeError("the app isn't running")
        return self._process

    def _wait_for_health(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not healthy(self.base_url):
            if self._running().poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the app did not start:\n{self.output}")
            time.sleep(0.05)


class _Fork:
    """A forked process with the methods of `subprocess.Popen` that are needed here."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("app.py", timeout)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self._process.kill()


def ticket_at(database_url: str, username: str) -> Ticket:
    """As AppProcess.ticket, for the app that works on this database."""
    with closing(Database(database_url)) as database:
        accounts = accounts_in(database)
        if accounts.passwords.stored_hash(username) is None:
            accounts.registration.create_user(username, _hash_of(PASSWORD))
        return Ticket(username, ticket_of(accounts, username))


@cache
def _hash_of(password: str) -> str:
    return bcrypt.hashpw(prehash(password).encode(), bcrypt.gensalt(_FAST_ROUNDS)).decode()


def healthy(base_url: str) -> bool:
    try:
        return httpx2.get(f"{base_url}/_stcore/health", timeout=5, trust_env=False).is_success
    except httpx2.HTTPError:
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
