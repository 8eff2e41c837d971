"""Finishes that live by their lines: ink, pencil, comic, cel shading, blueprint."""

from __future__ import annotations

from typing import cast

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from core.offline.painter.canvas import Canvas, noise, soften
from core.offline.painter.stage import Stage
from core.offline.painter.tools import PAPER, Pixels, as_image, as_pixels, brightness, framed, vivid, wavy


def _hatching(light: Pixels, angle: float, gap: float, level: float, rng: np.random.Generator) -> Pixels:
    """Ink from 0 to 1 of parallel strokes where it is darker than `level`, wider the darker it is."""
    h, w = light.shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    wander = noise(h, w, 9, rng) * gap * 0.9
    across = (x * np.sin(angle) + y * np.cos(angle) + wander) / gap
    line = np.abs((across % 1) - 0.5) * 2
    wide = np.clip((level - light) / max(level, 0.01), 0, 1) * 0.62
    return cast(Pixels, np.clip((wide - line) * gap / 2.4 + 0.35, 0, 1) * (wide > 0.03))


def inked(stage: Stage) -> Image.Image:
    """Black line and three directions of hatching on white."""
    canvas, rng, light = stage.canvas, stage.rng, brightness(stage)
    h, w = canvas.height, canvas.width
    gap = canvas.unit / 100
    strokes = _hatching(light, 0.8, gap, 0.62, rng)
    strokes = np.maximum(strokes, _hatching(light, -0.6, gap, 0.24, rng))
    strokes = np.maximum(strokes, np.clip((0.13 - light) * 9, 0, 1))
    lines = as_pixels(wavy(canvas.lines, 0.0016, 60, rng)) / 255
    swell = 0.75 + 0.5 * noise(h, w, 14, rng)
    black = np.clip(np.maximum(strokes * 0.9, lines * (0.8 + swell)), 0, 1)[..., None]
    paper = np.array((252, 250, 244), np.float32) + noise(h, w, 200, rng)[..., None] * 2
    return as_image(paper * (1 - black) + np.array((24, 22, 30), np.float32) * black)


def pencil(stage: Stage) -> Image.Image:
    """Doubled loose lines, soft hatched shading and the circles of a first construction."""
    canvas, rng, light = stage.canvas, stage.rng, brightness(stage)
    h, w = canvas.height, canvas.width
    tooth = 0.9 + 0.3 * np.clip(noise(h, w, 330, rng) + noise(h, w, 130, rng) * 0.5, -1, 1)
    shading = np.clip(1 - light, 0, 1) ** 1.3 * 0.62
    strokes = _hatching(light, 0.9, canvas.unit / 170, 0.85, rng) * 0.32
    lines = np.maximum(*(as_pixels(wavy(canvas.lines, 0.003, 22, rng)) / 255 * dark for dark in (1.15, 0.6)))
    sketch = as_pixels(_construction(canvas)) / 255 * 0.3
    graphite = np.clip(
        (np.maximum(shading * 0.75, strokes + shading * 0.4) + sketch + lines * 0.8) * tooth, 0, 0.93
    )[..., None]
    return as_image(
        np.array(PAPER, np.float32) * (1 - graphite) + np.array((58, 58, 66), np.float32) * graphite
    )


