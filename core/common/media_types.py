"""Media types of image files, the matching file name extensions, and the size limits of images."""

from __future__ import annotations

MEGABYTE = 2**20
# The largest image that can be ordered from a service, and that is accepted from it. Decoded, it takes up to
# 256 MB of memory.
MAX_IMAGE_PIXELS = 2**26
# The largest image file that is accepted: as large as the largest response can hold in base64.
MAX_IMAGE_BYTES = 192 * MEGABYTE
# The number of bytes that `image_media_type` needs to recognise every type.
SIGNATURE_BYTES = 12
_SIGNATURES = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


def file_extension(mime: str) -> str:
    """Return the file name extension for an image's media type, without a dot, such as "jpg"."""
    return {"image/jpeg": "jpg"}.get(mime, mime.removeprefix("image/"))


def image_media_type(data: bytes) -> str | None:
    """Return the media type of the image file `data`, judged by its first SIGNATURE_BYTES bytes.

    Returns None if they don't belong to a PNG, JPEG, GIF, WebP or AVIF.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image/webp"
    if data[4:12] in (b"ftypavif", b"ftypavis"):
        return "image/avif"
    return next((mime for signature, mime in _SIGNATURES.items() if data.startswith(signature)), None)


def sniff_media_type(data: bytes) -> str:
    """Return the media type of a preview image, judged by the first bytes of `data`.

    Returns "image/jpeg" if the type is unknown.
    """
    return image_media_type(data) or "image/jpeg"
