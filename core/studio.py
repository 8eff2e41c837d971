"""The Studio: one object with all parts of a running process, and its shutdown."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import filelock

from core import errors
from core.accounts.api_tokens import ApiTokens
from core.accounts.audit_log import AuditLog
from core.accounts.passwords import Passwords
from core.accounts.registration import Registration
from core.accounts.sessions import Sessions
from core.accounts.sign_in_attempts import SignInAttempts
from core.accounts.users import Users
from core.database.database import Database
from core.database.process_lock import ProcessLock
from core.enhancement.drafts import Drafts
from core.enhancement.orders import EnhancementOrders
from core.enhancement.runs import Enhancements
from core.generation.edits import Edits
from core.generation.existing_images import ExistingImages
from core.generation.jobs import Jobs
from core.generation.orders import Orders
from core.generation.quotes import Quotes
from core.generation.reuse import Reuse
from core.generation.views import Batches
from core.images.gallery import Gallery
from core.images.share_links import ShareLinks
from core.images.uploads import Uploads
from core.maintenance.chores import Chores
from core.provider.client import ServiceClient
from core.settings import Settings
from core.storage.storage import Storage
from core.usage.budgets import Budgets
from core.usage.error_counts import ErrorCounts
from core.usage.idempotency import IdempotencyStore
from core.usage.rate_limits import RateLimits
from core.usage.usage_log import UsageLog
from core.web.cookies import SessionCookie
from core.web.urls import Urls


@dataclass(frozen=True, slots=True, kw_only=True)
class Studio:
    """The parts of this process: services, stores and clients. Pages and API routes call them.

    core.bootstrap builds the parts. `process_lock` and `folder_lock` keep a second process away from the
    database and the data folder. They are held until `close`.
    """

    settings: Settings
    urls: Urls
    cookie: SessionCookie
    database: Database
    storage: Storage
    users: Users
    registration: Registration
    passwords: Passwords
    sign_in_attempts: SignInAttempts
    sessions: Sessions
    drafts: Drafts
    gallery: Gallery
    share_links: ShareLinks
    usage: UsageLog
    error_counts: ErrorCounts
    budgets: Budgets
    client: ServiceClient
    enhancements: Enhancements
    enhancement_orders: EnhancementOrders
    jobs: Jobs
    quotes: Quotes
    orders: Orders
    existing_images: ExistingImages
    edits: Edits
    reuse: Reuse
    uploads: Uploads
    chores: Chores
    process_lock: ProcessLock
    folder_lock: filelock.BaseFileLock | None
    api_tokens: ApiTokens
    audit_log: AuditLog
    batches: Batches
    idempotency: IdempotencyStore
    rate_limits: RateLimits

    @property
    def readiness_checks(self) -> Mapping[type[errors.ImageError], Callable[[], None]]:
        """The checks of what every request needs, by the error that means that a check doesn't end."""
        return {
            errors.DatabaseUnreachable: self.database.check_ready,
            errors.StorageUnreachable: self.storage.check_ready,
        }

    def close(self, *, waited: float = 0.0) -> None:
        """Wait for running calls during the grace period, then close every part.

        The grace period is `settings.shutdown_grace` seconds, of which `waited` seconds have already passed.
        If a call takes longer than the grace period, the client, the database and the locks stay open, and
        the call runs until the process ends. Otherwise a new process would treat the job of that call as
        orphaned.
        """
        ends = time.monotonic() + self.settings.shutdown_grace - waited
        jobs_ended = self.jobs.stop(grace_seconds=max(0.0, ends - time.monotonic()))
        texts_ended = self.enhancements.close(grace_seconds=max(0.0, ends - time.monotonic()))
        # Stop the chores last, because one of them renews this process's lock on the database.
        self.chores.stop()
        if jobs_ended and texts_ended:
            self.client.close()
            self.process_lock.release()
            self.database.close()
            if self.folder_lock:
                self.folder_lock.release()
