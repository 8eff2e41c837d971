"""Storage in a local folder, durable across power cuts."""

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

# Half-written files live here until they are whole: same disk as the rest, outside every listing.
STAGING = "staging"
STAGING_AGE = timedelta(days=1)


class FolderStorage(Storage):
    """Files in one folder of this machine, flushed to the disk."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()
        with translated_errors():
            self.root.mkdir(parents=True, exist_ok=True)
            super().__init__(LocalStore(self.root, automatic_cleanup=True))

    def put(self, key: str, data: bytes) -> None:
        """Keep `data`. The name appears only after the bytes are on the disk: a file that exists is whole."""
        check_key(key)
        staged = f"{STAGING}/{uuid4().hex}"
        with translated_errors():
            try:
                obstore.put(self._store, staged, data)
                flush_file(self.root / staged)
                obstore.rename(self._store, staged, key)
            except BaseException:
                self._forget(staged)
                raise
            for folder in _folders_up_to(self.root / key, self.root):
                flush_folder(folder)

    def sweep(self) -> None:
        """Remove what crashed writers left half written; anything younger may still be in work."""
        before = utc_now() - STAGING_AGE
        self.delete(*(file.key for file in self.files(STAGING) if file.modified < before))

    def _forget(self, key: str) -> None:
        with suppress(BaseError, OSError):
            obstore.delete(self._store, key)


def open_folder(root: Path) -> FolderStorage:
    """The store in the folder `root`, made when missing and rid of what crashes left behind."""
    storage = FolderStorage(root)
    with translated_errors():
        flush_folder(storage.root.parent)
    storage.sweep()
    return storage


def flush_file(path: Path) -> None:
    """Return when the bytes of `path` are on the disk. Raises OSError."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Return when the names in `path` are on the disk. Raises OSError."""
    if os.name == "nt":  # Windows writes names through, and can't open a folder
        return
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folders_up_to(path: Path, root: Path) -> Iterator[Path]:
    """The folder of `path`, its parent and so on, `root` last: any of them may be new."""
    depth = len(PurePosixPath(path.relative_to(root)).parts)
    yield from list(path.parents)[:depth]
