"""Paints the scenes. Each function paints the sky, the distance and the ground, from back to front."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image

from core.offline.painter.canvas import (
    Canvas,
    Colour,
    Points,
    add_shade,
    mix,
    noise,
    oval,
    rgb,
    ribbon,
    smooth,
)
from core.offline.painter.plants import bush, conifer, foreground, pot_plant, saguaro, weed
from core.offline.painter.stage import WHITE, Stage, paint_cloud, paint_sky, paint_stars

# The number of tiles along each side of the island.
_TILES = 7


def paint_scene(stage: Stage) -> None:
    """Paint the scene of the stage's plan over the whole canvas."""
    _SCENES[stage.plan.scene](stage)


def _forest(stage: Stage) -> None:
    p, rng = stage.palette, stage.rng
    paint_sky(stage, 0.7, clouds=1)
    for depth, (y, size, count) in enumerate(((0.66, 0.3, 13), (0.71, 0.44, 10), (0.77, 0.62, 7))):
        tone = mix(mix(p.far, p.low, 0.35), p.near, (0.1, 0.5, 0.95)[depth])
        stage.ridge(y, 0.012, (tone, mix(tone, p.ground, 0.4)))
        for i in range(count):
            x = (i + rng.uniform(0.1, 0.9)) / count
            if depth == 2 and abs(x - 0.5) < 0.24:
                continue
            conifer(
                stage, x, y + 0.01, size * rng.uniform(0.75, 1.15), mix(tone, p.far, rng.uniform(0, 0.12))
            )
        stage.glow(0.5, y, 0.42, mix(p.low, p.light, 0.5), 0.16)
    stage.ridge(0.79, 0.012, (p.ground, p.under))
    foreground(stage, p.under)


def _sea(stage: Stage) -> None:
    p = stage.palette
    paint_sky(stage, 0.5, clouds=5)
    stage.ridge(0.5, 0.03, (mix(p.far, p.low, 0.4), mix(p.far, p.low, 0.6)), bumps=4)
    stage.band(0.52, mix(p.far, p.low, 0.3), p.near)
    for y in 0.53 + 0.26 * np.linspace(0, 1, 26) ** 1.5:
        _glint(stage, float(y))
    if stage.plan.subject in {"boat", "fish"}:
        for y in (0.72, 0.8, 0.9):
            crest, trough = mix(p.near, p.far, 0.5 - (y - 0.72) * 2), mix(p.near, (8, 30, 60), 0.25)
            stage.ridge(y, 0.012, (crest, trough), bumps=16)
        return
    _beach(stage)


def _glint(stage: Stage, y: float) -> None:
    """Paint one reflection of light on the water at the height `y`. Reflections are wider near the viewer."""
    x, level = stage.at(stage.rng.uniform(0, 1), y)
    wide = stage.canvas.unit * stage.rng.uniform(0.02, 0.1) * (2 * y - 0.5)
    stage.canvas.fill(
        oval(x, level, wide, wide * 0.05), mix(stage.palette.light, stage.palette.far, 0.35), alpha=0.6
    )


def _beach(stage: Stage) -> None:
    p, rng = stage.palette, stage.rng
    for y, tone in ((0.775, mix(p.far, WHITE, 0.65)), (0.79, p.ground)):
        stage.ridge(y, 0.012, (tone, p.under if y > 0.78 else tone), bumps=6)
    for _ in range(14):
        x, y = stage.at(rng.uniform(0, 1), rng.uniform(0.86, 0.99))
        r = stage.canvas.unit * rng.uniform(0.004, 0.013)
        stage.canvas.fill(oval(x, y, r, r * 0.6), mix(p.under, WHITE, rng.uniform(0.1, 0.6)), p.under)


def _mountains(stage: Stage) -> None:
    p = stage.palette
    paint_sky(stage, 0.66, clouds=4)
    for depth, (y, rise) in enumerate(((0.5, 0.12), (0.58, 0.1), (0.68, 0.06))):
        tone = mix(mix(p.far, p.low, 0.4), p.near, depth / 2.2)
        if depth < 2:
            _peaks(stage, y, rise * 1.9, tone, snow=depth < 2)
        else:
            stage.ridge(y, rise * 0.6, (tone, mix(tone, p.ground, 0.5)), bumps=6)
            for _ in range(16):
                x = stage.rng.uniform(0, 1)
                conifer(stage, x, y + 0.05, stage.rng.uniform(0.07, 0.13), mix(tone, p.under, 0.5))
    stage.ridge(0.76, 0.02, (mix(p.ground, p.light, 0.15), p.ground), bumps=4)
    stage.ridge(0.82, 0.015, (p.ground, p.under))
    foreground(stage, p.under, flowers="winter" not in stage.plan.moods)


