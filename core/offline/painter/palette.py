"""The palette of a picture, from the scene and the time of day, the moods and the colours in the prompt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from core.offline.painter.canvas import Colour, mix
from core.offline.painter.plan import Plan

_SKIES: Mapping[str, tuple[Colour, Colour]] = {
    "day": ((92, 164, 218), (218, 236, 238)),
    "dawn": ((126, 146, 204), (255, 212, 188)),
    "sunset": ((82, 66, 134), (255, 164, 100)),
    "night": ((12, 18, 50), (58, 78, 134)),
}
_LIGHTS: Mapping[str, Colour] = {
    "day": (255, 246, 214),
    "dawn": (255, 226, 190),
    "sunset": (255, 196, 120),
    "night": (214, 226, 255),
}
_TINTS: Mapping[str, Colour] = {
    "day": (1.0, 1.0, 1.0),
    "dawn": (1.02, 0.94, 0.93),
    "sunset": (0.98, 0.8, 0.76),
    "night": (0.42, 0.5, 0.74),
}
_LANDS: Mapping[str, tuple[Colour, Colour, Colour, Colour]] = {
    "plain": ((236, 226, 210), (214, 200, 182), (226, 214, 196), (188, 172, 152)),
    "underwater": ((84, 178, 196), (20, 92, 130), (222, 202, 150), (120, 132, 118)),
    "space": ((96, 70, 150), (44, 34, 90), (164, 158, 176), (70, 64, 92)),
    "sea": ((120, 182, 200), (24, 104, 146), (240, 218, 172), (204, 172, 124)),
    "forest": ((150, 190, 172), (36, 88, 70), (112, 146, 72), (52, 86, 52)),
    "mountains": ((150, 176, 204), (62, 96, 120), (128, 168, 84), (66, 112, 66)),
    "desert": ((238, 190, 140), (206, 128, 78), (240, 196, 128), (198, 136, 80)),
    "city": ((164, 184, 208), (70, 86, 124), (148, 146, 156), (92, 92, 110)),
    "room": ((228, 206, 178), (168, 122, 90), (176, 124, 84), (118, 78, 56)),
    "sky": ((198, 222, 236), (150, 190, 214), (250, 250, 252), (206, 222, 236)),
    "garden": ((158, 198, 160), (76, 138, 82), (140, 184, 88), (78, 134, 66)),
}
COLOURS: Mapping[str, Colour] = {
    "red": (206, 54, 50), "orange": (232, 126, 46), "yellow": (244, 204, 70), "gold": (218, 168, 62),
    "green": (82, 156, 84), "teal": (48, 164, 164), "blue": (58, 110, 196), "purple": (132, 84, 178),
    "pink": (238, 130, 168), "brown": (140, 92, 60), "white": (240, 238, 234), "black": (52, 50, 60),
    "grey": (148, 152, 162),
}  # fmt: skip
_ACCENTS = ((240, 178, 72), (86, 176, 168), (226, 110, 106), (122, 132, 208), (240, 146, 110))


@dataclass(frozen=True, slots=True)
class Palette:
    """The colours of a picture by their use.

    `high` and `low` are the colours of the upper and the lower sky. `far` and `near` are those of distant and
    of closer objects, and `ground` and `under` those of the ground and its shade. `light` is the colour of
    the sunlight or moonlight. `main` is the colour of the subject; if it is None, the subject has the usual
    colour of its drawing. `tint` holds factors for red, green and blue that turn daylight into the light of
    the time of day.
    """

    high: Colour
    low: Colour
    light: Colour
    far: Colour
    near: Colour
    ground: Colour
    under: Colour
    accent: Colour
    tint: Colour = (1.0, 1.0, 1.0)
    main: Colour | None = None

    def lit(self, colour: Colour, share: float = 1.0) -> Colour:
        """Return `colour` in the light of the time of day. `share` is the light's strength, from 0 to 1."""
        r, g, b = (part * (1 + (tint - 1) * share) for part, tint in zip(colour, self.tint, strict=True))
        return r, g, b


