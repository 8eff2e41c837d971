"""Paints the plants in the scenes: grass, flowers, bushes and trees."""

from __future__ import annotations

import numpy as np

from core.offline.painter.canvas import Colour, mix, oval, ribbon, smooth
from core.offline.painter.stage import WHITE, Stage


def tuft(stage: Stage, x: float, y: float, size: float, colour: Colour) -> None:
    """Paint a tuft of grass with its foot at (`x`, `y`).

    `size` is its height as a fraction of the canvas's shorter edge.
    """
    u = stage.canvas.unit * size
    px, py = stage.at(x, y)
    for lean in (-0.55, -0.2, 0.15, 0.5):
        blade = [
            (px + lean * u * 0.25, py),
            (px + lean * u * 0.5, py - u * 0.6),
            (px + lean * u * 1.2, py - u),
        ]
        stage.canvas.fill(
            ribbon(smooth(np.array(blade), False, 5), u * 0.14), mix(colour, WHITE, 0.1), colour, bevel=0
        )


def foreground(stage: Stage, colour: Colour, flowers: bool = False) -> None:
    """Paint grass along the bottom of the picture, except in front of the subject.

    If `flowers` is true, flowers are painted too.
    """
    rng = stage.rng
    for _ in range(26):
        y = rng.uniform(0.83, 1.0)
        x = rng.uniform(0, 1)
        if abs(x - 0.5) < 0.22 and y < 0.93:
            continue
        tuft(stage, x, y, 0.022 + 0.05 * (y - 0.78), mix(colour, stage.palette.ground, rng.uniform(0, 0.5)))
        if flowers and rng.uniform() < 0.7:
            petals = [stage.palette.accent, (250, 244, 236), (240, 120, 140), (250, 206, 90)][rng.integers(4)]
            bloom(stage, x, y - 0.03, 0.008 + 0.03 * (y - 0.8), stage.palette.lit(petals))


def bloom(stage: Stage, x: float, y: float, size: float, colour: Colour) -> None:
    u = stage.canvas.unit * size
    px, py = stage.at(x, y)
    for turn in range(5):
        a = turn * 2 * np.pi / 5 + 0.3
        stage.canvas.fill(
            oval(px + np.cos(a) * u, py + np.sin(a) * u, u * 0.8, u * 0.8, steps=14), colour, bevel=0.4
        )
    stage.canvas.fill(oval(px, py, u * 0.6, u * 0.6, steps=14), stage.palette.lit((250, 214, 90)), bevel=0)


def conifer(stage: Stage, x: float, y: float, size: float, colour: Colour) -> None:
    """Paint a fir tree with its foot at (`x`, `y`).

    `size` is its height as a fraction of the canvas's shorter edge.
    """
    u, (px, py) = stage.canvas.unit * size, stage.at(x, y)
    trunk = np.array([(-0.05, 0), (-0.04, -0.3), (0.04, -0.3), (0.05, 0)]) * u + (px, py)
    stage.canvas.fill(trunk, mix(colour, (70, 46, 34), 0.6), bevel=0)
    for tier in range(4):
        low, wide = 0.1 + tier * 0.2, 0.3 - tier * 0.06
        skirt = [
            (-wide, -low),
            (-wide * 0.5, -low - 0.1),
            (0, -low - 0.42),
            (wide * 0.5, -low - 0.1),
            (wide, -low),
            (0, -low + 0.05),
        ]
        tone = mix(colour, stage.palette.light, 0.05 + tier * 0.045)
        stage.canvas.fill(np.array(skirt) * u + (px, py), tone, mix(tone, colour, 0.6))


def saguaro(stage: Stage, x: float, y: float, size: float) -> None:
    u, (px, py) = stage.canvas.unit * size, stage.at(x, y)
    green = stage.palette.lit((92, 142, 92))
    arms = (
        [(-0.02, -0.35), (-0.3, -0.4), (-0.3, -0.7)],
        [(0.02, -0.5), (0.26, -0.52), (0.26, -0.85)],
        [(0, 0.1), (0, -0.5), (0, -1)],
    )
    for arm in arms:
        stroke = ribbon(smooth(np.array(arm) * u + (px, py), False), u * (0.22 if arm[0][0] == 0 else 0.14))
        stage.canvas.fill(
            smooth(stroke[::4]), mix(green, stage.palette.light, 0.25), mix(green, (20, 50, 50), 0.3)
        )


def pot_plant(stage: Stage, x: float, y: float, size: float) -> None:
    u, (px, py) = stage.canvas.unit * size, stage.at(x, y)
    leaf = stage.palette.lit((84, 140, 92))
    for lean in (-0.8, -0.45, -0.1, 0.25, 0.6, 0.9):
        tip = (px + lean * u * 0.55, py - u * (1.2 - abs(lean) * 0.35))
        body = np.array(
            [
                (px, py - u * 0.3),
                ((px + tip[0]) / 2 - u * 0.1, (py + tip[1]) / 2),
                tip,
                ((px + tip[0]) / 2 + u * 0.1, (py + tip[1]) / 2 - u * 0.1),
            ]
        )
        stage.canvas.fill(smooth(body), mix(leaf, stage.palette.light, 0.2), mix(leaf, (20, 50, 50), 0.25))
    pot = np.array([(-0.22, -0.36), (0.22, -0.36), (0.16, 0), (-0.16, 0)]) * u + (px, py)
    stage.canvas.fill(pot, stage.palette.lit((214, 132, 96)), stage.palette.lit((170, 92, 70)))


def weed(stage: Stage, x: float, y: float, size: float, colour: Colour) -> None:
    if abs(x - 0.5) < 0.18:
        return
    u, (px, py) = stage.canvas.unit * size, stage.at(x, y)
    for lean in (-0.12, 0.0, 0.12):
        sway = stage.rng.uniform(-0.12, 0.12)
        path = np.array(
            [(lean, 0), (lean * 2 + sway, -0.35), (lean * 2 - sway, -0.7), (lean * 3 + sway, -1)]
        ) * u + (px, py)
        stage.canvas.fill(ribbon(smooth(path, False), u * 0.09), mix(colour, WHITE, 0.2), colour)


def bush(stage: Stage, x: float, y: float, size: float, colour: Colour) -> None:
    u, (px, py) = stage.canvas.unit * size, stage.at(x, y)
    crown = np.array(
        [(-1, 0.1), (-1.05, -0.6), (-0.5, -1.15), (0.1, -1.3), (0.7, -1.0), (1.1, -0.45), (0.95, 0.1)]
    ) * u + (px, py)
    stage.canvas.fill(smooth(crown), mix(colour, stage.palette.light, 0.22), colour)
