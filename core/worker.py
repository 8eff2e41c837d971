"""Makes one job's image: buys it once, and brings it from the service to the gallery.

The order is what keeps the promise: the attempt is committed before the call leaves, the bytes are on disk
before anything else happens to them, and the image's row, the usage and the job's end commit together.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain, repeat
from typing import Any, TypeVar

import structlog
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import update
from sqlmodel import Session, col

from core import errors
from core.client import GeneratedImages, ImageClient
from core.columns import clean
from core.database import Database
from core.gallery import Gallery
from core.imaging import Picture, verify
from core.models import Job, JobState, UsageKind, utc_now
from core.prompts import styled
from core.recipe import Recipe
from core.storage import Storage
from core.usage import Call, Outcome, UsageLog, user_tag

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


@dataclass(frozen=True, slots=True)
class JobError:
    """A failure as it is stored with a job."""

    code: str
    message: str
    suggestions: tuple[str, ...] = ()
    details: str = ""
    retryable: bool = False

    @classmethod
    def of(cls, error: errors.ImageError) -> JobError:
        return cls(error.code, error.message, tuple(error.suggestions), error.details, error.retryable)

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> JobError:
        return cls(**fields | {"suggestions": tuple(fields["suggestions"])})


@dataclass(frozen=True, slots=True)
class Answer:
    """What is remembered of a paid answer beside its bytes, so that a crash loses no figure."""

    count: int
    revised_prompts: tuple[str | None, ...] = ()
    request_id: str | None = None
    price_micros: int | None = None
    seconds: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None

    @classmethod
    def of(cls, made: GeneratedImages) -> Answer:
        return cls(
            count=len(made.images),
            revised_prompts=tuple(text and clean(text) for text in made.revised_prompts),
            request_id=made.request_id,
            price_micros=made.price_micros,
            seconds=made.seconds,
            input_tokens=made.usage.input_tokens,
            output_tokens=made.usage.output_tokens,
        )

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_bytes(data: bytes) -> Answer:
        """Raises ValueError for anything that `to_bytes` didn't make."""
        return _ANSWER.validate_json(data)


_ANSWER = TypeAdapter(Answer)


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored file of an answer. `picture` is None when it isn't a whole image, and `error` says why."""

    index: int
    key: str
    size: int
    picture: Picture | None
    error: errors.BadImage | None = None


def image_key(job_id: str, index: int) -> str:
    return f"images/{job_id}/{index}"


def answer_key(job_id: str) -> str:
    return f"answers/{job_id}.json"


def partial_key(job_id: str, number: int) -> str:
    return f"partials/{job_id}/{number}"


