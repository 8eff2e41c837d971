"""Paints a picture that follows its prompt, repaints a given picture, and encodes pictures as files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from core.offline.painter.canvas import Canvas
from core.offline.painter.palette import choose_palette
from core.offline.painter.plan import Plan, read_plan
from core.offline.painter.stage import Stage, paint_weather
from core.offline.painter.styles import render_style

SOFTWARE = "Atelier offline engine"
_PROVENANCE = "Drawn by Atelier's offline engine from the words of the prompt, not by an image model."
_MAX_PAINTED_PIXELS = 1_500_000
# The opacity of the source in a repainted picture, from 0 to 1.
_SOURCE_OPACITY = 0.2
_SOFTWARE_TAG, _DESCRIPTION_TAG = 0x0131, 0x010E


def paint(
    prompt: str, *, width: int, height: int, seed: int, transparent: bool = False, partials: int = 0
) -> Iterator[Image.Image]:
    """Yield `partials` coarse previews of the picture for `prompt`, and then the finished picture.

    Each preview is finer than the one before. All pictures are `width` by `height` pixels in RGB. If
    `transparent` is true, they are in RGBA and show only the subject. The same arguments always give the same
    picture. A picture of more than 1.5 megapixels is painted smaller and enlarged.
    """
    shrink = min(1.0, (_MAX_PAINTED_PIXELS / (width * height)) ** 0.5)
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    picture = _finished(read_plan(prompt), size, seed, transparent)
    for step in range(partials, 0, -1):
        yield _coarse(picture, step).resize((width, height), Image.Resampling.BICUBIC)
    yield picture if picture.size == (width, height) else picture.resize((width, height), _enlarging(prompt))


def encode(picture: Image.Image, output_format: str) -> bytes:
    """Return `picture` as an image file whose metadata name the offline engine.

    `output_format` is "png", "webp" or "jpeg".
    """
    file = io.BytesIO()
    if output_format == "png":
        info = PngInfo()
        info.add_text("Software", SOFTWARE)
        info.add_text("Source", _PROVENANCE)
        picture.save(file, "PNG", pnginfo=info, compress_level=2)
        return file.getvalue()
    exif = Image.Exif()
    exif[_SOFTWARE_TAG], exif[_DESCRIPTION_TAG] = SOFTWARE, _PROVENANCE
    if output_format == "webp":
        picture.save(file, "WEBP", exif=exif, quality=88, method=2)
    else:
        picture.convert("RGB").save(file, "JPEG", exif=exif, quality=92)
    return file.getvalue()


def _finished(plan: Plan, size: tuple[int, int], seed: int, transparent: bool) -> Image.Image:
    style, rng = render_style(plan.style), np.random.default_rng(seed)
    canvas = Canvas(*size, style.shape_style)
    stage = Stage(canvas, plan, choose_palette(plan), rng)
    if transparent:
        canvas.colours.paste((255, 255, 255), (0, 0, *size))
    else:
        style.scene(stage)
    style.subject(stage)
    if not transparent:
        paint_weather(stage)
    picture = style.finish(stage)
    if transparent:
        picture.putalpha(style.alpha(canvas.subject_mask))
    return picture


def _coarse(picture: Image.Image, step: int) -> Image.Image:
    """Return `picture` with few pixels, for a preview. A higher `step` gives fewer pixels."""
    cells = 96 >> step
    small = max(2, cells * picture.width // picture.height), max(2, cells)
    return picture.resize(small, Image.Resampling.BOX)


def _enlarging(prompt: str) -> Image.Resampling:
    return Image.Resampling.NEAREST if read_plan(prompt).style == "pixel" else Image.Resampling.BICUBIC


def open_image(data: bytes) -> Image.Image:
    """Return the image in the image file `data`, decoded. Raises OSError if `data` isn't an image file."""
    image = Image.open(BytesIO(data))
    image.load()
    return image


def repaint(picture: Image.Image, source: Image.Image, mask: Image.Image | None = None) -> Image.Image:
    """Return `picture` in the colours of `source`, for an edit of the image `source`.

    The source also shows through faintly. Where `mask` is opaque, the result is the unchanged source, as in
    OpenAI's edits.
    """
    alpha = picture.getchannel("A") if picture.mode == "RGBA" else None
    below = source.convert("RGB").resize(picture.size)
    varied = Image.blend(_coloured(picture.convert("RGB"), below), below, _SOURCE_OPACITY)
    if mask:
        varied.paste(below, mask=mask.convert("RGBA").getchannel("A").resize(picture.size))
    if alpha:
        varied.putalpha(alpha)
    return varied


def _coloured(picture: Image.Image, source: Image.Image) -> Image.Image:
    """Return `picture` with each channel's mean and standard deviation changed to those of `source`."""
    here, there = _channels(picture), _channels(source)
    spread = (there.std(axis=(0, 1)) + 1) / (here.std(axis=(0, 1)) + 1)
    moved = (here - here.mean(axis=(0, 1))) * spread + there.mean(axis=(0, 1))
    return Image.fromarray(moved.clip(0, 255).astype(np.uint8))


def _channels(picture: Image.Image) -> NDArray[np.float32]:
    """Return the picture as an array of (height, width, 3) with values from 0 to 255."""
    return np.asarray(picture, dtype=np.float32)
