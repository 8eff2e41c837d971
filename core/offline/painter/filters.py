"""Image filters that several finishes use: grain, vignette, frames and unsteady lines.

A finish turns a painted canvas into the finished picture of a style.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter

from core.offline.painter.canvas import Colour, rgb
from core.offline.painter.stage import Stage

Pixels = NDArray[np.float32]
"""Values from 0 to 255: an array of (height, width, 3), or of (height, width) for a single channel."""


PAPER: Colour = (250, 246, 236)


def blur(radius: float) -> ImageFilter.GaussianBlur:
    return ImageFilter.GaussianBlur(radius)


def as_pixels(image: Image.Image) -> Pixels:
    return np.asarray(image, dtype=np.float32)


def as_image(pixels: Pixels) -> Image.Image:
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def grain(image: Image.Image, strength: float, rng: np.random.Generator, coarse: int = 1) -> Image.Image:
    """Return `image` with random grain of up to `strength` brightness levels.

    `coarse` is the size of the grains in pixels.
    """
    size = image.height // coarse + 1, image.width // coarse + 1
    speck = rng.integers(-128, 128, size, dtype=np.int16) * (strength / 128) + 128
    layer = Image.fromarray(speck.astype(np.uint8))
    if coarse > 1:
        layer = layer.resize((size[1] * coarse, size[0] * coarse), Image.Resampling.BILINEAR)
    layer = layer.crop((0, 0, *image.size))
    return ImageChops.add(image, Image.merge("RGB", (layer,) * 3), 1, -128)


def vignette(image: Image.Image, strength: float) -> Image.Image:
    h, w = -(-image.height // 8), -(-image.width // 8)
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    shade = 255 * (1 - strength * np.clip((x**2 + y**2) / 2, 0, 1) ** 1.4)
    layer = Image.fromarray(shade.astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    return ImageChops.multiply(image, Image.merge("RGB", (layer,) * 3))


def vivid(image: Image.Image, colour: float, contrast: float = 1.0) -> Image.Image:
    return ImageEnhance.Contrast(ImageEnhance.Color(image).enhance(colour)).enhance(contrast)


def framed(image: Image.Image, width: float, colour: Colour, line: Colour | None = None) -> Image.Image:
    """Draw a border inside the edge of `image`, and return `image` itself.

    `width` is the border's width as a fraction of the shorter edge. `line` is the colour of a thin line along
    the border; None leaves out the line.
    """
    edge = round(width * min(image.size))
    pen, (w, h) = ImageDraw.Draw(image), image.size
    pen.rectangle((0, 0, w - 1, h - 1), outline=rgb(colour), width=edge)
    if line:
        pen.rectangle((edge, edge, w - 1 - edge, h - 1 - edge), outline=rgb(line), width=max(1, edge // 7))
    return image


def wavy(image: Image.Image, amount: float, cells: float, rng: np.random.Generator) -> Image.Image:
    """Return `image` distorted as if an unsteady hand had drawn it.

    `amount` is the largest shift, as a fraction of the shorter edge. The number of waves grows with `cells`.
    """
    w, h = image.size
    step = max(8, round(min(w, h) / cells / 2))
    columns, rows = w // step + 1, h // step + 1
    y, x = np.mgrid[0 : rows + 1, 0 : columns + 1] * step
    reach = amount * min(w, h)
    net = np.stack([x, y], axis=2) + rng.uniform(-reach, reach, (rows + 1, columns + 1, 2))
    source = np.concatenate([net[:-1, :-1], net[1:, :-1], net[1:, 1:], net[:-1, 1:]], axis=2)
    mesh = [
        ((i * step, j * step, (i + 1) * step, (j + 1) * step), tuple(source[j, i].tolist()))
        for j in range(rows)
        for i in range(columns)
    ]
    whole = Image.new(image.mode, (columns * step, rows * step))
    whole.paste(image)
    bent = whole.transform(whole.size, Image.Transform.MESH, mesh, Image.Resampling.BILINEAR)
    edge, steady = step // 2, image.copy()
    steady.paste(bent.crop((edge, edge, w - edge, h - edge)), (edge, edge))
    return steady


def brightness(stage: Stage) -> Pixels:
    """Return the brightness of the stage's painted colours as an array of (height, width).

    The values are stretched to the range from 0 to 1.
    """
    grey = as_pixels(stage.canvas.colours.convert("L").filter(blur(2)))
    low, high = np.percentile(grey[::8, ::8], (2, 97))
    return cast(Pixels, np.clip((grey - low) / max(high - low, 1), 0, 1))