def _peaks(stage: Stage, y: float, rise: float, tone: Colour, snow: bool) -> None:
    """Paint a chain of mountains at the height `y`, each with a lit and a shaded side.

    `rise` is the height of the mountains as a fraction of the canvas's height. If `snow` is true, the peaks
    are white.
    """
    w, h, rng = stage.canvas.width, stage.canvas.height, stage.rng
    for i in rng.permutation(5):
        x, top = (i + rng.uniform(0.2, 0.8)) / 5, y - rise * rng.uniform(0.55, 1.15)
        wide = rise * rng.uniform(1.0, 1.4) * h / w + 0.1
        apex, left, right = (
            (x * w, top * h),
            ((x - wide) * w, (y + 0.12) * h),
            ((x + wide) * w, (y + 0.12) * h),
        )
        fold = ((x + wide * 0.12) * w, (y + 0.12) * h)
        base = mix(tone, stage.palette.low, 0.45)
        stage.canvas.fill(np.array([apex, left, right]), mix(tone, stage.palette.light, 0.2), base, bevel=0)
        shade = np.array([apex, ((x + wide * 0.2) * w, (top + 0.08) * h), fold, right])
        stage.canvas.fill(shade, mix(tone, (30, 36, 70), 0.25), base, bevel=0)
        if snow:
            k = np.array([0, -0.34, -0.16, -0.06, 0.1, 0.2, 0.34])
            drop = np.array([0, 0.34, 0.24, 0.36, 0.22, 0.33, 0.34])
            cap = np.stack([(x + k * wide) * w, (top + drop * (y + 0.12 - top)) * h], axis=1)
            stage.canvas.fill(
                cap, mix(stage.palette.lit(WHITE, 0.6), tone, 0.1), mix(base, WHITE, 0.4), bevel=0
            )


def _desert(stage: Stage) -> None:
    p = stage.palette
    paint_sky(stage, 0.62, clouds=1)
    for y, rise, share in ((0.56, 0.03, 0.0), (0.62, 0.05, 0.4), (0.7, 0.045, 0.75)):
        tone = mix(mix(p.far, p.low, 0.25), p.near, share)
        top = stage.ridge(y, rise, (mix(tone, p.light, 0.3), tone), bumps=4)
        lee = top[40:95]
        fall = np.array([0.06, 0.05]) * stage.canvas.unit
        shade = np.concatenate([lee, lee[::-1] + fall])
        stage.canvas.fill(shade, mix(tone, (90, 40, 50), 0.22), tone, alpha=0.5, lined=False)
    for x, size in ((0.12, 0.2), (0.88, 0.15), (0.74, 0.1)):
        saguaro(stage, x, 0.74 + size * 0.2, size)
    stage.ridge(0.78, 0.02, (mix(p.ground, p.light, 0.2), p.under), bumps=3)


def _city(stage: Stage) -> None:
    p = stage.palette
    paint_sky(stage, 0.75, clouds=3)
    for depth, (y, tall, count) in enumerate(((0.72, 0.42, 15), (0.75, 0.34, 11), (0.79, 0.26, 8))):
        _skyline(stage, y, tall, count, depth)
        stage.glow(0.5, y, 0.5, mix(p.low, p.light, 0.4), 0.14)
    stage.band(0.78, mix(p.ground, p.under, 0.3), p.under)
    stage.band(0.8, mix(p.ground, p.light, 0.12), p.under)
    for x in (-0.3, 0.1, 0.5, 0.9, 1.3):
        far = 0.5 + (x - 0.5) * 0.7
        seam = np.array([(far, 0.8), (far + 0.002, 0.8), (x + 0.006, 1.01), (x, 1.01)])
        seam *= (stage.canvas.width, stage.canvas.height)
        stage.canvas.fill(seam, mix(p.under, (20, 20, 30), 0.2), bevel=0)


