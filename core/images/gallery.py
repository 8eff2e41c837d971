"""The gallery: add, list, search, rename, delete, restore and download a user's images.

Methods for one user's images take the owner's id. If the image belongs to another user, they raise
ImageNotFound, as if the image didn't exist.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime, timedelta
from hashlib import sha256
from typing import Any

from sqlalchemy import ColumnElement, delete, func, select, update
from sqlmodel import Session, col

from core.accounts.audit_log import Action, AuditLog
from core.common.clock import utc_now
from core.common.ids import new_id
from core.common.text import storable_text
from core.database.columns import fit_to_columns
from core.database.database import Database
from core.database.models import Image
from core.database.pagination import Cursor
from core.errors import BadImage, FileDamaged, ImageNotFound, RequestRejected, StorageError
from core.images import image_files
from core.images.downloads import Download, download_of
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
from core.images.search_index import SearchIndex
from core.prompts.recipe import Recipe
from core.prompts.validation import check_prompt_texts
from core.storage.keys import thumbnail_key
from core.storage.storage import Storage

PURGE_BATCH = 500
# To create a thumbnail, an image of up to MAX_IMAGE_PIXELS is held in memory.
THUMBNAILS_AT_ONCE = 2


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
        self.search_index = SearchIndex(database)
        self._trash_age = timedelta(days=trash_days)
        self._clock = clock
        self._thumbnail_slots = threading.BoundedSemaphore(THUMBNAILS_AT_ONCE)

    def add(
        self,
        session: Session,
        *,
        owner_id: str,
        job_id: str,
        recipe: Recipe,
        info: ImageInfo,
        file_key: str,
        index: int,
        file_bytes: int,
        sent_prompt: str = "",
        revised_prompt: str = "",
        price_micros: int | None = None,
        seconds: float = 0.0,
        offline: bool = False,
    ) -> Image:
        """Add the row of a stored image in the caller's write transaction, and return the row.

        If a row with this `file_key` exists already, return that row unchanged. `index` is the position of
        the image in its job, counted from 0. It keeps the images of one job in order.
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
            "width": info.width,
            "height": info.height,
            "mime": info.mime,
            "sha256": info.sha256,
            "file_key": file_key,
            "file_bytes": file_bytes,
            "request_hash": recipe.request_hash,
            "price_micros": price_micros,
            "seconds": seconds,
        }
        self._insert_once(session, fit_to_columns(Image, fields))
        image = self._own(session, owner_id, col(Image.file_key) == file_key)
        self.search_index.add(session, image.id, owner_id, image.search)
        return image

    def has_file(self, session: Session, file_key: str) -> bool:
        """Return whether the gallery has a row with this `file_key`. Images in the trash count as well."""
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
        """Return one page of at most `limit` images, newest first. In the trash, the last deleted come first.

        `after` is a cursor: the `next` or `newer` of another page. None means the first page. The first page
        is also returned if the cursor is invalid or no image follows it. A page is therefore empty only if no
        image matches `filters`.
        """
        limit = min(max(limit, 1), MAX_PAGE_SIZE)
        with self._database.read() as session:
            return image_page(session, owner_id, filters, Cursor.decode(after), limit, self.search_index)

    def page_or_empty(
        self,
        owner_id: str,
        filters: Filters = EVERYTHING,
        *,
        after: str | None = None,
        limit: int = PAGE_SIZE,
    ) -> Page:
        """Return one page like `page`, but an empty page if no image follows the cursor `after`.

        `after` is the `next` of another page. None means the first page. Raises RequestRejected for any other
        value.
        """
        cursor = Cursor.decode(after)
        if after is not None and (cursor is None or cursor.newer):
            raise RequestRejected(details="cursor: not one that this API issued")
        page = self.page(owner_id, filters, after=after, limit=limit)
        restarted = cursor is not None and page.newer is None
        return Page(()) if restarted else page

    def count(self, owner_id: str, filters: Filters = EVERYTHING) -> int:
        found = select(func.count()).select_from(Image).where(*filter_conditions(owner_id, filters))
        with self._database.read() as session:
            return int(session.execute(found).scalar_one())

    def get(self, owner_id: str, image_id: str) -> Image:
        """Return the row of the image, even if the image is in the trash. Raises ImageNotFound."""
        with self._database.read() as session:
            return self._own(session, owner_id, col(Image.id) == storable_text(image_id))

    def get_untrashed(self, owner_id: str, image_id: str) -> Image:
        """Return the row of the image. Raises ImageNotFound if it doesn't exist or is in the trash."""
        image = self.get(owner_id, image_id)
        if image.trashed_at:
            raise ImageNotFound
        return image

    def newest_by_recipe(self, owner_id: str, recipes: Iterable[Recipe]) -> dict[Recipe, Image]:
        """Return the newest image of each recipe. A recipe is a prompt with all options of its image.

        A recipe without an image is left out. Images in the trash don't count.
        """
        with self._database.read() as session:
            found = {recipe: newest_image(session, owner_id, recipe.request_hash) for recipe in set(recipes)}
        return {recipe: image for recipe, image in found.items() if image}

    def styles_and_models(self, owner_id: str) -> Choices:
        with self._database.read() as session:
            styles = distinct_values(session, owner_id, col(Image.style))
            return Choices(styles, distinct_values(session, owner_id, col(Image.model)))

    def complete_search_index(self) -> Iterator[None]:
        """Add the images of earlier releases to the search index. Each step adds a few."""
        return self.search_index.complete(_stored_search_text)

    def change(
        self, owner_id: str, image_id: str, *, name: str | None = None, favourite: bool | None = None
    ) -> Image:
        """Rename an image, or mark it as a favourite or not. Return the changed row.

        If `name` or `favourite` is None, it stays as it is. Raises ImageNotFound if there is no such image,
        and TextRejected if the name can't be stored.
        """
        if name is not None:
            check_prompt_texts(name=name, traits=())
        with self._database.write() as session:
            image = self._own(session, owner_id, col(Image.id) == storable_text(image_id))
            if name is not None:
                image.name = storable_text(name)
                search = _stored_search_text(image)
                self.search_index.change(session, image, search)
                image.search = search
            if favourite is not None:
                image.favourite = favourite
            return image

    def trash(self, owner_id: str, *image_ids: str) -> None:
        """Move images to the trash, and skip those that are there already.

        Raises ImageNotFound if one of the images doesn't exist. In that case, no image is moved.
        """
        self._move(owner_id, image_ids, Action.TRASH, col(Image.trashed_at).is_(None), self._clock())

    def restore(self, owner_id: str, *image_ids: str) -> None:
        """Move images out of the trash, and skip those that aren't there.

        Raises ImageNotFound if one of the images doesn't exist. In that case, no image is moved.
        """
        self._move(owner_id, image_ids, Action.RESTORE, col(Image.trashed_at).is_not(None), None)

    def purge(self, now: datetime) -> Iterator[int]:
        """Delete for ever all images that have been in the trash for `trash_days` days at the time `now`.

        Each step of the iterator deletes at most PURGE_BATCH images, and yields the number of deleted images.
        """
        while removed := self._purge_rows(now - self._trash_age):
            self._storage.delete(*removed.values(), *map(thumbnail_key, removed))
            yield len(removed)

    def original(self, owner_id: str, image_id: str) -> bytes:
        """Return the image's bytes as the service sent them.

        Raises ImageNotFound if there is no such image, FileDamaged if its file is missing or has other bytes,
        and StorageError if its file can't be read.
        """
        return self._bytes_of(self.get(owner_id, image_id))

    def check_file(self, owner_id: str, image_id: str) -> None:
        """Check that the image's file exists and has the recorded size, without reading it.

        Raises ImageNotFound, FileMissing if the file is missing, and FileDamaged if its size is wrong.
        """
        image = self.get(owner_id, image_id)
        if self._storage.size(image.file_key) != image.file_bytes:
            raise _damaged(image)

    def thumbnail(self, owner_id: str, image_id: str) -> bytes:
        """Return the image's thumbnail, a small WebP. If no thumbnail is stored, create it and store it.

        At most THUMBNAILS_AT_ONCE thumbnails are created at the same time. Raises ImageNotFound if there is
        no such image. Raises FileDamaged or StorageError if the image's file is needed and can't be used.
        """
        image = self.get(owner_id, image_id)
        with suppress(FileDamaged):
            return self._storage.get(thumbnail_key(image.id))
        with self._thumbnail_slots:
            # Another thread may have created the thumbnail in the meantime.
            with suppress(FileDamaged):
                return self._storage.get(thumbnail_key(image.id))
            return self._create_thumbnail(image)

    def _create_thumbnail(self, image: Image) -> bytes:
        try:
            data = image_files.thumbnail(self._bytes_of(image))
        except BadImage as error:
            raise FileDamaged(details=f"{image.file_key}: {error.details}") from error
        self.store_thumbnail(image.id, data)
        return data

    def store_thumbnail(self, image_id: str, data: bytes) -> None:
        """Store the thumbnail `data` of the image. No error is raised if that fails.

        `thumbnail` then creates it anew: a full disk must not keep people from seeing their images.
        """
        with suppress(StorageError):
            self._storage.put(thumbnail_key(image_id), data)

    def download(self, owner_id: str, image_id: str, *, with_prompt: bool) -> Download:
        """Return a copy of the image to download. With `with_prompt`, a PNG has the prompt in its metadata.

        Raises ImageNotFound, FileDamaged or StorageError.
        """
        image = self.get(owner_id, image_id)
        return download_of(image, self._bytes_of(image), with_prompt=with_prompt)

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
        movable: ColumnElement[bool],
        trashed_at: datetime | None,
    ) -> None:
        """Set `trashed_at` of those images that fulfil the SQL condition `movable`. Skip the other images.

        `trashed_at` is the time of the deletion, or None to restore the images. `action` is recorded in the
        audit log for each changed image. Raises ImageNotFound if one of the images doesn't exist. In that
        case, no image is changed.
        """
        ids = set(map(storable_text, image_ids))
        mine = (col(Image.owner_id) == owner_id, col(Image.id).in_(ids))
        move = update(Image).where(*mine, movable).values(trashed_at=trashed_at).returning(col(Image.id))
        with self._database.write() as session:
            moved = session.execute(move).scalars().all()
            if session.scalar(select(func.count()).where(*mine)) != len(ids):
                raise ImageNotFound
            for image_id in sorted(moved):
                self._audit_log.record(session, action, actor=owner_id, subject=image_id)

    def _purge_rows(self, before: datetime) -> dict[str, str]:
        """Delete the rows of at most PURGE_BATCH images that were moved to the trash at `before` or earlier.

        Return a dict of the deleted images' ids to their file keys, so that the caller can delete the files
        next. In this order, a crash leaves files without a row, but no row without its file.
        """
        old = col(Image.trashed_at) <= before
        expired = select(col(Image.id)).where(old).limit(PURGE_BATCH)
        gone = (
            delete(Image)
            .where(old, col(Image.id).in_(expired))
            .returning(col(Image.id), col(Image.file_key), col(Image.owner_id), col(Image.search))
        )
        with self._database.write() as session:
            rows = session.execute(gone).all()
            for row in rows:
                self.search_index.remove(session, row.id, row.owner_id, row.search)
                details = f"of user {row.owner_id}, {self._trash_age.days} days after it was deleted"
                self._audit_log.record(session, Action.PURGE, subject=row.id, details=details)
            return {row.id: row.file_key for row in rows}

    def _bytes_of(self, image: Image) -> bytes:
        data = self._storage.get(image.file_key)
        if sha256(data).hexdigest() != image.sha256:
            raise _damaged(image)
        return data


def _stored_search_text(image: Image) -> str:
    return storable_text(search_text(image))


def _damaged(image: Image) -> FileDamaged:
    return FileDamaged(details=f"{image.file_key} has other bytes than were stored")


def _recipe_fields(recipe: Recipe) -> dict[str, Any]:
    fields = asdict(recipe) | {"style": recipe.style or "", "search": search_text(recipe)}
    del fields["references"], fields["mask"]
    return fields | {"source_id": fields.pop("source_image") or None}
