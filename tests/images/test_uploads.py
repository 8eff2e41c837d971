"""Uploads: checked by their bytes, stored as pixels only, and deleted when no job needs them."""

from __future__ import annotations

import io
import tracemalloc
from datetime import timedelta

import pytest
from PIL import Image

from core import errors
from core.common.clock import utc_now
from core.common.ids import new_id
from core.common.media_types import MEGABYTE
from core.database.models import Job, JobState
from core.images.image_files import verify_image
from core.images.reencoding import MAX_PIXELS, ReencodedImage, reencode, reencode_mask
from core.images.uploads import Uploads, read_upload
from core.maintenance.integrity import ORPHAN_RETENTION, IntegrityCheck
from core.maintenance.repairs import Repairs
from core.storage.folder import FolderStorage
from tests.support.crashing_worker import RECIPE
from tests.support.hostile_uploads import CLEANED, REFUSED, SCRIPT, TOO_LARGE, UNUSUAL, camera, saved
from tests.support.images import wide_profile
from tests.support.stored_images import StoredImages

GPS_PLACE = b"\x00\x00\x00\x30\x00\x00\x00\x01"


def made(data: bytes, *, max_bytes: int = MEGABYTE, lossless: bool = False) -> ReencodedImage:
    return reencode(io.BytesIO(data), max_bytes=max_bytes, lossless=lossless)


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_still_image_is_refused_whatever_its_name(data: bytes) -> None:
    with pytest.raises(errors.UploadRejected) as caught:
        made(data)
    assert caught.value.code.startswith("IMG-REQ-UPLOAD-")
    assert "0x" not in caught.value.details


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE)
def test_a_too_large_file_is_refused_before_it_is_decoded(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(errors.UploadTooLarge):
        made(data)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MEGABYTE


@pytest.mark.parametrize("data", CLEANED.values(), ids=CLEANED)
def test_only_the_pixels_of_an_upload_are_kept(data: bytes) -> None:
    assert SCRIPT in data or b"Note" in data or b"iCCP" in data
    clean = made(data)
    for secret in (b"script", b"evil", b"fetch", b"GPS", b"Exif", b"prVt", b"iCCP", b"PK\x03\x04", GPS_PLACE):
        assert secret not in clean.data
    with Image.open(io.BytesIO(clean.data)) as image:
        image.load()
        assert not image.getexif()
        assert not image.info.keys() - {"jfif", "jfif_version", "jfif_unit", "jfif_density"}
    assert verify_image(clean.data).mime == clean.mime


@pytest.mark.parametrize("data", UNUSUAL.values(), ids=UNUSUAL)
def test_unusual_formats_keep_their_pixels(data: bytes) -> None:
    clean = made(data)
    assert (clean.width, clean.height) == (64, 48)
    with Image.open(io.BytesIO(clean.data)) as image:
        grey = image.convert("L")
    top, bottom = grey.getpixel((32, 1)), grey.getpixel((32, 46))
    assert isinstance(top, int)
    assert isinstance(bottom, int)
    assert top < 40
    assert bottom > 215


def test_a_photograph_stays_a_jpeg_and_a_drawing_a_png() -> None:
    assert made(saved("JPEG")).mime == made(saved("WEBP")).mime == "image/jpeg"
    assert made(saved("PNG")).mime == made(saved("WEBP", mode="RGBA", lossless=True)).mime == "image/png"
    assert made(saved("JPEG"), lossless=True).mime == "image/png"


def test_of_a_photograph_with_previews_the_first_image_is_used() -> None:
    """A photograph as phones store it: several images in one file."""
    file = io.BytesIO()
    first, second = Image.new("RGB", (64, 48), "red"), Image.new("RGB", (16, 12), "blue")
    first.save(file, "MPO", save_all=True, append_images=[second])
    clean = made(file.getvalue())
    with Image.open(io.BytesIO(clean.data)) as image:
        assert image.size == (64, 48)
        assert getattr(image, "n_frames", 1) == 1
        red, _, blue = image.getpixel((5, 5))  # type: ignore[misc]
    assert red > 200 > blue


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_a_rotated_image_is_turned_upright(kind: str) -> None:
    clean = made(camera(kind, orientation=6))
    assert (clean.width, clean.height) == (48, 64)
    with Image.open(io.BytesIO(clean.data)) as image:
        grey = image.convert("L")
    left, right = grey.getpixel((1, 32)), grey.getpixel((46, 32))
    assert isinstance(left, int)
    assert isinstance(right, int)
    assert left > right


@pytest.mark.parametrize(("kind", "mode"), [("PNG", "RGB"), ("PNG", "RGBA"), ("JPEG", "RGB")])
def test_the_colours_of_a_wide_gamut_stay_the_same_without_their_profile(kind: str, mode: str) -> None:
    file = io.BytesIO()
    Image.new("RGB", (64, 48), (230, 60, 40)).convert(mode).save(file, kind, icc_profile=wide_profile())
    with Image.open(io.BytesIO(made(file.getvalue()).data)) as image:
        assert image.convert("RGB").getpixel((9, 9)) == pytest.approx((251, 25, 0), abs=2)
        assert "icc_profile" not in image.info


def test_an_upload_may_have_as_many_pixels_as_a_camera() -> None:
    side = int(MAX_PIXELS**0.5)
    assert made(saved("PNG", (side, side), mode="1"), max_bytes=4 * MEGABYTE).width == side
    with pytest.raises(errors.UploadTooLarge, match="pixels"):
        made(saved("PNG", (side + 1, side + 1), mode="1"), max_bytes=4 * MEGABYTE)


# Masks


def mask(data: bytes, size: tuple[int, int] = (64, 48)) -> ReencodedImage:
    return reencode_mask(io.BytesIO(data), size=size, max_bytes=MEGABYTE)


def test_of_a_mask_only_its_transparency_is_kept() -> None:
    alpha = Image.linear_gradient("L").resize((64, 48))
    drawn = Image.new("RGBA", (64, 48), "red")
    drawn.putalpha(alpha)
    file = io.BytesIO()
    drawn.save(file, "PNG")
    clean = mask(file.getvalue())
    with Image.open(io.BytesIO(clean.data)) as image:
        assert image.getchannel("A").tobytes() == alpha.tobytes()
        assert image.convert("RGB").getextrema() == ((0, 0), (0, 0), (0, 0))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(saved("PNG"), id="no transparent area"),
        pytest.param(saved("PNG", (64, 47), mode="RGBA"), id="another size"),
        pytest.param(saved("WEBP", mode="RGBA"), id="no png"),
    ],
)
def test_a_mask_that_does_not_fit_is_refused(data: bytes) -> None:
    with pytest.raises(errors.MaskRejected) as caught:
        mask(data)
    assert (caught.value.field, caught.value.code) == ("mask", "IMG-REQ-UPLOAD-003")