def _skyline(stage: Stage, y: float, tall: float, count: int, depth: int) -> None:
    """Paint a row of `count` buildings that stand at the height `y`. The row is lower in the middle.

    `depth` is 0 for the farthest of three rows.
    """
    p, rng = stage.palette, stage.rng
    tone = mix(mix(p.far, p.low, 0.35), p.near, depth / 2)
    for i in range(count):
        high = tall * rng.uniform(0.4, 1.0) * (0.55 + 0.9 * abs((i + 0.5) / count - 0.5))
        x = (i + rng.uniform(-0.1, 0.1)) / count
        painted = mix(tone, p.accent, rng.uniform(0, 0.14))
        _building(stage, x, 1.08 / count, y, high, tone=painted, depth=depth)


def _building(
    stage: Stage, x: float, wide: float, y: float, high: float, *, tone: Colour, depth: int
) -> None:
    """Paint one building of a row. Its left edge is at `x` and its foot is at `y`.

    Half of the windows are lit at sunset, at night and in neon light, and 12% otherwise. Buildings in the
    farthest row have no windows.
    """
    w, h, rng = stage.canvas.width, stage.canvas.height, stage.rng
    roof = np.array([(x, y + 0.05), (x, y - high), (x + wide, y - high), (x + wide, y + 0.05)]) * (w, h)
    stage.canvas.fill(roof, tone, mix(tone, stage.palette.low, 0.3), bevel=0)
    rows, columns = int(high / 0.035), max(2, int(wide / 0.026))
    dark = stage.plan.hour in {"night", "sunset"} or "neon" in stage.plan.moods
    glow = stage.palette.accent if "neon" in stage.plan.moods else (255, 222, 140)
    for row in range(rows if depth else 0):
        for column in range(columns):
            lit = rng.uniform() < (0.5 if dark else 0.12)
            colour = glow if lit else mix(tone, (20, 26, 50) if dark else WHITE, 0.25)
            left, top = x + wide * (column + 0.25) / columns, y - high + 0.014 + row * 0.035
            pane = np.array(
                [
                    (left, top),
                    (left + wide * 0.5 / columns, top),
                    (left + wide * 0.5 / columns, top + 0.017),
                    (left, top + 0.017),
                ]
            )
            stage.canvas.fill(pane * (w, h), colour, lined=False, bevel=0)


def _room(stage: Stage) -> None:
    p, canvas = stage.palette, stage.canvas
    w, h = canvas.width, canvas.height
    stage.band(-0.02, mix(p.far, p.light, 0.15), mix(p.far, p.near, 0.25))
    _window(stage)
    floor = 0.72
    stage.band(floor, p.ground, p.under)
    for x in np.linspace(-0.8, 1.8, 14):
        plank = np.array(
            [(0.5 + (x - 0.5) * 0.62, floor), (0.5 + (x - 0.497) * 0.62, floor), (x + 0.004, 1.01), (x, 1.01)]
        )
        canvas.fill(plank * (w, h), mix(p.under, (40, 20, 20), 0.2), bevel=0)
    stage.canvas.fill(
        np.array([(0, 0.7), (1, 0.7), (1, 0.725), (0, 0.725)]) * (w, h), mix(p.far, WHITE, 0.5), bevel=0
    )
    _shelf(stage)
    rug = oval(w * 0.5, h * 0.87, w * 0.36, h * 0.085)
    canvas.fill(rug, mix(p.accent, p.near, 0.2), mix(p.accent, p.under, 0.35), bevel=0)
    canvas.fill(oval(w * 0.5, h * 0.87, w * 0.31, h * 0.068), mix(p.accent, WHITE, 0.3), bevel=0)
    pot_plant(stage, 0.1, 0.83, 0.26)


