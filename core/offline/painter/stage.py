"""The stage: the canvas, the plan and the colours of one picture. Also paints the sky and the weather."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops

from core.offline.painter.canvas import Canvas, Colour, Points, mix, noise, oval, rgb, smooth
from core.offline.painter.palette import Palette
from core.offline.painter.plan import Plan

WHITE: Colour = (255, 255, 255)


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage: the canvas of one picture, with its plan, its palette and a random number generator.

    In the methods, `x` and `y` are fractions of the canvas's width and height.
    """

    canvas: Canvas
    plan: Plan
    palette: Palette
    rng: np.random.Generator

    def at(self, x: float, y: float) -> tuple[float, float]:
        return x * self.canvas.width, y * self.canvas.height

    def band(self, y: float, top: Colour, bottom: Colour | None = None) -> None:
        """Fill the canvas from `y` down to the bottom with a gradient from the colour `top` to `bottom`."""
        w, h = self.canvas.width, self.canvas.height
        box = np.array([(-9, y * h), (w + 9, y * h), (w + 9, h + 9), (-9, h + 9)], float)
        self.canvas.fill(box, top, bottom, bevel=0)

    def ridge(
        self, y: float, rise: float, colours: tuple[Colour, Colour], rough: float = 0.0, bumps: int = 5
    ) -> Points:
        """Paint land whose upper edge is a wavy line around `y`, and return that line in pixels.

        `rise` is the height of the waves as a fraction of the canvas's height. `colours` are the colours at
        the top and at the bottom of the land. `rough` is the strength of random unevenness. A higher `bumps`
        gives more waves.
        """
        w, h = self.canvas.width, self.canvas.height
        x = np.linspace(-0.05, 1.05, 130)
        phase = self.rng.uniform(0, 2 * np.pi, 3)
        wave = np.sin(x * bumps + phase[0]) + 0.5 * np.sin(x * bumps * 2.3 + phase[1])
        wave += 0.25 * np.sin(x * bumps * 4.7 + phase[2]) + rough * self.rng.normal(0, 0.35, x.size)
        top = np.stack([x * w, (y - rise * wave / 1.75) * h], axis=1)
        self.canvas.fill(np.concatenate([top, [(w * 1.05, h + 9), (-w * 0.05, h + 9)]]), *colours, bevel=0)
        return top

    def glow(self, x: float, y: float, radius: float, colour: Colour, strength: float = 1.0) -> None:
        """Add soft light around (`x`, `y`). `radius` is a fraction of the canvas's shorter edge."""
        add_glow(self.canvas, self.at(x, y), radius * self.canvas.unit, colour, strength)


