"""Image bytes as HTTP responses, with private caching, range requests and protection against scripts."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import Request, Response

from core import errors

CACHE_CONTROL = "private, max-age=31536000, immutable"
SAFETY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; sandbox",
}
# A share link is checked at every use, and no other site learns it from the Referer header.
_SHARE_LINK_HEADERS = {"Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer"}
# Access to an image depends on these request headers.
_VARY = "Cookie, Authorization"
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def image_response(
    request: Request, etag: str, mime: str, read: Callable[[], bytes], size: int | None = None
) -> Response:
    """The response to a GET or HEAD request for an image of `size` bytes.

    Calls `read` only to send the bytes, or to measure them when `size` is None. Raises RangeRejected.
    """
    by_share_link = getattr(request.state, "by_share_link", False)
    cache_headers = _SHARE_LINK_HEADERS if by_share_link else {"Cache-Control": CACHE_CONTROL}
    version_headers = {"ETag": f'"{etag}"', "Vary": _VARY} | cache_headers
    if _is_unchanged(request, etag):
        return Response(status_code=304, headers=version_headers)
    headers = SAFETY_HEADERS | version_headers | {"Accept-Ranges": "bytes"}
    if request.method == "HEAD":
        length = str(len(read()) if size is None else size)
        return Response(headers=headers | {"Content-Length": length}, media_type=mime)
    return _data_response(request, etag, read(), mime, headers)


def _data_response(request: Request, etag: str, data: bytes, mime: str, headers: dict[str, str]) -> Response:
    """The requested range of `data`, or all of it without a range, with several, or with a malformed one."""
    requested = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    is_current = request.headers.get("if-range", f'"{etag}"') == f'"{etag}"'
    if not requested or not is_current or requested[0] == "bytes=-":
        return Response(data, media_type=mime, headers=headers)
    first, last = _byte_positions(requested[1], requested[2], len(data))
    if first > last or first >= len(data):
        raise errors.RangeRejected(size=len(data))
    content_range = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
    return Response(data[first : last + 1], 206, media_type=mime, headers=headers | content_range)


def _byte_positions(first: str, last: str, size: int) -> tuple[int, int]:
    """The first and the last position of a range. If `first` is empty, `last` counts from the end."""
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last or size), size - 1)


def _is_unchanged(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return any(tag.strip().removeprefix("W/") in (f'"{etag}"', "*") for tag in known.split(","))
