"""The search index gives a search the same images as reading all of them, at any moment."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from random import Random
from typing import Any

import pytest
from sqlalchemy import event, insert, text

from core.accounts.audit_log import AuditLog
from core.common.clock import utc_now
from core.common.ids import new_id
from core.database.database import Database
from core.database.models import Image, User
from core.images.gallery import Gallery
from core.images.gallery_queries import Filters, Page, search_text
from core.images.image_files import ImageInfo
from core.images.search_index import SearchIndex
from core.prompts.recipe import Recipe
from core.storage.storage import Storage
from tests.support.gallery import Keeper

RECIPE = Recipe(prompt="a fox", model="gpt-image-2")
# Few letters, so that random words are found in random texts; in scripts with and without spaces.
LETTERS = "ab狐雪ñ1%_"


@pytest.fixture(autouse=True)
def read_by_the_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """A few images are enough: after the first two, a search asks the index."""
    monkeypatch.setattr("core.images.gallery_queries.SCANNED_IMAGES", 2)


@pytest.fixture
def gallery(database: Database, storage: Storage) -> Gallery:
    return Gallery(database, storage, AuditLog(database), trash_days=0)


@pytest.fixture
def keep(gallery: Gallery, database: Database, storage: Storage) -> Callable[..., Image]:
    return Keeper(gallery, database, storage).keep


@pytest.fixture
def prompts(keep: Callable[..., Image], user: User) -> Callable[..., list[Image]]:
    """`prompts(*texts)`: images with these prompts, the newest last."""
    return lambda *texts: [keep(user, replace(RECIPE, prompt=each)) for each in texts]


def pages(gallery: Gallery, owner_id: str, filters: Filters, limit: int) -> Iterator[Page]:
    page = gallery.page(owner_id, filters, limit=limit)
    yield page
    while page.next:
        page = gallery.page(owner_id, filters, limit=limit, after=page.next)
        yield page


def indexed(database: Database, user: User, *words: str) -> set[str]:
    """The ids of the images that the index itself holds for these words."""
    with database.read() as session:
        return set(session.scalars(SearchIndex(database).candidates(user.id, words)))


def test_a_search_finds_what_reading_all_images_finds(
    gallery: Gallery, prompts: Callable[..., list[Image]], user: User, subtests: pytest.Subtests
) -> None:
    chance = Random(7)

    def words(count: int, length: int) -> str:
        return " ".join("".join(chance.choices(LETTERS, k=length)) for _ in range(count))

    kept = prompts(*(words(3, 4) for _ in range(24)))
    searches = [words(chance.randint(1, 2), length) for length in (1, 2, 3, 4) for _ in range(12)]
    for search in [*searches, *(image.prompt for image in kept[::4])]:
        sought = search.split()
        wanted = [image for image in reversed(kept) if all(word in image.search for word in sought)]
        with subtests.test(search=search):
            filters = Filters(search=search)
            found = list(pages(gallery, user.id, filters, limit=3))
            assert [image.id for page in found for image in page.images] == [image.id for image in wanted]
            for page, older in itertools.pairwise(found):
                assert gallery.page(user.id, filters, limit=3, after=older.newer).images == page.images


def test_other_filters_and_the_trash_hold_in_a_search_by_the_index(
    gallery: Gallery, prompts: Callable[..., list[Image]], user: User, other_user: User
) -> None:
    fox, vixen, *_ = prompts("a fox", "a foxglove", "one", "two", "three")
    search = Filters(search="fox")
    assert [each.id for each in gallery.page(user.id, search).images] == [vixen.id, fox.id]
    gallery.change(user.id, fox.id, favourite=True)
    assert [each.id for each in gallery.page(user.id, replace(search, favourites=True)).images] == [fox.id]
    gallery.trash(user.id, fox.id)
    assert [each.id for each in gallery.page(user.id, search).images] == [vixen.id]
    assert [each.id for each in gallery.page(user.id, replace(search, trash=True)).images] == [fox.id]
    assert gallery.page(other_user.id, search).images == ()


def test_the_index_follows_a_new_name_and_forgets_a_deleted_image(
    gallery: Gallery, prompts: Callable[..., list[Image]], database: Database, user: User
) -> None:
    fox, *_ = prompts("a fox", "one", "two", "three")
    assert indexed(database, user, "fox") == {fox.id}
    gallery.change(user.id, fox.id, name="Vixen")
    assert indexed(database, user, "vixen") == {fox.id}
    gallery.change(user.id, fox.id, name="Owl")
    assert (indexed(database, user, "vixen"), indexed(database, user, "owl")) == (set(), {fox.id})
    gallery.trash(user.id, fox.id)
    assert list(gallery.purge(utc_now() + timedelta(days=1))) == [1]
    assert indexed(database, user, "owl") == indexed(database, user, "fox") == set()


def test_an_image_whose_transaction_fails_isnt_in_the_index(
    gallery: Gallery, database: Database, user: User
) -> None:
    def add_and_fail() -> None:
        info = ImageInfo("image/png", 8, 8, "0" * 64)
        with database.write() as session:
            gallery.add(
                session, owner_id=user.id, job_id="job", recipe=RECIPE, info=info, file_key="images/job/0",
                index=0, file_bytes=1,
            )  # fmt: skip
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        add_and_fail()
    assert indexed(database, user, "fox") == set()


def stored_text(image: Image) -> str:
    return search_text(image)


def test_images_of_an_earlier_release_are_found_before_and_after_they_are_indexed(
    gallery: Gallery, prompts: Callable[..., list[Image]], database: Database, user: User,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr("core.images.search_index.IMAGES_PER_STEP", 2)
    fox, *_, owl = prompts("a fox", "one", "two", "three", "an owl")
    with database.write() as session:
        # Another release has stored another text.
        session.get_one(Image, owl.id).search = "an owl and a wolf"
        for table in ("search_entries", "search_grams") if database.is_sqlite else ("search_entries",):
            # A contentless table of FTS5 is emptied by a command.
            command = f"INSERT INTO {table} ({table}) VALUES ('delete-all')"
            session.execute(text(command if table == "search_grams" else f"DELETE FROM {table}"))
    stopped = SearchIndex(database)
    stopped.mark_incomplete()
    upgraded = Gallery(database, gallery._storage, AuditLog(database))
    next(stopped.complete(stored_text))  # and the process is killed

    def found(search: str) -> list[str]:
        return [each.id for each in upgraded.page(user.id, Filters(search=search)).images]

    assert (found("fox"), found("owl")) == ([fox.id], [owl.id])
    upgraded.change(user.id, owl.id, name="Hooter")
    assert list(SearchIndex(database).complete(stored_text))
    assert (indexed(database, user, "fox"), indexed(database, user, "hooter")) == ({fox.id}, {owl.id})
    assert (found("fox"), found("owl"), found("hooter")) == ([fox.id], [owl.id], [owl.id])
    assert found("wolf") == []
    assert list(SearchIndex(database).complete(stored_text)) == []


def test_a_search_reads_the_index_and_no_other_images(
    gallery: Gallery, prompts: Callable[..., list[Image]], database: Database, user: User
) -> None:
    """PostgreSQL would read a small table whole, so there are a thousand images, and it is told not to."""
    one, _ = prompts("one", "a fox")
    copies = [one.model_dump() | {"id": new_id(), "file_key": new_id()} for _ in range(1_000)]
    with database.write() as session:
        session.execute(insert(Image), copies)
    index = SearchIndex(database)
    index.mark_incomplete()
    assert list(index.complete(stored_text))
    statements: list[tuple[str, Any]] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _connection, _cursor, statement, values, *_: statements.append((statement, values)),
    )
    gallery.page(user.id, Filters(search="fox"))
    statement, values = statements[-1]
    with database.engine.connect() as connection:
        connection.execute(text("ANALYZE"))
        if not database.is_sqlite:
            # As autovacuum does, before which the new entries are read one by one.
            connection.execute(text("SELECT gin_clean_pending_list('ix_search_entries_grams')"))
            connection.execute(text("SET enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN " if database.is_sqlite else "EXPLAIN "
        plan = "\n".join(str(row[-1]) for row in connection.exec_driver_sql(explain + statement, values))
    for name in ("search_grams", "autoindex_images") if database.is_sqlite else ("ix_search_entries_grams",):
        assert name in plan
    assert "ix_images_live" not in plan
