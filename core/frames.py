"""Server-sent events, read so that nothing which has come whole is lost.

A usual reader drops an event whose last line ends are missing, and stops where one is garbled; here
either may be a paid picture.
"""

from __future__ import annotations

from collections.abc import Iterator

import httpx2

_FIELD = b"data:"


def frames(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The data of each event in a stream's `pieces`, as it came. What they raise is raised behind it."""
    # One text, not a list: of a million short lines that would take ten times their bytes.
    data: bytearray | None = None
    for line in _lines(_ended(pieces)):
        if line.startswith(_FIELD):
            if data is None:
                data = bytearray()
            else:
                data += b"\n"
            data += line.removeprefix(_FIELD).removeprefix(b" ")
        elif not line and data is not None:
            yield bytes(data)
            data = None


def _ended(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """`pieces` with the blank line that a cut has taken from an object whose last sign has come."""
    end = b""
    try:
        for piece in pieces:
            end = piece.rstrip() or end
            yield piece
    except httpx2.HTTPError:
        yield _missing(end)
        raise
    yield _missing(end)


def _missing(end: bytes) -> bytes:
    return b"\n\n" if end.endswith(b"}") else b""


def _lines(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The lines of `pieces` without their ends, of whatever system; one without an end is none."""
    held = bytearray()
    for piece in pieces:
        # Of what was held only the last sign may end a line: one of a million pieces is read once.
        new = max(len(held) - 1, 0)
        held += piece
        # The sign at the very end may be the first of two.
        whole = max(held.rfind(b"\n", new), held.rfind(b"\r", new, -1)) + 1
        yield from bytes(held[:whole]).splitlines()
        del held[:whole]
