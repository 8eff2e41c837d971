"""The session cookie, which has one name over HTTP and another over HTTPS."""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

# The names that all installations shared in earlier versions. They are read, but never set.
LEGACY_COOKIE = "atelier"
# The prefix `__Host-` makes browsers reject the cookie unless it is Secure, for this host and all paths.
SECURE_PREFIX = "__Host-"
_LEGACY_COOKIES = (SECURE_PREFIX + LEGACY_COOKIE, LEGACY_COOKIE)
_PLAIN_COOKIE = re.compile(rf"{LEGACY_COOKIE}(-[0-9a-f]{{8}})?")


@dataclass(frozen=True, slots=True)
class SessionCookie:
    """The names of an installation's session cookie: `plain` over HTTP, and `secure` over HTTPS.

    Each installation has its own names, because browsers send a cookie to every port of a host.
    """

    plain: str
    secure: str

    @classmethod
    def of(cls, installation_key: bytes) -> Self:
        """Return the names for the installation with this secret key. The names don't reveal the key."""
        suffix = hmac.digest(installation_key, b"session cookie", "sha256").hex()[:8]
        plain = f"{LEGACY_COOKIE}-{suffix}"
        return cls(plain, SECURE_PREFIX + plain)

    def token(self, cookies: Mapping[str, str]) -> str | None:
        """Return the session token from a request's cookies, or None if there is no session cookie.

        Users who signed in before the names differed have a cookie with a former name.
        """
        return next((cookies[name] for name in self.names if cookies.get(name)), None)

    @property
    def names(self) -> tuple[str, ...]:
        """Return every name under which a browser may send this installation's cookie, newest first."""
        return (self.secure, self.plain, *_LEGACY_COOKIES)

    def names_to_clear(self, cookies: Mapping[str, str]) -> tuple[str, ...]:
        """Return the names of the cookies to clear when the browser with `cookies` signs out.

        If the browser has a cookie with a current name, one with a former name is another installation's.
        """
        current = (self.secure, self.plain)
        return current if any(cookies.get(name) for name in current) else self.names


def without_plain_cookie(headers: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the headers of an HTTPS request without the session cookie that is used over plain HTTP.

    That cookie can't be trusted: an attacker on the network, or a site on a sibling subdomain, can set it.
    """
    return [(name, _drop_plain_cookie(value) if name == b"cookie" else value) for name, value in headers]


def _drop_plain_cookie(cookies: bytes) -> bytes:
    # Ignore white space around a cookie's name, as the web frameworks do.
    pairs = cookies.decode("latin-1").split(";")
    kept = (pair for pair in pairs if not _PLAIN_COOKIE.fullmatch(pair.partition("=")[0].strip()))
    return ";".join(kept).encode("latin-1")
