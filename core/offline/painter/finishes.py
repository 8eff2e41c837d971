"""Finishes: each is a function that turns a painted stage into the finished picture of one style.

Some keep the painted colours: photo, cinematic, watercolour, oil, clay and paper. Some reduce the colours to
flat areas: pixels, low_poly, stained and poster. Some consist mainly of lines: ink_drawing, pencil, comic,
cel and blueprint.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw

from core.offline.painter.canvas import Canvas, noise, soften
from core.offline.painter.filters import (
    PAPER,
    Pixels,
    as_image,
    as_pixels,
    blur,
    brightness,
    framed,
    grain,
    vignette,
    vivid,
    wavy,
)
from core.offline.painter.stage import Stage, add_glow


def bare(stage: Stage) -> Image.Image:
    return stage.canvas.colours


def plain(stage: Stage) -> Image.Image:
    """Return the painted picture with slight grain and darker corners."""
    return grain(vignette(stage.canvas.colours, 0.22), 2, stage.rng)


def photo(stage: Stage) -> Image.Image:
    """Return the painted picture as a photograph with soft highlights, strong contrast and grain."""
    image = stage.canvas.colours
    bloom = soften(image, stage.canvas.unit * 0.02).point([max(0, i - 110) // 3 for i in range(256)] * 3)
    return grain(vignette(vivid(ImageChops.screen(image, bloom), 0.92, 1.12), 0.4), 6, stage.rng)


def cinematic(stage: Stage) -> Image.Image:
    """Return the painted picture as a film still.

    It has teal shadows, warm lights, a glow at the upper left, and the black bars of a wide screen.
    """
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
    """Return the painted picture in watercolours on grained paper.

    The washes are darker along the outlines, and the edge of the painted area is ragged.
    """
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
    """Return a mask as an array of (height, width): 0 in an uneven border, and 1 inside the border."""
    y, x = np.linspace(0, 1, h)[:, None] * h, np.linspace(0, 1, w)[None] * w
    rim = np.minimum(np.minimum(x, w - x), np.minimum(y, h - y)) / min(h, w)
    rough = noise(h, w, 7, rng) * 0.02 + noise(h, w, 40, rng) * 0.009
    return cast(Pixels, np.clip((rim + rough - 0.028) / 0.012, 0, 1).astype(np.float32))


def oil(stage: Stage) -> Image.Image:
    """Return the painted picture as an oil painting on woven canvas that is lit from the side.

    The strokes are painted in four coats, from large strokes to small ones.
    """
    canvas, rng = stage.canvas, stage.rng
    source = vivid(canvas.colours, 1.25, 1.08)
    image = source.filter(blur(canvas.unit * 0.006))
    pen = ImageDraw.Draw(image)
    slope = as_pixels(source.convert("L").reduce(4).filter(blur(3)))
    down, across = cast(tuple[Pixels, Pixels], tuple(np.gradient(slope)))
    mask = as_pixels(canvas.subject_mask.reduce(4))
    detail = cast(Pixels, np.hypot(down, across) * (1 + mask / 64))
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
    """Paint one coat of brush strokes with `pen`, in the colours of `source`.

    `field` holds the vertical gradient, the horizontal gradient and the amount of detail, each at a quarter
    of the size. `brush` holds the length of the strokes in pixels, their number, and whether to paint only in
    detailed areas.
    """
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
    """Return the painted picture as if it were modelled in clay.

    The colours are warm and slightly blurred, and the surface has dents and fingerprints.
    """
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
    """Return the painted picture with the fibres of paper.

    The shadows of the paper sheets are already painted, because `ShapeStyle.cast` is set for this style.
    """
    canvas, rng = stage.canvas, stage.rng
    fibre = (
        noise(canvas.height, canvas.width, 200, rng) * 4 + noise(canvas.height, canvas.width, 60, rng) * 1.5
    )
    image = as_image(as_pixels(vivid(canvas.colours, 1.05)) + fibre[..., None])
    return grain(image, 3, rng)


def pixels(stage: Stage) -> Image.Image:
    """Return the painted picture as pixel art: large squares in 28 colours."""
    canvas = stage.canvas
    dark = canvas.colours.point([i * 45 // 100 for i in range(256)] * 3)
    dark.paste(canvas.colours, mask=ImageChops.invert(canvas.lines))
    small = vivid(dark.resize(_cells(canvas.colours.size), Image.Resampling.BOX), 1.25, 1.1)
    few = small.quantize(28, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    return few.resize(canvas.colours.size, Image.Resampling.NEAREST)


def blocky(mask: Image.Image) -> Image.Image:
    """Return the subject's mask reduced to the same large squares as in the finish `pixels`."""
    small = mask.resize(_cells(mask.size), Image.Resampling.BOX).point([255 * (i > 127) for i in range(256)])
    return small.resize(mask.size, Image.Resampling.NEAREST)


