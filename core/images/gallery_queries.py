"""The SQL queries of the gallery: filters, search and keyset pagination."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select, tuple_
from sqlmodel import Session, col

from core.common.text import fold_case, storable_text
from core.database.models import Image
from core.database.pagination import Cursor, after_cursor, paginate
from core.images.search_index import SearchIndex
from core.prompts.recipe import Recipe
from core.prompts.styles import find_style

PAGE_SIZE = 24
MAX_PAGE_SIZE = 200
SEARCH_TEXT_LENGTH = 20_000
SEARCH_LENGTH = 1_000
SEARCH_WORDS = 16
SEARCH_WORD_LENGTH = 100
# A common word is found among so many images of a list, without the search index.
SCANNED_IMAGES = 1_000


@dataclass(frozen=True, slots=True)
class Filters:
    """The conditions that an image must fulfil to be listed in the gallery.

    - `search`: words that the image's name, style or prompt must contain.
    - `style`, `model`: the image's style and model. None means any.
    - `favourites`: if True, only favourites are listed.
    - `trash`: if True, only images in the trash are listed. Otherwise, only images outside the trash are.
    """

    search: str = ""
    style: str | None = None
    model: str | None = None
    favourites: bool = False
    trash: bool = False


EVERYTHING = Filters()


@dataclass(frozen=True, slots=True)
class Page:
    """One page of the gallery. `next` is the cursor for the following page, `newer` for the preceding page.

    A cursor is a text to pass to `Gallery.page` as `after`. It is None if there is no such page.
    """

    images: tuple[Image, ...]
    next: str | None = None
    newer: str | None = None


@dataclass(frozen=True, slots=True)
class Choices:
    """The styles and models of a user's images, sorted. The gallery offers them as filters."""

    styles: tuple[str, ...]
    models: tuple[str, ...]


def search_text(source: Recipe | Image) -> str:
    """Return the text in which the gallery searches, in the form that `fold_case` returns.

    It consists of the image's name and of the words that it was made from: its style and the prompt that was
    sent. A description whose prompt the user has replaced had no part in the image. The text has at most
    SEARCH_TEXT_LENGTH characters.
    """
    style = find_style(source.style)
    parts = filter(None, (source.name, style.label if style else "", source.prompt))
    return fold_case("\n".join(parts)[:SEARCH_TEXT_LENGTH])[:SEARCH_TEXT_LENGTH]


def filter_conditions(owner_id: str, filters: Filters) -> list[Any]:
    return [col(Image.owner_id) == owner_id, *_conditions(filters), *_search_conditions(filters)]


def _conditions(filters: Filters) -> list[Any]:
    """Return the conditions of all filters but the search."""
    trashed = col(Image.trashed_at)
    conditions: list[Any] = [trashed.is_not(None) if filters.trash else trashed.is_(None)]
    if filters.favourites:
        conditions.append(col(Image.favourite))
    if filters.style is not None:
        conditions.append(col(Image.style) == storable_text(filters.style))
    if filters.model is not None:
        conditions.append(col(Image.model) == storable_text(filters.model))
    return conditions


def _search_conditions(filters: Filters) -> list[Any]:
    return [col(Image.search).contains(word, autoescape=True) for word in search_words(filters)]


def search_words(filters: Filters) -> list[str]:
    """Return the words that are looked for, in the form that `fold_case` returns."""
    words = fold_case(storable_text(filters.search[:SEARCH_LENGTH])).split()[:SEARCH_WORDS]
    return [word[:SEARCH_WORD_LENGTH] for word in words]


