"""Image files: verify them, create thumbnails, and write the prompt into copies."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO

from PIL import Image, UnidentifiedImageError

from core.common.media_types import MAX_IMAGE_BYTES, MAX_IMAGE_PIXELS
from core.errors import BadImage
from core.images.colours import to_srgb, with_eight_bits

THUMBNAIL_SIDE = 512
# The first is used, unless the thumbnail has more bytes than it may have. Then the next is tried.
THUMBNAIL_QUALITIES = (60, 35, 15, 0)
MAX_THUMBNAIL_BYTES = 40_000
# Of WebP's methods 0 to 6, this one takes half the time of the default for 5 % more bytes.
_WEBP_METHOD = 2
# The keywords of the PNG texts that Atelier writes into download copies or removes from them, and those under
# which other image tools write the prompt.
PROMPT_KEYWORDS = frozenset(
    {"parameters", "prompt", "workflow", "invokeai_metadata", "sd-metadata", "Comment", "Description"}
)
_PNG_MAGIC, _JPEG_MAGIC = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
_JPEG_SCAN, _JPEG_END = b"\xff\xda", b"\xff\xd9"
# Bytes that mean other pixels than the zeros that libjpeg puts in place of missing bytes.
_FILLING = b"\x55" * 64
FORMATS = ("PNG", "WEBP", "JPEG", "GIF", "AVIF")
# MPO is Pillow's name for a JPEG that has more images behind it, such as a preview.
_MIMES = {kind: f"image/{kind.lower()}" for kind in FORMATS} | {"MPO": "image/jpeg"}
_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)
_TRANSPOSITIONS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# The exceptions that Pillow's decoders raise for damaged or hostile bytes.
DECODE_ERRORS = (
    RuntimeError,  # of the AVIF decoder
    OSError,
    AssertionError,
    SyntaxError,
    ValueError,
    EOFError,
    MemoryError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
    Image.DecompressionBombWarning,
)


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """The type and size of a verified image file.

    `width` and `height` are in pixels, after the EXIF rotation. `sha256` is in hexadecimal.
    """

    mime: str
    width: int
    height: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Chunk:
    """One chunk (section) of a PNG file. `raw` is the whole chunk: length, kind, body and checksum."""

    kind: bytes
    body: bytes
    raw: bytes

    @property
    def keyword(self) -> str:
        """The keyword of a text chunk, or "" if the chunk contains no text."""
        if self.kind not in (b"tEXt", b"zTXt", b"iTXt"):
            return ""
        return self.body.partition(b"\0")[0].decode("latin-1")


def verify_image(data: bytes) -> ImageInfo:
    """Return the type and size of the image file `data`. Raises BadImage. `verified` says what is checked."""
    with verified(data) as (_, info):
        return info


def verify_with_thumbnail(data: bytes) -> tuple[ImageInfo, bytes | None]:
    """Return what `verify_image` and `thumbnail` return for `data`, which is decoded only once.

    The thumbnail is None if it can't be made. Raises BadImage.
    """
    with verified(data) as (image, info):
        try:
            return info, _thumbnail_of(image)
        except DECODE_ERRORS:
            return info, None


@contextmanager
def verified(data: bytes) -> Iterator[tuple[Image.Image, ImageInfo]]:
    """Decode the image file `data` completely, and yield it with its type and size.

    The type is read from the bytes. Accepts a PNG, WebP, JPEG, GIF or AVIF that has up to MAX_IMAGE_BYTES
    bytes and MAX_IMAGE_PIXELS pixels. Of an animation, only the first frame is decoded. A JPEG may lack its
    end marker, and any file may have further bytes after its end, as viewers show it nevertheless. Raises
    BadImage for anything else.
    """
    with opened(data) as image:
        if image.format == "PNG":
            for _ in _chunks(data):  # Pillow doesn't check what comes after the pixels.
                pass
        image.load()
        if _lacks_end(data):
            _check_scans(image, data)
        yield image, _info(image, data)


def thumbnail(data: bytes) -> bytes:
    """Return a thumbnail of the image file `data`: an upright WebP of at most 512 x 512 pixels, in sRGB.

    The thumbnail has no metadata, and at most MAX_THUMBNAIL_BYTES bytes. Raises BadImage if `data` can't be
    decoded.
    """
    with opened(data) as image:
        image.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
        return _thumbnail_of(image)


@contextmanager
def opened(data: bytes) -> Iterator[Image.Image]:
    """Open the image file `data` for a `with` block, at its first frame. The pixels aren't decoded yet.

    Decoding errors in the block are raised as BadImage, and so is a file that is too large. A JPEG that lacks
    its end marker gets one.
    """
    if len(data) > MAX_IMAGE_BYTES:
        raise BadImage(details=f"{len(data)} bytes, more than {MAX_IMAGE_BYTES}")
    file = BytesIO(data.rstrip(b"\xff") + _JPEG_END if _lacks_end(data) else data)
    try:
        with Image.open(file, formats=FORMATS) as image:
            if image.width * image.height > MAX_IMAGE_PIXELS:
                raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_IMAGE_PIXELS}")
            yield image
    except DECODE_ERRORS as error:
        raise BadImage(details=f"{len(data)} bytes: {decode_problem(error)}") from error


def decode_problem(error: Exception) -> str:
    """Return why an image can't be decoded."""
    if isinstance(error, UnidentifiedImageError):
        return "not an image in a known format"
    return str(error) or type(error).__name__


