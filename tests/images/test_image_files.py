"""Image files: only complete still images are accepted, and copies differ only in the prompt."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.common.media_types import file_extension
from core.errors import BadImage
from core.images.image_files import MAX_BYTES, download_copy, thumbnail, verify_image
from tests.support.images import plain_png, png_chunk

MAGIC = b"\x89PNG\r\n\x1a\n"
END = png_chunk(b"IEND", b"")


def saved(kind: str, size: tuple[int, int] = (40, 30), mode: str = "RGB", **options: Any) -> bytes:
    """A gradient: damage is visible in it, and it doesn't compress to a single run."""
    picture = Image.linear_gradient("L").resize(size).convert(mode)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[0x0112] = orientation
    tags[0x010E] = "taken at home"
    return tags.tobytes()


def header(width: int, height: int) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def with_chunks(*chunks: bytes, data: bytes | None = None) -> bytes:
    """`data` with `chunks` after its header."""
    data = data or saved("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=50)
    return file.getvalue()


def pixels(data: bytes) -> bytes:
    with Image.open(io.BytesIO(data)) as image:
        return image.convert("RGBA").tobytes()


def texts(data: bytes) -> dict[str, str]:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return {str(key): str(value) for key, value in image.info.items() if isinstance(value, str)}


@pytest.mark.parametrize(
    ("data", "mime", "extension"),
    [
        pytest.param(saved("PNG"), "image/png", "png", id="png"),
        pytest.param(saved("PNG", mode="RGBA"), "image/png", "png", id="png with transparency"),
        pytest.param(saved("PNG", mode="P"), "image/png", "png", id="png with palette"),
        pytest.param(saved("WEBP"), "image/webp", "webp", id="webp"),
        pytest.param(saved("WEBP", lossless=True), "image/webp", "webp", id="webp, lossless"),
        pytest.param(saved("JPEG"), "image/jpeg", "jpg", id="jpeg"),
        pytest.param(saved("JPEG", mode="CMYK"), "image/jpeg", "jpg", id="jpeg for print"),
        pytest.param(saved("JPEG", progressive=True), "image/jpeg", "jpg", id="jpeg, progressive"),
        pytest.param(plain_png(40, 30), "image/png", "png", id="png of the tests' own"),
    ],
)
def test_complete_images_are_accepted(data: bytes, mime: str, extension: str) -> None:
    picture = verify_image(data)
    assert (picture.mime, file_extension(picture.mime), picture.width, picture.height) == (
        mime,
        extension,
        40,
        30,
    )
    assert len(picture.sha256) == 64


@pytest.mark.parametrize(
    ("orientation", "size"),
    [pytest.param(1, (40, 30), id="upright"), pytest.param(6, (30, 40), id="on its side")],
)
def test_the_size_respects_the_orientation(orientation: int, size: tuple[int, int]) -> None:
    data = saved("JPEG", exif=exif(orientation))
    picture = verify_image(data)
    assert (picture.width, picture.height) == size
    with Image.open(io.BytesIO(thumbnail(data))) as small:
        assert small.size == size
        assert not small.getexif()


PICTURES = {kind: saved(kind, (200, 150)) for kind in ("PNG", "WEBP", "JPEG")}
REFUSED = [
    pytest.param(b"", "0 bytes", id="nothing"),
    pytest.param(bytes(5000), "", id="zeros"),
    pytest.param(b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "", id="svg"),
    pytest.param(b"<!doctype html><h1>504 Gateway Time-out</h1>", "", id="html"),
    pytest.param(b'{"error": {"message": "no"}}', "", id="json"),
    pytest.param(saved("GIF"), "", id="gif"),
    pytest.param(saved("BMP"), "", id="bmp"),
    pytest.param(saved("TIFF"), "", id="tiff"),
    pytest.param(animation("GIF"), "", id="animated gif"),
    pytest.param(animation("PNG"), "3 frames", id="animated png"),
    pytest.param(animation("WEBP"), "3 frames", id="animated webp"),
    pytest.param(MAGIC, "", id="magic alone"),
    pytest.param(PICTURES["PNG"][:-1], "damaged", id="png without its last byte"),
    pytest.param(PICTURES["PNG"][:-12], "damaged", id="png without its end"),
    pytest.param(PICTURES["PNG"][:300], "", id="half a png"),
    pytest.param(PICTURES["WEBP"][:-2], "", id="webp without its last bytes"),
    pytest.param(PICTURES["WEBP"][:200], "", id="half a webp"),
    pytest.param(PICTURES["WEBP"][:100] + bytes(len(PICTURES["WEBP"]) - 100), "", id="webp of zeros"),
    pytest.param(saved("GIF") + b"\xff\xd9", "", id="gif with a jpeg's end"),
    pytest.param(saved("BMP") + b"\xff\xd9", "", id="bmp with a jpeg's end"),
    pytest.param(PICTURES["JPEG"][:-2], "no end", id="jpeg without its end"),
    pytest.param(MAGIC + header(50_000, 50_000) + END, "", id="png bomb"),
    pytest.param(MAGIC + header(10_000, 9_000) + END, "more than 50000000", id="big png bomb"),
    pytest.param(MAGIC + header(10_000, 5_001) + END, "more than 50000000", id="just too many pixels"),
    pytest.param(MAGIC + header(0, 10) + END, "", id="no pixels"),
    pytest.param(
        with_chunks(png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80_000_000)))), "", id="text bomb"
    ),
    pytest.param(
        PICTURES["PNG"] + b"<script>alert(1)</script>", "25 bytes behind", id="png with a page behind"
    ),
    pytest.param(PICTURES["WEBP"] + b"PK\x03\x04 zip", "a WebP of", id="webp with an archive behind"),
    pytest.param(PICTURES["JPEG"] + b"<script>alert(1)</script>", "behind", id="jpeg with a page behind"),
    pytest.param(b"<html>" + PICTURES["PNG"], "", id="png with a page before"),
    pytest.param(b"GIF89a/*" + PICTURES["JPEG"], "", id="gif and script before a jpeg"),
    pytest.param(PICTURES["PNG"][:60] + b"\xff" + PICTURES["PNG"][61:], "", id="png with one wrong byte"),
    pytest.param(MAGIC + bytes(MAX_BYTES), "more than", id="too many bytes"),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("data", "why"), REFUSED)
