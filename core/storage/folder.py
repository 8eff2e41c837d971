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

from core import errors
from core.common.clock import utc_now
from core.storage.storage import Storage, check_key, translated_errors

# Files are written to this folder, and moved to their final folder when they are complete. Both folders are
# on the same disk. The name differs from those of the folders in core.storage.keys.
STAGING = "staging"
STAGING_AGE = timedelta(days=1)


class FolderStorage(Storage):
    """Stores files in one local folder and its subfolders. `put` flushes each file to the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        with translated_errors():
            self.root.mkdir(parents=True, exist_ok=True)
            super().__init__(LocalStore(self.root, automatic_cleanup=True))

    def put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, and replace an earlier file.

        Writes a temporary file, flushes it to the disk, then renames it. The file under `key` is therefore
        always complete.
        """
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

    def check_ready(self) -> None:
        """Raise StorageError if the folder is missing, and StorageReadOnly if it can't be written to."""
        if not self.root.is_dir():
            raise errors.StorageError(details="the folder is missing")
        if not os.access(self.root, os.R_OK | os.W_OK | os.X_OK):
            raise errors.StorageReadOnly(details="the folder can't be written to")

    def delete_abandoned(self) -> None:
        """Delete the temporary files that a crash has left behind: those older than STAGING_AGE (1 day)."""
        before = utc_now() - STAGING_AGE
        self.delete(*(file.key for file in self.files(STAGING) if file.modified < before))

    def _discard(self, key: str) -> None:
        with suppress(BaseError, OSError):
            obstore.delete(self._store, key)


def open_folder(root: Path) -> FolderStorage:
    """Return the storage in the folder `root`. Creates the folder if it is missing.

    Deletes the temporary files that a crash has left behind.
    """
    storage = FolderStorage(root)
    with translated_errors():
        flush_folder(storage.root.parent)
    storage.delete_abandoned()
    return storage


def flush_file(path: Path) -> None:
    """Wait until the content of the file `path` is on the disk. Raises OSError if this fails."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the file names in the folder `path` are on the disk. Raises OSError if this fails."""
    if os.name == "nt":  # Windows writes file names at once, and can't open a folder
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folders_up_to(path: Path, root: Path) -> Iterator[Path]:
    """Yield the parent folders of the file `path`, from the innermost folder to `root`.

    Storing the file may have created each of these folders, so each must be flushed.
    """
    depth = len(PurePosixPath(path.relative_to(root)).parts)
    yield from list(path.parents)[:depth]
