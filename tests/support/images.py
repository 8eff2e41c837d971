"""Plain PNG files."""

from __future__ import annotations

import struct
import zlib


def plain_png(width: int = 8, height: int = 8, colour: tuple[int, int, int] = (200, 80, 40)) -> bytes:
    rows = (b"\0" + bytes(colour) * width) * height
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(png_chunk(kind, body) for kind, body in chunks)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def wide_profile() -> bytes:
    """An ICC profile with the primaries of Display P3, adapted to D50, and a gamma of 2.2."""
    primaries = {
        b"rXYZ": (0.5151, 0.2412, -0.0011),
        b"gXYZ": (0.2920, 0.6922, 0.0419),
        b"bXYZ": (0.1571, 0.0666, 0.7841),
        b"wtpt": (0.9642, 1.0, 0.8249),
    }
    tags = {
        name: b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(part * 65536) for part in parts))
        for name, parts in primaries.items()
    }
    gamma = b"curv\0\0\0\0" + struct.pack(">IHxx", 1, round(2.2 * 256))
    tags |= dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), gamma)
    tags[b"desc"] = b"desc\0\0\0\0" + struct.pack(">I", 5) + b"wide\0" + bytes(79)
    at, table, body = 132 + 12 * len(tags), b"", b""
    for name, data in tags.items():
        table += name + struct.pack(">II", at + len(body), len(data))
        body += data
    kinds = (b"mntr", b"RGB ", b"XYZ ", b"acsp")
    head = struct.pack(">I4xI4s4s4s12x4s28x3i48x", at + len(body), 2 << 24, *kinds, 63190, 65536, 54061)
    return head + struct.pack(">I", len(tags)) + table + body