def test_other_files_are_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadImage) as caught:
        verify_image(data)
    assert caught.value.details
    assert why in caught.value.details


@pytest.mark.parametrize("kind", sorted(PICTURES))
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_truncated_image_is_refused(kind: str, cut: int) -> None:
    data = PICTURES[kind]
    with pytest.raises(BadImage):
        verify_image(data[: cut % len(data)])


@given(
    data=st.binary(max_size=300),
    magic=st.sampled_from([MAGIC, b"RIFF\x20\0\0\0WEBPVP8 ", b"\xff\xd8\xff\xe0"]),
)
def test_random_bytes_raise_only_bad_image(data: bytes, magic: bytes) -> None:
    with pytest.raises(BadImage):
        verify_image(magic + data)
    with pytest.raises(BadImage):
        thumbnail(magic + data)


@pytest.mark.parametrize(
    ("data", "size"),
    [
        pytest.param(saved("PNG", (1536, 1024)), (512, 341), id="wide"),
        pytest.param(saved("JPEG", (1024, 1536)), (341, 512), id="tall"),
        pytest.param(saved("PNG", (40, 30)), (40, 30), id="already small"),
        pytest.param(saved("WEBP", (4000, 8)), (512, 1), id="a thin line"),
        pytest.param(saved("JPEG", (600, 600), "CMYK"), (512, 512), id="for print"),
        pytest.param(saved("PNG", (600, 600), "I;16"), (512, 512), id="16 bits of grey"),
    ],
)
def test_thumbnails_fit_and_keep_their_proportions(data: bytes, size: tuple[int, int]) -> None:
    picture = verify_image(thumbnail(data))
    assert (picture.mime, picture.width, picture.height) == ("image/webp", *size)


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_thumbnails_keep_transparency(mode: str) -> None:
    image = Image.new(mode, (600, 600), 0)
    file = io.BytesIO()
    image.save(file, "PNG")
    with Image.open(io.BytesIO(thumbnail(file.getvalue()))) as small:
        assert small.getchannel("A").getextrema() == (0, 0)


PROVENANCE = png_chunk(b"caBX", b"\0\0\0\x20jumb signed")
SOURCE = png_chunk(b"tEXt", b"Source\0offline engine")
PROFILE = png_chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1))
ORIGINAL = with_chunks(PROVENANCE, SOURCE, PROFILE)
RECIPE = {"prompt": "a fox", "parameters": "a fox\nModel: m"}


def test_without_a_recipe_the_bytes_stay_the_same() -> None:
    assert download_copy(ORIGINAL, recipe_text=None) is ORIGINAL
    assert download_copy(ORIGINAL, recipe_text={}) == ORIGINAL


def test_with_the_prompt_nothing_else_is_added() -> None:
    copy = download_copy(ORIGINAL, recipe_text=RECIPE)
    assert texts(copy) == {"Source": "offline engine", **RECIPE}
    assert pixels(copy) == pixels(ORIGINAL)
    for chunk in (PROVENANCE, SOURCE, PROFILE):
        assert chunk in copy
    assert download_copy(copy, recipe_text={}) == ORIGINAL
    assert download_copy(copy, recipe_text=RECIPE) == copy
    verify_image(copy)


@pytest.mark.parametrize(
    "chunk",
    [
        pytest.param(png_chunk(b"tEXt", b"prompt\0old"), id="plain"),
        pytest.param(png_chunk(b"zTXt", b"parameters\0\0" + zlib.compress(b"old")), id="compressed"),
        pytest.param(png_chunk(b"iTXt", b"prompt\0\0\0en\0\0old"), id="international"),
    ],
)
def test_an_existing_prompt_is_removed(chunk: bytes) -> None:
    before = with_chunks(chunk, data=ORIGINAL)
    behind = ORIGINAL[: -len(END)] + chunk + END
    assert download_copy(before, recipe_text={}) == ORIGINAL
    assert download_copy(behind, recipe_text={}) == ORIGINAL


@pytest.mark.parametrize("kind", [pytest.param("WEBP", id="webp"), pytest.param("JPEG", id="jpeg")])
def test_other_formats_stay_the_same(kind: str) -> None:
    assert download_copy(PICTURES[kind], recipe_text=RECIPE) == PICTURES[kind]


def test_a_copy_of_a_damaged_png_is_refused() -> None:
    with pytest.raises(BadImage, match="damaged"):
        download_copy(ORIGINAL[:-3], recipe_text=RECIPE)


@given(prompt=st.text(st.characters(exclude_categories=()), max_size=200))
def test_any_prompt_can_be_written_and_read_back(prompt: str) -> None:
    copy = download_copy(ORIGINAL, recipe_text={"prompt": prompt})
    readable = prompt.replace("\0", "").encode("utf-8", "replace").decode()
    assert texts(copy) == {"Source": "offline engine", "prompt": readable}
    assert pixels(copy) == pixels(ORIGINAL)


def test_the_png_helper_writes_the_requested_image(png: Callable[..., bytes]) -> None:
    assert pixels(png(2, 1, (1, 2, 3))) == bytes([1, 2, 3, 255]) * 2