def add_glow(canvas: Canvas, at: tuple[float, float], radius: float, colour: Colour, strength: float) -> None:
    """Add soft light around the point `at`. `at` and `radius` are in pixels."""
    shrink = 8
    height, width = -(-canvas.height // shrink), -(-canvas.width // shrink)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) * shrink
    fall = strength * np.exp(-((x - at[0]) ** 2 + (y - at[1]) ** 2) / radius**2)[..., None]
    light = Image.fromarray(np.clip(fall * np.array(colour), 0, 255).astype(np.uint8))
    canvas.colours = ImageChops.screen(
        canvas.colours, light.resize(canvas.colours.size, Image.Resampling.BICUBIC)
    )


def paint_sky(stage: Stage, horizon: float, clouds: int = 4) -> None:
    """Paint the sky above `horizon`, and fill the canvas below it with the colour of the lower sky.

    `horizon` is a fraction of the canvas's height. `clouds` is the number of clouds. At night, there are
    stars and the moon instead of clouds and the sun.
    """
    canvas, palette, rng = stage.canvas, stage.palette, stage.rng
    w, h = canvas.width, canvas.height
    box = np.array([(-9, -9), (w + 9, -9), (w + 9, horizon * h), (-9, horizon * h)], float)
    canvas.fill(
        np.vstack([box[:2], [(w + 9, h + 9), (-9, h + 9)]]), palette.low, palette.low, lined=False, bevel=0
    )
    canvas.fill(box, palette.high, palette.low, lined=False, bevel=0)
    night = stage.plan.hour == "night"
    if night:
        paint_stars(stage, horizon, 90)
    x = float(rng.choice([rng.uniform(0.14, 0.3), rng.uniform(0.7, 0.86)]))
    y = {"day": 0.16, "night": 0.17}.get(stage.plan.hour, horizon - 0.14)
    stage.glow(x, y, 0.5, palette.light, 0.25 if night else 0.4)
    stage.glow(x, y, 0.16, palette.light, 0.5)
    disc = mix(palette.light, WHITE, 0.5)
    canvas.fill(oval(*stage.at(x, y), *(canvas.unit * 0.055,) * 2), disc, disc, bevel=0)
    for _ in range(0 if night else clouds):
        paint_cloud(
            stage, rng.uniform(0, 1), rng.uniform(0.06, horizon * 0.62), rng.uniform(0.07, 0.13), 0.75
        )


def paint_stars(stage: Stage, below: float, count: int) -> None:
    canvas, rng = stage.canvas, stage.rng
    for _ in range(count):
        size = canvas.unit * rng.choice([0.0012, 0.0018, 0.003], p=[0.5, 0.35, 0.15])
        x, y = stage.at(rng.uniform(0, 1), rng.uniform(0, below * 0.9))
        bright = mix((150, 170, 220), WHITE, rng.uniform(0.2, 1))
        canvas.fill(oval(x, y, size, size, steps=10), bright, lined=False, bevel=0)


def paint_cloud(stage: Stage, x: float, y: float, size: float, alpha: float) -> None:
    """Paint a cloud with a flat base at (`x`, `y`).

    `size` is a fraction of the canvas's shorter edge, and `alpha` is the opacity.
    """
    u = stage.canvas.unit * size
    cx, cy = stage.at(x, y)
    t = np.linspace(0, np.pi, 40)
    bumps = 0.4 + 0.5 * np.abs(np.sin(t * 2 + stage.rng.uniform(0.3, 2.8)))
    crown = np.stack([cx - np.cos(t) * u * 1.7, cy - np.sin(t) ** 0.7 * u * bumps], axis=1)
    top = smooth(
        np.concatenate([crown, [(cx + u * 1.5, cy + u * 0.14), (cx - u * 1.5, cy + u * 0.14)]]), steps=4
    )
    bright = mix(stage.palette.low, WHITE, 0.75)
    stage.canvas.fill(top, bright, mix(stage.palette.low, bright, 0.45), alpha=alpha, bevel=0.5)


def paint_weather(stage: Stage) -> None:
    """Paint the rain, the snow and the fog of the stage's plan over the whole picture."""
    for weather in stage.plan.weathers:
        {"rain": _rain, "snow": _snow, "fog": _fog}[weather](stage)


def _rain(stage: Stage) -> None:
    rng, u = stage.rng, stage.canvas.unit
    stage.canvas.colours = Image.blend(
        stage.canvas.colours, Image.new("RGB", stage.canvas.colours.size, (70, 84, 110)), 0.22
    )
    for _ in range(150):
        x, y = stage.at(rng.uniform(0, 1.1), rng.uniform(-0.05, 1))
        length = u * rng.uniform(0.02, 0.06)
        drop = np.array([(x, y), (x + u * 0.0022, y), (x - length * 0.22, y + length)])
        stage.canvas.fill(drop, (226, 236, 250), alpha=0.5, lined=False)


def _snow(stage: Stage) -> None:
    rng, u = stage.rng, stage.canvas.unit
    for _ in range(150):
        r = u * rng.choice([0.002, 0.0035, 0.006], p=[0.5, 0.35, 0.15])
        stage.canvas.fill(
            oval(*stage.at(rng.uniform(0, 1), rng.uniform(0, 1)), r, r, steps=14),
            WHITE,
            alpha=0.85,
            lined=False,
        )


def _fog(stage: Stage) -> None:
    canvas = stage.canvas
    h, w = canvas.height // 8, canvas.width // 8
    depth = np.exp(-(((np.linspace(0, 1, h) - 0.68) / 0.22) ** 2))[:, None]
    veil = np.clip(depth * (0.62 + 0.3 * noise(h, w, 3, stage.rng)), 0, 0.85)
    mask = Image.fromarray((veil * 255).astype(np.uint8)).resize(
        canvas.colours.size, Image.Resampling.BICUBIC
    )
    spared = canvas.subject_mask.point([255 - i * 6 // 10 for i in range(256)])
    tone = mix(stage.palette.low, WHITE, 0.35)
    canvas.colours.paste(rgb(tone), mask=ImageChops.multiply(mask, spared))
