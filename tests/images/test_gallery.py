"""The gallery: users see and change only their own images, and lists miss or repeat none."""

from __future__ import annotations

import io
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import count
from threading import Event, Lock, Semaphore
from typing import Any

import pytest
from PIL import Image as Pillow
from sqlalchemy import event

from core.accounts.audit_log import AuditLog
from core.common.clock import utc_now
from core.common.ids import new_id
from core.database.database import Database
from core.database.models import Image, User
from core.database.pagination import Cursor
from core.errors import FileDamaged, ImageNotFound, StorageFull
from core.images.downloads import download_file_name
from core.images.gallery import THUMBNAILS_AT_ONCE, Gallery
from core.images.gallery_queries import Filters, Page
from core.images.image_files import verify_image
from core.prompts.recipe import Recipe
from core.storage.folder import FolderStorage
from core.storage.keys import thumbnail_key
from core.storage.storage import Storage
from tests.support.gallery import FOX, Keeper, plans_of
from tests.support.generation import ON_BOTH_STORES
from tests.support.hostile_uploads import saved
from tests.support.images import plain_png

TRASH = Filters(trash=True)
DAMAGED_CURSORS: dict[str, str] = {
    "empty": "",
    "not ours": "abc",
    "no id": "PjIwMjYtMDUtMDE",
    "odd characters": "é\0",
    "nul": urlsafe_b64encode(b">2026-05-01T00:00:00|a\0").decode(),
    "before all time": urlsafe_b64encode(b">0001-01-01T00:00:00+23:59|a").decode(),
    "sql": "%s' OR 1=1 --",
    "long": "A" * 10_000,
}
NO_IDS = ("", "\0", "\ud83e", "x" * 10_000, "' OR 1=1 --", "../x")
SOUGHT = Recipe(
    prompt="100% of a_b \\ c \"quoted\" 'single' 🦊 Straße, naïve, ﬁne, ΣΊΣΥΦΟΣ, İSTANBUL, Isparta",
    model="m",
    name="Café Élan",
    traits=("replaced trait",),
    base_prompt="a replaced description",
    enhanced_prompt="a replaced prompt",
    style="watercolour",
)
SEARCHES: dict[str, tuple[str, Any]] = {
    "nothing": ("", True),
    "blanks": ("   ", True),
    "percent": ("100%", True),
    "percent is no wildcard": ("10%0", False),
    "underscore": ("a_b", True),
    "underscore is no wildcard": ("q_oted", False),
    "backslash": ("\\", True),
    "backslash escapes nothing": ("\\%", False),
    "slash": ("/", False),
    "double quotes": ('"quoted"', True),
    "single quotes": ("'single'", True),
    "sql": ("' OR '1'='1", False),
    "emoji": ("🦊", True),
    "another emoji": ("🐺", False),
    "upper case": ("QUOTED", True),
    "sharp s": ("straße", True),
    "sharp s in capitals": ("STRASSE", True),
    "accent": ("café", True),
    "accent, composed otherwise": ("cafe\u0301", True),
    "accent in capitals": ("ÉLAN", True),
    "ligature": ("fine", True),
    "greek final sigma": ("σίσυφος", True),
    "i without a second dot": ("istanbul", True),
    "i with a dot, in capitals": ("İstanbul", True),
    "i without a dot": ("ısparta", True),
    "what it wasn't made from": ("replaced", False),
    "label of the style": ("watercolour", True),
    "all words, any order": ("naïve 100% straße", True),
    "one word missing": ("naïve wolf", False),
    "nul": ("a\0b", False),
    "half an emoji": ("\ud83e", False),
    "very long word": ("é" * 100_000, False),
    "very many words": ("quoted " * 5_000, True),
}
FILE_NAMES: dict[str, tuple[str, Any]] = {
    "plain": ("Vixen", "Vixen"),
    "from the prompt": ("", "a-fox-in-the-snow"),
    "a path": ("../../etc/passwd", "etc-passwd"),
    "signs no system takes": ('a<b>:"/\\|?*\n\0c', "a-b-c"),
    "letters of any language": ("Füchsin 狐 🦊", "Füchsin-狐"),
    "a device of Windows": ("CON", "CON"),
    "dots alone": ("..", "image"),
    "turned around": ("\u202egpj.exe", "gpj-exe"),
    "a formula": ("=cmd()", "cmd"),
    "too long": ("狐" * 500, "狐" * 60),
    "too many bytes": ("𠀀" * 500, "𠀀" * 55),
    "vowel signs": ("हिन्दी कला", "हिन्दी-कला"),
    "pulli": ("தமிழ் ஓவியம்", "தமிழ்-ஓவியம்"),
    "points": ("שָׁלוֹם", "שָׁלוֹם"),
    "vowel marks": ("مُحَمَّد", "مُحَمَّد"),
    "a joiner inside a word": ("می\u200cخواهم", "می\u200cخواهم"),
    "a joiner after a word": ("क्\u200d 🦊\u200d🔥", "क्"),
    "marks without a letter": ("\u0301 🦊\ufe0f fox", "fox"),
    "cut between two letters": ("क" * 59 + "क्षि", "क" * 59),
}
PLANS = {
    "all": (Filters(), "ix_images_live"),
    "favourites": (Filters(favourites=True), "ix_images_favourite"),
    "style": (Filters(style="ink"), "ix_images_style"),
    "model": (Filters(model="m"), "ix_images_model"),
    "search": (Filters(search="fox"), "ix_images_live"),
    "trash": (TRASH, "ix_images_trash"),
}


