"""Keyset pagination: pages of a list, newest first, addressed by opaque cursors."""

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
    """The position after the row (`at`, `id`): older rows follow, or with `newer` the newer ones."""

    at: datetime
    id: str
    newer: bool = False

    def encode(self) -> str:
        text = f"{'<' if self.newer else '>'}{self.at.astimezone(UTC).isoformat()}|{self.id}"
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str | None) -> Self | None:
        """None for anything that `encode` didn't return; the list then begins at the top."""
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
    """One page of rows, newest first. `next` and `newer` are encoded cursors; None at the end of the list."""

    rows: tuple[Item, ...]
    next: str | None = None
    newer: str | None = None


def paginate(
    rows: Callable[[Cursor | None, int], tuple[Item, ...]],
    cursor: Cursor | None,
    limit: int,
    cursor_of: Callable[[Item], Cursor],
) -> KeysetPage[Item]:
    """Up to `limit` rows after `cursor`; the first page without a cursor, or if nothing follows it.

    `rows(cursor, limit)` returns that many rows after a cursor, nearest first; `cursor_of` a row's cursor.
    """
    found = rows(cursor, limit + 1)
    has_more, shown = len(found) > limit, found[:limit]
    if cursor is None:
        return KeysetPage(shown, next=cursor_of(shown[-1]).encode() if has_more else None)
    # Near the top, show a full first page with whatever is new; also if the rows after the cursor are gone.
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
    """`query` restricted to the rows after `cursor`, nearest first; `at` and `key` are the sort columns."""
    if cursor and cursor.newer:
        return query.where(tuple_(at, key) > (cursor.at, cursor.id)).order_by(at, key)
    if cursor:
        query = query.where(tuple_(at, key) < (cursor.at, cursor.id))
    return query.order_by(at.desc(), key.desc())
