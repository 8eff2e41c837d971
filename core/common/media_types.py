"""Media types of image files, and their file name extensions."""

from __future__ import annotations

MEGABYTE = 2**20


def file_extension(mime: str) -> str:
    """The file name extension of an image type, without a dot."""
    return {"image/jpeg": "jpg"}.get(mime, mime.removeprefix("image/"))


def sniff_media_type(data: bytes) -> str:
    """The media type of a preview image by its first bytes; the image itself isn't verified."""
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"
