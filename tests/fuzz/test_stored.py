"""What comes back from a table, a disk, an address or a backup file, whoever wrote it there."""

from __future__ import annotations

import json
import tarfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example
from hypothesis import strategies as st
from sqlalchemy import select
from sqlmodel import col

from core import errors
from core.accounts.audit_log import AuditLog
from core.common.ids import new_id
from core.common.text import fold_case, storable_text
from core.database.database import Database
from core.database.models import Image, User
from core.database.pagination import Cursor
from core.enhancement.drafts import DraftState, PromptVersion
from core.errors.stored import StoredError
from core.generation.ingest import ResponseMetadata
from core.images.gallery import Gallery
from core.images.gallery_queries import Filters
from core.images.image_files import ImageInfo
from core.maintenance import backup_archive
from core.maintenance.integrity import FOLDERS, _parse
from core.prompts.recipe import Recipe
from core.prompts.request import EnhancementLevel
from core.storage.folder import FolderStorage, open_folder
from core.storage.keys import thumbnail_key
from core.storage.storage import StoredFile, check_key
from tests.support.fuzz_inputs import any_text, fuzz, json_of, words_of

kept_text = any_text.map(storable_text)
texts = st.lists(kept_text, max_size=3).map(tuple)
recipes = st.builds(
    Recipe, prompt=kept_text, model=kept_text, name=kept_text, traits=texts, base_prompt=kept_text,
    enhanced_prompt=kept_text, style=st.none() | kept_text, size=kept_text, quality=kept_text,
)  # fmt: skip
RECIPE_NAMES = tuple(Recipe.__dataclass_fields__)
DRAFT_NAMES = (*DraftState.__dataclass_fields__, *PromptVersion.__dataclass_fields__)


def through_json(value: Any) -> Any:
    return json.loads(json.dumps(value))


# Recipes, drafts, errors, figures


@fuzz(recipe=recipes)
def test_a_recipe_comes_back_as_it_was(recipe: Recipe) -> None:
    stored = through_json(recipe.to_json())
    assert Recipe.from_json(stored) == Recipe.from_any_version(stored) == recipe
    assert len(recipe.request_hash) == 64


@fuzz(stored=st.dictionaries(st.sampled_from([*RECIPE_NAMES, "more"]), json_of(), max_size=6))
def test_a_recipe_of_another_version_is_refused_or_read(stored: dict[str, Any]) -> None:
    with suppress(errors.RecipeUnreadable):
        assert set(Recipe.from_json(stored).to_json()) <= set(RECIPE_NAMES)


drafts = st.builds(
    DraftState, name=kept_text, traits=texts, base_prompt=kept_text, style=kept_text,
    enhancement=st.sampled_from(EnhancementLevel), guidance=kept_text, prompt=kept_text,
    enhanced_prompt=kept_text,
    versions=st.lists(st.builds(PromptVersion, text=kept_text, source=kept_text, at=kept_text),
        max_size=3).map(tuple),
    model=st.none() | kept_text, images=st.integers(), many=st.booleans(), variation=st.integers(0, 2**40),
)  # fmt: skip


@fuzz(draft=drafts)
def test_a_draft_comes_back_as_it_was(draft: DraftState) -> None:
    assert DraftState.from_json(through_json(draft.to_json())) == draft


@fuzz(draft=drafts, more=st.dictionaries(kept_text, json_of(), max_size=3))
def test_a_draft_of_another_version_keeps_what_is_known(draft: DraftState, more: dict[str, Any]) -> None:
    unknown = {name: value for name, value in more.items() if name not in DRAFT_NAMES}
    assert DraftState.from_json(through_json(draft.to_json() | unknown)) == draft


@fuzz(
    error=st.builds(
        StoredError, code=kept_text, message=kept_text, suggestions=texts, details=kept_text,
        retryable=st.booleans(),
    )
)  # fmt: skip
def test_a_jobs_error_comes_back_as_it_was(error: StoredError) -> None:
    assert StoredError.from_json(through_json(asdict(error))) == error


counts = st.none() | st.integers(0, 2**40)


@fuzz(
    metadata=st.builds(
        ResponseMetadata, count=st.integers(0, 20),
        revised_prompts=st.lists(st.none() | kept_text, max_size=4).map(tuple),
        request_id=st.none() | kept_text, price_micros=counts, seconds=st.floats(0, 1e6), input_tokens=counts,
        output_tokens=counts,
    )
)  # fmt: skip
def test_the_metadata_of_a_response_comes_back_as_it_was(metadata: ResponseMetadata) -> None:
    assert ResponseMetadata.from_bytes(metadata.to_bytes()) == metadata


@fuzz(
    data=st.binary(max_size=60)
    | json_of(*ResponseMetadata.__dataclass_fields__).map(lambda v: json.dumps(v).encode())
)
def test_damaged_metadata_is_a_value_error(data: bytes) -> None:
    with suppress(ValueError):
        assert isinstance(ResponseMetadata.from_bytes(data).count, int)