@dataclass
class Clock:
    now: datetime = datetime(2026, 5, 1, 12, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gallery(database: Database, storage: Storage, clock: Clock) -> Gallery:
    return Gallery(database, storage, AuditLog(database, clock=clock), trash_days=30, clock=clock)


@pytest.fixture
def keep(gallery: Gallery, database: Database, storage: Storage) -> Callable[..., Image]:
    """`keep(user, recipe, **changes)` stores an image and its row, as a finished job does."""
    return Keeper(gallery, database, storage).keep


def ids(found: Page | tuple[Image, ...]) -> list[str]:
    return [image.id for image in (found.images if isinstance(found, Page) else found)]


def walk(gallery: Gallery, user: User, filters: Filters = Filters(), limit: int = 3) -> Iterator[Page]:  # noqa: B008
    after: str | None = None
    while True:
        page = gallery.page(user.id, filters, after=after, limit=limit)
        yield page
        after = page.next
        if after is None:
            return


def test_an_image_keeps_its_recipe(gallery: Gallery, keep: Callable[..., Image], user: User) -> None:
    recipe = Recipe(
        prompt="a fox, quietly",
        model="gpt-image-2",
        name="Vixen",
        traits=("red", "sly"),
        base_prompt="fox",
        enhanced_prompt="a red fox, sly",
        style="ink",
        size="1024x1024",
        quality="high",
    )
    made = {"sent_prompt": "s", "revised_prompt": "r", "price_micros": 2**40, "seconds": 1.5, "offline": True}
    image = gallery.get(user.id, keep(user, recipe, **made).id)
    kept = {name: getattr(image, name) for name in recipe.to_json()}
    assert kept == recipe.to_json()
    assert {name: getattr(image, name) for name in made} == made
    assert (image.width, image.height, image.mime) == (20, 10, "image/png")
    assert image.sha256 == sha256(gallery.original(user.id, image.id)).hexdigest()


def test_adding_the_same_file_again_gives_the_first_row(
    gallery: Gallery, keep: Callable[..., Image], user: User
) -> None:
    first = keep(user, job_id="job")
    second = keep(user, replace(FOX, name="again"), job_id="job")
    assert second.id == first.id
    assert second.name == ""
    assert gallery.count(user.id) == 1


def test_a_file_added_from_many_places_at_once_has_one_row(
    gallery: Gallery, keep: Callable[..., Image], user: User
) -> None:
    with ThreadPoolExecutor(8) as threads:
        added = list(threads.map(lambda _: keep(user, job_id="job"), range(16)))
    assert len(set(ids(tuple(added)))) == gallery.count(user.id) == 1


def test_an_image_is_added_in_the_callers_transaction(
    gallery: Gallery, database: Database, keep: Callable[..., Image], user: User
) -> None:
    @contextmanager
    def broken() -> Iterator[Any]:
        with database.write() as session:
            yield session
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), broken() as session:
        gallery.add(
            session,
            owner_id=user.id,
            job_id="j",
            recipe=FOX,
            info=verify_image(plain_png()),
            file_key="k",
            index=0,
            file_bytes=1,
        )
    assert gallery.count(user.id) == 0


