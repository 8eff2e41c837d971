"""The opaque place in a list where the next page begins, or where the page before ended."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self


@dataclass(frozen=True, slots=True)
class Cursor:
    """Beyond the row (`at`, `id`): older rows, or newer ones when `newer`."""

    at: datetime
    id: str
    newer: bool = False

    def encode(self) -> str:
        text = f"{'<' if self.newer else '>'}{self.at.astimezone(UTC).isoformat()}|{self.id}"
        return urlsafe_b64encode(text.encode()).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str | None) -> Self | None:
        """None for nothing, or for anything that `encode` didn't make: lists then begin at the top."""
        try:
            padded = (text or "").encode("ascii") + b"=="
            plain = urlsafe_b64decode(padded).decode("ascii")
            at, _, key = plain[1:].partition("|")
            if not key.isalnum():
                return None
            return cls(datetime.fromisoformat(at).astimezone(UTC), key, newer=plain[0] == "<")
        except (binascii.Error, ValueError, IndexError, OverflowError):
            return None