def choose_palette(plan: Plan) -> Palette:
    far, near, ground, under = _LANDS[plan.scene]
    high, low = _SKIES[plan.hour]
    if plan.scene == "space":
        high, low = (10, 10, 32), (62, 38, 98)
    accent = _ACCENTS[plan.digest[0] % len(_ACCENTS)]
    palette = Palette(high, low, _LIGHTS[plan.hour], far, near, ground, under, accent, _TINTS[plan.hour])
    for mood in plan.moods:
        palette = _MOODS[mood](palette)
    palette = _coloured(palette, plan.colours)
    if plan.scene in {"space", "plain"} and plan.hour != "night":
        return palette
    lit = {name: palette.lit(getattr(palette, name)) for name in ("far", "near", "ground", "under")}
    return replace(palette, **lit)


def _coloured(palette: Palette, names: tuple[str, ...]) -> Palette:
    """Return `palette` changed by the colours `names` that the prompt mentions.

    The first colour becomes the subject's colour and also tints the surroundings. The second becomes the
    accent colour.
    """
    if not names:
        return palette
    first = COLOURS[names[0]]
    accent = COLOURS[names[1]] if len(names) > 1 else palette.accent
    tinted = _recolour(palette, lambda colour: mix(colour, first, 0.08))
    tinted = replace(tinted, high=mix(tinted.high, first, 0.16), low=mix(tinted.low, first, 0.16))
    return replace(tinted, main=first, accent=accent, light=mix(palette.light, first, 0.12))


def _recolour(palette: Palette, change: Callable[[Colour], Colour]) -> Palette:
    """Return `palette` with the function `change` applied to each colour of the surroundings."""
    names = ("high", "low", "far", "near", "ground", "under")
    return replace(palette, **{name: change(getattr(palette, name)) for name in names})


def saturate(colour: Colour, factor: float) -> Colour:
    """Return `colour` with its distance from grey multiplied by `factor`."""
    grey = sum(colour) / 3
    return mix((grey, grey, grey), colour, factor)


def _autumn(palette: Palette) -> Palette:
    return replace(
        palette,
        far=mix(palette.far, (232, 176, 110), 0.6),
        near=mix(palette.near, (178, 84, 40), 0.75),
        ground=mix(palette.ground, (206, 142, 66), 0.7),
        under=mix(palette.under, (138, 78, 42), 0.7),
        low=mix(palette.low, (255, 226, 180), 0.4),
    )


def _winter(palette: Palette) -> Palette:
    return replace(
        palette,
        far=mix(palette.far, (206, 222, 236), 0.6),
        near=mix(palette.near, (110, 146, 168), 0.45),
        ground=mix(palette.ground, (244, 248, 252), 0.85),
        under=mix(palette.under, (176, 198, 222), 0.8),
    )


def _neon(palette: Palette) -> Palette:
    return Palette(
        high=(16, 8, 44), low=(170, 32, 140), light=(255, 110, 220), far=(92, 40, 140), near=(30, 18, 74),
        ground=(44, 26, 92), under=(18, 12, 46), accent=(40, 240, 230), tint=(0.82, 0.72, 0.98),
        main=palette.main,
    )  # fmt: skip


_MOODS: Mapping[str, Callable[[Palette], Palette]] = {
    "autumn": _autumn,
    "winter": _winter,
    "neon": _neon,
    "pastel": lambda palette: _recolour(
        palette, lambda colour: mix(saturate(colour, 0.8), (255, 246, 246), 0.4)
    ),
    "dark": lambda palette: _recolour(palette, lambda colour: mix(saturate(colour, 0.7), (12, 12, 24), 0.5)),
    "cheerful": lambda palette: _recolour(
        palette, lambda colour: mix(saturate(colour, 1.35), (255, 250, 230), 0.06)
    ),
    "calm": lambda palette: _recolour(
        palette, lambda colour: mix(saturate(colour, 0.82), (232, 236, 236), 0.1)
    ),
}
