"""Pictures that are damaged, lie about themselves or are no pictures: one is verified in full or refused."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress

import pytest
from hypothesis import example
from hypothesis import strategies as st
from PIL import Image

from core.common.media_types import MAX_IMAGE_PIXELS
from core.errors import BadImage
from core.images.image_files import (
    PROMPT_KEYWORDS,
    _Chunk,
    download_copy,
    thumbnail,
    verify_image,
)
from tests.support.fuzz_inputs import fuzz
from tests.support.images import plain_png, png_chunk

# As the app's log would have it: Pillow warns of what it then refuses.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::PIL.Image.DecompressionBombWarning")
MAGIC = b"\x89PNG\r\n\x1a\n"


def _saved(kind: str) -> bytes:
    made, exif = io.BytesIO(), Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a fox"
    Image.linear_gradient("L").convert("RGB").resize((24, 16)).save(made, kind, exif=exif)
    return made.getvalue()


def _still(kind: str) -> bytes:
    made = io.BytesIO()
    Image.linear_gradient("L").resize((24, 16)).save(made, kind)
    return made.getvalue()


WHOLE = {kind: _saved(kind) for kind in ("PNG", "WEBP", "JPEG")}
OTHERS = {"GIF": _still("GIF"), "AVIF": _saved("AVIF")}
kinds = st.sampled_from(sorted(WHOLE))
small = st.binary(max_size=40)


def _all_agree(data: bytes) -> None:
    """Whatever the bytes are, each reader of pictures takes them or says BadImage; a bomb is never taken."""
    with suppress(BadImage):
        picture = verify_image(data)
        assert 0 < picture.width * picture.height <= MAX_IMAGE_PIXELS
        assert picture.mime.startswith("image/")
        assert verify_image(thumbnail(data)).mime == "image/webp"
        assert download_copy(data, recipe_text=None) == data
        verify_image(download_copy(data, recipe_text={"prompt": "a fox"}))
    with suppress(BadImage):
        thumbnail(data)
    with suppress(BadImage):
        download_copy(data, recipe_text={})


@fuzz(
    kind=kinds | st.sampled_from(sorted(OTHERS)),
    changes=st.lists(st.tuples(st.integers(0, 4_000), st.integers(0, 255)), max_size=4),
    more=small,
)
def test_a_picture_with_some_bytes_changed_is_taken_whole_or_refused(
    kind: str, changes: list[tuple[int, int]], more: bytes
) -> None:
    data = bytearray((WHOLE | OTHERS)[kind])
    for place, value in changes:
        data[place % len(data)] = value
    _all_agree(bytes(data) + more)


@pytest.mark.parametrize("kind", sorted(WHOLE))
def test_a_picture_with_odd_metadata_is_whole_and_has_its_thumbnail(kind: str) -> None:
    """A resolution that is words: Pillow can read it, and raises a TypeError where it would write it."""
    odd = WHOLE[kind]
    for words, resolution in ((b"\x01\x0e\0\x02", b"\x01\x1a\0\x02"), (b"\x0e\x01\x02\0", b"\x1a\x01\x02\0")):
        odd = odd.replace(words, resolution)
    assert odd != WHOLE[kind]
    if kind == "PNG":
        odd = MAGIC + b"".join(png_chunk(chunk.kind, chunk.body) for chunk in parts_of(odd))
    assert verify_image(odd).width == 16
    small = verify_image(thumbnail(odd))
    assert (small.width, small.height) == (16, 24)


def parts_of(png: bytes) -> Iterator[_Chunk]:
    """Its chunks, whatever their checksums say."""
    at = len(MAGIC)
    while at < len(png):
        (length,) = struct.unpack(">I", png[at : at + 4])
        yield _Chunk(png[at + 4 : at + 8], png[at + 8 : at + 8 + length], b"")
        at += 12 + length


PARTS = [b"VP8X", b"EXIF", b"ICCP", b"XMP ", b"ANIM", b"ANMF", b"ALPH", b"abcd"]
CHUNKS = b"tEXt zTXt iTXt eXIf iCCP PLTE tRNS acTL fcTL fdAT gAMA pHYs cHRM sRGB IHDR IDAT IEND caBX abcd"
chunks = st.tuples(
    st.sampled_from(CHUNKS.split()),
    st.one_of(
        small,
        small.map(lambda data: b"prompt\0" + data),
        small.map(lambda data: b"parameters\0\0" + zlib.compress(data)),
        small.map(lambda data: b"prompt\0\1\0\0\0" + data),
        small.map(lambda data: b"II*\0\x08\0\0\0" + data),
    ),
)  # fmt: skip


@example(shape=(8, 8), form=(1, 3), before=[], pixels=b"", after=[])  # colours of a palette that isn't there
@fuzz(
    shape=st.tuples(st.integers(0, 2**31), st.integers(0, 2**31)) | st.just((8, 8)),
    form=st.tuples(*[st.sampled_from([0, 1, 2, 3, 4, 6, 8, 16])] * 2),
    before=st.lists(chunks, max_size=3),
    pixels=st.binary(max_size=300),
    after=st.lists(chunks, max_size=2),
)
def test_a_png_of_any_parts_with_right_checksums_is_taken_whole_or_refused(
    shape: tuple[int, int],
    form: tuple[int, int],
    before: list[tuple[bytes, bytes]],
    pixels: bytes,
    after: list[tuple[bytes, bytes]],
) -> None:
    header = struct.pack(">IIBBBBB", *shape, *form, 0, 0, 0)
    rows = zlib.compress(pixels if shape != (8, 8) else (b"\0" + bytes(range(24))) * 8)
    parts = [(b"IHDR", header), *before, (b"IDAT", rows), *after, (b"IEND", b"")]
    _all_agree(MAGIC + b"".join(png_chunk(kind, body) for kind, body in parts))


@fuzz(
    segments=st.lists(
        st.tuples(
            st.sampled_from([0xC0, 0xC4, 0xDB, 0xDD, 0xE0, 0xE1, 0xE2, 0xED, 0xEE, 0xFE]),
            st.one_of(
                small,
                small.map(lambda data: b"Exif\0\0MM\0*\0\0\0\x08" + data),
                small.map(lambda data: b"ICC_PROFILE\0\1\1" + data),
                small.map(lambda data: b"MPF\0II*\0\x08\0\0\0" + data),
                small.map(lambda data: b"Photoshop 3.0\x008BIM" + data),
                small.map(lambda data: b"Adobe" + data),
            ),
        ),
        max_size=4,
    )
)
def test_a_jpeg_with_any_segments_is_taken_whole_or_refused(segments: list[tuple[int, bytes]]) -> None:
    parts = (bytes((0xFF, kind)) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
    _all_agree(WHOLE["JPEG"][:2] + b"".join(parts) + WHOLE["JPEG"][2:])


@fuzz(
    parts=st.lists(
        st.tuples(
            st.sampled_from([b"VP8X", b"EXIF", b"ICCP", b"XMP ", b"ANIM", b"ANMF", b"ALPH", b"abcd"]), small
        ),
        max_size=4,
    )
)
def test_a_webp_with_any_parts_is_taken_whole_or_refused(parts: list[tuple[bytes, bytes]]) -> None:
    made = b"".join(
        kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2) for kind, body in parts
    )
    body = b"WEBP" + made + WHOLE["WEBP"][12:]
    _all_agree(b"RIFF" + struct.pack("<I", len(body)) + body)


@fuzz(
    texts=st.dictionaries(
        st.sampled_from(sorted(PROMPT_KEYWORDS)), st.text(st.characters(exclude_categories=()))
    ),
    before=st.lists(st.tuples(st.sampled_from([b"tEXt", b"iTXt", b"zTXt", b"caBX"]), small), max_size=3),
)
def test_a_download_copy_can_be_undone_and_made_again(
    texts: dict[str, str], before: list[tuple[bytes, bytes]]
) -> None:
    plain, end = plain_png(), png_chunk(b"IEND", b"")
    parts = b"".join(png_chunk(kind, b"x" + body) for kind, body in before)
    whole = plain.removesuffix(end) + parts + end
    copy = download_copy(whole, recipe_text=texts)
    assert download_copy(copy, recipe_text={}) == whole
    assert download_copy(copy, recipe_text=texts) == copy


@pytest.mark.parametrize("sides", [(30_000, 30_000), (2**31 - 1, 2), (50_001, 1_000)])
def test_a_bomb_is_refused_before_it_is_unpacked(sides: tuple[int, int]) -> None:
    header = struct.pack(">IIBBBBB", *sides, 8, 2, 0, 0, 0)
    parts = ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10**6))), (b"IEND", b""))
    bomb = MAGIC + b"".join(png_chunk(kind, body) for kind, body in parts)
    for reader in (verify_image, thumbnail):
        with pytest.raises(BadImage):
            reader(bomb)


def test_compressed_words_in_a_picture_are_not_unpacked_without_end() -> None:
    """A ratio of a thousand to one, in each of a hundred chunks."""
    packed = png_chunk(b"zTXt", b"c\0\0" + zlib.compress(bytes(20 * 2**20)))
    whole = plain_png()
    bomb = whole[:33] + packed * 100 + whole[33:]
    with pytest.raises(BadImage):
        verify_image(bomb)
