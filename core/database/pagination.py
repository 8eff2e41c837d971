"""Keyset pagination: reads a list of rows in pages, newest rows first.

A cursor says where a page begins. Clients receive a cursor as opaque text.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Generic, Self, TypeVar

from sqlalchemy import Select, tuple_
from sqlalchemy.orm import Mapped

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place in a list where a page begins: next to the row with the time `at` and the id `id`.

    The page has the rows that are older than this row. If `newer` is True, it has the rows that are newer.
    """

    at: datetime
    id: str
    newer: bool = False

    def encode(self) -> str:
        text = f"{'<' if self.newer else '>'}{self.at.astimezone(UTC).isoformat()}|{self.id}"
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str | None) -> Self | None:
        """Return the cursor that `encode` has turned into `text`.

        Returns None if `text` is None or isn't an encoded cursor.
        """
        try:
            padded = (text or "").encode("ascii") + b"=="
            plain = urlsafe_b64decode(padded).decode("ascii")
            at, _, key = plain[1:].partition("|")
            if not key.isalnum():
                return None
            return cls(datetime.fromisoformat(at).astimezone(UTC), key, newer=plain[0] == "<")
        except (binascii.Error, ValueError, IndexError, OverflowError):
            return None


@dataclass(frozen=True, slots=True)
class KeysetPage(Generic[Item]):
    """One page of rows, newest first.

    `next` is the encoded cursor of the page with older rows, and `newer` that of the page with newer rows. A
    cursor is None if there is no such page.
    """

    rows: tuple[Item, ...]
    next: str | None = None
    newer: str | None = None


def paginate(
    rows: Callable[[Cursor | None, int], tuple[Item, ...]],
    cursor: Cursor | None,
    limit: int,
    cursor_of: Callable[[Item], Cursor],
) -> KeysetPage[Item]:
    """Return the page of at most `limit` rows that begins at `cursor`.

    Returns the first page if `cursor` is None, and if no rows follow the cursor.

    - `rows(cursor, count)` must return at most `count` rows that follow the cursor. The row nearest to the
      cursor comes first.
    - `cursor_of(row)` must return the cursor after which the rows older than `row` follow.
    """
    found = rows(cursor, limit + 1)
    has_more, shown = len(found) > limit, found[:limit]
    if cursor is None:
        return KeysetPage(shown, next=cursor_of(shown[-1]).encode() if has_more else None)
    # Return the first page instead of a page of newer rows that isn't full, and instead of an empty page.
    if not shown or (cursor.newer and not has_more):
        return paginate(rows, None, limit, cursor_of)
    if cursor.newer:
        shown = shown[::-1]
    has_older = has_more or cursor.newer
    return KeysetPage(
        shown,
        next=cursor_of(shown[-1]).encode() if has_older else None,
        newer=replace(cursor_of(shown[0]), newer=True).encode(),
    )


def after_cursor(query: Select[Any], cursor: Cursor | None, at: Mapped[Any], key: Mapped[Any]) -> Select[Any]:
    """Return `query`, restricted to the rows of the page at `cursor` and sorted.

    The row nearest to the cursor comes first. `at` and `key` are the columns of the rows' times and ids. If
    `cursor` is None, all rows are selected, newest first.
    """
    if cursor and cursor.newer:
        return query.where(tuple_(at, key) > (cursor.at, cursor.id)).order_by(at, key)
    if cursor:
        query = query.where(tuple_(at, key) < (cursor.at, cursor.id))
    return query.order_by(at.desc(), key.desc())
