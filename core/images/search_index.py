"""The index of the gallery's search: which images may contain the words that a user looks for.

A gram is a piece of a word, one to three characters long. The index says which of a user's images contain a
gram. SQLite's FTS5 and PostgreSQL's GIN store the grams as numbers. Two grams may share a number, so the
index returns candidates, whose texts the query still compares. The numbers differ from user to user: a word
that is common among all users' images costs a user nothing who has it in few.

An image's entry is written in the transaction that writes its row. Images of earlier releases are added in
the background; until that has ended, the search reads the images themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from zlib import crc32

from sqlalchemy import Select, bindparam, column, delete, select, table, text, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import Boolean, Integer, String
from sqlmodel import Session, col

from core.database.database import Database
from core.database.models import Image

GRAM_LENGTH = 3
# Few enough that other writers of SQLite wait for about a tenth of a second.
IMAGES_PER_STEP = 50
# More grams of a long query would find hardly fewer candidates.
MAX_QUERY_GRAMS = 32
_ENTRIES = table("search_entries", column("id"), column("image_id", String), column("grams", ARRAY(Integer)))
_FTS = table("search_grams", column("rowid"), column("search_grams"))
_STATE = table("search_index", column("complete", Boolean))


class SearchIndex:
    """The search index in `database`. The methods take the session of the caller's transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._complete = False

    def is_complete(self, session: Session) -> bool:
        """Whether the index has all images."""
        if not self._complete:
            self._complete = bool(session.scalar(select(_STATE.c.complete)))
        return self._complete

    def candidates(self, owner_id: str, words: Collection[str]) -> Select[tuple[str]]:
        """Return a query for the ids of the user's images that may contain all `words`.

        The words are folded and hold no white space.
        """
        grams = sorted(set().union(*(_query_grams(owner_id, word) for word in words)))[:MAX_QUERY_GRAMS]
        found = select(_ENTRIES.c.image_id)
        if self._database.is_sqlite:
            matching = _FTS.c.search_grams.op("MATCH")(bindparam(None, " ".join(map(_token, grams))))
            return found.join(_FTS, _FTS.c.rowid == _ENTRIES.c.id).where(matching)
        return found.where(_ENTRIES.c.grams.op("@>")(bindparam(None, grams, ARRAY(Integer))))

    def add(self, session: Session, image_id: str, owner_id: str, search: str) -> None:
        """Add the image to the index, unless it is there. `search` is the text that is searched."""
        self._add(session, image_id, index_grams(owner_id, search))

    def change(self, session: Session, image: Image, search: str) -> None:
        """Replace the image's text in the index by `search`. `image` still has the earlier text."""
        self.remove(session, image.id, image.owner_id, image.search)
        self.add(session, image.id, image.owner_id, search)

    def remove(self, session: Session, image_id: str, owner_id: str, search: str) -> None:
        """Remove the image from the index, if it is there. `search` is the text with which it was added."""
        removed = delete(_ENTRIES).where(_ENTRIES.c.image_id == image_id)
        if not self._database.is_sqlite:
            session.execute(removed)
            return
        row = session.scalar(removed.returning(_ENTRIES.c.id))
        if row is not None:
            # FTS5 keeps no copy of the grams, and must be told which ones to remove.
            session.execute(
                text("INSERT INTO search_grams (search_grams, rowid, grams) VALUES ('delete', :row, :grams)"),
                {"row": row, "grams": _document(index_grams(owner_id, search))},
            )

    def mark_incomplete(self) -> None:
        """Note that images are added to the database by other means. The next start completes the index."""
        with self._database.write() as session:
            session.execute(update(_STATE).values(complete=False))
        self._complete = False

    def complete(self, text_of: Callable[[Image], str]) -> Iterator[None]:
        """Add all images that the index doesn't have. Each step adds a few in a transaction of its own.

        `text_of` returns the text of an image that is searched. An image of an earlier release may have
        another one stored, which is replaced. Several processes may do this at once, and the work may stop
        after any step.
        """
        with self._database.read() as session:
            if self.is_complete(session):
                return
        last = ""
        while pending := self._images_after(last):
            self._add_missing(pending, text_of)
            last = pending[-1].id
            yield
        with self._database.write() as session:
            session.execute(update(_STATE).values(complete=True))

    def _images_after(self, last: str) -> list[Image]:
        """Return the IMAGES_PER_STEP images that follow the id `last`."""
        rows = select(Image).where(col(Image.id) > last).order_by(col(Image.id)).limit(IMAGES_PER_STEP)
        with self._database.read() as session:
            return list(session.scalars(rows))

    def _add_missing(self, pending: list[Image], text_of: Callable[[Image], str]) -> None:
        """Add the images `pending` that the index doesn't have. Skip those that are gone."""
        ids = [image.id for image in pending]
        with self._database.read() as session:
            known = set(session.scalars(select(_ENTRIES.c.image_id).where(_ENTRIES.c.image_id.in_(ids))))
        missing = {}
        for image in pending:
            if image.id not in known:
                search = text_of(image)
                missing[image.id] = (image.name, search, index_grams(image.owner_id, search))
        if not missing:
            return
        with self._database.write() as session:
            found = select(Image).where(col(Image.id).in_(missing)).with_for_update()
            for image in session.scalars(found):
                earlier_name, search, grams = missing[image.id]
                if image.name != earlier_name:
                    # Only the name of an image can have changed meanwhile.
                    search = text_of(image)
                    grams = index_grams(image.owner_id, search)
                image.search = search
                self._add(session, image.id, grams)

    def _add(self, session: Session, image_id: str, grams: Collection[int]) -> None:
        key = {"image": image_id}
        if not self._database.is_sqlite:
            insert = text(
                "INSERT INTO search_entries (image_id, grams) VALUES (:image, CAST(:grams AS integer[]))"
                " ON CONFLICT DO NOTHING"
            )
            session.execute(insert, key | {"grams": list(grams)})
            return
        insert = text(
            "INSERT INTO search_entries (image_id) VALUES (:image) ON CONFLICT DO NOTHING RETURNING id"
        )
        row = session.scalar(insert, key)
        if row is not None:
            session.execute(
                text("INSERT INTO search_grams (rowid, grams) VALUES (:row, :grams)"),
                {"row": row, "grams": _document(grams)},
            )


def index_grams(owner_id: str, search: str) -> set[int]:
    """Return the numbers of all grams of `search`, as signed integers of 32 bits."""
    words = set(search.split())
    pieces = {
        word[start : start + length]
        for word in words
        for length in range(1, GRAM_LENGTH + 1)
        for start in range(len(word) - length + 1)
    }
    return _numbers(owner_id, pieces)


def _query_grams(owner_id: str, word: str) -> set[int]:
    """Return the numbers of some grams that together cover `word`."""
    starts = {*range(0, max(len(word) - GRAM_LENGTH, 0), GRAM_LENGTH), max(len(word) - GRAM_LENGTH, 0)}
    return _numbers(owner_id, {word[start : start + GRAM_LENGTH] for start in starts})


def _numbers(owner_id: str, pieces: Iterable[str]) -> set[int]:
    seed = crc32(owner_id.encode())
    return {crc32(piece.encode(), seed) - 2**31 for piece in pieces}


def _token(gram: int) -> str:
    return f"{gram + 2**31:08x}"


def _document(grams: Iterable[int]) -> str:
    return " ".join(map(_token, grams))
