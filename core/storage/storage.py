"""The base class of the storages: files under keys, which are durable once `put` has returned."""

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
# obstore reports the cause only in its error text, as the name of a Rust ErrorKind. The names are the same on
# every operating system.
_RUST_KIND = re.compile(r"kind: (\w+)")
_ERRORS: dict[str | int, type[errors.StorageError]] = {
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
    """A file in a listing. `size` is in bytes, and `modified` is the time of the last `put`."""

    key: str
    size: int
    modified: datetime


class Storage:
    """Stores files under keys. A key is a relative path of ASCII letters, digits, `.`, `_` and `-`.

    The methods raise StorageFull, StorageReadOnly or FileMissing. They raise StorageError for other failures
    and for an invalid key.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    def put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`, and replace an earlier file.

        Once this method has returned, a power cut can't lose the file. Readers never see an incomplete file.
        """
        self.put_preview(key, data)

    def put_preview(self, key: str, data: bytes) -> None:
        """Store `data` under `key` faster than `put` does. A power cut may lose the file."""
        check_key(key)
        with self._translated():
            obstore.put(self._store, key, data)

    def get(self, key: str) -> bytes:
        check_key(key)
        with self._translated():
            return bytes(obstore.get(self._store, key).bytes())

    def size(self, key: str) -> int:
        """Return the size in bytes of the file under `key`, without reading the file."""
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
        """Return the keys of all files in the folder `prefix` and its subfolders, sorted."""
        return tuple(sorted(file.key for file in self.files(prefix)))

    def files(self, prefix: str) -> Iterator[StoredFile]:
        """Yield all files in the folder `prefix` and its subfolders, in no particular order.

        The listing is read in pages.
        """
        check_key(prefix)
        with self._translated():
            for page in obstore.list(self._store, prefix):
                yield from (
                    StoredFile(found["path"], found["size"], found["last_modified"]) for found in page
                )

    def delete(self, *keys: str) -> None:
        """Delete the files under `keys`. Missing files are ignored."""
        for key in keys:
            check_key(key)
        with self._translated():
            for key in keys:
                with suppress(FileNotFoundError):
                    obstore.delete(self._store, key)

    def check_ready(self) -> None:
        """Raise StorageError if the storage can't be used. Reads at most one key, and writes nothing."""
        self.exists("probe/ready")

    def _translated(self) -> AbstractContextManager[None]:
        """Return a context manager that turns obstore's errors into StorageError."""
        return translated_errors()


def check_key(key: str) -> None:
    """Raise StorageError if `key` isn't a valid key (see `Storage`)."""
    if not _KEY.fullmatch(key):
        raise errors.StorageError(details=f"not a storage key: {key[:100]!r}")


@contextmanager
def translated_errors() -> Iterator[None]:
    try:
        yield
    except FileNotFoundError as error:
        raise errors.FileMissing(details=str(error).partition("\n")[0]) from error
    except (BaseError, OSError, ValueError) as error:
        raise _error_class(error)(details=str(error).partition("\n")[0]) from error


def _error_class(error: Exception) -> type[errors.StorageError]:
    kind = _RUST_KIND.search(str(error))
    cause = error.errno if isinstance(error, OSError) else kind and kind[1]
    return _ERRORS.get(cause or "", errors.StorageError)
