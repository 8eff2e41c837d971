"""The hash under which a text is known that is not itself kept: a token, or what was asked for."""

from __future__ import annotations

from hashlib import sha256


def digest_of(text: str) -> str:
    """The SHA-256 of any text in hex, lone surrogates included: no two texts share one."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