def _window(stage: Stage) -> None:
    """Paint a window with the sky behind it, and the light that it throws on the wall."""
    p, (w, h) = stage.palette, (stage.canvas.width, stage.canvas.height)

    def frame(x0: float, y0: float, x1: float, y1: float) -> Points:
        return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)]) * (w, h)

    wood = mix(p.lit(WHITE, 0.5), p.far, 0.15)
    stage.canvas.fill(frame(0.56, 0.1, 0.9, 0.5), wood, bevel=0)
    stage.canvas.fill(frame(0.58, 0.12, 0.88, 0.48), p.high, p.low, bevel=0)
    hills = smooth(np.array([(0.58, 0.42), (0.68, 0.36), (0.78, 0.41), (0.88, 0.37)]), False)
    stage.canvas.fill(
        np.concatenate([hills, [(0.88, 0.48), (0.58, 0.48)]]) * (w, h),
        mix((110, 150, 110), p.low, 0.45),
        bevel=0,
    )
    stage.canvas.fill(frame(0.724, 0.12, 0.736, 0.48), wood, bevel=0)
    stage.canvas.fill(frame(0.58, 0.29, 0.88, 0.302), wood, bevel=0)
    stage.canvas.fill(frame(0.54, 0.5, 0.92, 0.525), mix(wood, WHITE, 0.3), bevel=0)
    stage.glow(0.73, 0.3, 0.45, p.light, 0.3)


def _shelf(stage: Stage) -> None:
    """Paint a shelf of books on the left wall."""
    p, (w, h), rng = stage.palette, (stage.canvas.width, stage.canvas.height), stage.rng
    board = np.array([(0.07, 0.36), (0.4, 0.36), (0.4, 0.378), (0.07, 0.378)]) * (w, h)
    stage.canvas.fill(board, mix(p.near, p.light, 0.1), p.near)
    x = 0.09
    while x < 0.36:
        wide, high = rng.uniform(0.014, 0.028), rng.uniform(0.07, 0.12)
        tone = p.lit(
            [p.accent, (176, 84, 76), (72, 112, 130), (216, 178, 110), (98, 124, 92)][rng.integers(5)]
        )
        stage.canvas.fill(
            np.array([(x, 0.36), (x, 0.36 - high), (x + wide, 0.36 - high), (x + wide, 0.36)]) * (w, h), tone
        )
        x += wide + 0.002


def _space(stage: Stage) -> None:
    p, canvas = stage.palette, stage.canvas
    stage.band(-0.02, p.high, p.low)
    h, w = canvas.height // 8, canvas.width // 8
    cloud = noise(h, w, 4, stage.rng) + 0.5 * noise(h, w, 9, stage.rng)
    veil = Image.fromarray((np.clip(cloud, 0, 1.2) * 105).astype(np.uint8))
    veil = veil.resize(canvas.colours.size, Image.Resampling.BICUBIC)
    canvas.colours.paste(rgb(mix(p.far, p.accent, 0.35)), mask=veil)
    paint_stars(stage, 1.0, 190)
    _planet(stage, stage.rng.uniform(0.76, 0.86), 0.24, canvas.unit * 0.13)
    if stage.plan.subject != "rocket":
        stage.ridge(0.78, 0.02, (p.ground, p.under), bumps=4)
        for _ in range(10):
            _crater(stage)


def _planet(stage: Stage, x: float, y: float, r: float) -> None:
    """Paint a striped planet with a ring around (`x`, `y`). `r` is the planet's radius in pixels."""
    canvas, globe = stage.canvas, mix(stage.palette.accent, (230, 150, 130), 0.3)
    stage.glow(x, y, 0.24, globe, 0.4)
    px, py = stage.at(x, y)
    canvas.fill(oval(px, py, r, r), mix(globe, WHITE, 0.3), mix(globe, stage.palette.high, 0.6), bevel=1.6)
    for k, share in ((-0.35, 0.86), (0.15, 0.93), (0.5, 0.8)):
        belt = oval(px, py + k * r, r * share, r * 0.07, -8)
        canvas.fill(belt, mix(globe, WHITE, 0.35), alpha=0.35, lined=False)
    arc = oval(px, py, r * 1.75, r * 0.42, -14, steps=80)
    canvas.fill(ribbon(arc[2:42], r * 0.1), mix(globe, WHITE, 0.6), bevel=0)


def _crater(stage: Stage) -> None:
    p, rng = stage.palette, stage.rng
    x, y = stage.at(rng.uniform(0, 1), rng.uniform(0.85, 0.98))
    r = stage.canvas.unit * rng.uniform(0.015, 0.05)
    stage.canvas.fill(oval(x, y, r, r * 0.3), mix(p.under, p.high, 0.4), p.under, bevel=0)
    floor = oval(x, y + r * 0.07, r * 0.85, r * 0.22)
    stage.canvas.fill(floor, mix(p.under, p.ground, 0.3), lined=False, bevel=0)


