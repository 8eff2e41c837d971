"""What has come of an answer, byte for byte, for where no picture can be read from it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import httpx2

# Ten of the largest pictures, as base64.
MOST_BYTES = 256 * 2**20
_NAME = "tape"


def record(response: httpx2.Response) -> None:
    """A hook for an httpx2 client: `taken` then gives what has come of the answer to a POST."""
    if response.request.method == "POST" and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = response.extensions[_NAME] = _Tape(response.stream)


def taken(response: httpx2.Response) -> bytes:
    tape = response.extensions.get(_NAME)
    return bytes(tape.bytes) if isinstance(tape, _Tape) else b""


def drain(response: httpx2.Response) -> None:
    """Read the rest of an answer whose reader has given up on it, for `taken` to have it whole."""
    with suppress(httpx2.HTTPError, httpx2.StreamError):
        for _ in response.extensions.get(_NAME, ()):
            pass


class _Tape(httpx2.SyncByteStream):
    """An answer's bytes. Raises DecodingError for more than any answer has."""

    def __init__(self, pieces: httpx2.SyncByteStream) -> None:
        self._pieces = pieces
        # One for all who read: what is left can be read after a reader has given up.
        self._rest: Iterator[bytes] | None = None
        self.bytes = bytearray()

    def __iter__(self) -> Iterator[bytes]:
        self._rest = self._rest or iter(self._pieces)
        for piece in self._rest:
            if len(self.bytes) + len(piece) > MOST_BYTES:
                raise httpx2.DecodingError(f"the answer is larger than {MOST_BYTES:,} bytes")
            self.bytes += piece
            yield piece

    def close(self) -> None:
        self._pieces.close()
