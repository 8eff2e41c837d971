"""Finishes that keep the painted colours: photo, film, watercolour, oil, clay, paper."""

from __future__ import annotations

from typing import cast

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from core.offline.painter.canvas import noise, soften
from core.offline.painter.stage import Stage, add_glow
from core.offline.painter.tools import PAPER, Pixels, as_image, as_pixels, blur, grain, vignette, vivid, wavy


def bare(stage: Stage) -> Image.Image:
    return stage.canvas.colours


def plain(stage: Stage) -> Image.Image:
    """The clean illustration: a touch of grain and vignette."""
    return grain(vignette(stage.canvas.colours, 0.22), 2, stage.rng)


def photo(stage: Stage) -> Image.Image:
    """Soft highlights, contrast, grain."""
    image = stage.canvas.colours
    bloom = soften(image, stage.canvas.unit * 0.02).point([max(0, i - 110) // 3 for i in range(256)] * 3)
    return grain(vignette(vivid(ImageChops.screen(image, bloom), 0.92, 1.12), 0.4), 6, stage.rng)


def cinematic(stage: Stage) -> Image.Image:
    """Teal shadows, warm lights, a flare and the bars of a wide screen."""
    canvas = stage.canvas
    add_glow(canvas, (canvas.width * 0.22, canvas.height * 0.3), canvas.unit * 0.5, (255, 160, 80), 0.32)
    share = np.linspace(0, 1, 256)
    curve = 255 * np.clip(share**1.25 * 1.02, 0, 1)
    split = np.stack(
        [
            curve - 26 * (1 - share) + 12 * share,
            curve + 3 * (1 - share),
            curve + 28 * (1 - share) - 20 * share,
        ]
    )
    table = [int(value) for value in np.clip(split, 0, 255).ravel()]
    image = vignette(canvas.colours.point(table), 0.6)
    bar = round(canvas.height * 0.1)
    for top in (0, canvas.height - bar):
        image.paste((4, 4, 6), (0, top, canvas.width, top + bar))
    return grain(image, 5, stage.rng)


def watercolour(stage: Stage) -> Image.Image:
    """Washes that pool at their edges, on grained paper with a ragged rim."""
    canvas, rng = stage.canvas, stage.rng
    h, w = canvas.height, canvas.width
    colours = wavy(canvas.colours.filter(blur(canvas.unit * 0.002)), 0.005, 30, rng)
    pigment = as_pixels(vivid(colours, 1.15)) / 255
    pools = 1 - as_pixels(soften(canvas.lines, canvas.unit * 0.0022)) / 255 * 0.35
    wash = noise(h, w, 5, rng) * 0.17 + noise(h, w, 18, rng) * 0.09 + noise(h, w, 150, rng) * 0.04
    strength = (1.0 + wash)[..., None] * (0.82 * _ragged(h, w, rng)[..., None])
    painted = np.array(PAPER, np.float32) * (1 - (1 - pigment * pools[..., None]) * strength)
    return grain(as_image(painted + noise(h, w, 260, rng)[..., None] * 5), 3, rng, 2)


def _ragged(h: int, w: int, rng: np.random.Generator) -> Pixels:
    """1 inside, falling to 0 at an uneven rim: (h, w)."""
    y, x = np.linspace(0, 1, h)[:, None] * h, np.linspace(0, 1, w)[None] * w
    rim = np.minimum(np.minimum(x, w - x), np.minimum(y, h - y)) / min(h, w)
    rough = noise(h, w, 7, rng) * 0.02 + noise(h, w, 40, rng) * 0.009
    return cast(Pixels, np.clip((rim + rough - 0.028) / 0.012, 0, 1).astype(np.float32))


def oil(stage: Stage) -> Image.Image:
    """Three coats of brush strokes, large to small, lit from the side on woven canvas."""
    canvas, rng = stage.canvas, stage.rng
    source = vivid(canvas.colours, 1.25, 1.08)
    image = source.filter(blur(canvas.unit * 0.006))
    pen = ImageDraw.Draw(image)
    slope = as_pixels(source.convert("L").reduce(4).filter(blur(3)))
    down, across = cast(tuple[Pixels, Pixels], tuple(np.gradient(slope)))
    cover = as_pixels(canvas.cover.reduce(4))
    detail = cast(Pixels, np.hypot(down, across) * (1 + cover / 64))
    for length, count, fine in (
        (0.05, 2600, False),
        (0.026, 5200, False),
        (0.012, 7000, True),
        (0.007, 9000, True),
    ):
        _coat(pen, source, (down, across, detail), (length * canvas.unit, count, fine), rng)
    relief = as_pixels(image.convert("L"))
    light = (relief - np.roll(relief, (2, 2), (0, 1))) * 0.42
    y, x = np.mgrid[0 : canvas.height, 0 : canvas.width].astype(np.float32)
    weave = 2.2 * (np.sin(x * 1.9) + np.sin(y * 1.9))
    return vignette(as_image(as_pixels(image) + (light + weave)[..., None]), 0.25)


def _coat(
    pen: ImageDraw.ImageDraw,
    source: Image.Image,
    field: tuple[Pixels, Pixels, Pixels],
    brush: tuple[float, int, bool],
    rng: np.random.Generator,
) -> None:
    """`brush` is length in pixels, count, and whether to paint only where `field` has detail."""
    (down, across, detail), (length, count, fine) = field, brush
    w, h = source.size
    x, y = rng.uniform(0, w, count), rng.uniform(0, h, count)
    j, i = np.minimum(y / 4, down.shape[0] - 1).astype(int), np.minimum(x / 4, down.shape[1] - 1).astype(int)
    if fine:
        keep = detail[j, i] > np.percentile(detail, 80)
        x, y, j, i = x[keep], y[keep], j[keep], i[keep]
    flow = np.arctan2(across[j, i], -down[j, i]) + rng.normal(0, 0.3, x.size)
    dx, dy = np.cos(flow) * length / 2, np.sin(flow) * length / 2
    tones = as_pixels(source)[y.astype(int), x.astype(int)] + rng.normal(0, 7, (x.size, 1))
    ends = np.stack([x - dx, y - dy, x + dx, y + dy], axis=1)
    width = max(2, round(length * 0.3))
    for line, tone in zip(ends.tolist(), np.clip(tones, 0, 255).astype(int).tolist(), strict=True):
        pen.line(line, tuple(tone), width)


def clay(stage: Stage) -> Image.Image:
    """Rounded soft forms with dents and fingermarks, warm studio light."""
    canvas, rng = stage.canvas, stage.rng
    h, w = canvas.height, canvas.width
    dents = noise(h, w, 22, rng) + noise(h, w, 60, rng) * 0.5
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    prints = np.sin((np.hypot(x - w * 0.3, y - h * 1.2) + noise(h, w, 6, rng) * 40) / canvas.unit * 620)
    relief = (dents - np.roll(dents, (3, 3), (0, 1))) * 38 + prints * 2.2 * np.clip(noise(h, w, 8, rng), 0, 1)
    soft = canvas.colours.filter(blur(canvas.unit * 0.0014))
    image = as_image(as_pixels(vivid(soft, 1.05)) * (0.98, 0.96, 0.92) + 6 + relief[..., None])
    return vignette(image, 0.3)


def paper(stage: Stage) -> Image.Image:
    """Fibres over the stacked sheets; their shadows were cast while painting."""
    canvas, rng = stage.canvas, stage.rng
    fibre = (
        noise(canvas.height, canvas.width, 200, rng) * 4 + noise(canvas.height, canvas.width, 60, rng) * 1.5
    )
    image = as_image(as_pixels(vivid(canvas.colours, 1.05)) + fibre[..., None])
    return grain(image, 3, rng)
