"""Colours: brings decoded images to 8 bits per channel and to sRGB, the colour space of the web."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO

from PIL import Image, ImageCms

# The modes in which an image can be scaled down and converted. The others are converted to RGB or RGBA first.
_PLAIN_MODES = ("L", "CMYK", "RGB")
# For each colour space of a profile, the modes of the images that it describes.
_MODES_OF_SPACE = {"GRAY": ("L",), "CMYK": ("CMYK",), "RGB ": ("RGB", "RGBA")}


def with_eight_bits(image: Image.Image) -> Image.Image:
    """Return the decoded `image` with 8 bits per channel, as L, CMYK or RGB, or as RGBA if it is transparent.

    An image that is like this already is returned as it is.
    """
    if image.mode.startswith("I"):  # 16 bits per pixel, which Pillow would clip at 255
        image = image.point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        return image if image.mode == "RGBA" else image.convert("RGBA")
    return image if image.mode in _PLAIN_MODES else image.convert("RGB")


def to_srgb(image: Image.Image) -> Image.Image:
    """Return `image`, a result of `with_eight_bits`, as RGB or RGBA in sRGB, and without metadata.

    The colours are converted from the image's colour profile. Without a profile that fits the image, they are
    taken as sRGB. Where possible, `image` is changed instead of copied.
    """
    mode = "RGBA" if image.mode == "RGBA" else "RGB"
    converted = _converted(image, mode) or (image if image.mode == mode else image.convert(mode))
    converted.info.clear()
    return converted


def _converted(image: Image.Image, mode: str) -> Image.Image | None:
    """Return `image` in `mode`, with its colours converted to sRGB.

    Returns None if the image has no colour profile, or if the profile is damaged or doesn't fit the image.
    """
    profile = image.info.get("icc_profile")
    if not profile:
        return None
    with suppress(OSError, ImageCms.PyCMSError):
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        if image.mode not in _MODES_OF_SPACE.get(source.profile.xcolor_space, ()):
            return None
        # In place, because a copy would need as much memory as the image.
        in_place = image.mode == mode
        srgb = ImageCms.createProfile("sRGB")
        result = ImageCms.profileToProfile(image, source, srgb, outputMode=mode, inPlace=in_place)
        return image if in_place else result
    return None
