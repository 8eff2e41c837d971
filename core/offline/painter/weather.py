"""Rain, snow and fog."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageChops

from core.offline.painter.canvas import ink, mix, noise, oval
from core.offline.painter.stage import WHITE, Stage


def paint_weather(stage: Stage) -> None:
    """Rain, snow and fog over everything painted so far."""
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
    spared = canvas.cover.point([255 - i * 6 // 10 for i in range(256)])
    tone = mix(stage.palette.low, WHITE, 0.35)
    canvas.colours.paste(ink(tone), mask=ImageChops.multiply(mask, spared))
