"""The worker: runs one job. It calls the image service and moves the response into the gallery.

The order of the steps makes sure that a paid image is neither lost nor paid for twice. First, the attempt is
committed to the database. Then the call is sent. The response is written to the spool while it arrives. Its
images are stored before they are processed. Finally, one transaction writes the image's row, the usage and
the end of the job.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, repeat
from typing import TypeVar

import structlog
from sqlalchemy import select, update
from sqlmodel import Session, col

from core import errors
from core.common.clock import utc_now
from core.database.database import AdvisoryLock, Database
from core.database.models import Job, JobState
from core.errors.stored import StoredError
from core.generation.ingest import Ingest, ResponseMetadata, call_started_at, job_call
from core.generation.job_state import end_job, row_count, same_call
from core.images import uploads
from core.images.gallery import Gallery
from core.images.reencoding import as_png
from core.prompts.recipe import Recipe
from core.provider.client import ServiceClient
from core.provider.images import GeneratedImages
from core.provider.payloads import INPUT_MIMES, InputImage, InputImages, user_tag
from core.storage.keys import image_key, partial_key, response_metadata_key, unreadable_response_key
from core.storage.spool import Spool, SpooledCall
from core.storage.storage import Storage
from core.usage.budgets import Budgets
from core.usage.error_counts import ErrorCounts
from core.usage.usage_log import Call, Outcome, UsageLog

# Seconds to wait between attempts to store a paid response. The last wait is repeated without end.
STORE_RETRY_SECONDS = (0.5, 1, 2, 3)
# Seconds to wait between calls of one job, if the service names no time. A job has one more call than waits.
CALL_RETRY_SECONDS = (2, 4, 8, 16, 32, 60, 60)
# Failures that cost nothing and may pass without help. A used-up quota or a rejected key won't.
TRANSIENT_ERRORS = (errors.RateLimited, errors.ServiceBusy, errors.ServiceUnreachable)
# Failures of the whole storage, not of one file. A paid response may be stored there, so its job must wait.
STORE_WIDE_ERRORS = (errors.StorageFull, errors.StorageReadOnly, errors.StorageUnreachable)
# Seconds to wait between attempts to end an orphaned job. They are short, because they delay the start.
SETTLE_RETRY_SECONDS = (0.2, 0.5, 1)
# After IMAGE_TIMEOUT, the worker waits this much longer for a response, while the job's outcome is unknown.
LISTEN_SECONDS = 3600
# At most this many late responses are waited for beside the running jobs. Further ones count as running jobs.
MAX_LATE_CALLS = 64
_INTERRUPTED = "the app was stopped while the call was in flight"
T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Worker:
    """Runs jobs, and ends the jobs of processes that stopped. Safe to use from many threads.

    After `image_timeout` seconds, a call's outcome counts as unknown. Once `stopping` is set, nothing is
    tried again. With `resend_unknown`, the first call of a job whose outcome is unknown is sent once more, if
    the budgets cover another call. Such an image may be paid for twice, but never more often.
    """

    database: Database
    storage: Storage
    spool: Spool
    gallery: Gallery
    usage: UsageLog
    budgets: Budgets
    client: ServiceClient
    secret: bytes
    error_counts: ErrorCounts
    offline: bool = False
    resend_unknown: bool = False
    image_timeout: float = 300
    clock: Callable[[], datetime] = utc_now
    stopping: threading.Event = field(default_factory=threading.Event)
    _late_calls: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(MAX_LATE_CALLS))

    @property
    def ingest(self) -> Ingest:
        return Ingest(
            self.database,
            self.storage,
            self.gallery,
            self.usage,
            self.error_counts,
            offline=self.offline,
            clock=self.clock,
        )

    def run(self, job: Job, release: Callable[[], None] = lambda: None) -> None:
        """Run a job that the queue has marked as running. Afterwards, the job's row holds its new state.

        If the response is late, the job ends with an unknown outcome, and `release` is called, so that
        another job can run. The response is still waited for, and its image is kept.

        Raises StorageError or DatabaseError only if the process is stopping or the database is damaged. In
        that case, the next process ends the job.
        """
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            try:
                self._generate(job, release)
            except Exception as error:
                if self.stopping.is_set() and isinstance(error, errors.StorageError | errors.DatabaseError):
                    raise
                self._recover_from_fault(job, error)

    def _generate(self, job: Job, release: Callable[[], None]) -> None:
        try:
            with self._unknown_when_late(job, release):
                generated = self._call(job)
        except errors.ImageError as error:
            self._store_unreadable(job, error.response_body)
            self._retry_store(partial(self._fail, job, error))
        else:
            self._store_unreadable(job, generated.response_body)
            self._store_response(job, generated)
            self._retry_store(partial(self.ingest.commit_response, job, generated))
        self.spool.remove(_call_of(job))
        self.ingest.remove_working_files(job)

    @contextmanager
    def _unknown_when_late(self, job: Job, release: Callable[[], None]) -> Iterator[None]:
        """End the job with an unknown outcome if the with-block takes longer than `image_timeout`.

        The with-block isn't interrupted. `release` is called as soon as there are fewer than MAX_LATE_CALLS
        other late calls.
        """
        ending, ended = threading.Lock(), threading.Event()

        def end_as_unknown() -> None:
            with structlog.contextvars.bound_contextvars(job_id=job.id), ending:
                if ended.is_set():
                    return
                late = errors.ResponseTimeout(details=f"no complete response in {self.image_timeout:g} s")
                self._retry_store(partial(self._fail, job, late))
            with self._late_calls:
                release()
                ended.wait()

        timer = threading.Timer(self.image_timeout, end_as_unknown)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:
            # The system can't start another thread. Make the call without the time limit.
            log.exception("late_timer_not_started")
        try:
            yield
        finally:
            with ending:
                ended.set()
            timer.cancel()

    def _call(self, job: Job) -> GeneratedImages:
        """Call the service, and return its response.

        An unexpected error before the call is raised as ImageGenerationError, because it cost nothing. An
        unexpected error during the call is raised as OutcomeUnknown, because the call may have been paid for.
        """
        with _fault_as(errors.ImageGenerationError):
            tag = user_tag(job.owner_id, self.secret)
            recipe = Recipe.from_json(job.request)
            params = recipe.params()
            inputs = self._retry_store(partial(self._inputs, job.owner_id, recipe), SETTLE_RETRY_SECONDS)

        ended = threading.Event()

        def store_partial(number: int, data: bytes) -> None:
            # In a thread, so that reading the response waits for neither the storage nor the database.
            store = partial(self._store_partial, job, number, data, ended)
            threading.Thread(target=store, name=f"preview {job.id}", daemon=True).start()

        try:
            with (
                _fault_as(errors.OutcomeUnknown),
                self.spool.open(_call_of(job), call_started_at(job)) as file,
            ):
                return self.client.images.generate(
                    params,
                    user_tag=tag,
                    inputs=inputs,
                    on_partial=store_partial,
                    sink=file,
                    listen_seconds=LISTEN_SECONDS,
                )
        finally:
            ended.set()

    def _store_partial(self, job: Job, number: int, data: bytes, ended: threading.Event) -> None:
        """Store a preview of a running job, unless its call has already `ended`. Failures are only logged."""
        key = partial_key(job.id, number)
        shown = (col(Job.state) == JobState.RUNNING, col(Job.partials) <= number)
        try:
            if not ended.is_set():
                self.storage.put_preview(key, data)
                with self.database.write() as session:
                    session.execute(update(Job).where(*same_call(job), *shown).values(partials=number + 1))
            if ended.is_set():
                # `remove_working_files` may have missed the file.
                self.storage.delete(key)
        except (errors.StorageError, errors.DatabaseError) as error:
            log.warning("preview_not_stored", job_id=job.id, code=error.code, details=error.details)

    def adopt(self, job: Job) -> bool:
        """Add the response to the job's last call to the gallery, if the response was received.

        A process that stopped may have left the response in the spool, or its images in the storage. A
        response that couldn't be read before, or whose image couldn't be downloaded, is tried again. Returns
        False if no image is found. Raises ImageNotDownloaded, StorageError or DatabaseError.
        """
        generated = self._spooled_images(job)
        if generated is None and self.ingest.adopt(job):
            return True
        generated = generated or self._unreadable_images(job)
        if generated is None:
            return False
        self._store_response(job, generated, SETTLE_RETRY_SECONDS)
        self.ingest.commit_response(job)
        return True

    def _spooled_images(self, job: Job) -> GeneratedImages | None:
        spooled = self.spool.read(_call_of(job))
        return self._images_in(job, spooled.headers, spooled.body, spooled.seconds) if spooled else None

    def _unreadable_images(self, job: Job) -> GeneratedImages | None:
        try:
            body = self.storage.get(unreadable_response_key(job))
        except errors.FileMissing:
            return None
        ended = job.finished_at or self.clock()
        return self._images_in(job, {}, body, (ended - call_started_at(job)).total_seconds())

    def _images_in(
        self, job: Job, headers: dict[str, str], body: bytes, seconds: float
    ) -> GeneratedImages | None:
        """Return the images in `body`, the response to the job's last call, or None if there are none.

        Raises ImageNotDownloaded.
        """
        params = Recipe.from_any_version(job.request).params()
        try:
            return self.client.images.read_again(params, headers=headers, body=body, seconds=seconds)
        except errors.ImageNotDownloaded:
            raise
        except errors.ImageError as error:
            log.warning("received_response_unreadable", code=error.code, details=error.details)
            return None

    def _inputs(self, owner_id: str, recipe: Recipe) -> InputImages:
        """Return the input images and the mask of an edit. Without input images, the result is empty.

        If there is a mask, the first image is converted to PNG. Raises ImageNotFound, UploadGone or
        StorageError.
        """
        images = [self._gallery_image(owner_id, recipe.source_image)] if recipe.source_image else []
        images += [self._uploaded(owner_id, key) for key in recipe.references]
        if not recipe.mask:
            return InputImages(tuple(images))
        masked, *others = images
        return InputImages((_as_png(masked), *others), self._uploaded(owner_id, recipe.mask))

    def _gallery_image(self, owner_id: str, image_id: str) -> InputImage:
        image = self.gallery.get_untrashed(owner_id, image_id)
        original = InputImage(self.gallery.original(owner_id, image_id), image.mime)
        return original if image.mime in INPUT_MIMES else _as_png(original)

    def _uploaded(self, owner_id: str, key: str) -> InputImage:
        return InputImage(uploads.read_upload(self.storage, owner_id, key), uploads.upload_mime(key))

    def _store_unreadable(self, job: Job, response: bytes) -> None:
        """Store `response`, which couldn't be read completely, so that an administrator can look at it.

        The response may have been paid for. Does nothing if `response` is empty.
        """
        if response:
            key = unreadable_response_key(job)
            log.error("unreadable_response_stored", key=key, size=len(response))
            self._retry_store(partial(self._put, key, response))

    def _store_response(
        self, job: Job, generated: GeneratedImages, waits: Iterable[float] | None = None
    ) -> None:
        """Store the images and the metadata of a paid response.

        `waits` are the seconds between attempts, as in `_retry_store`.
        """
        for index, data in enumerate(generated.images):
            self._retry_store(partial(self._put, image_key(job, index), data), waits)
        metadata = ResponseMetadata.of(generated).to_bytes()
        self._retry_store(partial(self._put, response_metadata_key(job), metadata), waits)

    def _put(self, key: str, data: bytes) -> None:
        """Store `data` under `key`. FileDamaged is raised as StorageError, so that the caller tries again."""
        try:
            self.storage.put(key, data)
        except errors.FileDamaged as error:
            raise errors.StorageError(details=error.details) from error

    def _endless_waits(self) -> Iterable[float]:
        """Return the waits between attempts to store a paid response, in seconds. The iterable never ends."""
        return chain(STORE_RETRY_SECONDS, repeat(STORE_RETRY_SECONDS[-1]))

    def _retry_store(self, action: Callable[[], T], waits: Iterable[float] | None = None) -> T:
        """Call `action` until it succeeds, and return its result.

        After a failure of the storage or the database, wait for the next number of seconds in `waits`, then
        try again. The failure is raised if it can't be retried, if the process is stopping, or if `waits` has
        ended. If `waits` is None, the waits never end.
        """
        for wait in self._endless_waits() if waits is None else waits:
            try:
                return action()
            except (errors.StorageError, errors.DatabaseError) as error:
                log.error("job_waits_for_store", code=error.code, details=error.details, wait=wait)
                if not error.retryable or self.stopping.wait(wait):
                    raise
        return action()

    def _failed_call(self, job: Job, error: errors.ImageError) -> Call:
        """Return the usage log's entry for the job's last call, which failed with `error`."""
        outcome = Outcome.UNKNOWN if isinstance(error, errors.OutcomeUnknown) else Outcome.FAILED
        may_be_paid = error.charged is not False
        seconds = (self.clock() - call_started_at(job)).total_seconds()
        return replace(
            job_call(job, offline=self.offline, seconds=seconds, outcome=outcome),
            request_id=error.request_id,
            input_tokens=error.input_tokens,
            output_tokens=error.output_tokens,
            price_micros=error.price_micros,
            reserved_micros=job.reserved_micros if may_be_paid else None,
            # The offline engine loses no image, because it makes the image when it responds.
            lost_images=1 if may_be_paid and not self.offline else 0,
            error_code=error.code,
        )

    def _fail(self, job: Job, error: errors.ImageError) -> None:
        """Put a job whose call failed back into the queue. If no further attempt is made, end the job."""
        error = self._worded(error)
        wait = self._retry_wait(job, error)
        if wait is None or not self._requeue(job, error, self.clock() + timedelta(seconds=wait)):
            self._end(job, error)

    def _retry_wait(self, job: Job, error: errors.ImageError) -> float | None:
        """Return the seconds until the job's next call, or None if no further attempt is made."""
        again = _is_transient(error) or (self.resend_unknown and isinstance(error, errors.OutcomeUnknown))
        if not again or job.attempts > len(CALL_RETRY_SECONDS):
            return None
        return error.retry_after or CALL_RETRY_SECONDS[max(job.attempts, 1) - 1]

    def _requeue(self, job: Job, error: errors.ImageError, due_at: datetime) -> bool:
        """Put the job back into the queue until `due_at`, and record the failed call in the usage log.

        Returns False and changes nothing if the job was cancelled, or if its image must not be paid for
        again.
        """
        with self.database.write() as session:
            if isinstance(error, errors.OutcomeUnknown) and not self._may_resend(session, job):
                return False
            not_cancelled = (col(Job.state) == JobState.RUNNING, ~col(Job.cancel_asked))
            requeued = session.execute(
                update(Job)
                .where(*same_call(job), *not_cancelled)
                .values(state=JobState.QUEUED, due_at=due_at, partials=0, error=asdict(StoredError.of(error)))
            )
            if row_count(requeued) != 1:
                return False
            self.usage.record(session, self._failed_call(job, error))
        log.warning("generation_retried", code=error.code, details=error.details, due_at=due_at)
        return True

    def _may_resend(self, session: Session, job: Job) -> bool:
        """Return whether the job may be called once more, although the last call may have been paid for.

        The job's reservation covers the last call. The next call needs the same amount again. A lock keeps
        other submissions out until the transaction of `session` ends, so that they can't use this amount.
        """
        self.database.lock(session, AdvisoryLock.SUBMISSION)
        if self.usage.may_be_paid(session, job):
            return False
        try:
            self.budgets.reserve(session, job.owner_id, [job.reserved_micros], self.clock())
        except errors.BudgetSpent as refusal:
            log.warning("unknown_outcome_not_resent", job_id=job.id, details=refusal.details)
            return False
        return True

    def _end(self, job: Job, error: errors.ImageError) -> None:
        """End the job without an image, and record the failed call in the usage log.

        The job ends as UNKNOWN, FAILED or CANCELLED, depending on `error` and on whether the user has
        cancelled it.
        """
        state = JobState.UNKNOWN if isinstance(error, errors.OutcomeUnknown) else JobState.FAILED
        log.warning(
            "generation_failed", code=error.code, details=error.details, service_request_id=error.request_id
        )
        with self.database.write() as session:
            if _is_transient(error) and session.scalar(select(col(Job.cancel_asked)).where(*same_call(job))):
                state = JobState.CANCELLED
            reported = None if state == JobState.CANCELLED else error
            ended = end_job(session, job, state, reported, now=self.clock())
            if ended:
                self.usage.record(session, self._failed_call(job, error))
        if ended and reported:
            self.error_counts.count(error)

    def _recover_from_fault(self, job: Job, fault: Exception) -> None:
        """End a job after an unexpected error in this app.

        If the response to the job's call is stored, its images are added to the gallery. Otherwise, the job
        ends with an unknown outcome.
        """
        try:
            if self._retry_store(partial(self.adopt, job)):
                log.error("response_adopted_after_fault", exc_info=fault)
                return
        except (errors.StorageError, errors.DatabaseError):
            raise
        except Exception as again:
            # Using the stored response has failed as well.
            fault = again
        self._give_up(job, fault, self._endless_waits())

    def _give_up(self, job: Job, fault: Exception, waits: Iterable[float]) -> None:
        """End a job with an unknown outcome after the unexpected error `fault`.

        The image may have been paid for, so the job's files stay in the storage. `waits` are the seconds
        between attempts to write to the database.
        """
        log.error("job_abandoned", job_id=job.id, exc_info=fault)
        error = self._worded(
            errors.OutcomeUnknown(
                details=f"{errors.exception_text(fault)}; received files are kept under images/{job.id}"
            )
        )
        try:
            self._retry_store(partial(self._end, job, error), waits)
        except errors.ImageError:
            raise
        except Exception:
            # Recording the usage may be the cause, so end the job without it. Otherwise the job would look
            # as if it were running for ever.
            log.exception("call_not_recorded", job_id=job.id)
            with self.database.write() as session:
                end_job(session, job, JobState.UNKNOWN, error, now=self.clock())
            self.error_counts.count(error)

    def settle(self, job: Job) -> None:
        """End an orphaned job: use its stored response, or record that its outcome is unknown.

        An error that concerns only this job isn't raised: the job then ends with an unknown outcome. Raises
        DatabaseError or one of STORE_WIDE_ERRORS if no other job can be ended now either.
        """
        try:
            adopted = self._retry_store(partial(self._adopt_or_fail, job), SETTLE_RETRY_SECONDS)
        except (*STORE_WIDE_ERRORS, errors.DatabaseError):
            raise
        except Exception as fault:
            self._give_up(job, fault, SETTLE_RETRY_SECONDS)
        else:
            # If no response was found, keep its metadata: the job's process may still be alive and need it.
            self.ingest.remove_working_files(job, metadata=adopted)
            self.spool.remove(_call_of(job))

    def _adopt_or_fail(self, job: Job) -> bool:
        """Call `adopt`, and return its result. If it finds no image, put the job back or end it."""
        error: errors.ImageError = errors.OutcomeUnknown(details=_INTERRUPTED)
        try:
            if self.adopt(job):
                return True
        except errors.ImageNotDownloaded as missing:
            error = missing
        self.set_spooled_aside(job)
        self._fail(job, error)
        return False

    def set_spooled_aside(self, job: Job) -> None:
        """Store as much of the response to the job's last call as the spool has.

        An administrator can look at it, and it is read again before another image is bought.
        """
        spooled = self.spool.read(_call_of(job))
        if spooled and spooled.body:
            self._put(unreadable_response_key(job), spooled.body)

    def _worded(self, error: errors.ImageError) -> errors.ImageError:
        """Return `error`, worded for the engine in use: the offline engine never charges."""
        return error.of_free_call() if self.offline else error


def _call_of(job: Job) -> SpooledCall:
    return SpooledCall(job.id, job.attempts)


def _is_transient(error: errors.ImageError) -> bool:
    """Return whether a failed call has cost nothing and the next call may succeed."""
    return isinstance(error, TRANSIENT_ERRORS) and error.charged is False


def _as_png(image: InputImage) -> InputImage:
    """Return `image` as a PNG. A mask is a PNG, and services need a mask and its image in the same format."""
    if image.mime == "image/png":
        return image
    png = as_png(image.data)
    return InputImage(png.data, png.mime)


@contextmanager
def _fault_as(kind: type[errors.ImageError]) -> Iterator[None]:
    """Raise unexpected exceptions in the `with` block as `kind`, so that they end the job.

    Errors of the type ImageError are raised unchanged.
    """
    try:
        yield
    except errors.ImageError:
        raise
    except Exception as error:
        log.exception("generation_fault")
        raise kind(details=errors.exception_text(error)) from error