def _cells(size: tuple[int, int]) -> tuple[int, int]:
    edge = min(size) / 112
    return max(1, round(size[0] / edge)), max(1, round(size[1] / edge))


def low_poly(stage: Stage) -> Image.Image:
    """Return the painted picture divided into flat triangles, whose corners follow the painted edges."""
    canvas, rng = stage.canvas, stage.rng
    source = vivid(canvas.colours, 1.2, 1.12)
    corners = _corners(source, 54, rng)
    tones = as_pixels(source.filter(blur(canvas.unit / 400)))
    image = Image.new("RGB", (canvas.width * 2, canvas.height * 2))
    pen = ImageDraw.Draw(image)
    a, b, c, d = corners[:-1, :-1], corners[:-1, 1:], corners[1:, 1:], corners[1:, :-1]
    faces = np.concatenate([np.stack(face, 2).reshape(-1, 3, 2) for face in ((a, b, d), (b, c, d))])
    inner = (faces * 0.5 + faces.mean(axis=1, keepdims=True) * 0.5).round().astype(int)
    x, y = np.clip(inner[..., 0], 0, canvas.width - 1), np.clip(inner[..., 1], 0, canvas.height - 1)
    tone = np.median(tones[y, x], axis=1) * rng.uniform(0.91, 1.06, (len(faces), 1))
    for face, colour in zip(
        (faces * 2).reshape(-1, 6).tolist(), np.clip(tone, 0, 255).astype(int).tolist(), strict=True
    ):
        pen.polygon(face, tuple(colour))
    return image.reduce(2)