@pytest.mark.parametrize("data", [*REFUSED.values()], ids=[*REFUSED])
def test_a_mask_is_checked_as_strictly_as_an_image(data: bytes) -> None:
    with pytest.raises(errors.UploadRejected):
        mask(data)


# Keeping


@pytest.fixture
def uploads(storage: FolderStorage) -> Uploads:
    return Uploads(storage, 1)


def test_an_upload_is_stored_under_its_owner_and_hash(uploads: Uploads, storage: FolderStorage) -> None:
    first = uploads.store("ada", io.BytesIO(camera("JPEG")))
    again = uploads.store("ada", io.BytesIO(camera("JPEG")))
    assert first == again
    assert storage.list("uploads") == (first.key,)
    assert read_upload(storage, "ada", first.key) == storage.get(first.key)


def test_an_upload_is_readable_only_by_its_owner(uploads: Uploads, storage: FolderStorage) -> None:
    kept = uploads.store("ada", io.BytesIO(camera("JPEG")))
    uploads.check("ada", kept.key)
    foreign = (kept.key, "uploads/grace/../ada/x.png", "images/1/1-0", "", kept.key.upper())
    for key in foreign:
        with pytest.raises(errors.UploadGone):
            uploads.check("grace", key)
        with pytest.raises(errors.UploadGone):
            read_upload(storage, "grace", key)


