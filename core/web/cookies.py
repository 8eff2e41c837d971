"""The session cookie, which has one name for HTTP and another for HTTPS."""

from __future__ import annotations

COOKIE = "atelier"
# The prefix `__Host-` makes browsers reject the cookie unless it is Secure, for this host and all paths.
SECURE_COOKIE = "__Host-atelier"


def session_token(cookies: dict[str, str]) -> str | None:
    """The session token among a browser's cookies; None without one."""
    return cookies.get(SECURE_COOKIE) or cookies.get(COOKIE)


def without_plain_cookie(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The headers of an HTTPS request without the cookie of plain HTTP.

    Somebody on the network, or a site on a neighbouring host name, can set that cookie for this host.
    """
    return [(name, _drop_plain_cookie(value) if name == b"cookie" else value) for name, value in headers]


def _drop_plain_cookie(cookies: bytes) -> bytes:
    # The frameworks ignore white space around a cookie's name, so this does too.
    pairs = cookies.decode("latin-1").split(";")
    return ";".join(pair for pair in pairs if pair.partition("=")[0].strip() != COOKIE).encode("latin-1")