def _underwater(stage: Stage) -> None:
    p, canvas, rng = stage.palette, stage.canvas, stage.rng
    stage.band(-0.02, mix(p.far, p.light, 0.3), p.near)
    for _ in range(6):
        x, lean = rng.uniform(-0.1, 1), rng.uniform(0.1, 0.25)
        ray = np.array([(x, -0.05), (x + 0.05, -0.05), (x + lean + 0.12, 0.85), (x + lean, 0.85)])
        ray *= (canvas.width, canvas.height)
        canvas.fill(ray, WHITE, alpha=0.1, blur=canvas.unit * 0.02, lined=False)
    for depth, y in enumerate((0.74, 0.8, 0.86)):
        tone = mix(p.near, p.ground, depth * 0.42)
        stage.ridge(y, 0.03, (tone, mix(tone, p.under, 0.4)), bumps=6)
        for _ in range(7):
            leaf: Colour = ((60, 140, 96), (190, 92, 110), p.accent)[rng.integers(3)]
            tint = mix(tone, leaf, 0.3 + depth * 0.25)
            weed(stage, rng.uniform(0, 1), y + 0.05, rng.uniform(0.12, 0.26), tint)
    for _ in range(22):
        r, at = canvas.unit * rng.uniform(0.003, 0.012), (rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.8))
        canvas.fill(oval(*stage.at(*at), r, r, steps=20), mix(p.far, WHITE, 0.7), alpha=0.6)


def _skies(stage: Stage) -> None:
    p, rng = stage.palette, stage.rng
    paint_sky(stage, 1.0, clouds=0)
    for i in range(9):
        y = 0.12 + 0.075 * i
        paint_cloud(stage, rng.uniform(0, 1), y + rng.uniform(-0.03, 0.03), 0.06 + 0.015 * i, 0.55 + 0.04 * i)
    for x, y, size in (
        (0.1, 0.98, 0.26),
        (0.9, 0.99, 0.28),
        (0.5, 1.0, 0.3),
        (0.3, 1.06, 0.3),
        (0.72, 1.07, 0.3),
    ):
        paint_cloud(stage, x, y, size, 1.0)
    stage.glow(0.5, 1.0, 0.4, p.low, 0.2)


def _garden(stage: Stage) -> None:
    p, rng = stage.palette, stage.rng
    paint_sky(stage, 0.62, clouds=4)
    for depth, y in enumerate((0.56, 0.62, 0.69)):
        tone = mix(mix(p.far, p.low, 0.3), p.near, depth / 2)
        stage.ridge(y, 0.03, (mix(tone, p.light, 0.15), tone), bumps=4 + depth)
        for _ in range(9 - 2 * depth):
            bush(stage, rng.uniform(0, 1), y + 0.02, 0.035 + 0.018 * depth, mix(tone, p.under, 0.35))
    stage.ridge(0.76, 0.015, (mix(p.ground, p.light, 0.2), p.under), bumps=3)
    foreground(stage, p.under, flowers="winter" not in stage.plan.moods)


def _plain(stage: Stage) -> None:
    p = stage.palette
    stage.band(-0.02, mix(p.far, WHITE, 0.3), p.near)
    stage.canvas.fill(
        oval(*stage.at(0.5, 1.0), stage.canvas.width * 0.95, stage.canvas.height * 0.3),
        p.ground,
        p.under,
        blur=stage.canvas.unit * 0.03,
        lined=False,
    )
    stage.glow(0.5, 0.42, 0.5, mix(p.light, WHITE, 0.4), 0.3)


_SCENES: Mapping[str, Callable[[Stage], None]] = {
    "plain": _plain, "underwater": _underwater, "space": _space, "sea": _sea, "forest": _forest,
    "mountains": _mountains, "desert": _desert, "city": _city, "room": _room, "sky": _skies,
    "garden": _garden,
}  # fmt: skip


