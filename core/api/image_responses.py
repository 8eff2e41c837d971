"""HTTP responses with the bytes of an image.

Only the user's own browser may cache these responses. They support range requests. Their headers prevent the
browser from running a script that is hidden in the bytes.
"""

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
# `no-cache`: the browser asks the server before each use of its copy. So the server checks the share link
# each time. `no-referrer`: the browser doesn't send the link to other sites.
_SHARE_LINK_HEADERS = {"Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer"}
# The request headers on which access to an image depends, and whether a share link is answered with a page.
_VARY = "Cookie, Authorization, Accept"
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def is_by_share_link(request: Request) -> bool:
    """Return whether a share link gives the request access to the image (core.api.dependencies)."""
    return getattr(request.state, "by_share_link", False)


def image_response(
    request: Request, etag: str, mime: str, read: Callable[[], bytes], size: int | None = None
) -> Response:
    """Return the response to a GET or HEAD request for an image.

    `etag` identifies the bytes, `mime` is their media type, and `size` is their number. `read` returns the
    bytes. It is called only if the response contains them, or if `size` is None and they must be counted.
    Raises RangeRejected if the request asks for a range that contains no byte of the image.
    """
    cache_headers = _SHARE_LINK_HEADERS if is_by_share_link(request) else {"Cache-Control": CACHE_CONTROL}
    version_headers = {"ETag": f'"{etag}"', "Vary": _VARY} | cache_headers
    if _is_unchanged(request, etag):
        return Response(status_code=304, headers=version_headers)
    headers = SAFETY_HEADERS | version_headers | {"Accept-Ranges": "bytes"}
    if request.method == "HEAD":
        length = str(len(read()) if size is None else size)
        return Response(headers=headers | {"Content-Length": length}, media_type=mime)
    return _data_response(request, etag, read(), mime, headers)


def _data_response(request: Request, etag: str, data: bytes, mime: str, headers: dict[str, str]) -> Response:
    """Return a response with the part of `data` that the request's `Range` header asks for.

    The response has all of `data` if the request has no `Range` header, or if the header names several ranges
    or is malformed. Likewise if the `If-Range` header names another ETag than `etag`. Raises RangeRejected if
    the range contains no byte of `data`.
    """
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
    """Return the positions of the first and the last byte of a range, counted from 0.

    `first` and `last` are the two numbers in the `Range` header. `size` is the number of bytes of the whole
    image. An empty `first` means the last `last` bytes of the image. An empty `last` means up to the end of
    the image.
    """
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last or size), size - 1)


def _is_unchanged(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return any(tag.strip().removeprefix("W/") in (f'"{etag}"', "*") for tag in known.split(","))
