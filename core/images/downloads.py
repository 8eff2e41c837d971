"""Download copies of images: their bytes, with or without the prompt, and a file name."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from core.common.media_types import file_extension
from core.database.models import Image
from core.images.image_files import download_copy

FILE_NAME_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Download:
    """A file for a user to save; `file_name` is valid on every operating system."""

    data: bytes
    file_name: str
    mime: str


def download_of(image: Image, data: bytes, *, with_prompt: bool) -> Download:
    """A copy of `data`, the bytes of `image`, with the prompt in a PNG's metadata or without any prompt."""
    texts = _recipe_text(image) if with_prompt else {}
    copy = download_copy(data, recipe_text=texts)
    return Download(copy, download_file_name(image, "-with-prompt" if texts else ""), image.mime)


def _recipe_text(image: Image) -> dict[str, str]:
    """The metadata of a copy with the prompt; other image tools read `parameters` in this layout."""
    options = {
        "Model": image.model,
        "Style": image.style,
        "Size": f"{image.width}x{image.height}",
        "Quality": image.quality,
    }
    line = ", ".join(f"{name}: {value}" for name, value in options.items() if value)
    return {"prompt": image.prompt, "parameters": f"{image.sent_prompt or image.prompt}\n{line}"}


def download_file_name(image: Image, suffix: str = "") -> str:
    """The letters and digits of the name or prompt, the first 8 digits of the id, `suffix` and extension."""
    name = unicodedata.normalize("NFC", (image.name or image.prompt)[: 4 * FILE_NAME_LENGTH])
    words = "".join(letter if letter.isalnum() else " " for letter in name)
    stem = "-".join(words.split())[:FILE_NAME_LENGTH].strip("-") or "image"
    return f"{stem}-{image.id[:8]}{suffix}.{file_extension(image.mime)}"