def download_copy(data: bytes, *, recipe_text: dict[str, str] | None) -> bytes:
    """Return a copy of the image file `data`. If it is a PNG, write the texts in `recipe_text` into it.

    The keys of `recipe_text` are the keywords of the PNG texts. Texts of the original under PROMPT_KEYWORDS
    are removed, so an empty dict removes the prompt. The pixels and the other metadata stay unchanged. A C2PA
    manifest, the signed record of the image's origin, is kept, but its signature doesn't cover the new texts.

    If `recipe_text` is None or the file isn't a PNG, return `data` unchanged. Raises BadImage for a damaged
    PNG.
    """
    if recipe_text is None or not data.startswith(_PNG_MAGIC):
        return data
    try:
        chunks = [chunk for chunk in _chunks(data) if chunk.keyword not in PROMPT_KEYWORDS]
    except ValueError as error:
        raise BadImage(details=str(error)) from error
    pixels = next((i for i, chunk in enumerate(chunks) if chunk.kind == b"IDAT"), len(chunks))
    texts = [_text_chunk(keyword, text) for keyword, text in recipe_text.items()]
    parts = [chunk.raw for chunk in chunks]
    return b"".join([_PNG_MAGIC, *parts[:pixels], *texts, *parts[pixels:]])


def _lacks_end(data: bytes) -> bool:
    """Return whether `data` is a JPEG without an end marker behind the start of its last scan of pixels."""
    return data.startswith(_JPEG_MAGIC) and data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN)


def _check_scans(image: Image.Image, data: bytes) -> None:
    """Raise ValueError if the JPEG `data`, which lacks its end marker, also lacks pixels.

    `image` is the decoded image. Libjpeg makes up missing pixels, and doesn't say so. If other bytes in place
    of the missing ones change the image, some were missing.
    """
    longer = data.rstrip(b"\xff") + _FILLING + _JPEG_END
    with Image.open(BytesIO(longer), formats=("JPEG",)) as filled:
        if zlib.crc32(filled.tobytes()) != zlib.crc32(image.tobytes()):
            raise ValueError("the JPEG is cut off")


def _thumbnail_of(image: Image.Image) -> bytes:
    """Return a thumbnail of `image`, which may be changed."""
    transposition = _TRANSPOSITIONS.get(_orientation(image))
    small = with_eight_bits(image)
    small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    upright = to_srgb(small if transposition is None else small.transpose(transposition))
    encoded = b""
    for quality in THUMBNAIL_QUALITIES:
        file = BytesIO()
        upright.save(file, "WEBP", quality=quality, method=_WEBP_METHOD)
        encoded = file.getvalue()
        if len(encoded) <= MAX_THUMBNAIL_BYTES:
            break
    return encoded


def _info(image: Image.Image, data: bytes) -> ImageInfo:
    width, height = image.size
    if _orientation(image) in _SIDEWAYS:
        width, height = height, width
    return ImageInfo(_MIMES[image.format or ""], width, height, sha256(data).hexdigest())


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation, 1 to 8, which says how to turn the image upright.

    Returns 0 if there is no orientation or if it can't be read.
    """
    try:
        found = image.getexif().get(_ORIENTATION)
    except Exception:
        # Pillow's EXIF reader can raise any exception, although the image can be decoded.
        return 0
    return found if isinstance(found, int) else 0


def _chunks(data: bytes) -> Iterator[_Chunk]:
    """Yield the chunks of a PNG, and then any bytes after its end as a chunk without a kind.

    Raises ValueError if a checksum is wrong or the end is missing.
    """
    at, kind = len(_PNG_MAGIC), b""
    while kind != b"IEND":
        length = int.from_bytes(data[at : at + 4], "big")
        raw = data[at : at + 12 + length]
        kind, body = raw[4:8], raw[8:-4]
        if len(raw) < 12 + length or zlib.crc32(raw[4:-4]) != int.from_bytes(raw[-4:], "big"):
            raise ValueError(f"the PNG is damaged at byte {at}")
        yield _Chunk(kind, body, raw)
        at += len(raw)
    if at < len(data):
        yield _Chunk(b"", b"", data[at:])


def _text_chunk(keyword: str, text: str) -> bytes:
    """Return a PNG chunk of the kind iTXt that contains `text` in UTF-8, uncompressed.

    NUL characters are removed, because PNG forbids them.
    """
    words = text.replace("\0", "").encode("utf-8", "replace")
    body = b"iTXt" + keyword.encode("latin-1") + b"\0\0\0\0\0" + words
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
