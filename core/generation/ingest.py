"""Ingest: adds the images of a paid response to the gallery, exactly once.

The worker stores each response as files before this module reads them. Each call of a job has its own files,
so two responses for the same job can't overwrite each other.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
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
from core.database.models import Image, Job, Usage, UsageKind
from core.errors.stored import StoredError
from core.generation.job_state import end_with_images
from core.images.gallery import Gallery
from core.images.image_files import ImageInfo, verify_with_thumbnail
from core.prompts.recipe import Recipe
from core.prompts.styles import with_style
from core.provider.images import GeneratedImages
from core.storage.keys import (
    Folder,
    damaged_image_key,
    image_key,
    image_prefix,
    job_folder,
    response_metadata_key,
)
from core.storage.storage import Storage
from core.usage.error_counts import ErrorCounts
from core.usage.usage_log import Call, Outcome, UsageLog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ResponseMetadata:
    """The metadata of one response of the service. Prices are in micro-USD, None if unknown.

    - `count`: the number of images.
    - `revised_prompts`: for each image, the prompt as the service changed it, or None.
    - `seconds`: the duration of the call.
    - `error`: the error that the service reported beside the images, or None.

    The metadata is stored as JSON next to the images of the response, so that a crash loses nothing.
    """

    count: int
    revised_prompts: tuple[str | None, ...] = ()
    request_id: str | None = None
    price_micros: int | None = None
    seconds: float = 0.0
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: StoredError | None = None

    @classmethod
    def of(cls, generated: GeneratedImages) -> ResponseMetadata:
        return cls(
            count=len(generated.images),
            revised_prompts=tuple(text and storable_text(text) for text in generated.revised_prompts),
            request_id=generated.request_id,
            price_micros=generated.price_micros,
            seconds=generated.seconds,
            input_tokens=generated.usage.input_tokens,
            output_tokens=generated.usage.output_tokens,
            error=StoredError.of(generated.error) if generated.error else None,
        )

    def to_bytes(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @staticmethod
    def from_bytes(data: bytes) -> ResponseMetadata:
        """Read the JSON that `to_bytes` has written. Raises ValueError if it is invalid."""
        return _RESPONSE_METADATA.validate_json(data)


_RESPONSE_METADATA = TypeAdapter(ResponseMetadata)


@dataclass(frozen=True, slots=True)
class _StoredImage:
    """One stored image of a response. `index` is its position in the response. `size` is in bytes.

    If the image is damaged, `info` is None and `error` is the reason. `thumbnail` is None if there is none.
    """

    index: int
    key: str
    size: int
    info: ImageInfo | None
    error: errors.BadImage | None = None
    thumbnail: bytes | None = None


@dataclass(frozen=True, slots=True)
class Ingest:
    """Adds paid responses to the gallery. Safe to use from many threads and processes.

    If two threads or processes handle the same response at once, its images are added only once.
    """

    database: Database
    storage: Storage
    gallery: Gallery
    usage: UsageLog
    error_counts: ErrorCounts
    offline: bool = False
    clock: Callable[[], datetime] = utc_now

    def commit_response(self, job: Job, response: GeneratedImages | None = None) -> None:
        """Add the images of the response to the job's last call to the gallery, and end the job.

        All files of the response must be stored already. They are read again, unless `response` is given.
        Raises StorageError or DatabaseError.
        """
        if response:
            metadata = ResponseMetadata.of(response)
            files = [self._inspect(job, index, data) for index, data in enumerate(response.images)]
        else:
            metadata = ResponseMetadata.from_bytes(self.storage.get(response_metadata_key(job)))
            files = [self._inspect_stored(job, index) for index in range(metadata.count)]
        self._commit(job, metadata, files)

    def adopt(self, job: Job) -> bool:
        """Look in the storage for the response to the job's last call, and commit that response.

        A process that stopped may have stored the response without committing it. Returns False if there are
        no files of such a response. Raises StorageError or DatabaseError.
        """
        stored = self.storage.list(job_folder(Folder.IMAGES, job.id))
        found = [key for key in stored if PurePosixPath(key).name.startswith(image_prefix(job))]
        has_metadata = self._has_metadata(job)
        if not (found or has_metadata):
            return False
        if not has_metadata:
            seconds = (self.clock() - call_started_at(job)).total_seconds()
            self.storage.put(
                response_metadata_key(job), ResponseMetadata(count=len(found), seconds=seconds).to_bytes()
            )
        self.commit_response(job)
        return True

    def remove_working_files(self, job: Job, *, metadata: bool = True) -> None:
        """Remove the files that the job needs only while it runs: the previews and the response's metadata.

        If `metadata` is False, the metadata stays. If the storage fails, the files stay, and no error is
        raised.
        """
        with suppress(errors.StorageError):
            self.storage.delete(*self.storage.list(job_folder(Folder.PARTIALS, job.id)))
            if metadata:
                self.storage.delete(response_metadata_key(job))

    def _has_metadata(self, job: Job) -> bool:
        """Return whether the metadata of the response to the job's last call is stored and readable."""
        if not self.storage.exists(response_metadata_key(job)):
            return False
        try:
            ResponseMetadata.from_bytes(self.storage.get(response_metadata_key(job)))
        except ValidationError as error:
            log.error("response_metadata_damaged", job_id=job.id, details=str(error))
            return False
        return True

    def _inspect_stored(self, job: Job, index: int) -> _StoredImage:
        """Read the stored image at position `index` of the response, and return it like `_inspect`."""
        key = image_key(job, index)
        try:
            data = self.storage.get(key)
        except errors.FileDamaged as error:
            return _StoredImage(index, key, 0, None, errors.BadImage(details=error.details))
        return self._inspect(job, index, data)

    def _inspect(self, job: Job, index: int, data: bytes) -> _StoredImage:
        """Decode the image `data` at position `index` of the response; return its size, type and thumbnail.

        If the image is damaged, copy it to another folder, where an administrator can look at it.
        """
        key = image_key(job, index)
        try:
            info, thumbnail = verify_with_thumbnail(data)
            return _StoredImage(index, key, len(data), info, thumbnail=thumbnail)
        except errors.BadImage as error:
            self.storage.put(damaged_image_key(job, index), data)
            return _StoredImage(index, key, len(data), None, error)

    def _commit(self, job: Job, metadata: ResponseMetadata, files: list[_StoredImage]) -> None:
        """Write the image rows, the usage and the end of the job in one transaction.

        After that, store the thumbnails. The images are added even if the job has already ended, because they
        were paid for.
        """
        error = next((file.error for file in files if file.error), None) or _reported_error(metadata)
        if error and self.offline:
            error.of_free_call()
        usable = any(file.info for file in files)
        with self.database.write() as session:
            # Lock the job's row. Another process with the same response waits here, then finds the images.
            session.get(Job, job.id, with_for_update=True)
            ended = end_with_images(session, job, error, usable=usable, now=self.clock())
            new = [
                (image.id, file.thumbnail)
                for file in files
                if (image := self._add_image(session, job, metadata, file))
            ]
            if ended or new:
                self._record(session, job, metadata, error, Outcome.OK if usable else Outcome.FAILED)
        for image_id, thumbnail in new:
            if thumbnail:
                self.gallery.store_thumbnail(image_id, thumbnail)
        if ended and error:
            self.error_counts.count(error)

    def _add_image(
        self, session: Session, job: Job, metadata: ResponseMetadata, file: _StoredImage
    ) -> Image | None:
        """Add the row of the image `file` to the gallery, and return the row.

        Returns None and adds nothing if the image is damaged or already in the gallery.
        """
        recipe, price = Recipe.from_any_version(job.request), metadata.price_micros
        if file.info is None or self.gallery.has_file(session, file.key):
            return None
        return self.gallery.add(
            session,
            owner_id=job.owner_id,
            job_id=job.id,
            recipe=recipe,
            info=file.info,
            file_key=file.key,
            index=file.index,
            file_bytes=file.size,
            sent_prompt=with_style(recipe.prompt, recipe.style),
            revised_prompt=next(iter(metadata.revised_prompts[file.index : file.index + 1]), None) or "",
            price_micros=price // metadata.count if price is not None else None,
            seconds=metadata.seconds,
            offline=self.offline,
        )

    def _record(
        self,
        session: Session,
        job: Job,
        metadata: ResponseMetadata,
        error: errors.ImageError | None,
        outcome: Outcome,
    ) -> None:
        """Write the call and its cost to the usage log.

        If the call is already in the usage log, because its outcome was unknown before, that row is replaced.
        """
        call = job_call(job, offline=self.offline, seconds=metadata.seconds, outcome=outcome)
        same_start = col(Usage.started_at) == call.started_at
        session.execute(delete(Usage).where(col(Usage.job_id) == job.id, same_start))
        self.usage.record(
            session,
            replace(
                call,
                input_tokens=metadata.input_tokens,
                output_tokens=metadata.output_tokens,
                price_micros=metadata.price_micros,
                reserved_micros=job.reserved_micros,
                images=metadata.count,
                request_id=metadata.request_id,
                error_code=error.code if error else None,
            ),
        )


def call_started_at(job: Job) -> datetime:
    """Return the time at which the job's last call was sent."""
    return job.started_at or job.created_at


def job_call(job: Job, *, offline: bool, seconds: float, outcome: Outcome) -> Call:
    """Return the usage log's entry for the job's last call, without its tokens and its price."""
    return Call(
        user_id=job.owner_id,
        kind=UsageKind.GENERATE,
        model=str(job.request.get("model", "")),
        offline=offline,
        job_id=job.id,
        started_at=call_started_at(job),
        seconds=seconds,
        outcome=outcome,
    )


def _reported_error(metadata: ResponseMetadata) -> errors.ImageError | None:
    """Return the error that the service reported beside the images. It isn't counted yet."""
    if metadata.error is None:
        return None
    error = metadata.error.to_error()
    error.counted = False
    return error
