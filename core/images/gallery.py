"""The images of one owner: add, page, search, favourite, delete, download.

Every function takes the owner. Somebody else's image is ImageNotFound, exactly like one that never was.
"""

from __future__ import annotations

import threading
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlmodel import Session, col

from core.accounts.audit_log import Action, AuditLog
from core.common import media_types
from core.common.clock import utc_now
from core.common.ids import new_id
from core.common.text import storable_text
from core.database.columns import fit_to_columns
from core.database.database import Database
from core.database.models import Image
from core.database.pagination import Cursor
from core.errors import BadImage, FileDamaged, ImageNotFound, RequestRejected, StorageError
from core.images import image_files
from core.images.gallery_queries import (
    EVERYTHING,
    MAX_PAGE_SIZE,
    PAGE_SIZE,
    Choices,
    Filters,
    Page,
    distinct_values,
    filter_conditions,
    image_page,
    newest_image,
    search_text,
)
from core.images.image_files import ImageInfo
from core.prompts.recipe import Recipe
from core.prompts.validation import check_prompt_texts
from core.storage.keys import thumbnail_key
from core.storage.storage import Storage

PURGE_BATCH = 500
FILE_NAME_LENGTH = 60
# Each holds a picture of up to 50 million pixels in memory.
THUMBNAILS_AT_ONCE = 2


@dataclass(frozen=True, slots=True)
class Download:
    """A file for a person's disk; `file_name` is safe on every system."""

    data: bytes
    file_name: str
    mime: str


