"""The canvas: an image of filled, antialiased shapes, an image of their outlines, and the subject's mask."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, floor
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Points = NDArray[np.float64]
"""The corners of a shape in pixels: an array of (count, 2). x runs to the right and y down."""
Colour = tuple[float, float, float]
"""Red, green and blue, each from 0 to 255."""
Box = tuple[int, int, int, int]


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return a blend of the colours `one` and `other`. `share` is the share of `other`, from 0 to 1."""
    return cast(Colour, tuple(a + (b - a) * share for a, b in zip(one, other, strict=True)))


def rgb(colour: Colour) -> tuple[int, int, int]:
    """Return `colour` as whole numbers from 0 to 255, for Pillow."""
    return cast("tuple[int, int, int]", tuple(int(min(255, max(0, part))) for part in colour))


def smooth(corners: Points, closed: bool = True, steps: int = 10) -> Points:
    """Return the points of a smooth (Catmull-Rom) curve through `corners`.

    There are `steps` points between each two corners. A `closed` curve returns to its first corner.
    """
    if closed:
        p = np.concatenate([corners[-1:], corners, corners[:2]])
    else:
        p = np.concatenate([corners[:1], corners, corners[-1:]])
    t = np.linspace(0, 1, steps, endpoint=not closed)[None, :, None]
    a, b, c, d = p[:-3, None], p[1:-2, None], p[2:-1, None], p[3:, None]
    curve = 0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
    return cast(Points, curve.reshape(-1, 2))


def oval(x: float, y: float, rx: float, ry: float, turn: float = 0.0, *, steps: int = 48) -> Points:
    """Return the outline of an ellipse around (`x`, `y`) with the radii `rx` and `ry`, in pixels.

    The ellipse is rotated by `turn` degrees. The outline has `steps` points.
    """
    t = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    u, v, r = rx * np.cos(t), ry * np.sin(t), np.radians(turn)
    return np.stack([x + u * np.cos(r) - v * np.sin(r), y + u * np.sin(r) + v * np.cos(r)], axis=1)


def ribbon(corners: Points, width: float) -> Points:
    """Return the outline of a brush stroke along the line `corners`.

    The stroke is `width` pixels wide in the middle and slightly thinner at both ends.
    """
    along = np.gradient(corners, axis=0)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-6)
    taper = 1 - 0.35 * np.abs(np.linspace(-1, 1, len(corners))[:, None]) ** 3
    side = normal * taper * width / 2
    return np.concatenate([corners + side, (corners - side)[::-1]])


@dataclass(frozen=True, slots=True)
class ShapeStyle:
    """The style in which the canvas draws shapes.

    `pen` is the width of outlines, and `cast` is the length of shadows, both as fractions of the canvas's
    shorter edge. `bevel` is the strength of the shading that makes a shape look raised; 0 means no shading.
    If `flat` is true, shapes have a single colour instead of a gradient.
    """

    pen: float = 0.0
    flat: bool = False
    bevel: float = 0.35
    cast: float = 0.0


