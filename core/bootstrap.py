"""The composition root: the only place that builds the parts of a process and connects them."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import Any

import filelock
import httpx2

from core.accounts.api_tokens import ApiTokens
from core.accounts.audit_log import AuditLog
from core.accounts.passwords import Passwords
from core.accounts.registration import Registration
from core.accounts.sessions import Sessions
from core.accounts.sign_in_attempts import SignInAttempts
from core.accounts.users import Users
from core.common.clock import utc_now
from core.common.logging import configure_logging
from core.common.service_settings import ServiceSettings
from core.database.database import Database
from core.database.installation_key import installation_key
from core.database.process_lock import ProcessLock
from core.enhancement.cache import EnhancementCache
from core.enhancement.drafts import Drafts
from core.enhancement.enhancer import Enhancer
from core.enhancement.orders import EnhancementOrders
from core.enhancement.runs import Enhancements
from core.generation.edits import Edits
from core.generation.existing_images import ExistingImages
from core.generation.job_queue import JobQueue, Limits
from core.generation.job_state import cancel_live_jobs
from core.generation.jobs import Jobs
from core.generation.orders import Orders
from core.generation.quotes import Quotes
from core.generation.recovery import Recovery
from core.generation.reuse import Reuse
from core.generation.views import Batches
from core.generation.worker import Worker
from core.images.gallery import Gallery
from core.images.share_links import ShareLinks
from core.images.uploads import Uploads
from core.maintenance.chores import Chore, Chores, PortionedWork
from core.maintenance.integrity import IntegrityCheck
from core.maintenance.repairs import Repairs
from core.offline.transport import OfflineTransport
from core.provider.client import ServiceClient
from core.settings import Settings, load_settings
from core.storage.data_folder import (
    FILES,
    SECRET,
    SPOOL,
    database_url,
    legacy_key,
    lock_data_folder,
    prepare_data_folder,
)
from core.storage.folder import open_folder
from core.storage.s3 import open_s3
from core.storage.spool import Spool
from core.studio import Studio
from core.usage.budgets import Budgets
from core.usage.error_counts import ErrorCounts
from core.usage.idempotency import IdempotencyStore
from core.usage.rate_limits import RateLimits
from core.usage.usage_log import UsageLog
from core.web.cookies import SessionCookie
from core.web.urls import Urls

# The pause between two chunks of the offline engine: long enough to show progress, short enough not to annoy.
OFFLINE_PACE_SECONDS = 0.02
# The interval at which this process renews its lock on the database.
PROCESS_LOCK_SECONDS = 5
# The interval of the search for stopped processes. A process counts as stopped if two searches in a row miss
# it, so its jobs are settled within twice this time. If its whole machine is gone, the database notices that
# up to eleven seconds later (core.database.process_lock).
SWEEP_SECONDS = 8
GARBAGE_SECONDS = 60
TIDY_SECONDS = 3600
# Chores that go through all files do so in portions, at this interval. They start again after a day.
PORTION_EVERY_SECONDS = 10
# With these, the search index of a million images is made within about an hour.
INDEX_PORTION_SECONDS = 2
DAY_SECONDS = 86_400
# The delay before the image code is loaded: after the first page is shown, but before an image is requested.
PREPARE_SECONDS = 2
_guard = threading.Lock()
_installed: list[Studio] = []


def build(settings: Settings, *, transport: httpx2.BaseTransport | None = None) -> Studio:
    """Build the parts of the process, start its background work, and return the Studio.

    `transport` replaces the HTTP transport to the service. Raises SettingsError, StorageError or
    DatabaseError, whose message says what to fix. In that case, everything that was opened is closed again.
    """
    configure_logging(settings.log_level, secrets=settings.secrets)
    with ExitStack() as undo:
        lock = None
        if not settings.allows_replicas:
            lock = lock_data_folder(prepare_data_folder(settings.data_dir))
            undo.callback(lock.release)
        studio = _assemble(settings, lock, transport, undo)
        undo.pop_all()
        return studio


def _assemble(
    settings: Settings,
    lock: filelock.BaseFileLock | None,
    transport: httpx2.BaseTransport | None,
    undo: ExitStack,
) -> Studio:
    folder = settings.data_dir.expanduser().resolve()
    database, process_lock = _lock_database(settings, folder, undo)
    secret = installation_key(database, lambda: legacy_key(folder / SECRET))
    storage = open_s3(settings) if settings.storage_url else open_folder(folder / FILES)
    spool = Spool(settings.spool_dir or folder / SPOOL)
    client = ServiceClient(
        settings,
        transport=transport or _offline_transport(settings.image_service),
        text_transport=transport or _offline_transport(settings.text_service),
    )
    audit_log = AuditLog(database)
    gallery = Gallery(database, storage, audit_log, trash_days=settings.trash_days)
    usage, error_counts = UsageLog(database), ErrorCounts(database)
    budgets = Budgets(database, settings, audit_log)
    drafts, cache = Drafts(database), EnhancementCache(database, service=settings.text_service.base_url or "")
    enhancer = Enhancer(
        client, usage, cache, budgets, model=settings.default_text_model,
        offline=settings.text_service.offline, secret=secret, on_failure=error_counts.count,
    )  # fmt: skip
    enhancements = Enhancements(enhancer, drafts)
    worker = Worker(
        database, storage, spool, gallery, usage, budgets, client, secret, error_counts,
        offline=settings.offline, resend_unknown=settings.resend_unknown,
        image_timeout=settings.image_timeout,
    )  # fmt: skip
    jobs = _jobs(settings, process_lock, worker, budgets)
    idempotency = IdempotencyStore(database)
    uploads = Uploads(storage, settings.max_upload_mb)
    quotes = Quotes(settings=settings, budgets=budgets)
    orders = Orders(
        settings=settings, quotes=quotes, gallery=gallery, uploads=uploads,
        moderation=client.moderation, jobs=jobs, idempotency=idempotency,
    )  # fmt: skip
    studio = Studio(
        settings=settings,
        urls=Urls(settings.base_path),
        cookie=SessionCookie.of(secret),
        database=database,
        process_lock=process_lock,
        folder_lock=lock,
        storage=storage,
        client=client,
        gallery=gallery,
        usage=usage,
        error_counts=error_counts,
        budgets=budgets,
        drafts=drafts,
        enhancements=enhancements,
        enhancement_orders=EnhancementOrders(
            settings=settings, enhancements=enhancements, idempotency=idempotency
        ),
        jobs=jobs,
        quotes=quotes,
        orders=orders,
        existing_images=ExistingImages(orders=orders, gallery=gallery, usage=usage),
        edits=Edits(settings=settings, quotes=quotes, orders=orders, gallery=gallery, budgets=budgets),
        reuse=Reuse(drafts=drafts, gallery=gallery, jobs=jobs, quotes=quotes),
        audit_log=audit_log,
        users=Users(database, audit_log, on_withdrawal=cancel_live_jobs),
        registration=Registration(database, audit_log, mode=settings.effective_registration),
        passwords=Passwords(database, audit_log),
        sign_in_attempts=SignInAttempts(database, audit_log),
        sessions=Sessions(database, audit_log, session_days=settings.session_days),
        api_tokens=ApiTokens(database, audit_log),
        share_links=ShareLinks(database, audit_log),
        uploads=uploads,
        batches=Batches(database),
        idempotency=idempotency,
        rate_limits=RateLimits(database),
        chores=Chores(),
    )
    _start(studio, cache)
    return studio


def _offline_transport(service: ServiceSettings) -> OfflineTransport | None:
    return OfflineTransport(pace=OFFLINE_PACE_SECONDS) if service.offline else None


def _start(studio: Studio, cache: EnhancementCache) -> None:
    studio.jobs.start()
    repairs = Repairs(IntegrityCheck(studio.database, studio.storage), studio.gallery)
    studio.chores.start(_chores(studio, cache, repairs))


def _lock_database(settings: Settings, folder: Path, undo: ExitStack) -> tuple[Database, ProcessLock]:
    """Open the database, lock it for this process, and migrate its tables. Return the database and the lock.

    `undo` gets the functions that close the database and release the lock.
    """
    database = Database(database_url(settings, folder))
    undo.callback(database.close)
    process_lock = ProcessLock(database, shared=settings.allows_replicas)
    undo.callback(process_lock.release)
    process_lock.acquire()
    database.migrate()
    return database, process_lock


def _jobs(settings: Settings, process_lock: ProcessLock, worker: Worker, budgets: Budgets) -> Jobs:
    limits = Limits(settings.concurrency, settings.user_concurrency, settings.requests_per_minute)
    recovery = Recovery(
        worker.database,
        worker,
        live_processes=process_lock.live_processes,
        shared=settings.allows_replicas,
    )
    return Jobs(
        worker.database,
        worker.storage,
        worker,
        JobQueue(worker.database, limits, process=process_lock.process_number),
        budgets,
        recovery,
        max_running=settings.concurrency,
        may_claim=lambda: process_lock.held,
    )


def _chores(studio: Studio, cache: EnhancementCache, repairs: Repairs) -> tuple[Chore, ...]:
    hourly = {
        "adopt late images": studio.jobs.recovery.adopt_late_images,
        "remove expired sessions": studio.sessions.tidy,
        "remove old sign-in attempts": studio.sign_in_attempts.tidy,
        "remove expired password links": studio.passwords.tidy,
        "remove expired invitations": studio.registration.tidy,
        "remove expired tokens": studio.api_tokens.tidy,
        "remove expired share links": studio.share_links.tidy,
        "remove old enhancements": cache.tidy,
        "remove old idempotent responses": studio.idempotency.tidy,
        "remove ended rate limit windows": studio.rate_limits.tidy,
        "remove old error counts": studio.error_counts.tidy,
        "remove old responses": studio.jobs.worker.spool.remove_old,
    }
    index = PortionedWork(
        studio.gallery.complete_search_index,
        pause_seconds=DAY_SECONDS,
        portion_seconds=INDEX_PORTION_SECONDS,
    )
    return (
        Chore("renew the process lock", PROCESS_LOCK_SECONDS, studio.process_lock.renew),
        Chore("settle orphaned jobs", SWEEP_SECONDS, studio.jobs.recovery.settle_orphans),
        # Streamlit's own garbage collection after each page run is off: it took longer than the run.
        Chore("collect garbage", GARBAGE_SECONDS, gc.collect, delay_seconds=GARBAGE_SECONDS),
        # In the background, so that neither the start nor the first image waits for it.
        Chore("load the image code", None, lambda: _prepare(studio), delay_seconds=PREPARE_SECONDS),
        *(Chore(name, TIDY_SECONDS, work) for name, work in hourly.items()),
        Chore("complete the search index", PORTION_EVERY_SECONDS, index),
        _slow("empty the trash", lambda: studio.gallery.purge(utc_now()), pause_seconds=TIDY_SECONDS),
        _slow("remove old files without a row", repairs.remove_orphans),
        _slow("make missing thumbnails", repairs.make_thumbnails),
    )


def _slow(name: str, work: Callable[[], Iterator[object]], *, pause_seconds: float = DAY_SECONDS) -> Chore:
    """Return a chore that processes many rows or files in portions. It starts again after `pause_seconds`."""
    return Chore(name, PORTION_EVERY_SECONDS, PortionedWork(work, pause_seconds=pause_seconds))


def _prepare(studio: Studio) -> None:
    studio.client.prepare()
    if studio.settings.offline:
        import_module("core.offline.painter.paint")


def studio(**overrides: Any) -> Studio:
    """Return this process's Studio. The first call builds it from the settings in the environment.

    `overrides` are values by name, which replace those of the environment. Later calls ignore `overrides`.
    """
    with _guard:
        if not _installed:
            _installed.append(build(load_settings(**overrides)))
        return _installed[0]


def install(other: Studio | None) -> None:
    """Make `other` this process's Studio, or remove the current Studio if `other` is None.

    Tests use this function, and so does the shutdown of the process.
    """
    with _guard:
        _installed[:] = [other] if other else []
