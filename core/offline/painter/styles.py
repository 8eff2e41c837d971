"""The styles: how shapes are drawn, what is painted, and which finish follows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageChops

from core.offline.painter import finishes
from core.offline.painter.canvas import Manner, soften
from core.offline.painter.filters import blur
from core.offline.painter.scenes import paint_island, paint_scene
from core.offline.painter.stage import Stage
from core.offline.painter.subject import Place, paint_subject, place, place_on_island


def _paint_subject(stage: Stage, where: Place | None = None) -> None:
    canvas = stage.canvas
    where = where or place(stage.plan, canvas.width, canvas.height, stage.rng)
    paint_subject(canvas, stage.plan, stage.palette, where)


def _rimmed(stage: Stage) -> None:
    """The subject with a rim of light on its upper left."""
    _paint_subject(stage)
    canvas = stage.canvas
    step = max(1, canvas.unit // 220)
    rim = ImageChops.subtract(canvas.cover, ImageChops.offset(canvas.cover, step, step))
    rim = rim.filter(blur(step * 0.7)).point([i * 38 // 100 for i in range(256)])
    canvas.colours.paste(tuple(int(part) for part in stage.palette.light), mask=rim)


def _blurred_scene(stage: Stage) -> None:
    """The scene out of focus, as behind a portrait lens."""
    paint_scene(stage)
    stage.canvas.colours = soften(stage.canvas.colours, stage.canvas.unit * 0.007)


def _product(stage: Stage) -> None:
    """The subject with its reflection in the table below it."""
    canvas = stage.canvas
    where = place(stage.plan, canvas.width, canvas.height, stage.rng)
    paint_subject(canvas, stage.plan, stage.palette, where)
    foot = round(where.y + where.half * 0.99)
    deep = min(canvas.height - foot, round(where.half * 0.4), foot)
    box = (0, foot - deep, canvas.width, foot)
    mirror = canvas.colours.crop(box).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    fade = Image.fromarray(np.linspace(76, 0, deep).astype(np.uint8)[:, None]).resize((canvas.width, deep))
    mask = canvas.cover.crop(box).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    canvas.colours.paste(mirror.filter(blur(2)), (0, foot), ImageChops.multiply(mask, fade))


def _on_island(stage: Stage) -> None:
    _paint_subject(stage, place_on_island(stage.canvas.width, stage.canvas.height))


def _same(cover: Image.Image) -> Image.Image:
    return cover


@dataclass(frozen=True, slots=True)
class Look:
    """One style. `scene` and `subject` paint on the stage, `finish` makes the picture of it, `alpha`
    the transparency of the subject's cover."""

    manner: Manner
    finish: Callable[[Stage], Image.Image]
    scene: Callable[[Stage], None] = paint_scene
    subject: Callable[[Stage], None] = _rimmed
    alpha: Callable[[Image.Image], Image.Image] = _same


_DRAWN = Look(Manner(pen=0.0035, flat=True, bevel=0), finishes.plain, subject=_paint_subject)
_LOOKS: Mapping[str, Look] = {
    "": Look(Manner(), finishes.plain),
    "photo": Look(Manner(bevel=0.6), finishes.photo, scene=_blurred_scene),
    "cinematic": Look(Manner(bevel=0.5), finishes.cinematic, scene=_blurred_scene),
    "product": Look(Manner(bevel=0.7), finishes.photo, subject=_product),
    "watercolour": Look(Manner(pen=0.002, bevel=0.2), finishes.watercolour, subject=_paint_subject),
    "oil": Look(Manner(bevel=0.5), finishes.oil),
    "ink": replace(_DRAWN, manner=Manner(pen=0.0038, bevel=0.5), finish=finishes.inked),
    "pencil": replace(_DRAWN, manner=Manner(pen=0.0022, bevel=0.6), finish=finishes.pencil),
    "pixel": Look(Manner(pen=0.006, flat=True, bevel=0.3), finishes.pixels, alpha=finishes.blocky),
    "lowpoly": Look(Manner(bevel=0.7), finishes.low_poly),
    "comic": replace(_DRAWN, manner=Manner(pen=0.0055, flat=True, bevel=0.45), finish=finishes.comic),
    "flat": replace(_DRAWN, manner=Manner(flat=True, bevel=0), finish=finishes.bare),
    "isometric": Look(Manner(bevel=0.25), finishes.bare, scene=paint_island, subject=_on_island),
    "clay": Look(Manner(flat=True, bevel=1.5), finishes.clay, subject=_paint_subject),
    "papercut": Look(Manner(flat=True, bevel=0, cast=0.013), finishes.paper, subject=_paint_subject),
    "cel": replace(_DRAWN, manner=Manner(pen=0.0032, flat=True, bevel=0), finish=finishes.cel),
    "poster": replace(_DRAWN, manner=Manner(bevel=0.2), finish=finishes.poster),
    "stained": replace(_DRAWN, manner=Manner(pen=0.0075, bevel=0.3), finish=finishes.stained),
    "blueprint": replace(_DRAWN, finish=finishes.blueprint),
}  # fmt: skip


def look_of(style: str) -> Look:
    """The look of the preset called `style`; the plain illustration for others."""
    return _LOOKS.get(style, _LOOKS[""])
