"""Takes a paid answer in: its bytes to the disk first, then the images' rows to the gallery, once.

Every call of a job has files of its own, so that two answers of one job can't overwrite each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import PurePosixPath

import structlog
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import delete
from sqlmodel import Session, col

from core import errors
from core.common.clock import utc_now
from core.common.text import storable_text
from core.database.database import Database
from core.database.models import Job, Usage, UsageKind
from core.generation.job_state import end_with_answer
from core.images.gallery import Gallery
from core.images.image_files import ImageInfo, verify_image
from core.prompts.recipe import Recipe
from core.prompts.styles import with_style
from core.provider.images import GeneratedImages
from core.storage.keys import (
    Folder,
    answer_figures_key,
    damaged_image_key,
    image_key,
    image_prefix,
    job_folder,
)
from core.storage.storage import Storage
from core.usage.error_counts import ErrorCounts
from core.usage.usage_log import Call, Outcome, UsageLog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Figures:
    """What is remembered of a paid answer beside its bytes, so that a crash loses none of it."""

    count: int
    revised_prompts: tuple[str | None, ...] = ()
    request_id: str | None = None
    price_micros: int | None = None
    seconds: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None

    @classmethod
    def of(cls, made: GeneratedImages) -> Figures:
        return cls(
            count=len(made.images),
            revised_prompts=tuple(text and storable_text(text) for text in made.revised_prompts),
            request_id=made.request_id,
            price_micros=made.price_micros,
            seconds=made.seconds,
            input_tokens=made.usage.input_tokens,
            output_tokens=made.usage.output_tokens,
        )

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_bytes(data: bytes) -> Figures:
        """Raises ValueError for anything that `to_bytes` didn't make."""
        return _FIGURES.validate_json(data)


_FIGURES = TypeAdapter(Figures)


@dataclass(frozen=True, slots=True)
class Kept:
    """A stored file of an answer. `picture` is None when it isn't a whole image, and `error` says why."""

    index: int
    key: str
    size: int
    picture: ImageInfo | None
    error: errors.BadImage | None = None


@dataclass(frozen=True, slots=True)
class Intake:
    """Safe to share between threads and processes: what two of them enter at once is entered once."""

    database: Database
    storage: Storage
    gallery: Gallery
    usage: UsageLog
    error_counts: ErrorCounts
    offline: bool = False
    clock: Callable[[], datetime] = utc_now

    def enter(self, job: Job) -> None:
        """Enter an answer that is on disk whole. Raises StorageError or DatabaseError."""
        figures = Figures.from_bytes(self.storage.get(answer_figures_key(job)))
        self._commit(job, figures, [self._inspect(job, index) for index in range(figures.count)])

    def adopt(self, job: Job) -> bool:
        """Enter what a process that is gone left on disk of this call; False when there is nothing."""
        stored = self.storage.list(job_folder(Folder.IMAGES, job.id))
        found = [key for key in stored if PurePosixPath(key).name.startswith(image_prefix(job))]
        known = self._has_figures(job)
        if not (found or known):
            return False
        if not known:
            seconds = (self.clock() - (job.started_at or job.created_at)).total_seconds()
            self.storage.put(answer_figures_key(job), Figures(count=len(found), seconds=seconds).to_bytes())
        self.enter(job)
        return True

    def clear(self, job: Job, *, figures: bool = True) -> None:
        """Remove what only a running job needs; what stays because the store fails costs only room."""
        with suppress(errors.StorageError):
            self.storage.delete(*self.storage.list(job_folder(Folder.PARTIALS, job.id)))
            if figures:
                self.storage.delete(answer_figures_key(job))

    def _has_figures(self, job: Job) -> bool:
        """Whether the figures of the answer are on disk; damaged ones count as lost."""
        if not self.storage.exists(answer_figures_key(job)):
            return False
        try:
            Figures.from_bytes(self.storage.get(answer_figures_key(job)))
        except ValidationError as error:
            log.error("an answer's figures are damaged", job_id=job.id, details=str(error))
            return False
        return True

    def _inspect(self, job: Job, index: int) -> Kept:
        """Decode a stored picture in full; a damaged one is copied aside for the administrator."""
        key = image_key(job, index)
        try:
            data = self.storage.get(key)
        except errors.FileDamaged as error:
            return Kept(index, key, 0, None, errors.BadImage(details=error.details))
        try:
            return Kept(index, key, len(data), verify_image(data))
        except errors.BadImage as error:
            self.storage.put(damaged_image_key(job, index), data)
            return Kept(index, key, len(data), None, error)

    def _commit(self, job: Job, figures: Figures, kept: list[Kept]) -> None:
        """The images' rows, the usage and the job's end, together or not at all.

        An image is entered whatever has become of its job meanwhile: it was paid for.
        """
        damaged = next((file.error for file in kept if file.error), None)
        with self.database.write() as session:
            # Another process that enters the same answer waits here, and then finds it entered.
            session.get(Job, job.id, with_for_update=True)
            ended = end_with_answer(session, job, damaged, now=self.clock())
            new = [file for file in kept if file.picture and self._add_image(session, job, figures, file)]
            if ended or new:
                self._record(session, job, figures, damaged)
        if ended and damaged:
            self.error_counts.count(damaged)

    def _add_image(self, session: Session, job: Job, figures: Figures, file: Kept) -> bool:
        """False when the gallery has it already."""
        recipe, price = Recipe.from_any_version(job.request), figures.price_micros
        if file.picture is None or self.gallery.has_file(session, file.key):
            return False
        self.gallery.add(
            session,
            owner_id=job.owner_id,
            job_id=job.id,
            recipe=recipe,
            picture=file.picture,
            file_key=file.key,
            index=file.index,
            file_bytes=file.size,
            sent_prompt=with_style(recipe.prompt, recipe.style),
            revised_prompt=next(iter(figures.revised_prompts[file.index : file.index + 1]), None) or "",
            price_micros=price // figures.count if price is not None else None,
            seconds=figures.seconds,
            offline=self.offline,
        )
        return True

    def _record(self, session: Session, job: Job, figures: Figures, error: errors.ImageError | None) -> None:
        """What the call cost, in place of what was recorded of it before all of it was known."""
        started = job.started_at or job.created_at
        session.execute(delete(Usage).where(col(Usage.job_id) == job.id, col(Usage.started_at) == started))
        self.usage.record(
            session,
            Call(
                user_id=job.owner_id,
                kind=UsageKind.GENERATE,
                model=str(job.request.get("model", "")),
                offline=self.offline,
                job_id=job.id,
                started_at=started,
                seconds=figures.seconds,
                outcome=Outcome.FAILED if error else Outcome.OK,
                input_tokens=figures.input_tokens,
                output_tokens=figures.output_tokens,
                price_micros=figures.price_micros,
                reserved_micros=job.reserved_micros,
                images=figures.count,
                request_id=figures.request_id,
                error_code=error.code if error else None,
            ),
        )
