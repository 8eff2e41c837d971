"""Image files: only complete images are accepted, and copies differ only in the prompt."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.common.media_types import MAX_IMAGE_PIXELS, file_extension, image_media_type
from core.errors import BadImage
from core.images.image_files import (
    MAX_THUMBNAIL_BYTES,
    THUMBNAIL_SIDE,
    download_copy,
    thumbnail,
    verify_image,
    verify_with_thumbnail,
)
from tests.support.images import plain_png, png_chunk, wide_profile

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


def half(data: bytes) -> bytes:
    return data[: len(data) // 2]


def header(width: int, height: int) -> bytes:
    return png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))


def with_chunks(*chunks: bytes, data: bytes | None = None) -> bytes:
    """`data` with `chunks` after its header."""
    data = data or saved("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("red", "blue", "green")]
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
        pytest.param(saved("GIF"), "image/gif", "gif", id="gif"),
        pytest.param(saved("AVIF"), "image/avif", "avif", id="avif"),
        pytest.param(saved("MPO"), "image/jpeg", "jpg", id="mpo"),
        *(
            pytest.param(animation(kind), mime, extension, id=f"{kind} of many frames")
            for kind, mime, extension in (
                ("GIF", "image/gif", "gif"),
                ("AVIF", "image/avif", "avif"),
                ("MPO", "image/jpeg", "jpg"),
                ("PNG", "image/png", "png"),
                ("WEBP", "image/webp", "webp"),
            )
        ),
        *(
            pytest.param(
                saved(kind) + tail, f"image/{kind.lower()}", extension, id=f"{kind} and {len(tail)} bytes"
            )
            for kind, extension in (
                ("PNG", "png"),
                ("WEBP", "webp"),
                ("JPEG", "jpg"),
                ("GIF", "gif"),
                ("AVIF", "avif"),
            )
            for tail in (b"\n", b"\0\0", b"\xff\xda PK\x03\x04 an archive")
        ),
        *(
            pytest.param(
                saved("JPEG", **options)[:-cut] + tail,
                "image/jpeg",
                "jpg",
                id=f"jpeg {options} without its end {cut}{tail!r}",
            )
            for options in ({}, {"progressive": True}, {"exif": exif(1)})
            for cut, tail in ((2, b""), (1, b""), (2, b"\n"))
        ),
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
    assert picture.sha256 == sha256(data).hexdigest()
    assert image_media_type(data) == mime
    assert verify_image(thumbnail(data)).width == 40
    assert download_copy(data, recipe_text={}) == data


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
    pytest.param(saved("BMP"), "", id="bmp"),
    pytest.param(saved("TIFF"), "", id="tiff"),
    pytest.param(MAGIC, "", id="magic alone"),
    pytest.param(PICTURES["PNG"][:-1], "damaged", id="png without its last byte"),
    pytest.param(PICTURES["PNG"][:-12], "damaged", id="png without its end"),
    pytest.param(PICTURES["PNG"][:300], "", id="half a png"),
    pytest.param(PICTURES["WEBP"][:-2], "", id="webp without its last bytes"),
    pytest.param(PICTURES["WEBP"][:200], "", id="half a webp"),
    pytest.param(PICTURES["WEBP"][:100] + bytes(len(PICTURES["WEBP"]) - 100), "", id="webp of zeros"),
    pytest.param(saved("BMP") + b"\xff\xd9", "", id="bmp with a jpeg's end"),
    pytest.param(PICTURES["JPEG"][:-20], "cut off", id="jpeg without its last bytes"),
    pytest.param(half(saved("JPEG", (200, 150), progressive=True)), "cut off", id="half a progressive jpeg"),
    pytest.param(half(saved("GIF", (200, 150))), "", id="half a gif"),
    pytest.param(half(saved("AVIF", (200, 150))), "", id="half an avif"),
    pytest.param(b"\xff\xd8" + bytes(500), "", id="a jpeg's beginning alone"),
    pytest.param(MAGIC + header(50_000, 50_000) + END, "", id="png bomb"),
    pytest.param(MAGIC + header(10_000, 9_000) + END, "more than 67108864", id="big png bomb"),
    pytest.param(MAGIC + header(8192, 8193) + END, "more than 67108864", id="just too many pixels"),
    pytest.param(MAGIC + header(0, 10) + END, "", id="no pixels"),
    pytest.param(
        with_chunks(png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(80_000_000)))), "", id="text bomb"
    ),
    pytest.param(b"<html>" + PICTURES["PNG"], "", id="png with a page before"),
    pytest.param(b"GIF89a/*" + PICTURES["JPEG"], "", id="gif and script before a jpeg"),
    pytest.param(PICTURES["PNG"][:60] + b"\xff" + PICTURES["PNG"][61:], "", id="png with one wrong byte"),
]


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize(("data", "why"), REFUSED)
def test_other_files_are_refused_with_the_reason(data: bytes, why: str) -> None:
    with pytest.raises(BadImage) as caught:
        verify_image(data)
    assert caught.value.details
    assert why in caught.value.details


def test_an_image_of_the_most_pixels_is_accepted() -> None:
    side = int(MAX_IMAGE_PIXELS**0.5)
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    assert verify_image(file.getvalue()).width == side
    assert verify_image(thumbnail(file.getvalue())).width == THUMBNAIL_SIDE


def test_a_file_of_too_many_bytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved("PNG")
    monkeypatch.setattr("core.images.image_files.MAX_IMAGE_BYTES", len(data))
    assert verify_image(data)
    with pytest.raises(BadImage, match="more than"):
        verify_image(data + b"\0")


@pytest.mark.parametrize("kind", sorted(PICTURES))
@given(cut=st.integers(min_value=0, max_value=400))
def test_a_truncated_image_is_refused(kind: str, cut: int) -> None:
    data = PICTURES[kind]
    # The last two bytes of a JPEG are its end marker, and the bits of the byte before may be padding.
    whole = len(data) - (3 if kind == "JPEG" else 0)
    with pytest.raises(BadImage):
        verify_image(data[: cut % whole])


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


def colour_of(data: bytes) -> tuple[int, ...]:
    with Image.open(io.BytesIO(data)) as image:
        colour = image.convert("RGB").getpixel((image.width // 2, image.height // 2))
    assert isinstance(colour, tuple)
    return colour


def test_a_thumbnail_shows_the_ramp_of_16_bits_of_grey() -> None:
    ramp = Image.fromarray(np.tile(np.linspace(0, 65535, 600).astype(np.uint16), (60, 1)))
    file = io.BytesIO()
    ramp.save(file, "PNG")
    with Image.open(io.BytesIO(thumbnail(file.getvalue()))) as small:
        shown = [small.convert("L").getpixel((small.width * part // 8, 10)) for part in range(8)]
    assert shown == pytest.approx([256 * part / 8 for part in range(8)], abs=4)


# The same colour in a wide gamut and in sRGB.
WIDE, NARROW = (230, 60, 40), (251, 25, 0)


@pytest.mark.parametrize(
    ("kind", "mode"),
    [("PNG", "RGB"), ("PNG", "RGBA"), ("PNG", "P"), ("JPEG", "RGB"), ("WEBP", "RGB"), ("AVIF", "RGB")],
)
@pytest.mark.parametrize("size", [(600, 400), (40, 30)])
def test_a_thumbnail_shows_the_colours_of_a_wide_gamut(kind: str, mode: str, size: tuple[int, int]) -> None:
    image, file = Image.new("RGB", size, WIDE).convert(mode, palette=Image.Palette.ADAPTIVE), io.BytesIO()
    image.save(file, kind, icc_profile=wide_profile(), quality=100)
    small = thumbnail(file.getvalue())
    assert colour_of(small) == pytest.approx(NARROW, abs=3)
    assert b"ICCP" not in small


@pytest.mark.parametrize(
    ("mode", "profile"),
    [
        pytest.param("RGB", b"no profile" * 20, id="damaged"),
        pytest.param("L", wide_profile(), id="of another mode"),
        pytest.param("CMYK", wide_profile(), id="of another kind of colour"),
    ],
)
def test_a_profile_that_can_not_be_used_is_ignored(mode: str, profile: bytes) -> None:
    with_profile = saved("JPEG", mode=mode, icc_profile=profile)
    assert pixels(thumbnail(with_profile)) == pixels(thumbnail(saved("JPEG", mode=mode)))


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


def test_a_thumbnail_of_noise_is_small_too() -> None:
    """No image holds more detail, so no other thumbnail is larger."""
    file = io.BytesIO()
    Image.merge("RGB", [Image.effect_noise((1024, 1024), 200) for _ in range(3)]).save(file, "PNG")
    small = thumbnail(file.getvalue())
    assert 1_000 < len(small) <= MAX_THUMBNAIL_BYTES
    assert verify_image(small).width == THUMBNAIL_SIDE


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_one_decoding_gives_the_same_size_and_thumbnail(kind: str) -> None:
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6  # turn it to the right
    Image.linear_gradient("L").convert("RGB").resize((400, 200)).save(file, kind, exif=exif)
    info, small = verify_with_thumbnail(file.getvalue())
    assert (info.width, info.height) == (200, 400)
    assert info == verify_image(file.getvalue())
    assert small == thumbnail(file.getvalue())
