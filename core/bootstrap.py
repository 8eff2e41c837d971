"""The composition root: the one place that builds a studio that works."""

from __future__ import annotations

import errno
import gc
import logging
import os
import stat
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import filelock
import httpx2
import structlog

from core import errors
from core.accounts import Accounts
from core.audit import Audit
from core.batches import Batches
from core.bucket import open_bucket
from core.budgets import Budgets
from core.client import ImageClient
from core.database import Database, sqlite_url
from core.drafts import Drafts
from core.enhancing import Enhancements
from core.failures import Failures
from core.gallery import Gallery
from core.housekeeping import Chore, Housekeeping, InPortions
from core.installation import SECRET_BYTES, shared_secret
from core.inventory import Inventory
from core.jobs import Jobs
from core.kept import KeptAnswers
from core.layout import DATABASE, FILES, LOCK, SECRET
from core.lines import LineRenderer, escaped
from core.models import utc_now
from core.offline import OfflineTransport
from core.ownership import Ownership
from core.queue import JobQueue, Limits
from core.rates import Rates
from core.settings import Settings, load_settings
from core.shares import Shares
from core.storage import open_storage
from core.studio import Studio
from core.takes import Takes
from core.tokens import Tokens
from core.uploads import Uploads
from core.usage import UsageLog
from core.worker import Worker

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
# The data folder is its owner's alone, and so is what is written into it.
_PRIVATE, _OTHERS = 0o700, 0o077
# Slow enough to be seen, quick enough not to be waited for.
OFFLINE_PACE_SECONDS = 0.02
_LIBRARIES = ("sqlalchemy",)
# How often the hold on the database is checked, garbage is collected, and what has ended is cleared away.
OWNERSHIP_SECONDS = 5
# Missed at two sweeps, a process is gone: its jobs are settled within twice this time, after the eleven
# seconds in which the database notices that a whole machine has gone (core.ownership).
SWEEP_SECONDS = 8
GARBAGE_SECONDS = 60
TIDY_SECONDS = 3600
# What goes through all files is done in portions, and begun anew once a day.
PORTION_EVERY_SECONDS = 10
DAY_SECONDS = 86_400
# When the pages are being served, and before anybody has described a picture.
PREPARE_SECONDS = 2
_guard = threading.Lock()
_installed: list[Studio] = []


def build(settings: Settings, *, transport: httpx2.BaseTransport | None = None) -> Studio:
    """A running studio. Raises SettingsError, StorageError or DatabaseError with what to mend."""
    configure_logging(settings.log_level, secrets=settings.secrets)
    with ExitStack() as undo:
        lock = None
        if not settings.shared:
            lock = hold_folder(_data_folder(settings.data_dir))
            undo.callback(lock.release)
        studio = _assemble(settings, lock, transport, undo)
        undo.pop_all()
        return studio


def database_url(settings: Settings, folder: Path) -> str:
    """Where rows are kept, for the data folder `folder`."""
    return settings.database_url or sqlite_url(folder / DATABASE)


def _assemble(
    settings: Settings,
    lock: filelock.BaseFileLock | None,
    transport: httpx2.BaseTransport | None,
    undo: ExitStack,
) -> Studio:
    folder = settings.data_dir.expanduser().resolve()
    database, ownership = _own_database(settings, folder, undo)
    secret = shared_secret(database, lambda: _earlier_secret(folder / SECRET))
    storage = open_bucket(settings) if settings.storage_url else open_storage(folder / FILES)
    if settings.offline and transport is None:
        transport = OfflineTransport(pace=OFFLINE_PACE_SECONDS)
    client = ImageClient(settings, transport=transport)
    gallery = Gallery(database, storage, trash_days=settings.trash_days)
    usage, failures, budgets = UsageLog(database), Failures(database), Budgets(database, settings)
    drafts, takes = Drafts(database), Takes(database, service=settings.openai_base_url or "")
    worker = Worker(
        database, storage, gallery, usage, budgets, client, secret, failures,
        offline=settings.offline, resend_unknown=settings.resend_unknown,
    )  # fmt: skip
    studio = Studio(
        settings=settings,
        database=database,
        ownership=ownership,
        folder_lock=lock,
        storage=storage,
        client=client,
        gallery=gallery,
        usage=usage,
        failures=failures,
        budgets=budgets,
        drafts=drafts,
        enhancements=Enhancements(
            client,
            drafts,
            usage,
            takes,
            budgets,
            model=settings.default_text_model,
            offline=settings.offline,
            secret=secret,
            on_failure=failures.count,
        ),
        jobs=_jobs(settings, ownership, worker, budgets),
        audit=Audit(database),
        accounts=Accounts(
            database, registration=settings.who_may_register, session_days=settings.session_days
        ),
        tokens=Tokens(database),
        shares=Shares(database),
        uploads=Uploads(storage, settings.max_upload_mb),
        batches=Batches(database),
        kept=KeptAnswers(database),
        rates=Rates(database),
        housekeeping=Housekeeping(),
    )
    studio.jobs.start()
    studio.housekeeping.start(_chores(studio, takes, Inventory(database, storage, gallery)))
    return studio


def _own_database(settings: Settings, folder: Path, undo: ExitStack) -> tuple[Database, Ownership]:
    """The database, which is this process's to work on, with its tables up to date."""
    database = Database(database_url(settings, folder))
    undo.callback(database.close)
    ownership = Ownership(database, shared=settings.shared)
    undo.callback(ownership.release)
    ownership.take()
    database.migrate()
    return database, ownership


