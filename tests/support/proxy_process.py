"""A proxy server of the system, such as HAProxy or nginx, as a process on loopback."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx2
import pytest

from tests.support.waiting import until

_SYSTEM_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"


class ProxyProcess:
    """Runs `command` until the with-block ends. The block begins once Atelier answers at `base_url`."""

    def __init__(
        self, command: Sequence[str], base_url: str, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self.base_url = base_url
        self._command = command
        self._log = log
        self._env = env or {}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, env={**os.environ, **self._env}, stdout=log, stderr=subprocess.STDOUT
            )
        until(self._serves)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process:
            # nginx ends its worker only when it is asked to end itself.
            self._process.terminate()
            self._process.wait(30)

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def _serves(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            raise RuntimeError(self.output)
        try:
            return httpx2.get(f"{self.base_url}/", trust_env=False).is_success
        except httpx2.HTTPError:
            return False


def find_program(name: str) -> str:
    found = shutil.which(name) or shutil.which(name, path=_SYSTEM_FOLDERS)
    if found is None:  # never skipped: what is said of proxies hangs on it
        pytest.fail(f"No {name} for the tests: apt-get install {name}", pytrace=False)
    return found
