"""The data folder (setting DATA_DIR): its file names, permissions and lock."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import filelock

from core import errors
from core.database.engines import sqlite_url
from core.database.installation_key import KEY_BYTES
from core.settings import Settings

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
# Only the owner of the data folder may read the folder and the files in it.
_PRIVATE_MODE, _PRIVATE_UMASK = 0o700, 0o077
# The names of the files and folders in the data folder.
DATABASE, SECRET, LOCK, FILES, SPOOL = "atelier.db", "secret.key", "atelier.lock", "files", "spool"


def database_url(settings: Settings, folder: Path) -> str:
    """Return the URL of the database.

    This is DATABASE_URL if it is set, and otherwise the URL of the SQLite file in the data folder `folder`.
    """
    return settings.database_url or sqlite_url(folder / DATABASE)


def prepare_data_folder(path: Path) -> Path:
    """Create the data folder if it is missing, check that it is writable, and return its absolute path.

    A new folder is private: only its owner may read it. An existing folder keeps its permissions. If the
    folder is private, files that this process creates later are private too. Raises SettingsError if a file
    is where a folder is needed or the other way round, and StorageError if the folder can't be written to.
    """
    try:
        folder = path.expanduser().resolve()
    except RuntimeError as error:
        raise errors.SettingsError(f"DATA_DIR: {error}") from error
    try:
        _check_kinds(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=_PRIVATE_MODE, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"probe")
        probe.unlink()
        if stat.S_IMODE(folder.stat().st_mode) == _PRIVATE_MODE:
            os.umask(_PRIVATE_UMASK)
    except OSError as error:
        raise _folder_error(folder, error) from error
    return folder


def _check_kinds(folder: Path) -> None:
    """Raise SettingsError if there is a file where a folder is needed, or a folder where a file is needed."""
    for path in (folder / FILES, folder, *folder.parents):
        if path.is_file():
            raise errors.SettingsError(
                f"DATA_DIR: {path} is a file where a folder is needed. "
                "Move the file aside or set DATA_DIR to another folder."
            )
    for path in (folder / name for name in (DATABASE, LOCK, SECRET)):
        if path.is_dir():
            raise errors.SettingsError(
                f"DATA_DIR: {path} is a folder where a file is needed. "
                "Move that folder aside or set DATA_DIR to another folder."
            )


def _folder_error(folder: Path, error: OSError) -> errors.StorageError:
    if error.errno in _DISK_FULL:
        return errors.StorageFull(f"There is no space left in {folder}.", details=str(error))
    return errors.StorageReadOnly(
        f"The data folder {folder} can't be written to. Make it writable or set DATA_DIR to another folder.",
        details=str(error),
    )


def lock_data_folder(folder: Path) -> filelock.BaseFileLock:
    """Lock the data folder and return the lock.

    Without the lock, a second process could work on the same jobs and pay for them again. The lock ends when
    the returned object is garbage-collected, so keep a reference to the object. Raises SettingsError if
    another process holds the lock.
    """
    lock = filelock.FileLock(folder / LOCK, thread_local=False)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout as error:
        raise errors.SettingsError(
            f"Another Atelier is already using {folder}. Stop it, or set DATA_DIR to another folder."
        ) from error
    return lock


def legacy_key(path: Path) -> bytes | None:
    """Return the installation's secret key from the file `path`.

    Earlier releases stored the key in this file, not in the database. Returns None if there is no such file.
    Raises SettingsError if the file is damaged, and StorageError if it can't be read.
    """
    try:
        key = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise _folder_error(path.parent, error) from error
    if key is not None and len(key) != KEY_BYTES:
        raise errors.SettingsError(
            f"The key file {path} is damaged. Restore it from a backup, or remove it: then a new key is "
            "created, and the image service will see your users as new ones."
        )
    return key
