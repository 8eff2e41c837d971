"""What comes of an answer: as much as any answer has, and byte for byte where no picture can be read from it.

Some servers pack what they send, though they are asked not to, and a little may unpack to a great deal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

import httpx2

# Ten of the largest pictures, as base64.
MOST_BYTES = 256 * 2**20
# Sixteen thousand tokens, each in an event of its own with all that services put around it.
MOST_TEXT_BYTES = 16 * 2**20
# No error says more that anybody reads.
MOST_ERROR_BYTES = 2**20
_NAME = "tape"


def record(response: httpx2.Response) -> None:
    """A hook for an httpx2 client: `taken` then gives what has come of the answer to a POST.

    Of an error no more than MOST_ERROR_BYTES can be read: what follows is left out.
    """
    if response.request.method == "POST" and isinstance(response.stream, httpx2.SyncByteStream):
        response.stream = response.extensions[_NAME] = _Tape(response.stream)
        if not response.is_success:
            response.stream = _Beginning(response, response.stream)
            response.headers.pop("content-encoding", None)


def unpacked(response: httpx2.Response, *, pictures: bool) -> Iterator[bytes]:
    """The bytes of an answer, counted while they are unpacked.

    Raises DecodingError for more than MOST_BYTES, or MOST_TEXT_BYTES where no `pictures` are awaited.
    """
    most, come = MOST_BYTES if pictures else MOST_TEXT_BYTES, 0
    for piece in response.iter_bytes():
        come += len(piece)
        if come > most:
            raise httpx2.DecodingError(f"the answer is larger than {most:,} bytes")
        yield piece


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


class _Beginning(httpx2.SyncByteStream):
    """The first MOST_ERROR_BYTES of an error's body, unpacked."""

    def __init__(self, response: httpx2.Response, packed: httpx2.SyncByteStream) -> None:
        self._packed = packed
        headers = response.headers.copy()
        self._whole = httpx2.Response(
            response.status_code, headers=headers, stream=packed, request=response.request
        )

    def __iter__(self) -> Iterator[bytes]:
        left = MOST_ERROR_BYTES
        for piece in self._whole.iter_bytes():
            yield piece[:left]
            left -= len(piece)
            if left <= 0:
                return

    def close(self) -> None:
        self._packed.close()
