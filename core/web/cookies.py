"""The cookie of a browser's session, and which of its two names is believed."""

from __future__ import annotations

COOKIE = "atelier"
# The name makes browsers refuse the cookie unless it is Secure, of this host alone, and for all paths.
SECURE_COOKIE = "__Host-atelier"


def session_token(cookies: dict[str, str]) -> str | None:
    """The session's token among a browser's cookies."""
    return cookies.get(SECURE_COOKIE) or cookies.get(COOKIE)


def without_plain_cookie(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A request's headers without the session of plain HTTP, for what came by HTTPS.

    That cookie can be set for this host by whoever is between, or at a neighbouring name.
    """
    return [(name, _but_plain(value) if name == b"cookie" else value) for name, value in headers]


def _but_plain(cookies: bytes) -> bytes:
    # As the frameworks read it: what a name is surrounded by doesn't count.
    each = cookies.decode("latin-1").split(";")
    return ";".join(one for one in each if one.partition("=")[0].strip() != COOKIE).encode("latin-1")