def _jobs(settings: Settings, ownership: Ownership, worker: Worker, budgets: Budgets) -> Jobs:
    limits = Limits(settings.concurrency, settings.user_concurrency, settings.requests_per_minute)
    return Jobs(
        worker.database,
        worker.storage,
        worker,
        JobQueue(worker.database, limits, process=ownership.number),
        budgets,
        places=settings.concurrency,
        may_work=lambda: ownership.held,
        alive=ownership.alive,
        share=settings.shared,
    )


def _chores(studio: Studio, takes: Takes, inventory: Inventory) -> tuple[Chore, ...]:
    tidied = {
        "enter answers that came late": studio.jobs.enter_late,
        "remove ended sessions": studio.accounts.tidy,
        "remove expired tokens": studio.tokens.tidy,
        "remove links that are over": studio.shares.tidy,
        "remove old enhancements": takes.tidy,
        "remove old answers": studio.kept.tidy,
        "remove ended rate windows": studio.rates.tidy,
        "forget old failures": studio.failures.tidy,
    }
    return (
        Chore("keep the database", OWNERSHIP_SECONDS, studio.ownership.keep),
        Chore("settle the jobs of processes that are gone", SWEEP_SECONDS, studio.jobs.sweep),
        # Streamlit would collect after every run and poll, which costs each of them more than its work.
        Chore("collect garbage", GARBAGE_SECONDS, gc.collect, first=GARBAGE_SECONDS),
        # What a start needn't wait for, the first picture needn't either.
        Chore("load what makes pictures", None, lambda: _prepare(studio), first=PREPARE_SECONDS),
        *(Chore(name, TIDY_SECONDS, work) for name, work in tidied.items()),
        _slow("empty the trash", lambda: studio.gallery.purge(utc_now()), rest=TIDY_SECONDS),
        _slow("remove old files without a row", inventory.clean),
        _slow("make missing thumbnails", inventory.thumbnails),
    )


def _slow(name: str, work: Callable[[], Iterator[object]], *, rest: float = DAY_SECONDS) -> Chore:
    """Work that goes through many rows or files, in portions, and begins anew after `rest` seconds."""
    return Chore(name, PORTION_EVERY_SECONDS, InPortions(work, rest=rest))


def _prepare(studio: Studio) -> None:
    studio.client.prepare()
    if studio.settings.offline:
        import_module("core.painter.paint")


def studio(**overrides: Any) -> Studio:
    """This process's studio, built at the first call from the environment, `overrides` first."""
    with _guard:
        if not _installed:
            _installed.append(build(load_settings(**overrides)))
        return _installed[0]


def install(other: Studio | None) -> None:
    """Make `other` this process's studio: the seam for tests and for the process's end."""
    with _guard:
        _installed[:] = [other] if other else []


def _data_folder(path: Path) -> Path:
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


def hold_folder(folder: Path) -> filelock.BaseFileLock:
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


def _earlier_secret(path: Path) -> bytes | None:
    """The installation's key from before the database had it. Raises SettingsError or StorageError."""
    try:
        key = path.read_bytes() if path.exists() else None
    except OSError as error:
        raise _folder_fault(path.parent, error) from error
    if key is not None and len(key) != SECRET_BYTES:
        raise errors.SettingsError(
            f"The key file {path} is damaged. Restore it from a backup, or remove it: a new one is made, and "
            "the image service will see your users as new ones."
        )
    return key


def configure_logging(level: str, *, secrets: Sequence[str] = ()) -> None:
    """Lines with time, level and job id, scrubbed of secrets and control characters wherever they stand.

    `secrets` are kept out whatever they look like. What libraries log is made safe as well, and so are the
    tracebacks that a server writes.
    """

    def scrubbed(text: str) -> str:
        for secret in secrets:
            text = text.replace(secret, "[secret]")
        return errors.scrub(text)

    logging.setLogRecordFactory(partial(_scrubbed_record, lambda text: escaped(scrubbed(text))))
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            LineRenderer(),
            lambda _logger, _method, line: scrubbed(str(line)),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level)),
    )
    for name in _LIBRARIES:
        library = logging.getLogger(name)
        library.handlers[:], library.propagate = [_LibraryLines()], False


class _LibraryLines(logging.Handler):
    """Hands a library's lines to our log: scrubbed, and an exception as one line instead of a traceback."""

    def emit(self, record: logging.LogRecord) -> None:
        cause = {"error": repr(record.exc_info[1])} if record.exc_info and record.exc_info[1] else {}
        structlog.get_logger(record.name).log(record.levelno, record.getMessage(), **cause)


def _scrub_message(record: logging.LogRecord, scrubbed: Callable[[str], str]) -> None:
    """By its arguments where that is enough: a server's lines of access are made from them later."""
    message = record.getMessage()
    clean = scrubbed(message)
    if clean == message:
        return
    if isinstance(record.args, tuple):
        record.args = tuple(scrubbed(arg) if isinstance(arg, str) else arg for arg in record.args)
    if record.getMessage() != clean:
        record.msg, record.args = clean, ()


def _scrubbed_record(scrubbed: Callable[[str], str], *args: Any, **fields: Any) -> logging.LogRecord:
    record = logging.LogRecord(*args, **fields)
    with suppress(Exception):  # whatever a library logs that can't be written: logging itself says so
        _scrub_message(record, scrubbed)
    if record.exc_info and record.exc_info[1]:
        record.exc_text = scrubbed(logging.Formatter().formatException(record.exc_info))
    return record