@dataclass(slots=True)
class Worker:
    """Runs jobs one by one, and settles those that a dead process left. Safe to share between threads.

    With `resend_unknown`, a call whose outcome nobody knows is sent again, which may be paid twice.
    """

    database: Database
    storage: Storage
    gallery: Gallery
    usage: UsageLog
    client: ImageClient
    secret: bytes
    offline: bool = False
    resend_unknown: bool = False
    clock: Callable[[], datetime] = utc_now
    stopping: threading.Event = field(default_factory=threading.Event)

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
            self._insist(partial(self._fail, job, error))
        else:
            self._keep_bytes(job, made)
            self._insist(partial(self._enter, job))
        self._clear(job)

    def _call(self, job: Job) -> GeneratedImages:
        """Buy the picture. A fault of ours is OutcomeUnknown only from the moment the call may have left."""
        with _own_fault_as(errors.ImageGenerationError):
            tag = user_tag(job.owner_id, self.secret)
            params = Recipe.from_json(job.request).params()

        def keep_partial(number: int, data: bytes) -> None:
            self.storage.put_preview(partial_key(job.id, number), data)
            with self.database.write() as session:
                session.execute(update(Job).where(col(Job.id) == job.id).values(partials=number + 1))

        with _own_fault_as(errors.OutcomeUnknown):
            return self.client.generate(params, user_tag=tag, on_partial=keep_partial)

    def _keep_bytes(self, job: Job, made: GeneratedImages) -> None:
        """Bring a paid answer to disk, however long the disk takes to have room for it."""
        for index, data in enumerate(made.images):
            self._insist(partial(self.storage.put, image_key(job.id, index), data))
        answer = Answer.of(made)
        self._insist(partial(self.storage.put, answer_key(job.id), answer.to_bytes()))

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

    def _enter(self, job: Job) -> None:
        """Enter a paid answer that is on disk, with everything that is known of it."""
        answer = Answer.from_bytes(self.storage.get(answer_key(job.id)))
        self._commit(job, answer, [self._inspect(job, index) for index in range(answer.count)])

    def _clear(self, job: Job) -> None:
        """Remove what only a running job needs; what stays because the store fails costs only room."""
        with suppress(errors.StorageError):
            self.storage.delete(answer_key(job.id), *self.storage.list(f"partials/{job.id}"))

    def _inspect(self, job: Job, index: int) -> Kept:
        """Decode a stored picture in full; a damaged one is copied aside for the administrator."""
        key = image_key(job.id, index)
        try:
            data = self.storage.get(key)
        except errors.FileDamaged as error:
            return Kept(index, key, 0, None, errors.BadImage(details=error.details))
        try:
            return Kept(index, key, len(data), verify(data))
        except errors.BadImage as error:
            self.storage.put(f"aside/{job.id}/{index}", data)
            return Kept(index, key, len(data), None, error)

    def _commit(self, job: Job, answer: Answer, kept: list[Kept]) -> None:
        """The images' rows, the usage and the job's end, together or not at all."""
        damaged = next((file.error for file in kept if file.error), None)
        with self.database.write() as session:
            if not end_job(
                session, job, JobState.FAILED if damaged else JobState.DONE, damaged, now=self.clock()
            ):
                return
            for file in kept:
                if file.picture:
                    self._add_image(session, job, answer, file, file.picture)
            self.usage.record(session, self._record(job, answer, damaged))

    def _add_image(self, session: Session, job: Job, answer: Answer, file: Kept, picture: Picture) -> None:
        recipe = Recipe.read(job.request)
        price = answer.price_micros
        self.gallery.add(
            session,
            owner_id=job.owner_id,
            job_id=job.id,
            recipe=recipe,
            picture=picture,
            file_key=file.key,
            index=file.index,
            file_bytes=file.size,
            sent_prompt=styled(recipe.prompt, recipe.style),
            revised_prompt=next(iter(answer.revised_prompts[file.index : file.index + 1]), None) or "",
            price_micros=price // answer.count if price is not None else None,
            seconds=answer.seconds,
            offline=self.offline,
        )

    def _record(self, job: Job, answer: Answer, error: errors.ImageError | None) -> Call:
        return replace(
            self._call_record(job, Outcome.FAILED if error else Outcome.OK, error),
            seconds=answer.seconds,
            input_tokens=answer.input_tokens,
            output_tokens=answer.output_tokens,
            price_micros=answer.price_micros,
            images=answer.count,
            request_id=answer.request_id,
        )

    def _call_record(self, job: Job, outcome: Outcome, error: errors.ImageError | None) -> Call:
        started = job.started_at or job.created_at
        return Call(
            user_id=job.owner_id,
            kind=UsageKind.GENERATE,
            model=str(job.request.get("model", "")),
            offline=self.offline,
            job_id=job.id,
            started_at=started,
            seconds=(self.clock() - started).total_seconds(),
            request_id=error.request_id if error else None,
            outcome=outcome,
            error_code=error.code if error else None,
        )

    def _failed_call(self, job: Job, error: errors.ImageError) -> Call:
        unknown = isinstance(error, errors.OutcomeUnknown)
        return self._call_record(job, Outcome.UNKNOWN if unknown else Outcome.FAILED, error)

    def _fail(self, job: Job, error: errors.ImageError) -> None:
        """Enter that no image came of this call: the job waits for its next one, or ends."""
        pause = self._pause(job, error)
        if pause is None:
            self._end(job, error)
        else:
            self._put_back(job, error, self.clock() + timedelta(seconds=pause))

    def _pause(self, job: Job, error: errors.ImageError) -> float | None:
        """Seconds until the next call; None when there is to be none."""
        passes = isinstance(error, PASSING) or (
            self.resend_unknown and isinstance(error, errors.OutcomeUnknown)
        )
        if not passes or job.attempts > len(RETRY_CALL_SECONDS):
            return None
        usual = RETRY_CALL_SECONDS[max(job.attempts, 1) - 1]
        pause = usual if error.retry_after is None else error.retry_after
        return pause if pause <= LONGEST_PAUSE_SECONDS else None

    def _put_back(self, job: Job, error: errors.ImageError, due_at: datetime) -> None:
        log.warning("generation is tried again", code=error.code, details=error.details, due_at=due_at)
        with self.database.write() as session:
            waits = session.execute(
                update(Job)
                .where(col(Job.id) == job.id, col(Job.state) == JobState.RUNNING)
                .values(state=JobState.QUEUED, due_at=due_at, partials=0, error=asdict(JobError.of(error)))
            )
            if rows_of(waits) == 1:
                self.usage.record(session, self._failed_call(job, error))

    def _end(self, job: Job, error: errors.ImageError) -> None:
        """Enter that no image came of it."""
        state = JobState.UNKNOWN if isinstance(error, errors.OutcomeUnknown) else JobState.FAILED
        log.warning("generation failed", code=error.code, details=error.details, request_id=error.request_id)
        with self.database.write() as session:
            if end_job(session, job, state, error, now=self.clock()):
                self.usage.record(session, self._failed_call(job, error))

    def _rescue(self, job: Job, fault: Exception) -> None:
        """End a job that a fault of ours broke off: with what is on disk, or else as unknown."""
        log.error("a job broke off", job_id=job.id, exc_info=fault)
        try:
            if self._insist(partial(self.storage.list, f"images/{job.id}")):
                self._insist(partial(self._adopt, job))
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

    def settle(self, job: Job) -> None:
        """End a job whose process died: adopt what was paid for, else say that nobody can know.

        What is wrong with this job alone ends it. Raises DatabaseError, or StorageError for the whole store's
        faults, when nothing can be entered at all.
        """
        try:
            self._insist(partial(self._adopt, job), RETRY_SETTLE_SECONDS)
        except (*WHOLE_STORE, errors.DatabaseError):
            raise
        except Exception as fault:
            self._give_up(job, fault, RETRY_SETTLE_SECONDS)
        else:
            self._clear(job)

    def _adopt(self, job: Job) -> None:
        stored = self.storage.list(f"images/{job.id}")
        if not stored and not self._has_figures(job):
            self._fail(job, self._cut_off())
            return
        if not self._has_figures(job):
            seconds = (self.clock() - (job.started_at or job.created_at)).total_seconds()
            self.storage.put(answer_key(job.id), Answer(count=len(stored), seconds=seconds).to_bytes())
        self._enter(job)

    def _cut_off(self) -> errors.OutcomeUnknown:
        details = "the app was stopped while the call was in flight"
        if not self.offline:
            return errors.OutcomeUnknown(details=details)
        tips = ("Choose Try again, or Let it go: it is free.",)
        return errors.OutcomeUnknown("The picture was broken off.", suggestions=tips, details=details)

    def _has_figures(self, job: Job) -> bool:
        """Whether the figures of the answer are on disk; damaged ones count as lost."""
        if not self.storage.exists(answer_key(job.id)):
            return False
        try:
            Answer.from_bytes(self.storage.get(answer_key(job.id)))
        except ValidationError as error:
            log.error("an answer's figures are damaged", job_id=job.id, details=str(error))
            return False
        return True


def end_job(
    session: Session,
    job: Job,
    state: JobState,
    error: errors.ImageError | None,
    *,
    now: datetime,
    before: JobState = JobState.RUNNING,
) -> bool:
    """End a job; False when it has ended already, by a commit whose confirmation was lost."""
    ended = session.execute(
        update(Job)
        .where(col(Job.id) == job.id, col(Job.state) == before)
        .values(state=state, finished_at=now, error=asdict(JobError.of(error)) if error else None)
    )
    return rows_of(ended) == 1


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


def rows_of(result: Any) -> int:
    """How many rows a statement changed."""
    return int(result.rowcount)
