"""The offline engine's painter: paints a picture that follows its prompt, without a network or a model."""

from __future__ import annotations

import io
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.offline.painter.canvas import Canvas
from core.offline.painter.palette import choose
from core.offline.painter.plan import Plan, read
from core.offline.painter.stage import Stage, paint_weather
from core.offline.painter.styles import look_of

SOFTWARE = "Atelier offline engine"
_SOURCE = "Drawn by Atelier's offline engine from the words of the prompt, not by an image model."
_MAX_PIXELS = 1_500_000
_SOFTWARE_TAG, _DESCRIPTION_TAG = 0x0131, 0x010E


def paint(
    prompt: str, *, width: int, height: int, seed: int, transparent: bool = False, partials: int = 0
) -> Iterator[Image.Image]:
    """Yields `partials` coarse pictures, each finer than the last, then the finished one.

    All are `width` by `height` pixels, RGB, or RGBA of the subject alone where `transparent`. The same
    arguments always give the same picture. Large sizes are drawn at 1.5 megapixels and enlarged.
    """
    shrink = min(1.0, (_MAX_PIXELS / (width * height)) ** 0.5)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    picture = _finished(read(prompt), size, seed, transparent)
    for step in range(partials, 0, -1):
        yield _coarse(picture, step).resize((width, height), Image.Resampling.BICUBIC)
    yield picture if picture.size == (width, height) else picture.resize((width, height), _enlarging(prompt))


def encode(picture: Image.Image, output_format: str) -> bytes:
    """The picture's file as png, webp or jpeg, with metadata that names the offline engine."""
    file = io.BytesIO()
    if output_format == "png":
        info = PngInfo()
        info.add_text("Software", SOFTWARE)
        info.add_text("Source", _SOURCE)
        picture.save(file, "PNG", pnginfo=info, compress_level=2)
        return file.getvalue()
    exif = Image.Exif()
    exif[_SOFTWARE_TAG], exif[_DESCRIPTION_TAG] = SOFTWARE, _SOURCE
    if output_format == "webp":
        picture.save(file, "WEBP", exif=exif, quality=88, method=2)
    else:
        picture.convert("RGB").save(file, "JPEG", exif=exif, quality=92)
    return file.getvalue()


def _finished(plan: Plan, size: tuple[int, int], seed: int, transparent: bool) -> Image.Image:
    look, rng = look_of(plan.style), np.random.default_rng(seed)
    canvas = Canvas(*size, look.manner)
    stage = Stage(canvas, plan, choose(plan), rng)
    if transparent:
        canvas.colours.paste((255, 255, 255), (0, 0, *size))
    else:
        look.scene(stage)
    look.subject(stage)
    if not transparent:
        paint_weather(stage)
    picture = look.finish(stage)
    if transparent:
        picture.putalpha(look.alpha(canvas.cover))
    return picture


def _coarse(picture: Image.Image, step: int) -> Image.Image:
    """What can be seen of the picture `step` steps before it is finished."""
    cells = 96 >> step
    small = max(2, cells * picture.width // picture.height), max(2, cells)
    return picture.resize(small, Image.Resampling.BOX)


def _enlarging(prompt: str) -> Image.Resampling:
    return Image.Resampling.NEAREST if read(prompt).style == "pixel" else Image.Resampling.BICUBIC


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
