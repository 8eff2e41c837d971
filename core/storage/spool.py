"""The spool: responses of the service on the local disk, written while they arrive.

A paid response is written here before it is parsed, checked and stored. A process that is killed therefore
loses no byte that it has received, even if the storage is a bucket that can't be reached. The file is removed
once the images are stored and the job has ended.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

import structlog

from core.common.clock import utc_now
from core.errors import FileMissing
from core.storage.storage import translated_errors

# A response that has been in the spool for this long is removed.
SPOOL_AGE = timedelta(days=7)
# While a response arrives, its file has the first name ending. Once it is complete, it has the second.
_ARRIVING, _COMPLETE = ".arriving", ".complete"
_PRIVATE_FOLDER, _PRIVATE_FILE = 0o700, 0o600
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class SpooledCall:
    """Names a response in the spool: the id of the job, and the number of the job's attempt."""

    job_id: str
    attempt: int

    @property
    def file_name(self) -> str:
        return f"{self.job_id}.{self.attempt}"


@dataclass(frozen=True, slots=True)
class SpooledResponse:
    """The received part of a response.

    `started_at` is the time at which its call was sent. `seconds` is the time from then to the last byte.
    `headers` are the response headers that are needed to read `body`. `complete` is true if the whole body
    was received. An incomplete body may still hold an image.
    """

    started_at: datetime
    seconds: float
    headers: dict[str, str]
    body: bytes
    complete: bool


class SpoolFile:
    """Writes one response to the spool. Use it as a context manager, which closes the file.

    If the disk is full or fails, the failure is logged and nothing more is written. The response is still
    read, but a crash would lose it.
    """

    def __init__(self, path: Path, started_at: datetime) -> None:
        self._path = path
        self._started_at = started_at
        self._descriptor: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def begin(self, headers: dict[str, str]) -> None:
        """Create the file, and write `headers` into its first line."""
        head = {"started_at": self._started_at.isoformat(), "headers": headers}
        with self._logged():
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._descriptor = os.open(self._path, flags, _PRIVATE_FILE)
        self.write(json.dumps(head).encode() + b"\n")

    def write(self, chunk: bytes) -> None:
        """Append `chunk` to the file. A process that is killed afterwards doesn't lose it."""
        with self._logged():
            rest = memoryview(chunk)
            while rest and self._descriptor is not None:
                rest = rest[os.write(self._descriptor, rest) :]

    def finish(self) -> None:
        """Mark the response as complete, and flush the file to the disk, so that it survives a power cut."""
        if self._descriptor is None:
            return
        with self._logged():
            os.replace(self._path, self._path.with_suffix(_COMPLETE))
            os.fsync(self._descriptor)

    @contextmanager
    def _logged(self) -> Iterator[None]:
        """Log an OSError in the with-block, and write nothing more."""
        try:
            yield
        except OSError as error:
            log.error("response_not_spooled", path=str(self._path), details=str(error))
            self._close()

    def _close(self) -> None:
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            with suppress(OSError):
                os.close(descriptor)


class Spool:
    """The responses in one folder. Several processes may share the folder."""

    def __init__(self, folder: Path, *, clock: Callable[[], datetime] = utc_now) -> None:
        """Create the folder if it is missing. Raises StorageError if that fails."""
        self._folder = folder
        self._clock = clock
        with translated_errors():
            folder.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)

    def open(self, call: SpooledCall, started_at: datetime) -> SpoolFile:
        """Return a writer for the response to `call`, which is sent at `started_at`."""
        return SpoolFile(self._folder / (call.file_name + _ARRIVING), started_at)

    def calls(self) -> tuple[SpooledCall, ...]:
        """Return the calls whose responses are in the spool, complete or not. Raises StorageError."""
        with translated_errors():
            names = sorted(
                path.stem for path in self._folder.iterdir() if path.suffix in (_ARRIVING, _COMPLETE)
            )
        parts = [name.rpartition(".") for name in names]
        return tuple(SpooledCall(job_id, int(attempt)) for job_id, _, attempt in parts if attempt.isdecimal())

    def read(self, call: SpooledCall) -> SpooledResponse | None:
        """Return the response to `call`. Returns None if the spool doesn't have it. Raises StorageError."""
        # In this order, because `finish` may rename the file between the two reads.
        for ending in (_ARRIVING, _COMPLETE):
            path = self._folder / (call.file_name + ending)
            try:
                with translated_errors():
                    data, received_at = path.read_bytes(), path.stat().st_mtime
            except FileMissing:
                continue
            return _parse(data, received_at, complete=ending == _COMPLETE)
        return None

    def remove(self, call: SpooledCall) -> None:
        """Remove the response to `call`, if there is one. If that fails, `remove_old` tries again later."""
        for ending in (_COMPLETE, _ARRIVING):
            with suppress(OSError):
                (self._folder / (call.file_name + ending)).unlink(missing_ok=True)

    def remove_old(self) -> None:
        """Remove the responses that are older than SPOOL_AGE (7 days). Raises StorageError."""
        before = (self._clock() - SPOOL_AGE).timestamp()
        with translated_errors():
            for path in self._folder.iterdir():
                if path.suffix in (_ARRIVING, _COMPLETE) and path.stat().st_mtime < before:
                    path.unlink(missing_ok=True)


def _parse(data: bytes, received_at: float, *, complete: bool) -> SpooledResponse | None:
    """Return the response in `data`, the content of a file. Returns None if even the first line is cut off.

    `received_at` is the time of the last byte, in seconds since 1970.
    """
    line, _, body = data.partition(b"\n")
    try:
        head = json.loads(line)
        started_at = datetime.fromisoformat(head["started_at"])
    except (ValueError, KeyError, TypeError):
        return None
    seconds = max(received_at - started_at.timestamp(), 0.0)
    return SpooledResponse(started_at, seconds, head["headers"], body, complete)
