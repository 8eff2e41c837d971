"""Ids of rows, and the hashes under which secrets are stored."""

from __future__ import annotations

from hashlib import sha256
from uuid import uuid4


def sha256_hex(text: str) -> str:
    """The SHA-256 of any text in hex, lone surrogates included: no two texts share one."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def new_id() -> str:
    """32 random hexadecimal digits: ids can't be guessed, and are safe as file names."""
    return uuid4().hex
