"""The session cookie, which has one name over HTTP and another over HTTPS."""

from __future__ import annotations

COOKIE = "atelier"
# The prefix `__Host-` makes browsers reject the cookie unless it is Secure, for this host and all paths.
SECURE_COOKIE = "__Host-atelier"


def session_token(cookies: dict[str, str]) -> str | None:
    """Return the session token from a request's cookies, or None if there is no session cookie."""
    return cookies.get(SECURE_COOKIE) or cookies.get(COOKIE)


def without_plain_cookie(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an HTTPS request without the session cookie that is used over plain HTTP.

    That cookie can't be trusted: an attacker on the network, or a site on a sibling subdomain, can set it.
    """
    return [(name, _drop_plain_cookie(value) if name == b"cookie" else value) for name, value in headers]


def _drop_plain_cookie(cookies: bytes) -> bytes:
    # Ignore white space around a cookie's name, as the web frameworks do.
    pairs = cookies.decode("latin-1").split(";")
    return ";".join(pair for pair in pairs if pair.partition("=")[0].strip() != COOKIE).encode("latin-1")
