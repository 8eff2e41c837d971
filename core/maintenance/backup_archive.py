"""The one file of a backup: a plain tar, and as its last member a list with the size and hash of each other.

The list is lines of JSON: what this is, a line for each member in their order, and how many they are.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from core.errors import BackupDamaged
from core.storage.data_folder import DATABASE, FILES, SECRET
from core.storage.keys import Folder

FORMAT, VERSION = "atelier backup", 1
MANIFEST = "manifest.jsonl"
_NAMES = re.compile(
    rf"{re.escape(DATABASE)}|{re.escape(SECRET)}|{re.escape(MANIFEST)}"
    rf"|{FILES}/(?:{Folder.IMAGES}|{Folder.ANSWERS}|{Folder.UPLOADS}|{Folder.ASIDE})(?:/[\w-][\w.-]*)+",
    re.ASCII,
)
_BLOCK = tarfile.BLOCKSIZE
_LONGEST_LINE = 1000
_PIECE = 2**20


@dataclass(frozen=True, slots=True)
class Member:
    """One file of a backup. `size` is in bytes, `sha256` in hex."""

    name: str
    size: int
    sha256: str


class Writer:
    """Writes a backup into the new file `path`, its owner's alone and flushed when the block ends."""

    def __init__(self, path: Path) -> None:
        self._undo = ExitStack()
        self._file = self._undo.enter_context(_private(path))
        self._list_path = path.with_suffix(".list")
        self._list = self._undo.enter_context(_private(self._list_path))
        self.count = 0
        self._say({"format": FORMAT, "version": VERSION})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._undo:
            if error is None:
                self._finish()

    def add(self, name: str, data: bytes) -> None:
        self._add(Member(name, len(data), sha256(data).hexdigest()), BytesIO(data))

    def add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            digest = _digest(file, path.stat().st_size)
            file.seek(0)
            self._add(Member(name, path.stat().st_size, digest), file)

    def _add(self, member: Member, data: IO[bytes]) -> None:
        self._put(member.name, member.size, data)
        self._say(asdict(member))
        self.count += 1

    def _put(self, name: str, size: int, data: IO[bytes]) -> None:
        header = tarfile.TarInfo(name)
        header.size, header.mode = size, 0o600
        # In this format a file of any size has one header of the common kind.
        self._file.write(header.tobuf(tarfile.GNU_FORMAT))
        _digest(data, size, into=self._file)
        self._file.write(bytes(-size % _BLOCK))

    def _say(self, line: dict[str, Any]) -> None:
        self._list.write(json.dumps(line).encode() + b"\n")

    def _finish(self) -> None:
        self._say({"members": self.count})
        self._list.flush()
        with self._list_path.open("rb") as listed:
            self._put(MANIFEST, self._list_path.stat().st_size, listed)
        self._file.write(bytes(2 * _BLOCK))
        self._file.flush()
        os.fsync(self._file.fileno())


def extract(path: Path, folder: Path) -> Iterator[Member]:
    """Write the members of the backup `path` below `folder`, each only as its list says, one a step.

    Raises BackupDamaged for anything that `Writer` doesn't write, and OSError for the disk's faults.
    """
    with path.open("rb") as file, path.open("rb") as listed:
        lines = _lines(listed, _manifest(file))
        head = next(lines, {})
        if head.get("format") != FORMAT:
            raise BackupDamaged(details="its list of files doesn't say that it is a backup")
        if head.get("version") != VERSION:
            raise BackupDamaged("This backup was made by another version of Atelier.")
        yield from _extract_all(file, lines, folder)


def count(path: Path) -> int:
    """How many members a backup has, its list aside. Raises BackupDamaged."""
    with path.open("rb") as file:
        return sum(1 for header in _headers(file) if header.name != MANIFEST)


def _extract_all(file: IO[bytes], lines: Iterator[dict[str, Any]], folder: Path) -> Iterator[Member]:
    for done, header in enumerate(_headers(file)):
        line = next(lines, {})
        if header.name == MANIFEST:
            if line != {"members": done}:
                raise BackupDamaged(details=f"it has {done} files, and its list says {line}")
            return
        member = Member(header.name, header.size, str(line.get("sha256")))
        if line != asdict(member):
            raise BackupDamaged(details=f"{header.name} isn't what the list says")
        _extract_one(file, member, folder / member.name)
        yield member


def _extract_one(file: IO[bytes], member: Member, path: Path) -> None:
    try:
        for parent in reversed([parent for parent in path.parents if not parent.exists()]):
            parent.mkdir(mode=0o700)
        written = _private(path)
    except (FileExistsError, NotADirectoryError) as error:
        raise BackupDamaged(details=f"{member.name} is there twice, or within another file") from error
    with written:
        if _digest(file, member.size, into=written) != member.sha256:
            raise BackupDamaged(details=f"{member.name} was altered")
        written.flush()
        os.fsync(written.fileno())


def _manifest(file: IO[bytes]) -> range:
    """Where the list of members lies. A wrong header anywhere is found here, before a byte is written."""
    at = range(0)
    for header in _headers(file):
        if at:
            raise BackupDamaged(details="there is something after its list of files")
        if header.name == MANIFEST:
            at = range(file.tell(), file.tell() + header.size)
    if not at:
        raise BackupDamaged(details="it ends before its list of files")
    return at


def _headers(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """The header of each member, `file` standing at the member's first byte: plain files of known names only.

    Header by header, because tarfile's own reader keeps them all, and reads past what it doesn't know.
    """
    end, at = file.seek(0, os.SEEK_END), 0
    while at < end:
        file.seek(at)
        block = file.read(_BLOCK)
        if not any(block):
            return
        header = _header(block)
        at += _BLOCK
        if at + header.size > end:
            raise BackupDamaged(details=f"it ends within {header.name}")
        yield header
        at += -(-header.size // _BLOCK) * _BLOCK


def _header(block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise BackupDamaged(details=str(error)) from error
    if header.type != tarfile.REGTYPE or header.size < 0 or not _NAMES.fullmatch(header.name):
        raise BackupDamaged(details=f"a file that doesn't belong in a backup: {header.name[:100]!r}")
    return header


def _lines(file: IO[bytes], where: range) -> Iterator[dict[str, Any]]:
    file.seek(where.start)
    while file.tell() < where.stop:
        try:
            line = json.loads(file.readline(min(_LONGEST_LINE, where.stop - file.tell())))
        except (ValueError, RecursionError) as error:
            raise BackupDamaged(details=f"its list of files: {error}") from error
        if not isinstance(line, dict):
            raise BackupDamaged(details="its list of files has a line that doesn't belong there")
        yield line


def _digest(file: IO[bytes], size: int, into: IO[bytes] | None = None) -> str:
    """The SHA-256 of the next `size` bytes, which are written `into` a file on the way."""
    digest = sha256()
    while size > 0 and (piece := file.read(min(size, _PIECE))):
        digest.update(piece)
        if into:
            into.write(piece)
        size -= len(piece)
    return digest.hexdigest()


def _private(path: Path) -> IO[bytes]:
    """A new file that its owner alone can read. Raises FileExistsError."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