def test_an_upload_that_was_changed_on_the_disk_is_not_sent(uploads: Uploads, storage: FolderStorage) -> None:
    kept = uploads.store("ada", io.BytesIO(camera("JPEG")))
    storage.put(kept.key, b"something else")
    with pytest.raises(errors.FileDamaged):
        read_upload(storage, "ada", kept.key)


def test_a_refused_upload_leaves_no_file(uploads: Uploads, storage: FolderStorage) -> None:
    for data in (*REFUSED.values(), *TOO_LARGE.values()):
        with pytest.raises(errors.UploadRejected):
            uploads.store("ada", io.BytesIO(data))
    assert not [path for path in storage.root.rglob("*") if path.is_file()]


# Clearing away


def referring(stored: StoredImages, key: str, state: JobState, age: timedelta) -> None:
    request = RECIPE.to_json() | {"references": [key]}
    with stored.database.write() as session:
        session.add(
            Job(
                id=new_id(),
                batch_id=new_id(),
                owner_id=stored.user.id,
                state=state,
                request=request,
                created_at=utc_now() - age,
            )
        )


@pytest.fixture
def stored(database: object, storage: FolderStorage, user: object) -> StoredImages:
    return StoredImages(database, storage, user)  # type: ignore[arg-type]


def kept_after_cleaning(stored: StoredImages) -> tuple[str, ...]:
    for _ in Repairs(IntegrityCheck(stored.database, stored.storage), stored.gallery).remove_orphans():
        pass
    return stored.storage.list("uploads")


@pytest.mark.parametrize(
    ("state", "age", "stays"),
    [
        pytest.param(JobState.QUEUED, 30 * ORPHAN_RETENTION, True, id="a job that waits"),
        pytest.param(JobState.RUNNING, 30 * ORPHAN_RETENTION, True, id="a job that runs"),
        pytest.param(JobState.FAILED, ORPHAN_RETENTION / 2, True, id="a job that failed lately"),
        pytest.param(JobState.DONE, ORPHAN_RETENTION / 2, True, id="a job that ended lately"),
        pytest.param(JobState.FAILED, 2 * ORPHAN_RETENTION, False, id="a job that failed long ago"),
        pytest.param(JobState.DONE, 2 * ORPHAN_RETENTION, False, id="a job that ended long ago"),
    ],
)
def test_an_old_upload_is_deleted_when_no_job_needs_it(
    stored: StoredImages, state: JobState, age: timedelta, stays: bool
) -> None:
    stored.image()
    key = Uploads(stored.storage, 1).store(stored.user.id, io.BytesIO(saved("PNG"))).key
    stored.age(key)
    referring(stored, key, state, age)
    assert kept_after_cleaning(stored) == ((key,) if stays else ())


def test_a_recent_upload_is_kept_for_a_job_to_come(stored: StoredImages) -> None:
    stored.image()
    uploads = Uploads(stored.storage, 1)
    key = uploads.store(stored.user.id, io.BytesIO(saved("PNG"))).key
    assert kept_after_cleaning(stored) == (key,)
    stored.age(key)
    uploads.store(stored.user.id, io.BytesIO(saved("PNG")))
    assert kept_after_cleaning(stored) == (key,), "what is uploaded once more is young again"


def test_with_a_wrong_database_no_upload_is_deleted(stored: StoredImages) -> None:
    key = Uploads(stored.storage, 1).store("somebody", io.BytesIO(saved("PNG"))).key
    stored.age(key)
    assert kept_after_cleaning(stored) == (key,)