def paint_island(stage: Stage) -> None:
    """Paint the scene of the isometric style: a small square island of blocks.

    The island is seen from above, at an angle of 30 degrees.
    """
    canvas, palette = stage.canvas, stage.palette
    stage.band(-0.02, mix(palette.high, WHITE, 0.45), mix(palette.low, WHITE, 0.35))
    size = canvas.unit * 0.86 / (_TILES * 3**0.5)
    add_shade(canvas, canvas.width / 2, canvas.height * 0.83, size * _TILES * 0.8, size * _TILES * 0.3)
    for row in range(_TILES):
        for column in range(_TILES):
            _tile(stage, row, column, size)


def _tile(stage: Stage, row: int, column: int, size: float) -> None:
    """Paint the block of the island in `row` and `column`.

    A block away from the middle may carry a plant, a rock or a building.
    """
    canvas, palette, rng = stage.canvas, stage.palette, stage.rng
    middle = (_TILES - 1) / 2
    away = max(abs(row - middle), abs(column - middle))
    x = canvas.width / 2 + (column - row) * size * 3**0.5 / 2
    y = canvas.height * 0.6 + (column + row - 2 * middle) * size / 2
    rise = size * rng.uniform(0.0, 0.12)
    top = mix(palette.ground, palette.light, 0.12 if (row + column) % 2 else 0.04)
    shore = -1 if stage.plan.subject in {"boat", "fish"} else 1
    if stage.plan.scene in {"sea", "underwater"} and away > shore:
        top, rise = mix(palette.near, palette.far, rng.uniform(0.1, 0.4)), -size * 0.18
    side = mix(palette.under, (110, 74, 60), 0.3)
    _block(canvas, x, y - rise, size, size * 1.1 + rise, top=top, side=side)
    front = row + column > 2 * middle + 1
    if away >= 2 and rng.uniform() < (0.16 if front else 0.5):
        _dressing(stage, x, y - rise, size * (0.5 if front else 1.0))


def _block(
    canvas: Canvas, x: float, y: float, size: float, deep: float, *, top: Colour, side: Colour
) -> None:
    """Paint a block. (`x`, `y`) is the centre of the block's top face.

    `size` is the length of an edge and `deep` is the block's height, all in pixels.
    """
    a, b = size * 3**0.5 / 2, size / 2
    left = np.array([(x - a, y), (x, y + b), (x, y + b + deep), (x - a, y + deep)])
    right = np.array([(x + a, y), (x, y + b), (x, y + b + deep), (x + a, y + deep)])
    canvas.fill(left, mix(side, top, 0.25), side, bevel=0)
    canvas.fill(right, mix(mix(side, top, 0.25), (30, 24, 60), 0.3), mix(side, (30, 24, 60), 0.35), bevel=0)
    canvas.fill(np.array([(x, y - b), (x + a, y), (x, y + b), (x - a, y)]), top, bevel=0)


def _dressing(stage: Stage, x: float, y: float, size: float) -> None:
    """Paint a tower, a rock or a tree on a block of the island. The scene determines which."""
    canvas, palette, tall = stage.canvas, stage.palette, stage.rng.uniform(0.7, 1.5)
    scene = stage.plan.scene
    if scene in {"city", "room", "plain"}:
        tone = mix(mix(palette.far, palette.accent, stage.rng.uniform(0, 0.6)), WHITE, 0.15)
        side, high = mix(tone, palette.near, 0.35), size * tall
        _block(canvas, x, y - high, size * 0.62, high, top=tone, side=side)
    elif scene in {"desert", "space", "sky", "sea", "underwater"}:
        tone = mix(palette.ground, palette.near, 0.25)
        side, high = mix(tone, palette.under, 0.5), size * 0.3 * tall
        _block(canvas, x, y - high, size * 0.5, high, top=tone, side=side)
    else:
        _block(canvas, x, y - size * 0.25, size * 0.14, size * 0.25, top=(134, 92, 62), side=(110, 74, 52))
        leaf = mix(palette.near, palette.light, 0.12)
        for step in range(3):
            edge, lift = size * (0.62 - 0.17 * step), size * (0.55 + 0.34 * step) * min(tall, 1.1)
            top = mix(leaf, palette.light, 0.1 * step)
            _block(canvas, x, y - lift, edge, size * 0.32, top=top, side=leaf)
