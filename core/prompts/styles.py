"""The style presets, and the traits that are suggested to users."""

from __future__ import annotations

from dataclasses import dataclass

TRAIT_SUGGESTIONS: tuple[str, ...] = (
    "friendly", "curious", "brave", "elegant", "playful", "mysterious", "wise", "tiny", "giant", "ancient",
    "futuristic", "cosy", "red hair", "freckles", "round glasses", "long scarf", "wearing a hat", "smiling",
    "glowing eyes", "wooden", "metallic", "made of glass", "striped", "golden",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Style:
    """A style preset.

    `words` are added to the prompt that is sent to the service. Users see `label`, and below it
    `description`.
    """

    key: str
    label: str
    description: str
    words: str


STYLES: tuple[Style, ...] = (
    Style(
        "photo",
        "Photo",
        "A natural photograph with real light",
        "photorealistic photograph, natural light, fine detail",
    ),
    Style(
        "cinematic",
        "Cinematic",
        "A film still with dramatic light",
        "cinematic film still, dramatic lighting, shallow depth of field, wide frame",
    ),
    Style(
        "product",
        "Product shot",
        "Clean studio photo of one object",
        "studio product photograph, seamless backdrop, soft box lighting, crisp edges",
    ),
    Style(
        "watercolour",
        "Watercolour",
        "Soft washes on textured paper",
        "watercolour painting, soft washes, visible paper grain, bleeding edges",
    ),
    Style(
        "oil",
        "Oil painting",
        "Thick brush strokes, rich colour",
        "oil painting on canvas, visible impasto brush strokes, rich colour",
    ),
    Style(
        "ink",
        "Ink",
        "Black brush and pen on white",
        "black ink drawing, brush and pen line, hatching, white paper",
    ),
    Style(
        "pencil",
        "Pencil sketch",
        "Graphite lines and shading",
        "graphite pencil sketch, loose construction lines, soft shading, white paper",
    ),
    Style(
        "pixel",
        "Pixel art",
        "Big pixels, small palette",
        "pixel art, large square pixels, limited palette, no anti-aliasing",
    ),
    Style(
        "lowpoly", "Low poly", "Facets like cut crystal", "low poly 3D render, flat-shaded triangular facets"
    ),
    Style(
        "comic",
        "Comic",
        "Bold outlines and halftone dots",
        "comic book panel, bold black outlines, halftone dots, flat colour",
    ),
    Style(
        "flat",
        "Flat vector",
        "Simple shapes, no texture",
        "flat vector illustration, simple geometric shapes, solid colour, no texture",
    ),
    Style(
        "isometric",
        "Isometric",
        "A tiny world seen from above",
        "isometric illustration, 30 degree projection, clean edges, miniature world",
    ),
    Style(
        "clay",
        "Clay",
        "Soft hand-made figures",
        "claymation scene, soft modelling clay, finger marks, studio light",
    ),
    Style(
        "papercut",
        "Paper cut",
        "Layered paper with shadows",
        "layered paper cut art, stacked coloured paper, soft drop shadows",
    ),
    Style(
        "cel",
        "Cel shading",
        "Clean lines, two-tone shadows",
        "cel-shaded animation still, clean ink lines, two-tone shadows, bright colour",
    ),
    Style(
        "poster",
        "Vintage poster",
        "Screen print with few inks",
        "vintage travel poster, screen print, few flat inks, grain, bold composition",
    ),
    Style(
        "stained",
        "Stained glass",
        "Glowing panes and lead lines",
        "stained glass window, glowing coloured panes, dark lead lines",
    ),
    Style(
        "blueprint",
        "Blueprint",
        "White lines on blue",
        "technical blueprint drawing, white lines on blue paper, fine annotations without text",
    ),
)
_BY_KEY = {style.key: style for style in STYLES}


def find_style(key: str | None) -> Style | None:
    """Return the preset with this `key`, or None if `key` is empty or no preset has it."""
    return _BY_KEY.get(key or "")


def with_style(prompt: str, style_key: str | None) -> str:
    """Return `prompt` with the words of the preset `style_key` as its last line.

    Returns `prompt` unchanged if no preset has this key. The words go into the prompt because few models have
    a style parameter.
    """
    style = find_style(style_key)
    return f"{prompt.rstrip()}\n\nStyle: {style.words}." if style else prompt
