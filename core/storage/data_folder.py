"""The data folder: its file names, its lock, and the database in it."""

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

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# The data folder is its owner's alone, and so is what is written into it.
_PRIVATE, _OTHERS = 0o700, 0o077
# In the data folder.
DATABASE, SECRET, LOCK, FILES = "atelier.db", "secret.key", "atelier.lock", "files"


def database_url(settings: Settings, folder: Path) -> str:
    """Where rows are kept, for the data folder `folder`."""
    return settings.database_url or sqlite_url(folder / DATABASE)


def data_folder(path: Path) -> Path:
    """The folder, made for its owner alone; one that is there already keeps the mode it was given."""
    try:
        folder = path.expanduser().resolve()
    except RuntimeError as error:
        raise errors.SettingsError(f"DATA_DIR: {error}") from error
    try:
        _check_kinds(folder)
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=_PRIVATE, exist_ok=True)
        probe = folder / f".probe-{os.getpid()}"
        probe.write_bytes(b"probe")
        probe.unlink()
        if stat.S_IMODE(folder.stat().st_mode) == _PRIVATE:
            os.umask(_OTHERS)
    except OSError as error:
        raise _folder_fault(folder, error) from error
    return folder


def _check_kinds(folder: Path) -> None:
    """Raise SettingsError where a file stands in a folder's place, or a folder in a file's."""
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


def _folder_fault(folder: Path, error: OSError) -> errors.StorageError:
    if error.errno in _NO_ROOM:
        return errors.StorageFull(f"There is no space left in {folder}.", details=str(error))
    return errors.StorageReadOnly(
        f"The data folder {folder} can't be written to. Make it writable or set DATA_DIR to another folder.",
        details=str(error),
    )


def lock_data_folder(folder: Path) -> filelock.BaseFileLock:
    """Keep a second process out: two of them would both run the same jobs, and pay twice.

    The folder is let go with the lock object: whoever works in it must keep a reference.
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
    """The installation's key from before the database had it. Raises SettingsError or StorageError."""
    try:
        key = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise _folder_fault(path.parent, error) from error
    if key is not None and len(key) != KEY_BYTES:
        raise errors.SettingsError(
            f"The key file {path} is damaged. Restore it from a backup, or remove it: a new one is made, and "
            "the image service will see your users as new ones."
        )
    return key