@dataclass(frozen=True, slots=True)
class _List:
    """The user's images that fulfil `filters`, the newest first. In the trash, the last deleted come first.

    The methods take the cursor at which a page begins, as `after_cursor` does.
    """

    session: Session
    owner_id: str
    filters: Filters

    @property
    def at(self) -> Any:
        """The column by which the images are sorted. Images with the same time are sorted by their ids."""
        return col(Image.trashed_at) if self.filters.trash else col(Image.created_at)

    def cursor_of(self, image: Image) -> Cursor:
        trashed_at = image.trashed_at if self.filters.trash else None
        return Cursor(trashed_at or image.created_at, image.id)

    def images(self, cursor: Cursor | None, limit: int, *conditions: Any) -> tuple[Image, ...]:
        """Return at most `limit` images that also fulfil `conditions`, by reading the user's images."""
        found = select(Image).where(*filter_conditions(self.owner_id, self.filters), *conditions)
        return self._page(found, cursor, limit)

    def images_by_index(self, cursor: Cursor | None, limit: int, index: SearchIndex) -> tuple[Image, ...]:
        """Return the same images as `images`, by reading the images that `index` names for the search."""
        candidates = col(Image.id).in_(index.candidates(self.owner_id, search_words(self.filters)))
        # Without the empty text, SQLite would read all images of the user in their order instead.
        is_own = col(Image.owner_id).concat("") == self.owner_id
        conditions = (*_conditions(self.filters), *_search_conditions(self.filters))
        return self._page(select(Image).where(candidates, is_own, *conditions), cursor, limit)

    def up_to_scan_end(self, cursor: Cursor | None) -> Any:
        """Return the condition that an image is among the SCANNED_IMAGES of the list that follow the cursor.

        The search isn't considered. Returns None if fewer images follow.
        """
        place = tuple_(self.at, col(Image.id))
        own = col(Image.owner_id) == self.owner_id
        listed: Any = select(self.at, col(Image.id)).where(own, *_conditions(self.filters))
        listed = after_cursor(listed, cursor, self.at, col(Image.id)).offset(SCANNED_IMAGES - 1).limit(1)
        end = self.session.execute(listed).first()
        if end is None:
            return None
        return place <= tuple(end) if cursor and cursor.newer else place >= tuple(end)

    def _page(self, found: Any, cursor: Cursor | None, limit: int) -> tuple[Image, ...]:
        page = after_cursor(found, cursor, self.at, col(Image.id)).limit(limit)
        return tuple(self.session.execute(page).scalars())


def image_page(
    session: Session,
    owner_id: str,
    filters: Filters,
    cursor: Cursor | None,
    limit: int,
    search_index: SearchIndex,
) -> Page:
    """Return the page of the user's images at `cursor`, with at most `limit` images.

    A search reads the SCANNED_IMAGES images that follow the cursor. If these hold no full page, it asks the
    search index, which is faster for a word that few images have.
    """
    images = _List(session, owner_id, filters)
    has_index = bool(search_words(filters)) and search_index.is_complete(session)

    def rows(cursor: Cursor | None, limit: int) -> tuple[Image, ...]:
        is_near = images.up_to_scan_end(cursor) if has_index else None
        if is_near is None:
            return images.images(cursor, limit)
        near = images.images(cursor, limit, is_near)
        return near if len(near) == limit else images.images_by_index(cursor, limit, search_index)

    found = paginate(rows, cursor, limit, images.cursor_of)
    return Page(found.rows, found.next, found.newer)


def newest_image(session: Session, owner_id: str, request_hash: str) -> Image | None:
    visible = (col(Image.owner_id) == owner_id, col(Image.trashed_at).is_(None))
    newest = (col(Image.created_at).desc(), col(Image.id).desc())
    found = select(Image).where(*visible, col(Image.request_hash) == request_hash).order_by(*newest).limit(1)
    image: Image | None = session.execute(found).scalar_one_or_none()
    return image


def distinct_values(session: Session, owner_id: str, column: Any) -> tuple[str, ...]:
    """Return the different values of `column` in the user's images, sorted, without "".

    Images in the trash don't count. Each value takes one index lookup, however many images have this value.
    """
    found: list[str] = []
    value: str | None = ""
    while True:
        following = (col(Image.owner_id) == owner_id, col(Image.trashed_at).is_(None), column > value)
        value = session.execute(select(func.min(column)).where(*following)).scalar()
        if value is None:
            return tuple(found)
        found.append(value)