def _construction(canvas: Canvas) -> Image.Image:
    """Thin guide lines round the subject."""
    layer = Image.new("L", canvas.colours.size)
    box = canvas.cover.getbbox()
    if box is None:
        return layer
    pen, (left, top, right, bottom), grow = ImageDraw.Draw(layer), box, canvas.unit * 0.03
    wide = max(1, canvas.unit // 500)
    pen.line(((left + right) / 2, top - grow * 2, (left + right) / 2, bottom + grow * 2), 255, wide)
    pen.line((left - grow * 2, (top + bottom) / 2, right + grow * 2, (top + bottom) / 2), 255, wide)
    pen.ellipse((left - grow, top - grow, right + grow, bottom + grow), outline=255, width=wide)
    pen.ellipse((left - grow / 3, top, right + grow / 2, bottom - grow / 3), outline=190, width=wide)
    return layer


def comic(stage: Stage) -> Image.Image:
    """Bold outlines, dots in the shadows, a panel's frame."""
    canvas, light = stage.canvas, brightness(stage)
    flat = as_pixels(vivid(canvas.colours, 1.45, 1.1).quantize(40, dither=Image.Dither.NONE).convert("RGB"))
    h, w = light.shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    gap = canvas.unit / 95
    dots = np.cos((x + y) / gap * 4.44) * np.cos((x - y) / gap * 4.44)
    shade = np.clip(((0.75 - light) * 1.7 - dots * 0.6 - 0.35) * 5, 0, 1)[..., None]
    image = as_image(flat * (1 - shade * 0.36))
    image.paste((22, 18, 30), mask=canvas.lines)
    return framed(image, 0.022, (252, 250, 244), (22, 18, 30))


def cel(stage: Stage) -> Image.Image:
    """One hard-edged shadow on the subject, clean lines, bright colour."""
    canvas = stage.canvas
    image = vivid(canvas.colours, 1.3, 1.04)
    step = round(canvas.unit * 0.05)
    inner = ImageChops.subtract(canvas.cover, ImageChops.offset(canvas.cover, -step, -round(step * 0.5)))
    inner = soften(inner, canvas.unit * 0.004).point([255 * (i > 110) for i in range(256)])
    shade = ImageChops.multiply(image, Image.new("RGB", image.size, (168, 150, 196)))
    image.paste(shade, mask=ImageChops.multiply(inner, canvas.cover))
    image.paste((40, 30, 54), mask=canvas.lines.point([i * 85 // 100 for i in range(256)]))
    return image


def blueprint(stage: Stage) -> Image.Image:
    """White lines on blue, faint for the surroundings, with grid, frame and measures."""
    canvas, rng = stage.canvas, stage.rng
    h, w = canvas.height, canvas.width
    blue = (
        np.array((26, 74, 146), np.float32) + (noise(h, w, 4, rng) * 7 + noise(h, w, 200, rng) * 3)[..., None]
    )
    tone = (brightness(stage) - 0.5)[..., None] * np.array((16, 20, 26), np.float32)
    cover = as_pixels(canvas.cover) / 255
    white = as_pixels(canvas.lines) / 255 * (0.34 + 0.62 * cover)
    white = np.maximum(white, as_pixels(_measures(canvas)) / 255)
    white = np.maximum(white, cover * 0.1)[..., None]
    return framed(
        as_image((blue + tone) * (1 - white) + np.array((236, 244, 255), np.float32) * white),
        0.02,
        (18, 56, 118),
        (220, 232, 250),
    )


def _measures(canvas: Canvas) -> Image.Image:
    """Grid, centre lines and dimension lines with ticks round the subject."""
    layer = Image.new("L", canvas.colours.size)
    pen, (w, h), wide = ImageDraw.Draw(layer), canvas.colours.size, max(1, canvas.unit // 600)
    step = canvas.unit / 32
    for k in range(int(max(w, h) / step) + 1):
        pen.line((k * step, 0, k * step, h), 34 + 24 * (k % 4 == 0))
        pen.line((0, k * step, w, k * step), 34 + 24 * (k % 4 == 0))
    left, top, right, bottom = canvas.cover.getbbox() or (w // 4, h // 4, w * 3 // 4, h * 3 // 4)
    gap = canvas.unit * 0.045
    for line in (
        (left, bottom + gap, right, bottom + gap),
        (right + gap, top, right + gap, bottom),
        ((left + right) / 2, top - gap, (left + right) / 2, bottom + gap * 1.6),
    ):
        pen.line(line, 215, wide)
    for x, y in ((left, bottom + gap), (right, bottom + gap), (right + gap, top), (right + gap, bottom)):
        pen.line((x - gap / 4, y + gap / 4, x + gap / 4, y - gap / 4), 235, wide * 2)
    pen.arc((left - gap, top - gap, right + gap, bottom + gap), 200, 250, 200, wide)
    return layer