class Canvas:
    """Three images of the same size: the filled shapes, their outlines, and the mask of the subject.

    `unit` is the length of the shorter edge in pixels. While `in_subject` is true, every filled shape is
    added to the mask.
    """

    def __init__(self, width: int, height: int, shape_style: ShapeStyle) -> None:
        self.width, self.height, self.shape_style = width, height, shape_style
        self.unit = min(width, height)
        self.colours = Image.new("RGB", (width, height))
        self.lines = Image.new("L", (width, height))
        self.subject_mask = Image.new("L", (width, height))
        self.in_subject = False

    def fill(
        self,
        points: Points,
        top: Colour,
        bottom: Colour | None = None,
        *,
        alpha: float = 1.0,
        blur: float = 0.0,
        lined: bool = True,
        bevel: float = 1.0,
    ) -> None:
        """Fill a shape, whose corners are `points`, with a gradient from the colour `top` to `bottom`.

        Without `bottom`, the shape has one colour. `alpha` is the opacity from 0 to 1, and `blur` is a radius
        in pixels. `bevel` is multiplied by the shape style's `bevel`. Only opaque, sharp shapes get a shadow
        and an outline. `lined=False` leaves out both, for very small shapes.
        """
        box = self._box(points, blur)
        if box is None:
            return
        mask, solid = _mask(points, box, blur, alpha), alpha == 1 and not blur
        if self.shape_style.cast and solid and lined:
            self._cast(mask, box)
        paint = self._gradient(box, points, top, bottom if bottom is not None else top)
        if self.shape_style.bevel and bevel and solid:
            paint = _shade(paint, mask, self.shape_style.bevel * bevel)
        self.colours.paste(paint, box, mask)
        if self.in_subject:
            self.subject_mask.paste(255, box, mask)
        if solid:
            self.lines.paste(0, box, mask)
        if self.shape_style.pen and lined and solid:
            self.draw(points)

    def draw(self, points: Points) -> None:
        """Draw the closed line through `points` into the canvas's image of outlines."""
        width = max(1.0, self.shape_style.pen * self.unit)
        box = self._box(points, width)
        if box is None:
            return
        scale = 2
        layer = Image.new("L", ((box[2] - box[0]) * scale, (box[3] - box[1]) * scale))
        path = np.concatenate([points, points[:2]]) - np.array(box[:2])
        ImageDraw.Draw(layer).line((path * scale).ravel().tolist(), 255, round(width * scale), joint="curve")
        layer = layer.reduce(scale)
        self.lines.paste(255, box, layer)

    def _box(self, points: Points, margin: float) -> Box | None:
        """Return the rectangle of whole pixels around `points` with a margin, clipped to the canvas.

        Returns None if the rectangle lies outside the canvas.
        """
        grow = 2 + margin * 2.5
        left, top = np.maximum(points.min(axis=0) - grow, 0)
        right, bottom = np.minimum(points.max(axis=0) + grow, (self.width, self.height))
        box = floor(left), floor(top), ceil(right), ceil(bottom)
        return box if box[0] < box[2] and box[1] < box[3] else None

    def _gradient(self, box: Box, points: Points, top: Colour, bottom: Colour) -> Image.Image:
        size = box[2] - box[0], box[3] - box[1]
        if self.shape_style.flat or top == bottom:
            return Image.new("RGB", size, rgb(mix(top, bottom, 0.4)))
        low, high = points[:, 1].min(), points[:, 1].max()
        share = np.clip((np.arange(box[1], box[3]) - low) / max(high - low, 1), 0, 1)[:, None]
        column = np.clip(np.array(top) + (np.array(bottom) - np.array(top)) * share, 0, 255)
        return Image.fromarray(column.astype(np.uint8)[:, None]).resize(size)

    def _cast(self, mask: Image.Image, box: Box) -> None:
        """Draw a shape's shadow, which lies below the shape and to its right.

        `mask` is the mask of the shape within `box`.
        """
        far = max(1, round(self.shape_style.cast * self.unit))
        grown = Image.new("L", (mask.width + 4 * far, mask.height + 4 * far))
        grown.paste(mask, (2 * far + far // 2, 2 * far + far))
        shadow = grown.filter(ImageFilter.BoxBlur(far * 0.8)).point([i * 58 // 100 for i in range(256)])
        self.colours.paste((20, 16, 30), (box[0] - 2 * far, box[1] - 2 * far), shadow)
        self.lines.paste(0, box, mask)


def _mask(points: Points, box: Box, blur: float, alpha: float) -> Image.Image:
    """Return the antialiased mask, as large as `box`, of the shape with the corners `points`.

    The mask is blurred by `blur` pixels and multiplied by `alpha`.
    """
    width, height = box[2] - box[0], box[3] - box[1]
    scale = 1 if blur > 2 else 4 if width * height < 40_000 else 2
    mask = Image.new("L", (width * scale, height * scale))
    ImageDraw.Draw(mask).polygon(((points - np.array(box[:2])) * scale).ravel().tolist(), fill=255)
    mask = mask.reduce(scale) if scale > 1 else mask
    mask = soften(mask, blur) if blur else mask
    return mask if alpha == 1 else mask.point([int(i * alpha) for i in range(256)])


def soften(image: Image.Image, radius: float) -> Image.Image:
    """Return `image` blurred by about `radius` pixels. A wide blur uses a smaller copy, which is faster."""
    shrink = int(max(1, min(8, radius // 3)))
    if shrink == 1 or min(image.size) < 2 * shrink:
        return image.filter(ImageFilter.GaussianBlur(radius))
    small = image.reduce(shrink).filter(ImageFilter.GaussianBlur(radius / shrink))
    return small.resize(image.size, Image.Resampling.BICUBIC)


def _shade(paint: Image.Image, mask: Image.Image, depth: float) -> Image.Image:
    """Return `paint`, the colours of a shape, shaded as if the shape were raised.

    The shape is lighter at its upper left and darker at its lower right. `depth` is the strength of the
    shading.
    """
    width, height = mask.size
    radius = min(width, height) * 0.16
    if radius < 2:
        return paint
    shrink = int(max(1, min(8, radius // 4)))
    small = mask.reduce(shrink) if shrink > 1 else mask
    soft = small.filter(ImageFilter.GaussianBlur(radius / shrink))
    step = max(1, round(radius / shrink * 0.6))
    light = ImageChops.subtract(ImageChops.offset(soft, -step), ImageChops.offset(soft, step, step), 2, 128)
    light = light.point([int(min(255, max(0, 128 + (i - 128) * 1.5 * depth))) for i in range(256)])
    light = light.resize(mask.size, Image.Resampling.BILINEAR)
    return ImageChops.overlay(paint, Image.merge("RGB", (light, light, light)))


def noise(height: int, width: int, cells: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return smooth random values from -1 to 1 as an array of (height, width).

    `cells` is the number of bumps along the shorter edge.
    """
    across = max(2, round(cells * width / min(width, height)) + 1)
    down = max(2, round(cells * height / min(width, height)) + 1)
    grid = Image.fromarray(rng.uniform(-1, 1, (down, across)).astype(np.float32))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC))


def add_shade(canvas: Canvas, x: float, y: float, rx: float, ry: float) -> None:
    """Paint a soft oval shadow around (`x`, `y`) with the radii `rx` and `ry`, in pixels."""
    canvas.fill(oval(x, y, rx, ry), (40, 30, 60), alpha=0.28, blur=ry * 0.25, lined=False)
