"""Paints the subject, or an emblem (an abstract ornament) if the prompt names no known subject."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from core.offline.painter.canvas import Canvas, Colour, Points, mix, oval, ribbon, smooth
from core.offline.painter.drawings import DRAWINGS
from core.offline.painter.palette import Palette
from core.offline.painter.plan import Plan

_OWN: Mapping[str, Colour] = {
    "fox": (226, 112, 46), "cat": (232, 162, 88), "dog": (196, 142, 92), "rabbit": (196, 180, 170),
    "bear": (150, 102, 68), "owl": (146, 108, 82), "bird": (86, 148, 206), "penguin": (56, 64, 88),
    "fish": (244, 132, 58), "turtle": (96, 140, 76), "butterfly": (236, 138, 60), "dragon": (88, 168, 108),
    "robot": (104, 170, 188), "knight": (84, 104, 160), "wizard": (92, 76, 164), "woman": (206, 90, 92),
    "man": (62, 110, 150), "astronaut": (226, 112, 60), "rocket": (222, 78, 66), "balloon": (222, 84, 74),
    "boat": (176, 84, 60), "car": (214, 70, 60), "bicycle": (60, 150, 140), "lighthouse": (206, 64, 58),
    "castle": (96, 92, 160), "house": (190, 92, 72), "teapot": (72, 140, 150), "cup": (224, 108, 84),
    "bottle": (74, 150, 140), "lamp": (120, 82, 60), "chair": (60, 128, 120), "book": (150, 64, 66),
    "clock": (202, 84, 76), "shoe": (226, 92, 74), "cake": (238, 140, 168), "guitar": (204, 126, 66),
    "apple": (212, 58, 52), "mushroom": (206, 56, 50), "crystal": (126, 110, 220), "tree": (98, 158, 82),
    "flower": (236, 104, 140), "cactus": (206, 112, 80), "snowman": (206, 70, 66), "ghost": (220, 224, 240),
    "star": (250, 200, 76), "heart": (226, 70, 92),
}  # fmt: skip
_FIXED: Mapping[str, Colour] = {
    "black": (38, 34, 44), "white": (252, 250, 246), "gold": (242, 186, 74), "metal": (168, 178, 194),
    "wood": (132, 90, 60), "leaf": (92, 152, 84), "stone": (196, 188, 180), "cream": (250, 236, 212),
    "skin": (244, 200, 166), "hair": (104, 62, 46), "eye": (52, 40, 48), "blush": (240, 150, 146),
    "glow": (255, 224, 120), "coffee": (110, 70, 48), "sky": (168, 214, 236), "cloud": (250, 250, 252),
    "shade": (178, 158, 150),
}  # fmt: skip
_BRIGHT = frozenset({"glow", "gold"})
_SKINS: tuple[Colour, ...] = ((250, 212, 182), (240, 194, 158), (206, 150, 112), (150, 100, 72))
_FLOATING = frozenset({"rocket", "balloon", "fish", "butterfly", "turtle", "ghost", "star", "heart"})


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of the subject: its centre (`x`, `y`) and half of its height (`half`), in pixels."""

    x: float
    y: float
    half: float


def place_subject(plan: Plan, width: int, height: int, rng: np.random.Generator) -> Placement:
    """Return the subject's placement in a picture of `width` by `height` pixels.

    The subject is near the middle, and its foot is in the lower third.
    """
    half = 0.27 * min(height, width * 1.15) * (1.08 if plan.style == "product" else 1.0)
    x = width * (0.5 if plan.scene == "plain" else rng.uniform(0.45, 0.55))
    foot = height * (0.72 if floats(plan) else 0.87)
    return Placement(x, foot - half, half)


def place_on_island(width: int, height: int) -> Placement:
    """Return the subject's placement on the middle tile of the island in the isometric style.

    The subject is smaller than in other styles.
    """
    half = 0.22 * min(width, height)
    return Placement(width / 2, height * 0.6 - half, half)


def floats(plan: Plan) -> bool:
    """Return whether the plan's subject floats in air, water or space instead of standing on the ground."""
    return plan.subject in _FLOATING and not (plan.scene == "plain" and plan.subject in {"star", "heart"})


def paint_subject(canvas: Canvas, plan: Plan, palette: Palette, placement: Placement) -> None:
    """Paint the subject of `plan` and its shadow. An unknown subject is painted as an emblem."""
    _shadow(canvas, plan, palette, placement)
    canvas.in_subject = True
    tones = _tones(plan, palette)
    drawing = DRAWINGS.get(plan.subject or "") or _emblem(plan.digest)
    for kind, role, numbers in _shapes(drawing):
        tone = tones[role]
        for points in _outlines(kind, numbers):
            low = mix(tone, (44, 30, 80), 0.16 if role not in _BRIGHT else 0.02)
            canvas.fill(
                points * placement.half + (placement.x, placement.y), mix(tone, palette.light, 0.14), low
            )
    canvas.in_subject = False


