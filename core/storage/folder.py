"""Storage in a local folder, which survives power cuts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path, PurePosixPath
from uuid import uuid4

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from core.common.clock import utc_now
from core.storage.storage import Storage, check_key, translated_errors

# Files are written here and renamed when complete: on the same disk, in none of the listed folders.
STAGING = "staging"
STAGING_AGE = timedelta(days=1)


class FolderStorage(Storage):
    """Files in one local folder, flushed to the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        with translated_errors():
            self.root.mkdir(parents=True, exist_ok=True)
            super().__init__(LocalStore(self.root, automatic_cleanup=True))

    def put(self, key: str, data: bytes) -> None:
        """Write to a staged file, flush it, then rename it: a file under its own name is always complete."""
        check_key(key)
        staged = f"{STAGING}/{uuid4().hex}"
        with translated_errors():
            try:
                obstore.put(self._store, staged, data)
                flush_file(self.root / staged)
                obstore.rename(self._store, staged, key)
            except BaseException:
                self._discard(staged)
                raise
            for folder in _folders_up_to(self.root / key, self.root):
                flush_folder(folder)

    def delete_abandoned(self) -> None:
        """Delete staged files that crashes left behind. Those younger than STAGING_AGE may be in use."""
        before = utc_now() - STAGING_AGE
        self.delete(*(file.key for file in self.files(STAGING) if file.modified < before))

    def _discard(self, key: str) -> None:
        with suppress(BaseError, OSError):
            obstore.delete(self._store, key)


def open_folder(root: Path) -> FolderStorage:
    """The storage in the folder `root`, which is created if missing. Deletes abandoned staged files."""
    storage = FolderStorage(root)
    with translated_errors():
        flush_folder(storage.root.parent)
    storage.delete_abandoned()
    return storage


def flush_file(path: Path) -> None:
    """Wait until the bytes of `path` are on the disk. Raises OSError."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the file names in `path` are on the disk. Raises OSError."""
    if os.name == "nt":  # Windows writes names through, and can't open a folder
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folders_up_to(path: Path, root: Path) -> Iterator[Path]:
    """The parents of `path` up to `root`: any of them may be new and must be flushed."""
    depth = len(PurePosixPath(path.relative_to(root)).parts)
    yield from list(path.parents)[:depth]