@pytest.mark.parametrize(
    "odd",
    [
        pytest.param("a\0b", id="nul"),
        pytest.param("a\ud83e", id="half an emoji"),
        pytest.param("\u202eevil", id="right to left"),
        pytest.param("x" * 100_000, id="very long"),
    ],
)
def test_no_character_in_a_prompt_loses_a_paid_image(
    gallery: Gallery, keep: Callable[..., Image], user: User, odd: str
) -> None:
    recipe = replace(FOX, name=odd, traits=(odd,), base_prompt=odd, enhanced_prompt=odd, prompt=odd)
    image = keep(user, recipe, revised_prompt=odd, sent_prompt=odd)
    assert ids(gallery.page(user.id)) == [image.id]
    assert gallery.download(user.id, image.id, with_prompt=True).data


def test_pages_are_complete_and_in_order_while_images_are_added(
    gallery: Gallery, keep: Callable[..., Image], user: User, clock: Clock
) -> None:
    """Half of the images have the same time, so that the id must decide their order."""
    expected = []
    for number in range(20):
        clock.now += timedelta(seconds=number % 2)
        expected.append(keep(user))
    expected.sort(key=lambda image: (image.created_at, image.id), reverse=True)
    seen: list[str] = []
    for page in walk(gallery, user):
        seen += ids(page)
        clock.now += timedelta(seconds=1)
        keep(user)
    assert seen == ids(tuple(expected))


def test_paging_back_shows_the_same_pages(gallery: Gallery, keep: Callable[..., Image], user: User) -> None:
    for _ in range(9):
        keep(user)
    there = list(walk(gallery, user))
    assert [len(page.images) for page in there] == [3, 3, 3]
    assert there[0].newer is None
    assert there[-1].next is None
    second = gallery.page(user.id, after=there[2].newer, limit=3)
    assert second == there[1]
    assert gallery.page(user.id, after=second.newer, limit=3) == there[0]


def test_paging_back_ends_on_a_full_first_page(
    gallery: Gallery, keep: Callable[..., Image], user: User, clock: Clock
) -> None:
    for _ in range(6):
        keep(user)
    second = list(walk(gallery, user))[1]
    clock.now += timedelta(seconds=1)
    fresh = keep(user)
    gallery.trash(user.id, *ids(second)[:1])
    first = gallery.page(user.id, after=second.newer, limit=4)
    assert ids(first)[0] == fresh.id
    assert len(first.images) == 4
    assert first.newer is None


def test_a_damaged_cursor_gives_the_first_page(
    gallery: Gallery, keep: Callable[..., Image], user: User, subtests: pytest.Subtests
) -> None:
    for _ in range(3):
        keep(user)
    for name, after in DAMAGED_CURSORS.items():
        with subtests.test(name):
            assert gallery.page(user.id, after=after, limit=2) == gallery.page(user.id, limit=2)


@pytest.mark.parametrize(("limit", "shown"), [(0, 1), (-5, 1), (2, 2), (10**9, 3)])
def test_the_page_size_is_bounded(
    gallery: Gallery, keep: Callable[..., Image], user: User, limit: int, shown: int
) -> None:
    for _ in range(3):
        keep(user)
    assert len(gallery.page(user.id, limit=limit).images) == shown


MINE: dict[str, Callable[[Gallery, str, Image], object]] = {
    "get": lambda gallery, owner, image: gallery.get(owner, image.id),
    "original": lambda gallery, owner, image: gallery.original(owner, image.id),
    "thumbnail": lambda gallery, owner, image: gallery.thumbnail(owner, image.id),
    "download": lambda gallery, owner, image: gallery.download(owner, image.id, with_prompt=True),
    "favourite": lambda gallery, owner, image: gallery.change(owner, image.id, favourite=True),
    "trash": lambda gallery, owner, image: gallery.trash(owner, image.id),
    "restore": lambda gallery, owner, image: gallery.restore(owner, image.id),
}


@pytest.mark.parametrize("use", MINE.values(), ids=MINE)
def test_another_users_image_is_reported_as_missing(
    gallery: Gallery, keep: Callable[..., Image], user: User, other_user: User, use: Callable[..., object]
) -> None:
    image = keep(user)
    gallery.thumbnail(user.id, image.id)
    with pytest.raises(ImageNotFound) as theirs:
        use(gallery, other_user.id, image)
    with pytest.raises(ImageNotFound) as unknown:
        use(gallery, other_user.id, replace_id(image))
    assert str(theirs.value) == str(unknown.value)
    assert gallery.get(user.id, image.id) == image
    use(gallery, user.id, image)


