"""Row ids, and the hashes that are stored in place of secrets."""

from __future__ import annotations

from hashlib import sha256
from uuid import uuid4


def sha256_hex(text: str) -> str:
    """The SHA-256 of `text` in hex. Lone surrogates are hashed too, so any text is accepted."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new_id() -> str:
    """32 random hexadecimal digits: an id can't be guessed, and is a valid file name."""
    return uuid4().hex
