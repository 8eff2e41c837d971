"""An uploaded picture made anew from its pixels: whatever else was in the file stays behind."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from PIL import Image, ImageOps

from core.common.media_types import MEGABYTE
from core.errors import MaskRejected, UploadRejected, UploadTooLarge
from core.images.image_files import DECODE_ERRORS

# As many as a camera's pictures have; decoded, that is a hundred megabytes.
MAX_PIXELS = 25_000_000
# The service takes no larger one (OpenAI's Images API, November 2026).
LARGEST = 50 * MEGABYTE
JPEG_QUALITY = 95
_FORMATS = ("PNG", "JPEG", "WEBP")
# A photograph with others behind it, such as a preview or a map of its brightness: the first one is meant.
_PHOTOGRAPH = "MPO"


@dataclass(frozen=True, slots=True)
class ReencodedImage:
    """A PNG or JPEG of pixels alone. `width` and `height` are in pixels."""

    data: bytes = field(repr=False)
    mime: str
    width: int
    height: int


def reencode(file: BinaryIO, *, max_bytes: int, lossless: bool = False) -> ReencodedImage:
    """The picture in `file`, upright: a PNG if it was one, is transparent or must be `lossless`, else a JPEG.

    Its type is what its bytes are. Takes one still PNG, JPEG or WebP, decoded in full. Colours count as
    sRGB: a profile is left behind like everything else. Raises UploadRejected or UploadTooLarge.
    """
    with _opened(file, max_bytes) as image:
        was_png = image.format == "PNG"
        pixels = _pixels(image)
    return _encoded(pixels, "PNG" if was_png or lossless or pixels.mode == "RGBA" else "JPEG")


def reencode_mask(file: BinaryIO, *, size: tuple[int, int], max_bytes: int) -> ReencodedImage:
    """The transparency of the PNG in `file`, which must be `size` in pixels; its colours say nothing.

    Raises MaskRejected, UploadRejected or UploadTooLarge.
    """
    with _opened(file, max_bytes, field="mask") as image:
        if image.format != "PNG":
            raise MaskRejected(f"The mask is a {image.format}, not a PNG.", field="mask")
        pixels = _pixels(image)
    if pixels.mode != "RGBA":
        raise MaskRejected("The mask has no transparent area.", field="mask")
    if pixels.size != size:
        ours, its = (f"{width} × {height}" for width, height in (pixels.size, size))
        raise MaskRejected(f"The mask is {ours} pixels, and the image {its}.", field="mask")
    mask = Image.new("RGBA", size)
    mask.putalpha(pixels.getchannel("A"))
    return _encoded(mask, "PNG")


@contextmanager
def _opened(file: BinaryIO, max_bytes: int, *, field: str = "image") -> Iterator[Image.Image]:
    """The picture with its header read; what decoding it raises comes out as UploadRejected."""
    length = file.seek(0, 2)
    file.seek(0)
    if length > max_bytes:
        raise UploadTooLarge(f"An image can be at most {max_bytes // MEGABYTE} MB.", field=field)
    try:
        with Image.open(file, formats=_FORMATS) as image:
            _check_shape(image, field)
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(field) from error
    except DECODE_ERRORS as error:
        raise UploadRejected(details=_reason(error), field=field) from error


def _check_shape(image: Image.Image, field: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels(field)
    if image.format != _PHOTOGRAPH and getattr(image, "n_frames", 1) > 1:
        raise UploadRejected("This image is animated.", field=field)


def _too_many_pixels(field: str) -> UploadTooLarge:
    return UploadTooLarge(f"An image can have at most {MAX_PIXELS:,} pixels.", field=field)


def _pixels(image: Image.Image) -> Image.Image:
    """Decoded in full, upright, RGB or RGBA, with nothing that an encoder would write beside the pixels."""
    # Without a copy where none is needed: each is as large as all the pixels.
    ImageOps.exif_transpose(image, in_place=True)
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
        image = image.point(lambda value: value / 256).convert("L")
    mode = "RGBA" if image.has_transparency_data else "RGB"
    pixels = image if image.mode == mode else image.convert(mode)
    pixels.info.clear()
    return pixels


def _encoded(pixels: Image.Image, kind: str) -> ReencodedImage:
    file = BytesIO()
    options = {"quality": JPEG_QUALITY} if kind == "JPEG" else {"compress_level": 4}
    pixels.save(file, kind, **options)
    if file.tell() > LARGEST:
        raise UploadTooLarge("Once re-encoded, this image is too large for the service.", field="image")
    return ReencodedImage(file.getvalue(), Image.MIME[kind], *pixels.size)


def _reason(error: Exception) -> str:
    """Why, without the address in memory that Pillow puts into its words."""
    return type(error).__name__ if "object at 0x" in str(error) else str(error)
