"""Pictures as HTTP answers: cached by whoever may see them, served in parts, and never taken for a page."""

from __future__ import annotations

import re
from collections.abc import Callable

from fastapi import Request, Response

from core import errors

CACHE = "private, max-age=31536000, immutable"
SAFE = {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": "default-src 'none'; sandbox"}
# A link is looked up at every use, and isn't told to where its picture leads.
_SHARED = {"Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer"}
# Who may see it hangs on these two.
_VARY = "Cookie, Authorization"
_RANGE = re.compile(r"bytes=([0-9]{0,18})-([0-9]{0,18})")


def picture(
    request: Request, etag: str, mime: str, data: Callable[[], bytes], size: int | None = None
) -> Response:
    """The answer to a GET or HEAD; `data` is read only where bytes are sent, or `size` isn't known.

    Raises RangeRejected.
    """
    shared = getattr(request.state, "shared", False)
    kept = {"ETag": f'"{etag}"', "Vary": _VARY} | (_SHARED if shared else {"Cache-Control": CACHE})
    if _is_known(request, etag):
        return Response(status_code=304, headers=kept)
    headers = SAFE | kept | {"Accept-Ranges": "bytes"}
    if request.method == "HEAD":
        length = str(len(data()) if size is None else size)
        return Response(headers=headers | {"Content-Length": length}, media_type=mime)
    return _part(request, etag, data(), mime, headers)


def _part(request: Request, etag: str, data: bytes, mime: str, headers: dict[str, str]) -> Response:
    """All of `data`, or the one range that is asked for; several at once are answered with all of it."""
    asked = _RANGE.fullmatch(request.headers.get("range", "").replace(" ", ""))
    current = request.headers.get("if-range", f'"{etag}"') == f'"{etag}"'
    if not asked or not current or asked[0] == "bytes=-":
        return Response(data, media_type=mime, headers=headers)
    first, last = _ends(asked[1], asked[2], len(data))
    if first > last or first >= len(data):
        raise errors.RangeRejected(size=len(data))
    place = {"Content-Range": f"bytes {first}-{last}/{len(data)}"}
    return Response(data[first : last + 1], 206, media_type=mime, headers=headers | place)


def _ends(first: str, last: str, size: int) -> tuple[int, int]:
    """The first and the last byte; without a first one, `last` is how many from the end."""
    if not first:
        return max(0, size - int(last)), size - 1
    return int(first), min(int(last or size), size - 1)


def _is_known(request: Request, etag: str) -> bool:
    known = request.headers.get("if-none-match", "")
    return any(tag.strip().removeprefix("W/") in (f'"{etag}"', "*") for tag in known.split(","))
