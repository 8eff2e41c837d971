"""A picture painted anew in another one's colours, and only where a mask lets it."""

from __future__ import annotations

from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

# How much of the other picture can still be seen.
_GHOST = 0.2


def opened(data: bytes) -> Image.Image:
    """The picture in `data`, decoded. Raises OSError for anything else."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def vary(picture: Image.Image, source: Image.Image, mask: Image.Image | None = None) -> Image.Image:
    """`picture` with the colours and, faintly, the shapes of `source`; what `mask` covers stays as it was."""
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    below = source.convert("RGB").resize(picture.size)
    varied = Image.blend(_coloured(picture.convert("RGB"), below), below, _GHOST)
    if mask:
        varied.paste(below, mask=mask.convert("RGBA").getchannel("A").resize(picture.size))
    if alpha:
        varied.putalpha(alpha)
    return varied


def _coloured(picture: Image.Image, source: Image.Image) -> Image.Image:
    """`picture` with each channel's mean and spread those of `source`."""
    here, there = _channels(picture), _channels(source)
    spread = (there.std(axis=(0, 1)) + 1) / (here.std(axis=(0, 1)) + 1)
    moved = (here - here.mean(axis=(0, 1))) * spread + there.mean(axis=(0, 1))
    return Image.fromarray(moved.clip(0, 255).astype(np.uint8))


def _channels(picture: Image.Image) -> NDArray[np.float32]:
    """(height, width, 3), each 0 to 255."""
    return np.asarray(picture, dtype=np.float32)
