"""Image files: verify them, create thumbnails, and write the prompt into copies."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO

from PIL import Image

from core.errors import BadImage

MAX_BYTES = 64 * 1024 * 1024
MAX_PIXELS = 50_000_000
THUMBNAIL_SIDE = 512
THUMBNAIL_QUALITY = 80
# The keywords of the PNG texts that Atelier writes into download copies or removes from them.
PROMPT_KEYWORDS = frozenset({"parameters", "prompt"})
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_MIMES = {"PNG": "image/png", "WEBP": "image/webp", "JPEG": "image/jpeg"}
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
    """Decode the image file `data` completely, and return its type and size. The type is read from the bytes.

    Accepts a PNG, WebP or JPEG that isn't animated, has up to 64 MB and 50 million pixels, and has no bytes
    after its end. Raises BadImage for anything else.
    """
    if len(data) > MAX_BYTES:
        raise BadImage(details=f"{len(data)} bytes, more than {MAX_BYTES}")
    try:
        with Image.open(BytesIO(data), formats=tuple(_MIMES)) as image:
            _check_shape(image)
            _check_ends(image.format or "", data)
            image.load()
            return _info(image, data)
    except DECODE_ERRORS as error:
        raise BadImage(details=f"{len(data)} bytes: {error or type(error).__name__}") from error


def thumbnail(data: bytes) -> bytes:
    """Return a thumbnail of the image file `data`: an upright WebP of at most 512 x 512 pixels.

    The thumbnail has no metadata. Raises BadImage if `data` can't be decoded.
    """
    try:
        with Image.open(BytesIO(data), formats=tuple(_MIMES)) as image:
            _check_shape(image)
            image.draft("RGB", (2 * THUMBNAIL_SIDE, 2 * THUMBNAIL_SIDE))
            transposition = _TRANSPOSITIONS.get(_orientation(image))
            small = image.transpose(transposition) if transposition is not None else image
            small = small.convert("RGBA" if small.has_transparency_data else "RGB")
            small.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
            file = BytesIO()
            small.save(file, "WEBP", quality=THUMBNAIL_QUALITY)
            return file.getvalue()
    except DECODE_ERRORS as error:
        raise BadImage(details=str(error)) from error


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


def _check_shape(image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        raise ValueError(f"{image.width} x {image.height} pixels, more than {MAX_PIXELS}")
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise ValueError(f"{frames} frames, not a still image")


def _check_ends(kind: str, data: bytes) -> None:
    """Raise ValueError if the file is cut off or has bytes after its end. Pillow doesn't check this."""
    if kind == "PNG":
        for _ in _chunks(data):
            pass
    elif kind == "WEBP":
        length = int.from_bytes(data[4:8], "little") + 8
        if length != len(data):
            raise ValueError(f"a WebP of {length} bytes")
    elif not data.endswith(b"\xff\xd9"):
        raise ValueError("the JPEG has no end, or bytes behind it")


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
    """Yield the chunks of a PNG.

    Raises ValueError if a checksum is wrong, the end is missing, or there are bytes after the end.
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
    if at != len(data):
        raise ValueError(f"{len(data) - at} bytes behind the PNG's end")


def _text_chunk(keyword: str, text: str) -> bytes:
    """Return a PNG chunk of the kind iTXt that contains `text` in UTF-8, uncompressed.

    NUL characters are removed, because PNG forbids them.
    """
    words = text.replace("\0", "").encode("utf-8", "replace")
    body = b"iTXt" + keyword.encode("latin-1") + b"\0\0\0\0\0" + words
    return struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