def test_an_invalid_id_is_reported_as_missing(
    gallery: Gallery, user: User, subtests: pytest.Subtests
) -> None:
    for odd in NO_IDS:
        with subtests.test(ascii(odd)[:40]):
            for use in (gallery.get, gallery.thumbnail, gallery.trash):
                with pytest.raises(ImageNotFound):
                    use(user.id, odd)
            assert gallery.count(user.id, Filters(style=odd, model=odd)) == 0


def replace_id(image: Image) -> Image:
    return Image(**image.model_dump() | {"id": new_id()})


LISTS: dict[str, Callable[[Gallery, str], object]] = {
    "page": lambda gallery, owner: gallery.page(owner).images,
    "search": lambda gallery, owner: gallery.page(owner, Filters(search="fox")).images,
    "trash": lambda gallery, owner: gallery.page(owner, TRASH).images,
    "favourites": lambda gallery, owner: gallery.page(owner, Filters(favourites=True)).images,
    "count": lambda gallery, owner: gallery.count(owner),
    "choices": lambda gallery, owner: gallery.styles_and_models(owner).models,
}


@pytest.mark.parametrize("listed", LISTS.values(), ids=LISTS)
def test_lists_show_only_the_owners_images(
    gallery: Gallery, keep: Callable[..., Image], user: User, other_user: User, listed: Callable[..., object]
) -> None:
    gallery.change(user.id, keep(user, job_id="job").id, favourite=True)
    gallery.trash(user.id, keep(user).id)
    assert listed(gallery, user.id)
    assert not listed(gallery, other_user.id)


def deleted(gallery: Gallery, user: User, page: Page) -> None:
    gallery.trash(user.id, *ids(page))


def brought_back(gallery: Gallery, user: User, page: Page) -> None:
    gallery.restore(user.id, *ids(page))


@pytest.mark.parametrize(("filters", "leave"), [(Filters(), deleted), (TRASH, brought_back)])
def test_a_page_whose_images_are_gone_becomes_the_first_page(
    gallery: Gallery, keep: Callable[..., Image], user: User, filters: Filters, leave: Callable[..., None]
) -> None:
    for _ in range(5):
        gallery.trash(user.id, keep(user).id) if filters.trash else keep(user)
    first = gallery.page(user.id, filters, limit=4)
    leave(gallery, user, gallery.page(user.id, filters, after=first.next, limit=4))
    assert gallery.page(user.id, filters, after=first.next, limit=4) == replace(first, next=None)
    leave(gallery, user, first)
    assert gallery.page(user.id, filters, after=first.next, limit=4) == Page(())


def test_a_cursor_of_another_user_shows_only_ones_own_images(
    gallery: Gallery, keep: Callable[..., Image], user: User, other_user: User
) -> None:
    for _ in range(4):
        keep(user)
    after = gallery.page(user.id, limit=2).next
    assert after
    assert gallery.page(other_user.id, after=after).images == ()


def test_a_change_that_includes_another_users_image_changes_nothing(
    gallery: Gallery, keep: Callable[..., Image], user: User, other_user: User
) -> None:
    mine, theirs = keep(user), keep(other_user)
    with pytest.raises(ImageNotFound):
        gallery.trash(user.id, mine.id, theirs.id)
    assert gallery.count(user.id) == gallery.count(other_user.id) == 1


def test_a_file_of_another_user_is_not_added(
    keep: Callable[..., Image], user: User, other_user: User
) -> None:
    keep(user, job_id="job")
    with pytest.raises(ImageNotFound):
        keep(other_user, job_id="job")


def test_search_matches_words_as_people_type_them(
    gallery: Gallery, keep: Callable[..., Image], user: User, subtests: pytest.Subtests
) -> None:
    keep(user, SOUGHT)
    for name, (search, found) in SEARCHES.items():
        with subtests.test(name):
            filters = Filters(search=search)
            assert bool(gallery.page(user.id, filters).images) is found
            assert gallery.count(user.id, filters) == int(found)


