"""Storage: `put` either stores a complete file or raises an error that says why."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pytest

from core import errors
from core.common.clock import utc_now
from core.storage import folder
from core.storage.folder import STAGING, FolderStorage, open_folder
from core.storage.storage import Storage
from tests.support.generation import ON_BOTH_STORES

KEY = "images/0123/0.png"
Put = Callable[[Storage, str, bytes], None]
BOTH_PUTS = [
    pytest.param(lambda storage, key, data: storage.put(key, data), id="durable"),
    pytest.param(lambda storage, key, data: storage.put_preview(key, data), id="preview"),
]


def _files(root: Path) -> list[str]:
    return sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file())


# What every store promises


@ON_BOTH_STORES
@pytest.mark.parametrize("put", BOTH_PUTS)
def test_bytes_come_back_and_can_be_replaced(storage: Storage, put: Put) -> None:
    put(storage, KEY, b"first")
    put(storage, KEY, b"second")
    assert storage.get(KEY) == b"second"
    assert storage.exists(KEY)
    assert storage.list("images") == (KEY,)


@ON_BOTH_STORES
@pytest.mark.parametrize("put", BOTH_PUTS)
def test_a_large_file_comes_back_whole(storage: Storage, put: Put) -> None:
    data = os.urandom(12 * 1024 * 1024)
    put(storage, KEY, data)
    assert storage.get(KEY) == data


@ON_BOTH_STORES
@pytest.mark.parametrize("put", BOTH_PUTS)
def test_an_empty_file_can_be_stored(storage: Storage, put: Put) -> None:
    put(storage, KEY, b"")
    assert (storage.get(KEY), storage.size(KEY), storage.exists(KEY)) == (b"", 0, True)


@ON_BOTH_STORES
def test_a_missing_key_raises_file_missing(storage: Storage) -> None:
    assert not storage.exists(KEY)
    with pytest.raises(errors.FileDamaged):
        storage.get(KEY)
    storage.put(KEY, b"x")
    storage.delete(KEY)
    with pytest.raises(errors.FileDamaged):
        storage.get(KEY)


@ON_BOTH_STORES
def test_list_returns_exactly_the_keys_below_a_folder(storage: Storage) -> None:
    for key in ("images/1/1.png", "images/1/0.png", "images/11/0.png", "thumbnails/1.webp"):
        storage.put(key, b"x")
    assert storage.list("images/1") == ("images/1/0.png", "images/1/1.png")
    assert storage.list("images/2") == ()


@ON_BOTH_STORES
def test_delete_ignores_missing_keys(storage: Storage) -> None:
    storage.put("images/1/0.png", b"x")
    storage.put("images/1/1.png", b"x")
    storage.put("images/2/0.png", b"x")
    storage.delete("images/1/0.png", "images/1/7.png", "images/1/1.png")
    assert storage.list("images") == ("images/2/0.png",)
    storage.delete()


@ON_BOTH_STORES
def test_files_are_listed_with_size_and_age(storage: Storage) -> None:
    storage.put(KEY, b"four")
    (file,) = storage.files("images")
    assert (file.key, file.size) == (KEY, 4)
    assert abs(utc_now() - file.modified) < timedelta(minutes=1)


@ON_BOTH_STORES
def test_a_listing_spans_many_pages(storage: Storage) -> None:
    keys = tuple(f"images/{number:04}/0" for number in range(1_100))
    with ThreadPoolExecutor(8) as threads:
        list(threads.map(storage.put_preview, keys, [b"x"] * len(keys)))
    assert storage.list("images") == keys
    storage.delete(*keys)
    assert storage.list("images") == ()


@ON_BOTH_STORES
@pytest.mark.parametrize(
    "key",
    [
        pytest.param("../outside", id="parent folder"),
        pytest.param("images/../../outside", id="parent folder inside"),
        pytest.param("/etc/passwd", id="absolute"),
        pytest.param("C:/windows", id="drive"),
        pytest.param("images\\..\\outside", id="backslashes"),
        pytest.param("images//0.png", id="empty part"),
        pytest.param("images/./0.png", id="this folder"),
        pytest.param("images/0.png/", id="trailing slash"),
        pytest.param("images/%2e%2e/0.png", id="percent code"),
        pytest.param("images/0\0.png", id="nul"),
        pytest.param("images/0.png\n", id="newline"),
        pytest.param("images/.hidden", id="hidden"),
        pytest.param("images/\u2025/0.png", id="two dot leader"),
        pytest.param("", id="empty"),
    ],
)
def test_a_key_that_leaves_the_folder_is_refused(storage: Storage, tmp_path: Path, key: str) -> None:
    uses: tuple[Callable[[], object], ...] = (
        lambda: storage.put(key, b"x"),
        lambda: storage.put_preview(key, b"x"),
        lambda: storage.get(key),
        lambda: storage.exists(key),
        lambda: storage.list(key),
        lambda: storage.delete(key),
    )
    for use in uses:
        with pytest.raises(errors.StorageError, match="not a storage key"):
            use()
    assert _files(tmp_path) == []


@ON_BOTH_STORES
def test_many_threads_put_and_delete_concurrently(storage: Storage) -> None:
    def work(number: int) -> None:
        for turn in range(20):
            key = f"thumbnails/{number}.webp"
            storage.put(key, bytes([number, turn]))
            assert storage.get(key) == bytes([number, turn])
            storage.delete(key)

    with ThreadPoolExecutor(16) as threads:
        list(threads.map(work, range(16)))
    assert storage.list("thumbnails") == ()


@ON_BOTH_STORES
def test_a_file_put_by_many_threads_at_once_is_one_of_their_versions(storage: Storage) -> None:
    versions = [bytes([number]) * 100_000 for number in range(8)]
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda data: storage.put(KEY, data), versions * 3))
    assert storage.get(KEY) in versions


# What the folder promises besides


def test_readers_see_a_complete_version_of_a_file_being_replaced(storage: FolderStorage) -> None:
    """Of a bucket it is S3's own promise; the tests' S3 server shows nothing for a moment."""
    versions = [bytes([number]) * 100_000 for number in range(8)]
    storage.put(KEY, versions[0])
    with ThreadPoolExecutor(4) as threads:
        writing = [threads.submit(storage.put, KEY, data) for data in versions * 3]
        while not all(written.done() for written in writing):
            assert storage.get(KEY) in versions
    assert [written.exception() for written in writing] == [None] * len(writing)


@pytest.mark.parametrize("put", BOTH_PUTS)
def test_put_leaves_nothing_but_the_file(storage: FolderStorage, put: Put) -> None:
    put(storage, KEY, b"first")
    put(storage, KEY, b"second")
    assert _files(storage.root) == [KEY]


def test_a_new_process_finds_what_was_put(storage: FolderStorage) -> None:
    storage.put(KEY, b"x")
    assert open_folder(storage.root).get(KEY) == b"x"


def test_bytes_are_flushed_before_the_rename_and_folders_after_it(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[str, str, bool]] = []

    def watch(flush: Callable[[Path], None], what: str) -> Callable[[Path], None]:
        def flush_and_note(path: Path) -> None:
            flush(path)
            where = str(path.relative_to(storage.root)).split("/")[0] if what == "file" else path.name
            seen.append((what, where, storage.exists(KEY)))

        return flush_and_note

    monkeypatch.setattr(folder, "flush_file", watch(folder.flush_file, "file"))
    monkeypatch.setattr(folder, "flush_folder", watch(folder.flush_folder, "folder"))
    storage.put(KEY, b"x")
    assert seen == [
        ("file", STAGING, False),
        ("folder", "0123", True),
        ("folder", "images", True),
        ("folder", storage.root.name, True),
    ]


def test_a_flush_calls_fsync(storage: FolderStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[int] = []
    flush = os.fsync

    def fsync(descriptor: int) -> None:
        flushed.append(os.fstat(descriptor).st_ino)
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    storage.put(KEY, b"x")
    path = storage.root / KEY
    assert flushed == [part.stat().st_ino for part in (path, *list(path.parents)[:3])]


@pytest.mark.parametrize(
    ("code", "fault"),
    [
        pytest.param(errno.ENOSPC, errors.StorageFull, id="full only when flushed"),
        pytest.param(errno.EDQUOT, errors.StorageFull, id="quota"),
        pytest.param(errno.EROFS, errors.StorageReadOnly, id="gone read-only"),
        pytest.param(errno.EIO, errors.StorageError, id="broken disk"),
    ],
)
def test_a_failed_flush_keeps_the_old_file(
    storage: FolderStorage, monkeypatch: pytest.MonkeyPatch, code: int, fault: type[errors.StorageError]
) -> None:
    storage.put(KEY, b"old")

    def fail(_path: Path) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(folder, "flush_file", fail)
    with pytest.raises(errors.StorageError) as caught:
        storage.put(KEY, b"new")
    assert type(caught.value) is fault
    assert storage.get(KEY) == b"old"
    assert _files(storage.root) == [KEY]


@pytest.mark.parametrize("put", BOTH_PUTS)
def test_a_file_size_limit_is_reported_as_a_full_disk(storage: FolderStorage, put: Put) -> None:
    _, hard = limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, hard))
    try:
        with pytest.raises(errors.StorageFull):
            put(storage, KEY, bytes(256 * 1024))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert _files(storage.root) == []


@pytest.fixture
def small_disk(make_disk: Callable[[str], Path]) -> Path:
    return make_disk("128k")


@pytest.mark.parametrize("put", BOTH_PUTS)
def test_a_full_disk_is_reported_and_leaves_no_partial_file(small_disk: Path, put: Put) -> None:
    storage = open_folder(small_disk)
    storage.put(KEY, b"kept")
    with pytest.raises(errors.StorageFull):
        put(storage, "images/0123/1.png", bytes(1024 * 1024))
    assert storage.list("images") == (KEY,)
    assert storage.get(KEY) == b"kept"
    put(storage, "images/0123/1.png", bytes(16 * 1024))  # the failed one gave its room back


@pytest.mark.parametrize("put", BOTH_PUTS)
def test_a_read_only_disk_is_reported_and_still_readable(small_disk: Path, put: Put) -> None:
    storage = open_folder(small_disk)
    storage.put(KEY, b"kept")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(errors.StorageReadOnly):
        put(storage, "images/4567/0.png", b"x")
    with pytest.raises(errors.StorageReadOnly):
        storage.delete(KEY)
    assert storage.get(KEY) == b"kept"
    with pytest.raises(errors.StorageReadOnly):
        open_folder(small_disk / "new")


@pytest.mark.parametrize("put", BOTH_PUTS)
def test_a_file_in_place_of_a_folder_raises_storage_error(storage: FolderStorage, put: Put) -> None:
    (storage.root / "images").write_bytes(b"in the way")
    with pytest.raises(errors.StorageError):
        put(storage, KEY, b"x")
    assert _files(storage.root) == ["images"]


def test_opening_deletes_only_old_staged_files(storage: FolderStorage) -> None:
    (storage.root / STAGING).mkdir()
    for name, age in (("old", timedelta(days=2)), ("new", timedelta(hours=1))):
        path = storage.root / STAGING / name
        path.write_bytes(b"half")
        then = path.stat().st_mtime - age.total_seconds()
        os.utime(path, (then, then))
    open_folder(storage.root)
    assert _files(storage.root) == [f"{STAGING}/new"]
