"""Random ids for table rows, and SHA-256 hashes, which are stored instead of secrets."""

from __future__ import annotations

from hashlib import sha256
from uuid import uuid4


def sha256_hex(text: str) -> str:
    """Return the SHA-256 of `text` as 64 hexadecimal digits. `text` may contain lone surrogates."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new_id() -> str:
    """Return an id of 32 random hexadecimal digits. It can't be guessed and is a valid file name."""
    return uuid4().hex