def test_search_reaches_the_oldest_image(
    gallery: Gallery, keep: Callable[..., Image], user: User, clock: Clock
) -> None:
    oldest = keep(user, replace(FOX, prompt="a needle"))
    for _ in range(30):
        clock.now += timedelta(days=1)
        keep(user)
    assert ids(gallery.page(user.id, Filters(search="needle"))) == [oldest.id]


def test_filters_can_be_combined(gallery: Gallery, keep: Callable[..., Image], user: User) -> None:
    ink = keep(user, replace(FOX, style="ink"))
    oil = keep(user, replace(FOX, style="oil"))
    other = keep(user, replace(FOX, style="ink", model="dall-e-3"))
    gallery.change(user.id, ink.id, favourite=True)
    gallery.change(user.id, oil.id, favourite=True)
    both = Filters(search="fox", style="ink", model="gpt-image-2", favourites=True)
    assert ids(gallery.page(user.id, both)) == [ink.id]
    assert set(ids(gallery.page(user.id, Filters(style="ink")))) == {ink.id, other.id}
    assert set(ids(gallery.page(user.id, Filters(favourites=True)))) == {ink.id, oil.id}
    assert gallery.count(user.id, Filters(model="dall-e-3")) == 1


def test_filters_offer_only_styles_and_models_with_images(
    gallery: Gallery, keep: Callable[..., Image], user: User
) -> None:
    keep(user)
    for style, model in (("oil", "b"), ("ink", "a"), ("oil", "a")):
        keep(user, replace(FOX, style=style, model=model))
    gone = keep(user, replace(FOX, style="clay", model="z"))
    gallery.trash(user.id, gone.id)
    choices = gallery.styles_and_models(user.id)
    assert choices.styles == ("ink", "oil")
    assert choices.models == ("a", "b", "gpt-image-2")


def test_a_favourite_can_be_unmarked(gallery: Gallery, keep: Callable[..., Image], user: User) -> None:
    image = keep(user)
    for on in (True, True, False, False):
        gallery.change(user.id, image.id, favourite=on)
        assert gallery.get(user.id, image.id).favourite is on
        assert gallery.count(user.id, Filters(favourites=True)) == int(on)


def test_the_trash_lists_the_latest_deleted_first_and_restores(
    gallery: Gallery, keep: Callable[..., Image], user: User, clock: Clock
) -> None:
    images = [keep(user) for _ in range(7)]
    for image in images:
        clock.now += timedelta(minutes=1)
        gallery.trash(user.id, image.id)
    assert gallery.count(user.id) == 0
    walked = [image_id for page in walk(gallery, user, TRASH) for image_id in ids(page)]
    assert walked == [image.id for image in reversed(images)]
    gallery.restore(user.id, *walked)
    assert gallery.count(user.id, TRASH) == 0
    assert set(ids(gallery.page(user.id))) == set(walked)


def test_deleting_again_does_not_restart_the_retention(
    gallery: Gallery, keep: Callable[..., Image], user: User, clock: Clock
) -> None:
    image = keep(user)
    gallery.trash(user.id, image.id, image.id)
    first = gallery.get(user.id, image.id).trashed_at
    assert first == clock.now
    clock.now += timedelta(days=1)
    gallery.trash(user.id, image.id)
    assert gallery.get(user.id, image.id).trashed_at == first


@ON_BOTH_STORES
def test_purging_deletes_rows_and_files_of_old_trash_only(
    gallery: Gallery, keep: Callable[..., Image], storage: Storage, user: User, clock: Clock
) -> None:
    kept, old, young = (keep(user) for _ in range(3))
    for image in (kept, old, young):
        gallery.thumbnail(user.id, image.id)
    gallery.trash(user.id, old.id)
    clock.now += timedelta(days=1)
    gallery.trash(user.id, young.id)
    day_30 = old.created_at + timedelta(days=30)
    assert sum(gallery.purge(day_30 - timedelta(seconds=1))) == 0
    assert sum(gallery.purge(day_30)) == 1
    assert sum(gallery.purge(day_30)) == 0
    with pytest.raises(ImageNotFound):
        gallery.restore(user.id, old.id)
    files = {*storage.list("images"), *storage.list("thumbnails")}
    assert files == {file for image in (kept, young) for file in (image.file_key, thumbnail_key(image.id))}


