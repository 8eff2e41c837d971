"""The isometric style's stage: a small square world of blocks, seen from above at 30 degrees."""

from __future__ import annotations

import numpy as np

from core.offline.painter.canvas import Canvas, Colour, add_shade, mix
from core.offline.painter.stage import Stage
from core.offline.painter.subject import Place

_TILES = 7
_WHITE: Colour = (255, 255, 255)


def place_on_island(width: int, height: int) -> Place:
    """The middle tile, with the subject a little smaller than in other styles."""
    half = 0.22 * min(width, height)
    return Place(width / 2, height * 0.6 - half, half)


def paint_island(stage: Stage) -> None:
    """A plain backdrop with the island on it, tiles back to front."""
    canvas, palette = stage.canvas, stage.palette
    stage.band(-0.02, mix(palette.high, _WHITE, 0.45), mix(palette.low, _WHITE, 0.35))
    size = canvas.unit * 0.86 / (_TILES * 3**0.5)
    add_shade(canvas, canvas.width / 2, canvas.height * 0.83, size * _TILES * 0.8, size * _TILES * 0.3)
    for row in range(_TILES):
        for column in range(_TILES):
            _tile(stage, row, column, size)


def _tile(stage: Stage, row: int, column: int, size: float) -> None:
    """One column of ground, and what stands on it away from the middle."""
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
    """A cube-like block whose top's centre is (x, y); `size` is its edge, `deep` its height."""
    a, b = size * 3**0.5 / 2, size / 2
    left = np.array([(x - a, y), (x, y + b), (x, y + b + deep), (x - a, y + deep)])
    right = np.array([(x + a, y), (x, y + b), (x, y + b + deep), (x + a, y + deep)])
    canvas.fill(left, mix(side, top, 0.25), side, bevel=0)
    canvas.fill(right, mix(mix(side, top, 0.25), (30, 24, 60), 0.3), mix(side, (30, 24, 60), 0.35), bevel=0)
    canvas.fill(np.array([(x, y - b), (x + a, y), (x, y + b), (x - a, y)]), top, bevel=0)


def _dressing(stage: Stage, x: float, y: float, size: float) -> None:
    """A tree, tower, rock or cushion of leaves, as it suits the scene."""
    canvas, palette, tall = stage.canvas, stage.palette, stage.rng.uniform(0.7, 1.5)
    scene = stage.plan.scene
    if scene in {"city", "room", "plain"}:
        tone = mix(mix(palette.far, palette.accent, stage.rng.uniform(0, 0.6)), _WHITE, 0.15)
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