def _shadow(canvas: Canvas, plan: Plan, palette: Palette, placement: Placement) -> None:
    """Paint a soft shadow on the ground below the subject, if the subject stands on the ground."""
    if (
        plan.scene in {"sky", "underwater"}
        or (floats(plan) and plan.scene != "plain")
        or plan.subject == "boat"
    ):
        return
    dark, foot = mix(palette.under, (16, 12, 34), 0.7), placement.y + placement.half * 0.98
    for wide, alpha in ((0.85, 0.35), (0.55, 0.5)):
        shape = oval(
            placement.x + placement.half * 0.08, foot, placement.half * wide, placement.half * wide * 0.14
        )
        canvas.fill(shape, dark, alpha=alpha, blur=placement.half * 0.06, lined=False)


def _tones(plan: Plan, palette: Palette) -> dict[str, Colour]:
    """Return a dict from each colour role of the drawings, such as "main" or "skin", to its colour.

    The colours are in the light of the plan's time of day.
    """
    own = _OWN.get(plan.subject or "", palette.accent)
    main = mix(palette.main, own, 0.22) if palette.main and plan.subject else palette.main or own
    skin, hair = (
        _SKINS[plan.digest[1] % 4],
        [(104, 62, 46), (52, 40, 46), (196, 126, 66), (120, 52, 40)][plan.digest[2] % 4],
    )
    roles: dict[str, Colour] = dict(_FIXED) | {"skin": skin, "hair": hair}
    roles |= {
        "main": main,
        "pale": mix(main, (255, 248, 236), 0.68),
        "deep": mix(main, (40, 24, 60), 0.28),
        "dark": mix(main, (34, 26, 42), 0.78),
        "accent": palette.accent
        if palette.main or plan.subject
        else mix(palette.accent, (255, 255, 255), 0.3),
        "shade": mix(roles["shade"], main, 0.15),
    }
    return {role: tone if role in _BRIGHT else palette.lit(tone, 0.62) for role, tone in roles.items()}


def _shapes(drawing: str) -> Iterator[tuple[str, str, list[float]]]:
    for line in drawing.split("\n"):
        if line:
            kind, role, *numbers = line.split()
            yield kind, role, [float(number) for number in numbers]


def _outlines(kind: str, numbers: list[float]) -> Iterator[Points]:
    """Yield the outline of a shape. If `kind` begins with `2`, yield the mirrored outline as well."""
    points = _outline(kind[-1], numbers)
    yield points
    if kind[0] == "2":
        yield points * (-1, 1)


def _outline(kind: str, numbers: list[float]) -> Points:
    if kind == "o":
        x, y, rx, ry, turn = [*numbers, 0.0][:5]
        return oval(x, y, rx, ry, turn)
    if kind == "r":
        return _rectangle(*numbers)
    if kind == "l":
        path = np.array(numbers[1:]).reshape(-1, 2)
        return _round_ended(smooth(path, closed=False, steps=12), numbers[0])
    points = np.array(numbers).reshape(-1, 2)
    return smooth(points) if kind == "b" else points


def _round_ended(path: Points, width: float) -> Points:
    along = np.stack([path[0] - path[1], path[-1] - path[-2]])
    along *= width / 2.6 / np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    return ribbon(np.concatenate([path[:1] + along[:1], path, path[-1:] + along[1:]]), width)


def _rectangle(left: float, top: float, right: float, bottom: float, corner: float = 0.0) -> Points:
    """Return the outline of a rectangle. `corner` is the radius of the corners; 0 gives sharp corners."""
    quarter = np.linspace(0, np.pi / 2, 8 if corner else 1)
    centres = (
        (right - corner, bottom - corner),
        (left + corner, bottom - corner),
        (left + corner, top + corner),
        (right - corner, top + corner),
    )
    arcs = [
        np.stack(
            [
                x + corner * np.cos(quarter + turn * np.pi / 2),
                y + corner * np.sin(quarter + turn * np.pi / 2),
            ],
            axis=1,
        )
        for turn, (x, y) in enumerate(centres)
    ]
    return np.concatenate(arcs)


def _emblem(digest: bytes) -> str:
    """Return the text of a drawing of rings and petals.

    `digest` determines the number and the form of the petals.
    """
    petals, roles = 5 + digest[3] % 6, ("main", "deep", "accent", "pale")
    lines = ["o deep 0 0 .94 .94", "o cream 0 0 .88 .88", "o deep 0 0 .83 .83"]
    for ring, (far, size) in enumerate(((0.54, 0.24), (0.38, 0.17), (0.22, 0.1))):
        role, wide = roles[(digest[4 + ring] + ring) % 4], 0.45 + (digest[8 + ring] % 50) / 100
        for i in range(petals):
            turn = 360 * (i + (ring % 2) / 2) / petals
            x, y = far * np.cos(np.radians(turn)), far * np.sin(np.radians(turn))
            lines.append(
                f"o {role if role != 'deep' else 'main'} {x:.3f} {y:.3f} {size} {size * wide:.3f} {turn:.1f}"
            )
    return "\n".join([*lines, "o gold 0 0 .13 .13", "o white -.03 -.03 .04 .03"])