@ON_BOTH_STORES
def test_purging_works_through_many_batches(
    gallery: Gallery, keep: Callable[..., Image], user: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.images.gallery.PURGE_BATCH", 2)
    gallery.trash(user.id, *(keep(user).id for _ in range(5)))
    assert sum(gallery.purge(clock.now + timedelta(days=31))) == 5
    assert gallery.count(user.id, TRASH) == 0


def test_two_concurrent_purges_delete_each_image_once(
    gallery: Gallery, keep: Callable[..., Image], user: User, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("core.images.gallery.PURGE_BATCH", 3)
    gallery.trash(user.id, *(keep(user).id for _ in range(12)))
    with ThreadPoolExecutor(2) as threads:
        later = clock.now + timedelta(days=31)
        purged = list(threads.map(lambda _: sum(gallery.purge(later)), range(2)))
    assert sum(purged) == 12


@ON_BOTH_STORES
def test_a_thumbnail_is_created_once_and_again_when_it_is_missing(
    gallery: Gallery, keep: Callable[..., Image], storage: Storage, user: User
) -> None:
    image = keep(user, data=plain_png(1024, 600))
    first = gallery.thumbnail(user.id, image.id)
    with Pillow.open(io.BytesIO(first)) as small:
        assert (small.format, small.size) == ("WEBP", (512, 300))
    storage.put(thumbnail_key(image.id), b"from the store")
    assert gallery.thumbnail(user.id, image.id) == b"from the store"
    storage.delete(thumbnail_key(image.id))
    assert gallery.thumbnail(user.id, image.id) == first


def test_at_most_two_thumbnails_are_created_at_a_time_and_each_once(
    gallery: Gallery, keep: Callable[..., Image], user: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, at_once = Semaphore(0), list[int]()
    gate, guard, working = Event(), Lock(), [0]

    def slow(data: bytes) -> bytes:
        with guard:
            working[0] += 1
            at_once.append(working[0])
        begun.release()
        gate.wait()
        with guard:
            working[0] -= 1
        return b"RIFF"

    monkeypatch.setattr("core.images.image_files.thumbnail", slow)
    images = [keep(user, data=plain_png(64 + number, 64)) for number in range(3)]
    with ThreadPoolExecutor(12) as pool:
        asked = [pool.submit(gallery.thumbnail, user.id, image.id) for image in images * 4]
        for _ in range(THUMBNAILS_AT_ONCE):
            begun.acquire()
        gate.set()
        assert {each.result() for each in asked} == {b"RIFF"}
    assert max(at_once) == THUMBNAILS_AT_ONCE
    assert len(at_once) <= THUMBNAILS_AT_ONCE * len(images)


class FullStorage(FolderStorage):
    def put(self, key: str, data: bytes) -> None:
        raise StorageFull


def test_a_full_disk_hides_no_image(
    database: Database, keep: Callable[..., Image], storage: Storage, user: User
) -> None:
    image = keep(user)
    full = Gallery(database, FullStorage(storage.root), AuditLog(database))
    assert full.thumbnail(user.id, image.id).startswith(b"RIFF")


@ON_BOTH_STORES
@pytest.mark.parametrize("damage", [pytest.param(None, id="gone"), pytest.param(b"other", id="other bytes")])
def test_a_missing_or_damaged_original_is_reported(
    gallery: Gallery, keep: Callable[..., Image], storage: Storage, user: User, damage: bytes | None
) -> None:
    image = keep(user)
    gallery.check_file(user.id, image.id)
    storage.delete(image.file_key)
    if damage is not None:
        storage.put(image.file_key, damage)
    for use in (
        gallery.check_file,
        gallery.original,
        gallery.thumbnail,
        lambda *of: gallery.download(*of, with_prompt=False),
    ):
        with pytest.raises(FileDamaged):
            use(user.id, image.id)


def test_a_download_contains_the_prompt_only_on_request(
    gallery: Gallery, keep: Callable[..., Image], user: User
) -> None:
    image = keep(user, replace(FOX, style="ink"), sent_prompt="a fox, ink")
    with_prompt = gallery.download(user.id, image.id, with_prompt=True)
    with Pillow.open(io.BytesIO(with_prompt.data)) as copy:
        assert copy.info["prompt"] == FOX.prompt
        assert (
            copy.info["parameters"]
            == "a fox, ink\nModel: gpt-image-2, Style: ink, Size: 20x10, Quality: auto"
        )
    assert with_prompt.file_name.endswith("-with-prompt.png")
    without = gallery.download(user.id, image.id, with_prompt=False)
    assert without.data == gallery.original(user.id, image.id)
    assert without.mime == "image/png"


@pytest.mark.parametrize(("kind", "extension"), [("JPEG", "jpg"), ("WEBP", "webp")])
def test_a_download_without_a_prompt_in_it_has_no_name_that_says_so(
    gallery: Gallery, keep: Callable[..., Image], user: User, kind: str, extension: str
) -> None:
    image = keep(user, data=saved(kind, (20, 10)))
    download = gallery.download(user.id, image.id, with_prompt=True)
    assert download.data == gallery.original(user.id, image.id)
    assert download.file_name.endswith(f"-{image.id[:8]}.{extension}")


def test_file_names_are_safe_on_every_system(
    gallery: Gallery, keep: Callable[..., Image], user: User, subtests: pytest.Subtests
) -> None:
    for case, (name, stem) in FILE_NAMES.items():
        with subtests.test(case):
            image = keep(user, replace(FOX, name=name))
            file_name = gallery.download(user.id, image.id, with_prompt=False).file_name
            assert file_name == f"{stem}-{image.id[:8]}.png"
            assert len(file_name.encode()) <= 255


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        pytest.param("Füchsin 狐 im Schnee", "Fuchsin-im-Schnee", id="some letters"),
        pytest.param("हिन्दी कला", "image", id="no letter"),
        pytest.param('e\u0301te\u0301 "½"', "ete-12", id="accents and quotes"),
    ],
)
def test_a_download_has_a_name_in_ascii_too(name: str, stem: str) -> None:
    image = Image(id="0123456789abcdef", name=name, mime="image/png")
    assert download_file_name(image, ascii_only=True) == f"{stem}-01234567.png"


@pytest.mark.parametrize(("filters", "index"), PLANS.values(), ids=PLANS)
def test_lists_read_only_the_rows_that_they_show(
    sqlite_database: Database, storage: Storage, filters: Filters, index: str
) -> None:
    gallery, after = Gallery(sqlite_database, storage, AuditLog(sqlite_database)), _cursors()
    with plans_of(sqlite_database) as plans:
        for cursor in after:
            gallery.page("ada", filters, after=cursor)
        gallery.count("ada", filters)
    assert len(plans) >= 4
    for plan in plans:
        if plan == "SCAN search_index":  # which has one row
            continue
        assert plan.startswith("SEARCH images")
        assert f" INDEX {index} (owner_id=?" in plan
        assert "TEMP B-TREE" not in plan


def _cursors() -> tuple[str | None, ...]:
    return None, Cursor(utc_now(), "f").encode(), Cursor(utc_now(), "0", newer=True).encode()


def test_styles_and_models_use_their_index(sqlite_database: Database, storage: Storage) -> None:
    gallery = Gallery(sqlite_database, storage, AuditLog(sqlite_database))
    with plans_of(sqlite_database) as plans:
        gallery.styles_and_models("ada")
    expected = (
        "COVERING INDEX ix_images_style (owner_id=? AND style>?",
        "COVERING INDEX ix_images_model (owner_id=? AND model>?",
    )
    assert len(plans) == len(expected)
    assert all(part in plan for part, plan in zip(expected, plans, strict=True))


def test_existing_images_are_found_by_their_index(sqlite_database: Database, storage: FolderStorage) -> None:
    with plans_of(sqlite_database) as plans:
        Gallery(sqlite_database, storage, AuditLog(sqlite_database)).newest_by_recipe(
            "ada", [FOX, replace(FOX, prompt="an owl"), FOX]
        )
    assert len(plans) == 2
    for plan in plans:
        assert " INDEX ix_images_request (owner_id=? AND request_hash=?" in plan
        assert "TEMP B-TREE" not in plan


def test_each_style_and_model_takes_one_index_lookup(
    gallery: Gallery, database: Database, keep: Callable[..., Image], user: User
) -> None:
    for _ in range(12):
        keep(user, replace(FOX, style="ink"))
    steps = count()
    event.listen(database.engine, "before_cursor_execute", lambda *_: next(steps))
    gallery.styles_and_models(user.id)
    assert next(steps) <= 6
