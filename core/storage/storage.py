"""Bytes kept under a key, so that a power cut loses nothing that was said to be kept."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime

import obstore
from obstore.exceptions import BaseError
from obstore.store import ObjectStore

from core import errors

_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*(/[A-Za-z0-9_-][A-Za-z0-9._-]*)*")
# obstore names the cause in its text only, in Rust's words, which are the same on every system.
_RUST_KIND = re.compile(r"kind: (\w+)")
_FAULTS: dict[str | int, type[errors.StorageError]] = {
    "StorageFull": errors.StorageFull,
    "QuotaExceeded": errors.StorageFull,
    "FileTooLarge": errors.StorageFull,
    "ReadOnlyFilesystem": errors.StorageReadOnly,
    "PermissionDenied": errors.StorageReadOnly,
    errno.ENOSPC: errors.StorageFull,
    errno.EDQUOT: errors.StorageFull,
    errno.EFBIG: errors.StorageFull,
    errno.EROFS: errors.StorageReadOnly,
    errno.EACCES: errors.StorageReadOnly,
    errno.EPERM: errors.StorageReadOnly,
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """What is known of a file without reading it: its size in bytes, and when it was put."""

    key: str
    size: int
    modified: datetime


class Storage:
    """Bytes under keys, which are relative paths of ASCII letters, digits, `.`, `_` and `-`.

    Raises StorageFull, StorageReadOnly, FileMissing, or StorageError for everything else,
    a bad key included.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, key: str, data: bytes) -> None:
        """Keep `data`; when this returns, a power cut can't take it. Replaces what was under `key`.

        Whoever reads finds the whole of it or nothing.
        """
        self.put_preview(key, data)

    def put_preview(self, key: str, data: bytes) -> None:
        """Keep `data` for now: whole or not at all for readers, but a power cut may take it."""
        check_key(key)
        with self._translated():
            obstore.put(self._store, key, data)

    def get(self, key: str) -> bytes:
        check_key(key)
        with self._translated():
            return bytes(obstore.get(self._store, key).bytes())

    def size(self, key: str) -> int:
        """How many bytes are under `key`; they are not read."""
        check_key(key)
        with self._translated():
            return obstore.head(self._store, key)["size"]

    def exists(self, key: str) -> bool:
        try:
            self.size(key)
        except errors.FileMissing:
            return False
        return True

    def list(self, prefix: str) -> tuple[str, ...]:
        """The keys below the folder `prefix`, sorted."""
        return tuple(sorted(file.key for file in self.files(prefix)))

    def files(self, prefix: str) -> Iterator[StoredFile]:
        """The files below the folder `prefix`, in any order, read page by page: there may be millions."""
        check_key(prefix)
        with self._translated():
            for page in obstore.list(self._store, prefix):
                yield from (
                    StoredFile(found["path"], found["size"], found["last_modified"]) for found in page
                )

    def delete(self, *keys: str) -> None:
        """Remove `keys`; one that isn't there is no error."""
        for key in keys:
            check_key(key)
        with self._translated():
            for key in keys:
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, key)

    def _translated(self) -> AbstractContextManager[None]:
        """Says the store's own faults in ours."""
        return translated_errors()


def check_key(key: str) -> None:
    """Raise StorageError for what isn't a key of `Storage`."""
    if not _KEY.fullmatch(key):
        raise errors.StorageError(details=f"not a storage key: {key[:100]!r}")


@contextmanager
def translated_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise errors.FileMissing(details=str(error).partition("\n")[0]) from error
    except (BaseError, OSError, ValueError) as error:
        raise _fault(error)(details=str(error).partition("\n")[0]) from error


def _fault(error: Exception) -> type[errors.StorageError]:
    kind = _RUST_KIND.search(str(error))
    cause = error.errno if isinstance(error, OSError) else kind and kind[1]
    return _FAULTS.get(cause or "", errors.StorageError)