class Gallery:
    def __init__(
        self,
        database: Database,
        storage: Storage,
        audit_log: AuditLog,
        *,
        trash_days: int = 30,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._audit_log = audit_log
        self._storage = storage
        self._trash_age = timedelta(days=trash_days)
        self._clock = clock
        self._making = threading.BoundedSemaphore(THUMBNAILS_AT_ONCE)

    def add(
        self,
        session: Session,
        *,
        owner_id: str,
        job_id: str,
        recipe: Recipe,
        picture: ImageInfo,
        file_key: str,
        index: int,
        file_bytes: int,
        sent_prompt: str = "",
        revised_prompt: str = "",
        price_micros: int | None = None,
        seconds: float = 0.0,
        offline: bool = False,
    ) -> Image:
        """Add the row of a stored picture to the caller's write transaction.

        A second call with the same `file_key` changes nothing and returns the first row. `index` is the
        picture's place in its job, counted from 0, and keeps pictures of one moment in order.
        """
        fields = _recipe_fields(recipe) | {
            "id": new_id(),
            "owner_id": owner_id,
            "job_id": job_id,
            "created_at": self._clock() + timedelta(microseconds=index),
            "favourite": False,
            "sent_prompt": sent_prompt,
            "revised_prompt": revised_prompt,
            "offline": offline,
            "width": picture.width,
            "height": picture.height,
            "mime": picture.mime,
            "sha256": picture.sha256,
            "file_key": file_key,
            "file_bytes": file_bytes,
            "request_hash": recipe.request_hash,
            "price_micros": price_micros,
            "seconds": seconds,
        }
        self._insert_once(session, fit_to_columns(Image, fields))
        return self._own(session, owner_id, col(Image.file_key) == file_key)

    def has_file(self, session: Session, file_key: str) -> bool:
        """Whether the file has its row, in the trash too."""
        found = select(col(Image.id)).where(col(Image.file_key) == file_key)
        return session.execute(found).first() is not None

    def page(
        self,
        owner_id: str,
        filters: Filters = EVERYTHING,
        *,
        after: str | None = None,
        limit: int = PAGE_SIZE,
    ) -> Page:
        """One page, newest first; in the trash the latest deleted first.

        `after` is `next` or `newer` of another page. One that is damaged, or beyond which nothing is left,
        gives the first page: only that can be empty.
        """
        limit = min(max(limit, 1), MAX_PAGE_SIZE)
        with self._database.read() as session:
            return image_page(session, owner_id, filters, Cursor.decode(after), limit)

    def page_or_empty(
        self,
        owner_id: str,
        filters: Filters = EVERYTHING,
        *,
        after: str | None = None,
        limit: int = PAGE_SIZE,
    ) -> Page:
        """One page for whoever reads a list to its end: beyond the last image there is an empty one.

        Raises RequestRejected for an `after` that isn't `next` of another page.
        """
        cursor = Cursor.decode(after)
        if after is not None and (cursor is None or cursor.newer):
            raise RequestRejected(details="cursor: not one that was issued here")
        page = self.page(owner_id, filters, after=after, limit=limit)
        at_the_top_again = cursor is not None and page.newer is None
        return Page(()) if at_the_top_again else page

    def count(self, owner_id: str, filters: Filters = EVERYTHING) -> int:
        found = select(func.count()).select_from(Image).where(*filter_conditions(owner_id, filters))
        with self._database.read() as session:
            return int(session.execute(found).scalar_one())

    def get(self, owner_id: str, image_id: str) -> Image:
        """The image, deleted or not. Raises ImageNotFound."""
        with self._database.read() as session:
            return self._own(session, owner_id, col(Image.id) == storable_text(image_id))

    def get_untrashed(self, owner_id: str, image_id: str) -> Image:
        """The image, which isn't in the trash. Raises ImageNotFound."""
        image = self.get(owner_id, image_id)
        if image.trashed_at:
            raise ImageNotFound
        return image

    def newest_by_recipe(self, owner_id: str, recipes: Iterable[Recipe]) -> dict[Recipe, Image]:
        """The newest undeleted image of each recipe that has one: sent the same, it may have other words."""
        with self._database.read() as session:
            found = {recipe: newest_image(session, owner_id, recipe.request_hash) for recipe in set(recipes)}
        return {recipe: image for recipe, image in found.items() if image}

    def styles_and_models(self, owner_id: str) -> Choices:
        with self._database.read() as session:
            styles = distinct_values(session, owner_id, col(Image.style))
            return Choices(styles, distinct_values(session, owner_id, col(Image.model)))

    def change(
        self, owner_id: str, image_id: str, *, name: str | None = None, favourite: bool | None = None
    ) -> Image:
        """Rename an image, or mark it as a favourite or not; None leaves the value as it is.

        Raises ImageNotFound or WordsRejected.
        """
        if name is not None:
            check_prompt_texts(name=name, traits=())
        with self._database.write() as session:
            image = self._own(session, owner_id, col(Image.id) == storable_text(image_id))
            if name is not None:
                image.name = storable_text(name)
                image.search = storable_text(search_text(image))
            if favourite is not None:
                image.favourite = favourite
            return image

    def trash(self, owner_id: str, *image_ids: str) -> None:
        """Delete, so that `restore` can undo it; all of them, or none with ImageNotFound."""
        self._move(owner_id, image_ids, Action.TRASH, col(Image.trashed_at).is_(None), self._clock())

    def restore(self, owner_id: str, *image_ids: str) -> None:
        """Undo `trash`; all of them, or none with ImageNotFound."""
        self._move(owner_id, image_ids, Action.RESTORE, col(Image.trashed_at).is_not(None), None)

    def purge(self, now: datetime) -> Iterator[int]:
        """Remove for good what has been in the trash for too long; gives how many each batch was."""
        while removed := self._purge_rows(now - self._trash_age):
            self._storage.delete(*removed.values(), *map(thumbnail_key, removed))
            yield len(removed)

    def original(self, owner_id: str, image_id: str) -> bytes:
        """The bytes as the service sent them. Raises ImageNotFound, FileDamaged or StorageError."""
        return self._bytes_of(self.get(owner_id, image_id))

    def check(self, owner_id: str, image_id: str) -> None:
        """What `original` raises, for a file that is missing or of another size: its bytes aren't read."""
        image = self.get(owner_id, image_id)
        if self._storage.size(image.file_key) != image.file_bytes:
            raise _damaged(image)

    def thumbnail(self, owner_id: str, image_id: str) -> bytes:
        """A small WebP, made (again) when it is missing. Raises ImageNotFound, FileDamaged, StorageError.

        THUMBNAILS_AT_ONCE are made at a time, and who else wants one waits.
        """
        image = self.get(owner_id, image_id)
        with suppress(FileDamaged):
            return self._storage.get(thumbnail_key(image.id))
        with self._making:
            # Whoever waited may have waited for this very one.
            with suppress(FileDamaged):
                return self._storage.get(thumbnail_key(image.id))
            return self._make_thumbnail(image)

    def _make_thumbnail(self, image: Image) -> bytes:
        try:
            made = image_files.thumbnail(self._bytes_of(image))
        except BadImage as error:
            raise FileDamaged(details=f"{image.file_key}: {error.details}") from error
        with suppress(StorageError):  # a full disk hides no pictures
            self._storage.put(thumbnail_key(image.id), made)
        return made

    def download(self, owner_id: str, image_id: str, *, with_prompt: bool) -> Download:
        """A copy with the prompt inside a PNG's metadata, or without; see `imaging.download_copy`."""
        image = self.get(owner_id, image_id)
        texts = _recipe_text(image) if with_prompt else {}
        data = image_files.download_copy(self._bytes_of(image), recipe_text=texts)
        return Download(data, _file_name(image, "-with-prompt" if texts else ""), image.mime)

    def _insert_once(self, session: Session, fields: dict[str, Any]) -> None:
        session.execute(
            self._database.insert(Image).values(**fields).on_conflict_do_nothing(index_elements=["file_key"])
        )

    def _own(self, session: Session, owner_id: str, condition: ColumnElement[bool]) -> Image:
        found = select(Image).where(condition, col(Image.owner_id) == owner_id)
        image: Image | None = session.execute(found).scalar_one_or_none()
        if image is None:
            raise ImageNotFound
        return image

    def _move(
        self,
        owner_id: str,
        image_ids: Sequence[str],
        action: Action,
        elsewhere: ColumnElement[bool],
        trashed_at: datetime | None,
    ) -> None:
        """Into the trash or out of it; the trail has those alone that were `elsewhere`."""
        wanted = set(map(storable_text, image_ids))
        mine = (col(Image.owner_id) == owner_id, col(Image.id).in_(wanted))
        move = update(Image).where(*mine, elsewhere).values(trashed_at=trashed_at).returning(col(Image.id))
        with self._database.write() as session:
            moved = session.execute(move).scalars().all()
            if session.scalar(select(func.count()).where(*mine)) != len(wanted):
                raise ImageNotFound
            for image_id in sorted(moved):
                self._audit_log.record(session, action, actor=owner_id, subject=image_id)

    def _purge_rows(self, before: datetime) -> dict[str, str]:
        """Remove one batch of rows; their ids and file keys. Rows go first: a crash leaves only files."""
        old = col(Image.trashed_at) <= before
        batch = select(col(Image.id)).where(old).limit(PURGE_BATCH)
        gone = (
            delete(Image)
            .where(old, col(Image.id).in_(batch))
            .returning(col(Image.id), col(Image.file_key), col(Image.owner_id))
        )
        with self._database.write() as session:
            rows = session.execute(gone).all()
            for row in rows:
                details = f"of user {row.owner_id}, {self._trash_age.days} days after it was deleted"
                self._audit_log.record(session, Action.PURGE, subject=row.id, details=details)
            return {row.id: row.file_key for row in rows}

    def _bytes_of(self, image: Image) -> bytes:
        data = self._storage.get(image.file_key)
        if sha256(data).hexdigest() != image.sha256:
            raise _damaged(image)
        return data


def _damaged(image: Image) -> FileDamaged:
    return FileDamaged(details=f"{image.file_key} has other bytes than were stored")


def _recipe_fields(recipe: Recipe) -> dict[str, Any]:
    fields = asdict(recipe) | {"style": recipe.style or "", "search": search_text(recipe)}
    del fields["references"], fields["mask"]
    return fields | {"source_id": fields.pop("source_image") or None}


def _recipe_text(image: Image) -> dict[str, str]:
    """The texts of a download copy; `parameters` is laid out as other image tools write and read it."""
    options = {
        "Model": image.model,
        "Style": image.style,
        "Size": f"{image.width}x{image.height}",
        "Quality": image.quality,
    }
    line = ", ".join(f"{name}: {value}" for name, value in options.items() if value)
    return {"prompt": image.prompt, "parameters": f"{image.sent_prompt or image.prompt}\n{line}"}


def _file_name(image: Image, suffix: str = "") -> str:
    """Letters and digits of the name (or prompt), the id's first 8 digits, `suffix`, and the extension."""
    words = unicodedata.normalize("NFC", (image.name or image.prompt)[: 4 * FILE_NAME_LENGTH])
    kept = "".join(letter if letter.isalnum() else " " for letter in words)
    stem = "-".join(kept.split())[:FILE_NAME_LENGTH].strip("-") or "image"
    return f"{stem}-{image.id[:8]}{suffix}.{media_types.file_extension(image.mime)}"
