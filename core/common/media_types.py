"""Media types of image files, and their file name extensions."""

from __future__ import annotations

MEGABYTE = 2**20


def file_extension(mime: str) -> str:
    """What the name of a file of this kind of picture ends in."""
    return {"image/jpeg": "jpg"}.get(mime, mime.removeprefix("image/"))


def sniff_media_type(data: bytes) -> str:
    """The type of a partial picture, which nothing has verified yet, by its first bytes."""
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"
