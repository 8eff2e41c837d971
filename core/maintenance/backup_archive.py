"""The file format of a backup: a plain tar archive whose last member is a manifest.

A member is one file in the archive. The manifest lists all other members, so that a reader notices damage. It
has one JSON object on each line. The first line has the name of the format and its version number. Each of
the next lines has the name, the size in bytes and the SHA-256 of one member, in the sequence of the archive.
The last line has the number of members.
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
_MEMBER_NAME = re.compile(
    rf"{re.escape(DATABASE)}|{re.escape(SECRET)}|{re.escape(MANIFEST)}"
    rf"|{FILES}/(?:{Folder.IMAGES}|{Folder.RESPONSES}|{Folder.UPLOADS}|{Folder.QUARANTINE})(?:/[\w-][\w.-]*)+",
    re.ASCII,
)
_BLOCK_BYTES = tarfile.BLOCKSIZE
_MAX_LINE_BYTES = 1000
_CHUNK_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Member:
    """One file in a backup. `size` is in bytes, and `sha256` is in hex."""

    name: str
    size: int
    sha256: str


class BackupWriter:
    """Writes a backup to the new file `path`, which only its owner can read.

    Use the writer in a `with` block. At the end of the block, it writes the manifest and flushes the backup
    to disk. If the block raises an exception, the backup stays incomplete. `count` is the number of files
    added.
    """

    def __init__(self, path: Path) -> None:
        self._undo = ExitStack()
        self._file = self._undo.enter_context(_create_private(path))
        self._manifest_path = path.with_suffix(".manifest")
        self._manifest = self._undo.enter_context(_create_private(self._manifest_path))
        self.count = 0
        self._write_manifest_line({"format": FORMAT, "version": VERSION})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._undo:
            if error is None:
                self._write_manifest()

    def add(self, name: str, data: bytes) -> None:
        self._add(Member(name, len(data), sha256(data).hexdigest()), BytesIO(data))

    def add_file(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            digest = _copy_and_hash(file, path.stat().st_size)
            file.seek(0)
            self._add(Member(name, path.stat().st_size, digest), file)

    def _add(self, member: Member, data: IO[bytes]) -> None:
        self._write_member(member.name, member.size, data)
        self._write_manifest_line(asdict(member))
        self.count += 1

    def _write_member(self, name: str, size: int, data: IO[bytes]) -> None:
        header = tarfile.TarInfo(name)
        header.size, header.mode = size, 0o600
        # The GNU format needs no extra header for a large file, so `_headers` can reject all extra headers.
        self._file.write(header.tobuf(tarfile.GNU_FORMAT))
        _copy_and_hash(data, size, self._file)
        self._file.write(bytes(-size % _BLOCK_BYTES))

    def _write_manifest_line(self, line: dict[str, Any]) -> None:
        self._manifest.write(json.dumps(line).encode() + b"\n")

    def _write_manifest(self) -> None:
        self._write_manifest_line({"members": self.count})
        self._manifest.flush()
        with self._manifest_path.open("rb") as manifest:
            self._write_member(MANIFEST, self._manifest_path.stat().st_size, manifest)
        self._file.write(bytes(2 * _BLOCK_BYTES))
        self._file.flush()
        os.fsync(self._file.fileno())


def extract(path: Path, folder: Path) -> Iterator[Member]:
    """Extract the backup file `path` into `folder`. Yield each extracted file once it is written.

    Each file is compared with the manifest. Raises BackupDamaged if anything in the backup differs from what
    `BackupWriter` writes. Files that were already extracted stay in `folder`. Raises OSError if the disk
    fails.
    """
    with path.open("rb") as file, path.open("rb") as manifest:
        lines = _manifest_lines(manifest, _locate_manifest(file))
        first = next(lines, {})
        if first.get("format") != FORMAT:
            raise BackupDamaged(details="the manifest doesn't name the format of a backup")
        if first.get("version") != VERSION:
            raise BackupDamaged("This backup was made by another version of Atelier.")
        yield from _extract_all(file, lines, folder)


def count_members(path: Path) -> int:
    """Return the number of files in the backup file `path`, without the manifest.

    Raises BackupDamaged if the header of a file is invalid.
    """
    with path.open("rb") as file:
        return sum(1 for header in _headers(file) if header.name != MANIFEST)


def _extract_all(file: IO[bytes], lines: Iterator[dict[str, Any]], folder: Path) -> Iterator[Member]:
    for number, header in enumerate(_headers(file)):
        line = next(lines, {})
        if header.name == MANIFEST:
            if line != {"members": number}:
                raise BackupDamaged(details=f"it has {number} files, but the manifest says {line}")
            return
        member = Member(header.name, header.size, str(line.get("sha256")))
        if line != asdict(member):
            raise BackupDamaged(details=f"{header.name} differs from the manifest")
        _extract_one(file, member, folder / member.name)
        yield member


def _extract_one(file: IO[bytes], member: Member, path: Path) -> None:
    try:
        for parent in reversed([parent for parent in path.parents if not parent.exists()]):
            parent.mkdir(mode=0o700)
        written = _create_private(path)
    except (FileExistsError, NotADirectoryError) as error:
        raise BackupDamaged(details=f"{member.name} occurs twice, or inside another file") from error
    with written:
        if _copy_and_hash(file, member.size, written) != member.sha256:
            raise BackupDamaged(details=f"{member.name} was altered")
        written.flush()
        os.fsync(written.fileno())


def _locate_manifest(file: IO[bytes]) -> range:
    """Return the range of byte positions in `file` that the manifest occupies. Check every header.

    Raises BackupDamaged if a header is invalid, or if the manifest is missing or isn't the last member.
    """
    found = range(0)
    for header in _headers(file):
        if found:
            raise BackupDamaged(details="there is something after the manifest")
        if header.name == MANIFEST:
            found = range(file.tell(), file.tell() + header.size)
    if not found:
        raise BackupDamaged(details="it ends before the manifest")
    return found


def _headers(file: IO[bytes]) -> Iterator[tarfile.TarInfo]:
    """Yield the tar header of each member. `file` is then at the first byte of the member's contents.

    Raises BackupDamaged if a member isn't a plain file with a known name. The reader in Python's `tarfile`
    isn't used, because it keeps all headers in memory and skips headers that it doesn't know.
    """
    end, position = file.seek(0, os.SEEK_END), 0
    while position < end:
        file.seek(position)
        block = file.read(_BLOCK_BYTES)
        if not any(block):
            return
        header = _parse_header(block)
        position += _BLOCK_BYTES
        if position + header.size > end:
            raise BackupDamaged(details=f"it ends inside {header.name}")
        yield header
        position += -(-header.size // _BLOCK_BYTES) * _BLOCK_BYTES


def _parse_header(block: bytes) -> tarfile.TarInfo:
    try:
        header = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    except (tarfile.HeaderError, ValueError) as error:
        raise BackupDamaged(details=str(error)) from error
    if header.type != tarfile.REGTYPE or header.size < 0 or not _MEMBER_NAME.fullmatch(header.name):
        raise BackupDamaged(details=f"a file that doesn't belong in a backup: {header.name[:100]!r}")
    return header


def _manifest_lines(file: IO[bytes], where: range) -> Iterator[dict[str, Any]]:
    file.seek(where.start)
    while file.tell() < where.stop:
        try:
            line = json.loads(file.readline(min(_MAX_LINE_BYTES, where.stop - file.tell())))
        except (ValueError, RecursionError) as error:
            raise BackupDamaged(details=f"the manifest can't be read: {error}") from error
        if not isinstance(line, dict):
            raise BackupDamaged(details="the manifest has a line that isn't an object")
        yield line


def _copy_and_hash(file: IO[bytes], size: int, target: IO[bytes] | None = None) -> str:
    """Read the next `size` bytes of `file`, and return their SHA-256 in hex.

    If `target` is given, write the bytes to `target`. If `file` ends earlier, only the bytes up to its end
    are used.
    """
    digest = sha256()
    while size > 0 and (chunk := file.read(min(size, _CHUNK_BYTES))):
        digest.update(chunk)
        if target:
            target.write(chunk)
        size -= len(chunk)
    return digest.hexdigest()


def _create_private(path: Path) -> IO[bytes]:
    """Create a file that only its owner can read, and return it open for writing in binary mode.

    Raises FileExistsError if `path` already exists.
    """
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")