def _corners(source: Image.Image, across: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return the corners of the triangles as an array of (rows, columns, 2), in pixels.

    `source` is divided into cells, with `across` cells along the shorter edge. Each corner is at the
    strongest edge in its cell. The outermost corners lie just outside the picture.
    """
    w, h = source.size
    cell, part = min(w, h) / across, 8
    columns, rows = max(2, round(w / cell)), max(2, round(h / cell))
    grey = as_pixels(source.convert("L").resize((columns * part, rows * part), Image.Resampling.BOX))
    down, sideways = np.gradient(grey)
    edge = np.hypot(down, sideways) + rng.uniform(0, 5, grey.shape)
    best = edge.reshape(rows, part, columns, part).swapaxes(1, 2).reshape(rows, columns, -1).argmax(axis=2)
    x = (np.arange(columns) + (best % part + 0.5) / part) * w / columns
    y = (np.arange(rows)[:, None] + (best // part + 0.5) / part) * h / rows
    net = np.pad(np.stack([x, y], axis=2), ((1, 1), (1, 1), (0, 0)), mode="edge")
    net[0, :, 1], net[-1, :, 1], net[:, 0, 0], net[:, -1, 0] = -2, h + 2, -2, w + 2
    return cast("NDArray[np.float64]", net)


def poster(stage: Stage) -> Image.Image:
    """Return the painted picture as a slightly worn print in twelve flat inks, with a cream border."""
    canvas, rng = stage.canvas, stage.rng
    strong = as_pixels(vivid(canvas.colours.filter(blur(1)), 0.95, 1.2))
    warm = as_image(strong * np.array((1, 0.94, 0.82), np.float32) + np.array((6, 6, 12), np.float32))
    few = warm.quantize(12, Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE).convert("RGB")
    h, w = canvas.height, canvas.width
    speck = noise(h, w, 190, rng) + noise(h, w, 70, rng) * np.float32(0.6)
    wear = (np.clip(speck - 0.9, 0, 1) * 0.5).astype(np.float32)[..., None]
    print_ = as_pixels(few) * (1 - wear) + np.array((244, 232, 206), np.float32) * wear
    return framed(grain(as_image(print_), 4, rng, 2), 0.045, (244, 232, 206), (60, 48, 52))


def stained(stage: Stage) -> Image.Image:
    """Return the painted picture as glowing glass panes.

    Lead lines separate the panes and follow the outlines.
    """
    canvas, rng = stage.canvas, stage.rng
    w, h = canvas.colours.size
    nearest, margin = _panes(w // 2, h // 2, 15, rng)
    glass = as_pixels(vivid(canvas.colours, 1.75, 1.1).filter(blur(canvas.unit * 0.003)))
    sheen = (0.98 + rng.uniform(-0.16, 0.16, nearest.max() + 1).astype(np.float32))[nearest]
    sheen = (
        as_pixels(Image.fromarray(sheen).resize((w, h), Image.Resampling.NEAREST))
        + noise(h, w, 90, rng) * 0.07
    )
    lead = as_pixels(
        Image.fromarray(np.clip((1.5 - margin / (canvas.unit * 0.0016)), 0, 1) * 255).resize((w, h))
    )
    lead = np.maximum(lead / 255, as_pixels(canvas.lines) / 255)[..., None]
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j]
    glow = (1.18 - 0.4 * (x**2 + y**2) / 2).astype(np.float32)
    lit = glass * (sheen * glow)[..., None] + 8
    rounded = as_pixels(soften(as_image(lead[..., 0] * 255), canvas.unit * 0.002))[..., None] / 255
    return framed(as_image(lit * (1 - lead) * (1 - 0.35 * rounded) + lead * (30, 28, 34)), 0.02, (26, 24, 30))


def _panes(w: int, h: int, across: int, rng: np.random.Generator) -> tuple[NDArray[np.int64], Pixels]:
    """Return a division of the picture into random cells (a Voronoi diagram), as two arrays.

    Both arrays are (height, width). The first holds the number of each pixel's cell. The second holds the
    pixel's distance from the border of the cell. `across` is the number of cells along the shorter edge.
    """
    cell = min(w, h) / across
    columns, rows = int(w / cell) + 3, int(h / cell) + 3
    px = (np.arange(columns)[None] - 1 + rng.uniform(0.1, 0.9, (rows, columns))) * cell
    py = (np.arange(rows)[:, None] - 1 + rng.uniform(0.1, 0.9, (rows, columns))) * cell
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    j, i = (y / cell).astype(int) + 1, (x / cell).astype(int) + 1
    first, second = np.full((h, w), np.inf, np.float32), np.full((h, w), np.inf, np.float32)
    nearest = np.zeros((h, w), np.int64)
    for dj in (-1, 0, 1):
        for di in (-1, 0, 1):
            jj, ii = np.clip(j + dj, 0, rows - 1), np.clip(i + di, 0, columns - 1)
            far = np.hypot(x - px[jj, ii], y - py[jj, ii]).astype(np.float32)
            closer = far < first
            second = np.where(closer, first, np.minimum(second, far))
            nearest = np.where(closer, jj * columns + ii, nearest)
            first = np.where(closer, far, first)
    return nearest, cast(Pixels, second - first)


def _hatching(light: Pixels, angle: float, gap: float, level: float, rng: np.random.Generator) -> Pixels:
    """Return hatching (parallel strokes) as an array of (height, width), with values from 0 to 1.

    `light` is the brightness from 0 to 1. Only areas darker than `level` have strokes, which are wider in
    darker areas. `gap` is the distance between strokes in pixels, and `angle` is in radians.
    """
    h, w = light.shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    wander = noise(h, w, 9, rng) * gap * 0.9
    across = (x * np.sin(angle) + y * np.cos(angle) + wander) / gap
    line = np.abs((across % 1) - 0.5) * 2
    wide = np.clip((level - light) / max(level, 0.01), 0, 1) * 0.62
    return cast(Pixels, np.clip((wide - line) * gap / 2.4 + 0.35, 0, 1) * (wide > 0.03))


def ink_drawing(stage: Stage) -> Image.Image:
    """Return the painted picture as an ink drawing on white paper.

    It has black outlines, hatching in two directions, and solid black in the darkest areas.
    """
    canvas, rng, light = stage.canvas, stage.rng, brightness(stage)
    h, w = canvas.height, canvas.width
    gap = canvas.unit / 100
    strokes = _hatching(light, 0.8, gap, 0.62, rng)
    strokes = np.maximum(strokes, _hatching(light, -0.6, gap, 0.24, rng))
    strokes = np.maximum(strokes, np.clip((0.13 - light) * 9, 0, 1))
    lines = as_pixels(wavy(canvas.lines, 0.0016, 60, rng)) / 255
    swell = 0.75 + 0.5 * noise(h, w, 14, rng)
    black = np.clip(np.maximum(strokes * 0.9, lines * (0.8 + swell)), 0, 1)[..., None]
    paper = np.array((252, 250, 244), np.float32) + noise(h, w, 200, rng)[..., None] * 2
    return as_image(paper * (1 - black) + np.array((24, 22, 30), np.float32) * black)


def pencil(stage: Stage) -> Image.Image:
    """Return the painted picture as a sketch: loose double outlines, soft hatching and construction lines."""
    canvas, rng, light = stage.canvas, stage.rng, brightness(stage)
    h, w = canvas.height, canvas.width
    tooth = 0.9 + 0.3 * np.clip(noise(h, w, 330, rng) + noise(h, w, 130, rng) * 0.5, -1, 1)
    shading = np.clip(1 - light, 0, 1) ** 1.3 * 0.62
    strokes = _hatching(light, 0.9, canvas.unit / 170, 0.85, rng) * 0.32
    lines = np.maximum(*(as_pixels(wavy(canvas.lines, 0.003, 22, rng)) / 255 * dark for dark in (1.15, 0.6)))
    sketch = as_pixels(_construction(canvas)) / 255 * 0.3
    graphite = np.clip(
        (np.maximum(shading * 0.75, strokes + shading * 0.4) + sketch + lines * 0.8) * tooth, 0, 0.93
    )[..., None]
    return as_image(
        np.array(PAPER, np.float32) * (1 - graphite) + np.array((58, 58, 66), np.float32) * graphite
    )


def _construction(canvas: Canvas) -> Image.Image:
    """Return an image of the thin construction lines around the subject, white on black."""
    layer = Image.new("L", canvas.colours.size)
    box = canvas.subject_mask.getbbox()
    if box is None:
        return layer
    pen, (left, top, right, bottom), grow = ImageDraw.Draw(layer), box, canvas.unit * 0.03
    wide = max(1, canvas.unit // 500)
    pen.line(((left + right) / 2, top - grow * 2, (left + right) / 2, bottom + grow * 2), 255, wide)
    pen.line((left - grow * 2, (top + bottom) / 2, right + grow * 2, (top + bottom) / 2), 255, wide)
    pen.ellipse((left - grow, top - grow, right + grow, bottom + grow), outline=255, width=wide)
    pen.ellipse((left - grow / 3, top, right + grow / 2, bottom - grow / 3), outline=190, width=wide)
    return layer


def comic(stage: Stage) -> Image.Image:
    """Return the painted picture as a comic panel with a frame.

    It has bold outlines, and halftone dots in the shadows.
    """
    canvas, light = stage.canvas, brightness(stage)
    flat = as_pixels(vivid(canvas.colours, 1.45, 1.1).quantize(40, dither=Image.Dither.NONE).convert("RGB"))
    h, w = light.shape
    y, x = np.mgrid[0:h, 0:w].astype(np.float32)
    gap = canvas.unit / 95
    dots = np.cos((x + y) / gap * 4.44) * np.cos((x - y) / gap * 4.44)
    shade = np.clip(((0.75 - light) * 1.7 - dots * 0.6 - 0.35) * 5, 0, 1)[..., None]
    image = as_image(flat * (1 - shade * 0.36))
    image.paste((22, 18, 30), mask=canvas.lines)
    return framed(image, 0.022, (252, 250, 244), (22, 18, 30))


def cel(stage: Stage) -> Image.Image:
    """Return the painted picture as an animation still.

    It has bright colours, clean outlines, and one hard-edged shadow on the subject.
    """
    canvas = stage.canvas
    image = vivid(canvas.colours, 1.3, 1.04)
    step = round(canvas.unit * 0.05)
    inner = ImageChops.subtract(
        canvas.subject_mask, ImageChops.offset(canvas.subject_mask, -step, -round(step * 0.5))
    )
    inner = soften(inner, canvas.unit * 0.004).point([255 * (i > 110) for i in range(256)])
    shade = ImageChops.multiply(image, Image.new("RGB", image.size, (168, 150, 196)))
    image.paste(shade, mask=ImageChops.multiply(inner, canvas.subject_mask))
    image.paste((40, 30, 54), mask=canvas.lines.point([i * 85 // 100 for i in range(256)]))
    return image


def blueprint(stage: Stage) -> Image.Image:
    """Return the painted picture as white outlines on blue, with a grid, a frame and dimension lines.

    The outlines of the surroundings are fainter than those of the subject.
    """
    canvas, rng = stage.canvas, stage.rng
    h, w = canvas.height, canvas.width
    blue = (
        np.array((26, 74, 146), np.float32) + (noise(h, w, 4, rng) * 7 + noise(h, w, 200, rng) * 3)[..., None]
    )
    tone = (brightness(stage) - 0.5)[..., None] * np.array((16, 20, 26), np.float32)
    mask = as_pixels(canvas.subject_mask) / 255
    white = as_pixels(canvas.lines) / 255 * (0.34 + 0.62 * mask)
    white = np.maximum(white, as_pixels(_measures(canvas)) / 255)
    white = np.maximum(white, mask * 0.1)[..., None]
    return framed(
        as_image((blue + tone) * (1 - white) + np.array((236, 244, 255), np.float32) * white),
        0.02,
        (18, 56, 118),
        (220, 232, 250),
    )


def _measures(canvas: Canvas) -> Image.Image:
    """Return an image of the grid, and of the dimension lines around the subject, light on black."""
    layer = Image.new("L", canvas.colours.size)
    pen, (w, h), wide = ImageDraw.Draw(layer), canvas.colours.size, max(1, canvas.unit // 600)
    step = canvas.unit / 32
    for k in range(int(max(w, h) / step) + 1):
        pen.line((k * step, 0, k * step, h), 34 + 24 * (k % 4 == 0))
        pen.line((0, k * step, w, k * step), 34 + 24 * (k % 4 == 0))
    left, top, right, bottom = canvas.subject_mask.getbbox() or (w // 4, h // 4, w * 3 // 4, h * 3 // 4)
    gap = canvas.unit * 0.045
    for line in (
        (left, bottom + gap, right, bottom + gap),
        (right + gap, top, right + gap, bottom),
        ((left + right) / 2, top - gap, (left + right) / 2, bottom + gap * 1.6),
    ):
        pen.line(line, 215, wide)
    for x, y in ((left, bottom + gap), (right, bottom + gap), (right + gap, top), (right + gap, bottom)):
        pen.line((x - gap / 4, y + gap / 4, x + gap / 4, y - gap / 4), 235, wide * 2)
    pen.arc((left - gap, top - gap, right + gap, bottom + gap), 200, 250, 200, wide)
    return layer
