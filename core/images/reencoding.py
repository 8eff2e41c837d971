"""Re-encoding: writes uploaded images anew from their pixels, which removes metadata and hidden content."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from typing import BinaryIO

from PIL import Image, ImageOps

from core.common.media_types import MEGABYTE
from core.errors import MaskRejected, UploadRejected, UploadTooLarge
from core.images.colours import to_srgb, with_eight_bits
from core.images.image_files import DECODE_ERRORS, decode_problem, opened

# The size of a camera's photo. Decoded, it takes up to 100 MB of memory.
MAX_PIXELS = 25_000_000
# The largest file that the service accepts (OpenAI's Images API, November 2026).
MAX_ENCODED_BYTES = 50 * MEGABYTE
JPEG_QUALITY = 95
_UPLOAD_FORMATS = ("PNG", "JPEG", "WEBP")
# Pillow's name for a camera's JPEG that contains more images, such as a preview. Only the first one is used.
_MULTI_PICTURE = "MPO"


@dataclass(frozen=True, slots=True)
class ReencodedImage:
    """A PNG or JPEG without metadata. `width` and `height` are in pixels."""

    data: bytes = field(repr=False)
    mime: str
    width: int
    height: int


def reencode(file: BinaryIO, *, max_bytes: int, lossless: bool = False) -> ReencodedImage:
    """Decode the PNG, JPEG or WebP in `file`, and return it encoded anew, upright and without metadata.

    The type is read from the bytes. The new image is a PNG if the file was a PNG, if the image is
    transparent, or if `lossless` is True. Otherwise it is a JPEG. The colours are converted to sRGB. Raises
    UploadTooLarge if the file has more than `max_bytes` bytes or too many pixels, and UploadRejected if it
    can't be decoded or is animated.
    """
    with _opened(file, max_bytes) as image:
        was_png = image.format == "PNG"
        pixels = _pixels(image)
    return _encoded(pixels, "PNG" if was_png or lossless or pixels.mode == "RGBA" else "JPEG")


def as_png(data: bytes) -> ReencodedImage:
    """Decode the gallery's image file `data`, and return it as an upright PNG without metadata, in sRGB.

    All formats of the gallery are accepted. Of an animation, only the first frame is used. Raises
    UploadTooLarge if the PNG is too large for the service, and BadImage if `data` can't be decoded.
    """
    with opened(data) as image:
        pixels = _pixels(image)
    return _encoded(pixels, "PNG")


def reencode_mask(file: BinaryIO, *, size: tuple[int, int], max_bytes: int) -> ReencodedImage:
    """Decode the mask in `file`, and return it encoded anew, with nothing but its transparency.

    A mask is a PNG whose transparent area marks the part of an image to edit. `size` is the width and height
    of that image in pixels. Raises MaskRejected if the mask has another size, isn't a PNG or isn't
    transparent. Raises UploadRejected and UploadTooLarge like `reencode`.
    """
    with _opened(file, max_bytes, field="mask") as image:
        if image.format != "PNG":
            raise MaskRejected(f"The mask is a {image.format}, not a PNG.", field="mask")
        pixels = _pixels(image)
    if pixels.mode != "RGBA":
        raise MaskRejected("The mask has no transparent area.", field="mask")
    if pixels.size != size:
        mask_size, image_size = (f"{width} × {height}" for width, height in (pixels.size, size))
        raise MaskRejected(f"The mask is {mask_size} pixels, and the image {image_size}.", field="mask")
    mask = Image.new("RGBA", size)
    mask.putalpha(pixels.getchannel("A"))
    return _encoded(mask, "PNG")


@contextmanager
def _opened(file: BinaryIO, max_bytes: int, *, field: str = "image") -> Iterator[Image.Image]:
    """Open the image in `file` for a `with` block, and raise decoding errors in the block as UploadRejected.

    Raises UploadTooLarge if the file has more than `max_bytes` bytes or too many pixels. `field` is the name
    of the form field for the error.
    """
    length = file.seek(0, 2)
    file.seek(0)
    if length > max_bytes:
        raise UploadTooLarge(f"An image can be at most {max_bytes // MEGABYTE} MB.", field=field)
    try:
        with Image.open(file, formats=_UPLOAD_FORMATS) as image:
            _check_shape(image, field)
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_many_pixels(field) from error
    except DECODE_ERRORS as error:
        raise UploadRejected(details=decode_problem(error), field=field) from error


def _check_shape(image: Image.Image, field: str) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise _too_many_pixels(field)
    if image.format != _MULTI_PICTURE and getattr(image, "n_frames", 1) > 1:
        raise UploadRejected("This image is animated.", field=field)


def _too_many_pixels(field: str) -> UploadTooLarge:
    return UploadTooLarge(f"An image can have at most {MAX_PIXELS:,} pixels.", field=field)


def _pixels(image: Image.Image) -> Image.Image:
    """Return the decoded image, upright, in the mode RGB or RGBA and in sRGB, and without metadata."""
    # Rotate in place, because a copy would need as much memory as the image.
    ImageOps.exif_transpose(image, in_place=True)
    return to_srgb(with_eight_bits(image))


def _encoded(pixels: Image.Image, kind: str) -> ReencodedImage:
    file = BytesIO()
    options = {"quality": JPEG_QUALITY} if kind == "JPEG" else {"compress_level": 4}
    pixels.save(file, kind, **options)
    if file.tell() > MAX_ENCODED_BYTES:
        raise UploadTooLarge("Once re-encoded, this image is too large for the service.", field="image")
    return ReencodedImage(file.getvalue(), Image.MIME[kind], *pixels.size)