# Places in a list

moments = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30), timezones=st.just(UTC))


@fuzz(at=moments, key=st.text("0123456789abcdef", min_size=1, max_size=32), newer=st.booleans())
def test_a_place_in_a_list_comes_back_as_it_was(at: datetime, key: str, newer: bool) -> None:
    assert Cursor.decode(Cursor(at, key, newer).encode()) == Cursor(at, key, newer)


@fuzz(
    typed=st.one_of(
        any_text,
        st.text("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_=", max_size=60),
        words_of(">", "<", "0001-01-01", "9999-12-31T23:59:59", "+23:59", "-23:59", "T00:00", "|", "abc").map(
            lambda text: urlsafe_b64encode(text.encode("utf-8", "replace")).decode()
        ),
    )
)
def test_whatever_is_typed_is_a_place_in_a_list_or_none(typed: str) -> None:
    found = Cursor.decode(typed)
    if found is not None:
        assert found.at.tzinfo is UTC
        assert Cursor.decode(found.encode()) == found


# Keys

keys = words_of("..", "/", ".", "a", "images/", "-", "_", "\\", "%2e%2e", "\0", "C:", "~")


@pytest.fixture(scope="module")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> FolderStorage:
    folder = tmp_path_factory.mktemp("shelf")
    (folder / "outside").write_bytes(b"secret")
    return open_folder(folder / "files")


@fuzz(key=keys)
def test_a_key_is_refused_or_stays_within_the_folder(shelf: FolderStorage, key: str) -> None:
    try:
        check_key(key)
    except errors.StorageError:
        with pytest.raises(errors.StorageError):
            shelf.get(key)
        return
    place = (shelf.root / key).resolve()
    assert shelf.root in place.parents
    assert key == key.strip("/")


@fuzz(share=0.3, key=keys, data=st.binary(max_size=20))
def test_what_is_kept_under_a_key_comes_back_or_is_refused(
    shelf: FolderStorage, key: str, data: bytes
) -> None:
    try:
        shelf.put(key, data)
    except errors.StorageError:
        return
    assert shelf.get(key) == data
    shelf.delete(key)
    assert not shelf.exists(key)


@fuzz(
    key=keys
    | words_of("images/", "thumbnails/", "answers/", "partials/", "abc", ".webp", ".json", "/0", "aside/")
)
def test_a_file_is_known_by_its_key_or_left_alone(key: str) -> None:
    parsed = _parse(StoredFile(key, 0, datetime.now(UTC)))
    if parsed.folder:
        assert parsed.folder in FOLDERS
        assert key.startswith(f"{parsed.folder}/")
        assert bool(parsed.job_id) != bool(parsed.image_id)
        assert not parsed.image_id or key == thumbnail_key(parsed.image_id)


# Backup files

names = st.one_of(
    st.sampled_from(
        ["atelier.db", "secret.key", "files/images/a/0", "files/images/a", "files/images/a/0/1",
         "files/aside/a/1", "../x", "/etc/passwd", "files/images/../../x", "files/images/a/.hidden",
         "files/other/a", "manifest.jsonl"]
    ),
    st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=80),
)  # fmt: skip
kinds = st.sampled_from(
    [tarfile.REGTYPE] * 8 + [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.GNUTYPE_SPARSE, b"x"]
)
members = st.lists(st.tuples(names, kinds, st.binary(max_size=40)), max_size=5)
lies = st.sampled_from(
    ["", "", "", "size", "hash", "name", "count", "head", "version", "deep", "cut", "behind", "twice"]
)


