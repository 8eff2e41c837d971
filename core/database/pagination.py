"""Pages of a list, newest first, by the opaque place where the next begins or the one before ended."""

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
    """Beyond the row (`at`, `id`): older rows, or newer ones when `newer`."""

    at: datetime
    id: str
    newer: bool = False

    def encode(self) -> str:
        text = f"{'<' if self.newer else '>'}{self.at.astimezone(UTC).isoformat()}|{self.id}"
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str | None) -> Self | None:
        """None for nothing, or for anything that `encode` didn't make: lists then begin at the top."""
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
    """Some rows, newest first. `next` and `newer` are encoded cursors; None where nothing follows."""

    rows: tuple[Item, ...]
    next: str | None = None
    newer: str | None = None


def paginate(
    rows: Callable[[Cursor | None, int], tuple[Item, ...]],
    cursor: Cursor | None,
    limit: int,
    cursor_of: Callable[[Item], Cursor],
) -> KeysetPage[Item]:
    """Up to `limit` rows beyond `cursor`; the first page where there is none, or nothing is left beyond it.

    `rows` gives that many rows beyond a cursor, nearest to it first; `place` the cursor of a row.
    """
    found = rows(cursor, limit + 1)
    more, shown = len(found) > limit, found[:limit]
    if cursor is None:
        return KeysetPage(shown, next=cursor_of(shown[-1]).encode() if more else None)
    # The top is near: a full first page, with whatever came meanwhile. Or what was beyond has gone.
    if not shown or (cursor.newer and not more):
        return paginate(rows, None, limit, cursor_of)
    if cursor.newer:
        shown = shown[::-1]
    follows = more or cursor.newer
    return KeysetPage(
        shown,
        next=cursor_of(shown[-1]).encode() if follows else None,
        newer=replace(cursor_of(shown[0]), newer=True).encode(),
    )


def after_cursor(found: Select[Any], cursor: Cursor | None, at: Mapped[Any], key: Mapped[Any]) -> Select[Any]:
    """`found` beyond `cursor`, nearest to it first; `at` and `key` are the columns of a row's place."""
    if cursor and cursor.newer:
        return found.where(tuple_(at, key) > (cursor.at, cursor.id)).order_by(at, key)
    if cursor:
        found = found.where(tuple_(at, key) < (cursor.at, cursor.id))
    return found.order_by(at.desc(), key.desc())
