"""Media types of image files, and the matching file name extensions."""

from __future__ import annotations

MEGABYTE = 2**20


def file_extension(mime: str) -> str:
    """Return the file name extension for an image's media type, without a dot, such as "jpg"."""
    return {"image/jpeg": "jpg"}.get(mime, mime.removeprefix("image/"))


def sniff_media_type(data: bytes) -> str:
    """Return the media type of a preview image, judged by the first bytes of `data`.

    Returns "image/png" or "image/webp" if the bytes say so, and otherwise "image/jpeg".
    """
    if data.startswith(b"\x89PNG"):
        return "image/png"
    return "image/webp" if data[8:12] == b"WEBP" else "image/jpeg"
