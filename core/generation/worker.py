"""Makes one job's image: buys it once, and sees it through to the gallery.

The order is what keeps the promise: the attempt is committed before the call leaves, the bytes are on disk
before anything else happens to them, and the image's row, the usage and the job's end commit together.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from functools import partial
from io import BytesIO
from itertools import chain, repeat
from typing import TypeVar

import structlog
from sqlalchemy import select, update
from sqlmodel import Session, col

from core import errors
from core.common.clock import utc_now
from core.database.database import AdvisoryLock, Database
from core.database.models import Job, JobState, UsageKind
from core.errors.stored import StoredError
from core.generation.ingest import Figures, Intake
from core.generation.job_state import end_job, rows_of, same_call
from core.images import uploads
from core.images.gallery import Gallery
from core.images.reencoding import LARGEST, reencode
from core.prompts.recipe import Recipe
from core.provider.client import ServiceClient
from core.provider.images import GeneratedImages
from core.provider.payloads import InputImage, InputImages, user_tag
from core.storage.keys import answer_figures_key, image_key, partial_key, unreadable_answer_key
from core.storage.storage import Storage
from core.usage.budgets import Budgets
from core.usage.error_counts import ErrorCounts
from core.usage.usage_log import Call, Outcome, UsageLog

RETRY_KEEP_SECONDS = (0.5, 1, 2, 4, 8, 15, 30)
# Between one call and the next, where the service doesn't say; there is one call more than pauses.
RETRY_CALL_SECONDS = (2, 4, 8, 16, 32, 60, 60)
# Nobody watches a job that has to wait longer.
LONGEST_PAUSE_SECONDS = 600
# What certainly cost nothing and may pass; quota, moderation and a bad key never do by themselves.
PASSING = (errors.RateLimited, errors.ServiceBusy, errors.ServiceUnreachable)
# These are never one file's: what was paid for may be there, and is settled when the store is back.
WHOLE_STORE = (errors.StorageFull, errors.StorageReadOnly, errors.StorageUnreachable)
# A start that can't go on says so soon.
RETRY_SETTLE_SECONDS = (0.2, 0.5, 1)
T = TypeVar("T")
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class Worker:
    """Runs jobs one by one, and settles those that a dead process left. Safe to share between threads.

    With `resend_unknown`, a job's first call whose outcome nobody knows is sent again, where the budgets
    cover that: it may be paid twice, and no more.
    """

    database: Database
    storage: Storage
    gallery: Gallery
    usage: UsageLog
    budgets: Budgets
    client: ServiceClient
    secret: bytes
    error_counts: ErrorCounts
    offline: bool = False
    resend_unknown: bool = False
    clock: Callable[[], datetime] = utc_now
    stopping: threading.Event = field(default_factory=threading.Event)

    @property
    def intake(self) -> Intake:
        """What takes the answers in."""
        return Intake(
            self.database,
            self.storage,
            self.gallery,
            self.usage,
            self.error_counts,
            offline=self.offline,
            clock=self.clock,
        )

    def run(self, job: Job) -> None:
        """Make the image of a job that is marked as running: call once, keep; the row says how it ended.

        Raises StorageError or DatabaseError when the process is stopping or the database is damaged: the
        next start settles the job.
        """
        with structlog.contextvars.bound_contextvars(job_id=job.id):
            try:
                self._make(job)
            except Exception as error:
                if self.stopping.is_set() and isinstance(error, errors.StorageError | errors.DatabaseError):
                    raise
                self._rescue(job, error)

    def _make(self, job: Job) -> None:
        try:
            made = self._call(job)
        except errors.ImageError as error:
            self._keep_aside(job, error.answer)
            self._insist(partial(self._fail, job, error))
        else:
            self._keep_aside(job, made.answer)
            self._keep_bytes(job, made)
            self._insist(partial(self.intake.enter, job))
        self.intake.clear(job)

    def _call(self, job: Job) -> GeneratedImages:
        """Buy the picture. A fault of ours is OutcomeUnknown only from the moment the call may have left."""
        with _own_fault_as(errors.ImageGenerationError):
            tag = user_tag(job.owner_id, self.secret)
            recipe = Recipe.from_json(job.request)
            params = recipe.params()
            inputs = self._insist(partial(self._inputs, job.owner_id, recipe), RETRY_SETTLE_SECONDS)

        def keep_partial(number: int, data: bytes) -> None:
            self.storage.put_preview(partial_key(job.id, number), data)
            with self.database.write() as session:
                session.execute(update(Job).where(*same_call(job)).values(partials=number + 1))

        with _own_fault_as(errors.OutcomeUnknown):
            return self.client.images.generate(params, user_tag=tag, inputs=inputs, on_partial=keep_partial)

    def _inputs(self, owner_id: str, recipe: Recipe) -> InputImages:
        """The pictures that an edit is made from. Raises ImageNotFound, UploadGone or StorageError."""
        own = [recipe.source_image] if recipe.source_image else []
        images = [self._own_image(owner_id, image_id) for image_id in own]
        images += [self._uploaded(owner_id, key) for key in recipe.references]
        if not recipe.mask:
            return InputImages(tuple(images))
        masked, *others = images
        return InputImages((_as_png(masked), *others), self._uploaded(owner_id, recipe.mask))

    def _own_image(self, owner_id: str, image_id: str) -> InputImage:
        image = self.gallery.get_untrashed(owner_id, image_id)
        return InputImage(self.gallery.original(owner_id, image_id), image.mime)

    def _uploaded(self, owner_id: str, key: str) -> InputImage:
        return InputImage(uploads.read(self.storage, owner_id, key), uploads.mime_of(key))

    def _keep_aside(self, job: Job, answer: bytes) -> None:
        """Keep for the administrator what couldn't be read, or not in full: it may have been paid."""
        if answer:
            key = unreadable_answer_key(job)
            log.error("an answer is kept aside", key=key, size=len(answer))
            self._insist(partial(self._put, key, answer))

    def _keep_bytes(self, job: Job, made: GeneratedImages) -> None:
        """Bring a paid answer to disk, however long the disk takes to have room for it."""
        for index, data in enumerate(made.images):
            self._insist(partial(self._put, image_key(job, index), data))
        self._insist(partial(self._put, answer_figures_key(job), Figures.of(made).to_bytes()))

    def _put(self, key: str, data: bytes) -> None:
        """Put, where no fault is the file's own: whatever it is, it may pass."""
        try:
            self.storage.put(key, data)
        except errors.FileDamaged as error:
            raise errors.StorageError(details=error.details) from error

    def _patience(self) -> Iterable[float]:
        """Without end: a paid answer in memory is never given up because of a local fault."""
        return chain(RETRY_KEEP_SECONDS, repeat(RETRY_KEEP_SECONDS[-1]))

    def _insist(self, action: Callable[[], T], waits: Iterable[float] | None = None) -> T:
        """Repeat what the store refuses, after each of `waits`, until it succeeds or the process stops."""
        for wait in self._patience() if waits is None else waits:
            try:
                return action()
            except (errors.StorageError, errors.DatabaseError) as error:
                log.error("a job waits for the store", code=error.code, details=error.details, wait=wait)
                if not error.retryable or self.stopping.wait(wait):
                    raise
        return action()

    def _failed_call(self, job: Job, error: errors.ImageError) -> Call:
        unknown = isinstance(error, errors.OutcomeUnknown)
        may_be_paid = error.charged is not False
        started = job.started_at or job.created_at
        return Call(
            user_id=job.owner_id,
            kind=UsageKind.GENERATE,
            model=str(job.request.get("model", "")),
            offline=self.offline,
            job_id=job.id,
            started_at=started,
            seconds=(self.clock() - started).total_seconds(),
            request_id=error.request_id,
            input_tokens=error.input_tokens,
            output_tokens=error.output_tokens,
            price_micros=error.price_micros,
            reserved_micros=job.reserved_micros if may_be_paid else None,
            # The offline engine can't have made what never came.
            lost_images=1 if may_be_paid and not self.offline else 0,
            outcome=Outcome.UNKNOWN if unknown else Outcome.FAILED,
            error_code=error.code,
        )

    def _fail(self, job: Job, error: errors.ImageError) -> None:
        """Enter that no image came of this call: the job waits for its next one, or ends."""
        pause = self._pause(job, error)
        if pause is None or not self._put_back(job, error, self.clock() + timedelta(seconds=pause)):
            self._end(job, error)

    def _pause(self, job: Job, error: errors.ImageError) -> float | None:
        """Seconds until the next call; None when there is to be none."""
        again = _passes(error) or (self.resend_unknown and isinstance(error, errors.OutcomeUnknown))
        if not again or job.attempts > len(RETRY_CALL_SECONDS):
            return None
        usual = RETRY_CALL_SECONDS[max(job.attempts, 1) - 1]
        pause = usual if error.retry_after is None else error.retry_after
        return pause if pause <= LONGEST_PAUSE_SECONDS else None

    def _put_back(self, job: Job, error: errors.ImageError, due_at: datetime) -> bool:
        """Let the job wait for its next call; False where that one may not be bought, or isn't wanted."""
        with self.database.write() as session:
            if isinstance(error, errors.OutcomeUnknown) and not self._may_resend(session, job):
                return False
            wanted = (col(Job.state) == JobState.RUNNING, ~col(Job.cancel_asked))
            waits = session.execute(
                update(Job)
                .where(*same_call(job), *wanted)
                .values(state=JobState.QUEUED, due_at=due_at, partials=0, error=asdict(StoredError.of(error)))
            )
            if rows_of(waits) != 1:
                return False
            self.usage.record(session, self._failed_call(job, error))
        log.warning("generation is tried again", code=error.code, details=error.details, due_at=due_at)
        return True

    def _may_resend(self, session: Session, job: Job) -> bool:
        """Whether a call that may have been paid is bought once more; nobody submits until the session ends.

        What was reserved for the job counts for the call that has left: the next one needs as much again.
        """
        self.database.lock(session, AdvisoryLock.SUBMISSION)
        if self.usage.may_be_paid(session, job):
            return False
        try:
            self.budgets.reserve(session, job.owner_id, [job.reserved_micros], self.clock())
        except errors.BudgetSpent as refusal:
            log.warning("an unknown outcome is not sent again", job_id=job.id, details=refusal.details)
            return False
        return True

    def _end(self, job: Job, error: errors.ImageError) -> None:
        """Enter that no image came of it."""
        state = JobState.UNKNOWN if isinstance(error, errors.OutcomeUnknown) else JobState.FAILED
        log.warning(
            "generation failed", code=error.code, details=error.details, service_request_id=error.request_id
        )
        with self.database.write() as session:
            if _passes(error) and session.scalar(select(col(Job.cancel_asked)).where(*same_call(job))):
                state = JobState.CANCELLED
            shown = None if state == JobState.CANCELLED else error
            ended = end_job(session, job, state, shown, now=self.clock())
            if ended:
                self.usage.record(session, self._failed_call(job, error))
        if ended and shown:
            self.error_counts.count(error)

    def _rescue(self, job: Job, fault: Exception) -> None:
        """End a job that a fault of ours broke off: with what is on disk, or else as unknown."""
        try:
            if self._insist(partial(self.intake.adopt, job)):
                log.error("a job broke off, and its answer was on the disk", exc_info=fault)
                return
        except errors.ImageError:
            raise
        except Exception as again:
            # Adopting has met the same fault, or one of its own.
            fault = again
        self._give_up(job, fault, self._patience())

    def _give_up(self, job: Job, fault: Exception, waits: Iterable[float]) -> None:
        """End a job that a fault of ours broke off, which may have been paid. Its files stay on the disk."""
        log.error("a job broke off", job_id=job.id, exc_info=fault)
        error = errors.OutcomeUnknown(details=f"{fault!r}; what came is kept under images/{job.id}")
        try:
            self._insist(partial(self._end, job, error), waits)
        except errors.ImageError:
            raise
        except Exception:
            # Without the usage, which may be what is at fault: no job may look as if it ran for ever.
            log.exception("a call could not be recorded", job_id=job.id)
            with self.database.write() as session:
                end_job(session, job, JobState.UNKNOWN, error, now=self.clock())
            self.error_counts.count(error)

    def settle(self, job: Job) -> None:
        """End a job whose process died: adopt what was paid for, else say that nobody can know.

        What is wrong with this job alone ends it. Raises DatabaseError, or StorageError for the whole store's
        faults, when nothing can be entered at all.
        """
        try:
            adopted = self._insist(partial(self.intake.adopt, job), RETRY_SETTLE_SECONDS)
            if not adopted:
                self._insist(partial(self._fail, job, self._cut_off()), RETRY_SETTLE_SECONDS)
        except (*WHOLE_STORE, errors.DatabaseError):
            raise
        except Exception as fault:
            self._give_up(job, fault, RETRY_SETTLE_SECONDS)
        else:
            # A process that was taken for gone may be about to enter the figures of its answer.
            self.intake.clear(job, figures=adopted)

    def _cut_off(self) -> errors.OutcomeUnknown:
        details = "the app was stopped while the call was in flight"
        if not self.offline:
            return errors.OutcomeUnknown(details=details)
        tips = ("Choose Try again, or Let it go: it is free.",)
        error = errors.OutcomeUnknown("The picture was interrupted.", suggestions=tips, details=details)
        error.charged = False
        return error


def _passes(error: errors.ImageError) -> bool:
    """Whether a call has cost nothing, and the next one may go well."""
    return isinstance(error, PASSING) and error.charged is False


def _as_png(picture: InputImage) -> InputImage:
    """The picture that a mask lies on: services want both to be of one format, and the mask is a PNG."""
    if picture.mime == "image/png":
        return picture
    made = reencode(BytesIO(picture.data), max_bytes=LARGEST, lossless=True)
    return InputImage(made.data, made.mime)


@contextmanager
def _own_fault_as(kind: type[errors.ImageError]) -> Iterator[None]:
    """A fault of ours as `kind`: none may leave a job looking as if it still ran."""
    try:
        yield
    except errors.ImageError:
        raise
    except Exception as error:
        log.exception("generation broke off")
        raise kind(details=repr(error)) from error
