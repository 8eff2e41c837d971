"""Finishes made of flat pieces: pixels, triangles, glass panes, poster inks."""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from core.offline.painter.canvas import noise, soften
from core.offline.painter.stage import Stage
from core.offline.painter.tools import Pixels, as_image, as_pixels, blur, framed, grain, vivid


def pixels(stage: Stage) -> Image.Image:
    """Large squares in 28 colours."""
    canvas = stage.canvas
    dark = canvas.colours.point([i * 45 // 100 for i in range(256)] * 3)
    dark.paste(canvas.colours, mask=ImageChops.invert(canvas.lines))
    small = vivid(dark.resize(_cells(canvas.colours.size), Image.Resampling.BOX), 1.25, 1.1)
    few = small.quantize(28, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    return few.resize(canvas.colours.size, Image.Resampling.NEAREST)


def blocky(cover: Image.Image) -> Image.Image:
    """The subject's cover in the same squares as `pixels`."""
    small = cover.resize(_cells(cover.size), Image.Resampling.BOX).point(
        [255 * (i > 127) for i in range(256)]
    )
    return small.resize(cover.size, Image.Resampling.NEAREST)


def _cells(size: tuple[int, int]) -> tuple[int, int]:
    edge = min(size) / 112
    return max(1, round(size[0] / edge)), max(1, round(size[1] / edge))


def low_poly(stage: Stage) -> Image.Image:
    """Flat triangles whose corners keep to the edges of what is painted."""
    canvas, rng = stage.canvas, stage.rng
    source = vivid(canvas.colours, 1.2, 1.12)
    corners = _corners(source, 54, rng)
    tones = as_pixels(source.filter(blur(canvas.unit / 400)))
    image = Image.new("RGB", (canvas.width * 2, canvas.height * 2))
    pen = ImageDraw.Draw(image)
    a, b, c, d = corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]
    faces = np.concatenate([np.stack(face, 2).reshape(-1, 3, 2) for face in ((a, b, d), (b, c, d))])
    inner = (faces * 0.5 + faces.mean(axis=1, keepdims=True) * 0.5).round().astype(int)
    x, y = np.clip(inner[..., 0], 0, canvas.width - 1), np.clip(inner[..., 1], 0, canvas.height - 1)
    tone = np.median(tones[y, x], axis=1) * rng.uniform(0.91, 1.06, (len(faces), 1))
    for face, colour in zip(
        (faces * 2).reshape(-1, 6).tolist(), np.clip(tone, 0, 255).astype(int).tolist(), strict=True
    ):
        pen.polygon(face, tuple(colour))
    return image.reduce(2)


def _corners(source: Image.Image, across: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """A net of points (rows, columns, 2), each drawn to the strongest edge in its cell; rim included."""
    w, h = source.size
    cell, part = min(w, h) / across, 8
    columns, rows = max(2, round(w / cell)), max(2, round(h / cell))
    grey = as_pixels(source.convert("L").resize((columns * part, rows * part), Image.Resampling.BOX))
    down, sideways = np.gradient(grey)
    edge = np.hypot(down, sideways) + rng.uniform(0, 5, grey.shape)
    best = edge.reshape(rows, part, columns, part).swapaxes(1, 2).reshape(rows, columns, -1).argmax(axis=2)
    x = (np.arange(columns) + (best % part + 0.5) / part) * w / columns
    y = (np.arange(rows)[:, None] + (best // part + 0.5) / part) * h / rows
    net = np.pad(np.stack([x, y], axis=2), ((1, 1), (1, 1), (0, 0)), mode="edge")
    net[0, :, 1], net[-1, :, 1], net[:, 0, 0], net[:, -1, 0] = -2, h + 2, -2, w + 2
    return cast("NDArray[np.float64]", net)


def poster(stage: Stage) -> Image.Image:
    """Twelve flat inks with worn print, inside a cream border."""
    canvas, rng = stage.canvas, stage.rng
    strong = as_pixels(vivid(canvas.colours.filter(blur(1)), 0.95, 1.2))
    warm = as_image(strong * np.array((1, 0.94, 0.82), np.float32) + np.array((6, 6, 12), np.float32))
    few = warm.quantize(12, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    h, w = canvas.height, canvas.width
    speck = noise(h, w, 190, rng) + noise(h, w, 70, rng) * np.float32(0.6)
    wear = (np.clip(speck - 0.9, 0, 1) * 0.5).astype(np.float32)[..., None]
    print_ = as_pixels(few) * (1 - wear) + np.array((244, 232, 206), np.float32) * wear
    return framed(grain(as_image(print_), 4, rng, 2), 0.045, (244, 232, 206), (60, 48, 52))


def stained(stage: Stage) -> Image.Image:
    """Panes of glowing glass between lead lines that follow the drawing."""
    canvas, rng = stage.canvas, stage.rng
    w, h = canvas.colours.size
    nearest, margin = _panes(w // 2, h // 2, 15, rng)
    glass = as_pixels(vivid(canvas.colours, 1.75, 1.1).filter(blur(canvas.unit * 0.003)))
    sheen = (0.98 + rng.uniform(-0.16, 0.16, nearest.max() + 1).astype(np.float32))[nearest]
    sheen = (
        as_pixels(Image.fromarray(sheen).resize((w, h), Image.Resampling.NEAREST))
        + noise(h, w, 90, rng) * 0.07
    )
    lead = as_pixels(
        Image.fromarray(np.clip((1.5 - margin / (canvas.unit * 0.0016)), 0, 1) * 255).resize((w, h))
    )
    lead = np.maximum(lead / 255, as_pixels(canvas.lines) / 255)[..., None]
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    glow = (1.18 - 0.4 * (x**2 + y**2) / 2).astype(np.float32)
    lit = glass * (sheen * glow)[..., None] + 8
    rounded = as_pixels(soften(as_image(lead[..., 0] * 255), canvas.unit * 0.002))[..., None] / 255
    return framed(as_image(lit * (1 - lead) * (1 - 0.35 * rounded) + lead * (30, 28, 34)), 0.02, (26, 24, 30))


def _panes(w: int, h: int, across: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Pixels]:
    """Cells round scattered points: the number of each pixel's cell and its distance from the border."""
    cell = min(w, h) / across
    columns, rows = int(w / cell) + 3, int(h / cell) + 3
    px = (np.arange(columns)[None] - 1 + rng.uniform(0.1, 0.9, (rows, columns))) * cell
    py = (np.arange(rows)[:, None] - 1 + rng.uniform(0.1, 0.9, (rows, columns))) * cell
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    j, i = (y / cell).astype(int) + 1, (x / cell).astype(int) + 1
    first, second = np.full((h, w), np.inf, np.float32), np.full((h, w), np.inf, np.float32)
    nearest = np.zeros((h, w), np.int64)
    for dj in (-1, 0, 1):
        for di in (-1, 0, 1):
            jj, ii = np.clip(j + dj, 0, rows - 1), np.clip(i + di, 0, columns - 1)
            far = np.hypot(x - px[jj, ii], y - py[jj, ii]).astype(np.float32)
            closer = far < first
            second = np.where(closer, first, np.minimum(second, far))
            nearest = np.where(closer, jj * columns + ii, nearest)
            first = np.where(closer, far, first)
    return nearest, cast(Pixels, second - first)