def packed(members: list[tuple[str, bytes, bytes]], lie: str) -> bytes:
    """A tar as `backup_archive.BackupWriter` writes it, of any members, and with one lie."""
    file, lines = (
        BytesIO(),
        [{"format": backup_archive.FORMAT, "version": 2 if lie == "version" else backup_archive.VERSION}],
    )
    for name, kind, data in [*members, *(members[:1] if lie == "twice" else [])]:
        _member(file, name, kind, data, len(data) + (10**6 if lie == "size" else 0))
        told = "x" if lie == "name" else name
        digest = sha256(b"" if lie == "hash" else data).hexdigest()
        lines.append({"name": told, "size": len(data), "sha256": digest})  # type: ignore[dict-item]
    lines.append({"members": len(lines) - (2 if lie == "count" else 1)})
    listed = b"\n".join(json.dumps(line).encode() for line in (lines[1:] if lie == "head" else lines)) + b"\n"
    _member(file, backup_archive.MANIFEST, tarfile.REGTYPE, b"[" * 5_000 if lie == "deep" else listed)
    if lie == "behind":
        _member(file, "atelier.db", tarfile.REGTYPE, b"x")
    whole = file.getvalue() + bytes(1024)
    return whole[: len(whole) // 2] if lie == "cut" else whole


def _member(file: BytesIO, name: str, kind: bytes, data: bytes, size: int | None = None) -> None:
    header = tarfile.TarInfo(name)
    header.type, header.size, header.linkname = kind, len(data) if size is None else size, "/etc/passwd"
    file.write(header.tobuf(tarfile.GNU_FORMAT))
    file.write(data + bytes(-len(data) % 512))


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


REGULAR = tarfile.REGTYPE


@example(members=[("atelier.db", REGULAR, b"rows"), ("../x", REGULAR, b"x")], lie="")
@example(members=[("files/images/a/0", tarfile.SYMTYPE, b"")], lie="")
@example(members=[("atelier.db", REGULAR, b"rows"), ("files/images/a/0", REGULAR, b"x")], lie="hash")
@example(members=[("atelier.db", REGULAR, b"rows")], lie="twice")
@example(members=[("files/images/a", REGULAR, b"x"), ("files/images/a/0", REGULAR, b"x")], lie="")
@fuzz(members=members, lie=lies)
def test_a_backup_is_taken_whole_or_refused_and_writes_nothing_outside(
    tmp_path_factory: pytest.TempPathFactory, members: list[tuple[str, bytes, bytes]], lie: str
) -> None:
    around = tmp_path_factory.mktemp("around")
    (around / "backup").write_bytes(packed(members, lie))
    try:
        taken = list(backup_archive.extract(around / "backup", around / "data"))
    except errors.BackupDamaged:
        taken = None
    outside = set(everything(around)) - {f"data/{name}" for name in everything(around / "data")}
    assert outside == {"backup"}
    assert not any(path.is_symlink() for path in around.rglob("*"))
    if taken is not None:
        assert {kind for _, kind, _ in members} <= {REGULAR}
        assert not (lie and members) or not any(data for _, _, data in members)
        assert everything(around / "data") == {name: data for name, _, data in members}


@fuzz(data=st.binary(max_size=1500), size=st.integers(0, 2**40))
def test_any_bytes_are_a_backup_or_refused(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, size: int
) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    header = tarfile.TarInfo("atelier.db")
    header.size = size
    for whole in (data, header.tobuf(tarfile.GNU_FORMAT) + data):
        (folder / "backup").write_bytes(whole)
        with pytest.raises(errors.BackupDamaged):
            list(backup_archive.extract(folder / "backup", folder / "data"))
        with suppress(errors.BackupDamaged):
            assert backup_archive.count_members(folder / "backup") <= 1


# Search

PICTURE = ImageInfo("image/png", 8, 8, "0" * 64)


@pytest.fixture(scope="module")
def searched(
    sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Gallery, str]]:
    folder = tmp_path_factory.mktemp("searched")
    (folder / "atelier.db").write_bytes(sqlite_template.read_bytes())
    database = Database(f"sqlite:///{folder / 'atelier.db'}")
    with database.write() as session:
        user = User(username="ada", display_name="Ada", password_hash="!")
        session.add(user)
    yield Gallery(database, open_folder(folder / "files"), AuditLog(database)), user.id
    database.close()


@example(prompts=["100%", "a fox"], search="%")
@example(prompts=["a_b", "acb"], search="a_b")
@fuzz(
    prompts=st.lists(words_of("fox", "%", "_", "\\", "ÄÖ", "ﬁ", "100%", "a_b", " "), min_size=1, max_size=3),
    search=words_of("fox", "%", "_", "\\", "äö", "fi", " "),
)
def test_a_search_finds_what_holds_every_word_of_it_and_nothing_else(
    searched: tuple[Gallery, str], prompts: list[str], search: str
) -> None:
    gallery, owner = searched
    made = {new_id(): prompt for prompt in prompts}
    with gallery._database.write() as session:
        for place, prompt in made.items():
            gallery.add(
                session, owner_id=owner, job_id=place, recipe=Recipe(prompt=storable_text(prompt), model="m"),
                info=PICTURE, file_key=f"images/{place}/0", index=0, file_bytes=1,
            )  # fmt: skip
    found = gallery.page(owner, Filters(search=search), limit=100).images
    with gallery._database.write() as session:
        mine = session.scalars(select(Image).where(col(Image.owner_id) == owner)).all()
        words = fold_case(storable_text(search[:200])).split()[:10]
        wanted = {image.id for image in mine if all(word[:60] in image.search for word in words)}
        for image in mine:
            session.delete(image)
    assert {image.id for image in found} == wanted


@fuzz(days=st.integers(0, 10**6))
def test_a_place_in_a_list_may_be_any_day(days: int) -> None:
    with suppress(OverflowError):
        at = datetime(1, 1, 2, tzinfo=UTC) + timedelta(days=days)
        assert Cursor.decode(Cursor(at, "a").encode()) == Cursor(at, "a")
