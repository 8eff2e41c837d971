"""Defines how the painter renders each style preset: the shapes, the scene, the subject and the finish."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageChops

from core.offline.painter import finishes
from core.offline.painter.canvas import ShapeStyle, soften
from core.offline.painter.filters import blur
from core.offline.painter.scenes import paint_island, paint_scene
from core.offline.painter.stage import Stage
from core.offline.painter.subject import Placement, paint_subject, place_on_island, place_subject


def _paint_subject(stage: Stage, placement: Placement | None = None) -> None:
    canvas = stage.canvas
    placement = placement or place_subject(stage.plan, canvas.width, canvas.height, stage.rng)
    paint_subject(canvas, stage.plan, stage.palette, placement)


def _rimmed(stage: Stage) -> None:
    """Paint the subject, with a bright edge at its upper left."""
    _paint_subject(stage)
    canvas = stage.canvas
    step = max(1, canvas.unit // 220)
    rim = ImageChops.subtract(canvas.subject_mask, ImageChops.offset(canvas.subject_mask, step, step))
    rim = rim.filter(blur(step * 0.7)).point([i * 38 // 100 for i in range(256)])
    canvas.colours.paste(tuple(int(part) for part in stage.palette.light), mask=rim)


def _blurred_scene(stage: Stage) -> None:
    """Paint the scene out of focus, as in a portrait photograph."""
    paint_scene(stage)
    stage.canvas.colours = soften(stage.canvas.colours, stage.canvas.unit * 0.007)


def _product(stage: Stage) -> None:
    """Paint the subject, and its reflection on the table below."""
    canvas = stage.canvas
    placement = place_subject(stage.plan, canvas.width, canvas.height, stage.rng)
    paint_subject(canvas, stage.plan, stage.palette, placement)
    foot = round(placement.y + placement.half * 0.99)
    deep = min(canvas.height - foot, round(placement.half * 0.4), foot)
    box = (0, foot - deep, canvas.width, foot)
    mirror = canvas.colours.crop(box).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    fade = Image.fromarray(np.linspace(76, 0, deep).astype(np.uint8)[:, None]).resize((canvas.width, deep))
    mask = canvas.subject_mask.crop(box).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    canvas.colours.paste(mirror.filter(blur(2)), (0, foot), ImageChops.multiply(mask, fade))


def _on_island(stage: Stage) -> None:
    _paint_subject(stage, place_on_island(stage.canvas.width, stage.canvas.height))


def _unchanged(mask: Image.Image) -> Image.Image:
    return mask


@dataclass(frozen=True, slots=True)
class RenderStyle:
    """The rendering of pictures in one style.

    The functions `scene` and `subject` paint on the stage. `finish` then returns the finished picture. For a
    picture with a transparent background, `alpha` turns the subject's mask into the alpha channel.
    """

    shape_style: ShapeStyle
    finish: Callable[[Stage], Image.Image]
    scene: Callable[[Stage], None] = paint_scene
    subject: Callable[[Stage], None] = _rimmed
    alpha: Callable[[Image.Image], Image.Image] = _unchanged


_DRAWN = RenderStyle(
    ShapeStyle(pen=0.0035, flat=True, bevel=0), finish=finishes.plain, subject=_paint_subject
)
_STYLES: Mapping[str, RenderStyle] = {
    "": RenderStyle(ShapeStyle(), finishes.plain),
    "photo": RenderStyle(ShapeStyle(bevel=0.6), finishes.photo, scene=_blurred_scene),
    "cinematic": RenderStyle(ShapeStyle(bevel=0.5), finishes.cinematic, scene=_blurred_scene),
    "product": RenderStyle(ShapeStyle(bevel=0.7), finishes.photo, subject=_product),
    "watercolour": replace(_DRAWN, shape_style=ShapeStyle(pen=0.002, bevel=0.2), finish=finishes.watercolour),
    "oil": RenderStyle(ShapeStyle(bevel=0.5), finishes.oil),
    "ink": replace(_DRAWN, shape_style=ShapeStyle(pen=0.0038, bevel=0.5), finish=finishes.ink_drawing),
    "pencil": replace(_DRAWN, shape_style=ShapeStyle(pen=0.0022, bevel=0.6), finish=finishes.pencil),
    "pixel": RenderStyle(ShapeStyle(pen=0.006, flat=True, bevel=0.3), finishes.pixels, alpha=finishes.blocky),
    "lowpoly": RenderStyle(ShapeStyle(bevel=0.7), finishes.low_poly),
    "comic": replace(
        _DRAWN, shape_style=ShapeStyle(pen=0.0055, flat=True, bevel=0.45), finish=finishes.comic
    ),
    "flat": replace(_DRAWN, shape_style=ShapeStyle(flat=True, bevel=0), finish=finishes.bare),
    "isometric": RenderStyle(ShapeStyle(bevel=0.25), finishes.bare, scene=paint_island, subject=_on_island),
    "clay": replace(_DRAWN, shape_style=ShapeStyle(flat=True, bevel=1.5), finish=finishes.clay),
    "papercut": replace(
        _DRAWN, shape_style=ShapeStyle(flat=True, bevel=0, cast=0.013), finish=finishes.paper
    ),
    "cel": replace(_DRAWN, shape_style=ShapeStyle(pen=0.0032, flat=True, bevel=0), finish=finishes.cel),
    "poster": replace(_DRAWN, shape_style=ShapeStyle(bevel=0.2), finish=finishes.poster),
    "stained": replace(_DRAWN, shape_style=ShapeStyle(pen=0.0075, bevel=0.3), finish=finishes.stained),
    "blueprint": replace(_DRAWN, finish=finishes.blueprint),
}


def render_style(style: str) -> RenderStyle:
    """Return how to render pictures of the style preset with the key `style`.

    Any other key gives a plain illustration.
    """
    return _STYLES.get(style, _STYLES[""])
