"""File storage in a local folder. Stored files survive a power cut."""

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

# Files are written to this folder and renamed when complete. It is on the same disk as their final folder,
# and it is none of the folders in core.storage.keys.
STAGING = "staging"
STAGING_AGE = timedelta(days=1)


class FolderStorage(Storage):
    """Stores files below one local folder. `put` flushes each file to the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        with translated_errors():
            self.root.mkdir(parents=True, exist_ok=True)
            super().__init__(LocalStore(self.root, automatic_cleanup=True))

    def put(self, key: str, data: bytes) -> None:
        """Write a temporary file, flush it, then rename it. Thus the file at `key` is always complete."""
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
        """Delete temporary files that are older than STAGING_AGE, which a crash has left behind."""
        before = utc_now() - STAGING_AGE
        self.delete(*(file.key for file in self.files(STAGING) if file.modified < before))

    def _discard(self, key: str) -> None:
        with suppress(BaseError, OSError):
            obstore.delete(self._store, key)


def open_folder(root: Path) -> FolderStorage:
    """Return the storage in the folder `root`. Create the folder if missing, and delete abandoned files."""
    storage = FolderStorage(root)
    with translated_errors():
        flush_folder(storage.root.parent)
    storage.delete_abandoned()
    return storage


def flush_file(path: Path) -> None:
    """Wait until the content of the file `path` is on the disk. Raises OSError."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the file names in the folder `path` are on the disk. Raises OSError."""
    if os.name == "nt":  # Windows writes file names at once, and can't open a folder
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folders_up_to(path: Path, root: Path) -> Iterator[Path]:
    """Yield the parent folders of `path` up to `root`. Each may be new and must then be flushed."""
    depth = len(PurePosixPath(path.relative_to(root)).parts)
    yield from list(path.parents)[:depth]
