"""Downloads: a copy of an image with or without its prompt, and a file name for it."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from core.common.media_types import file_extension
from core.database.models import Image
from core.images.image_files import download_copy

FILE_NAME_LENGTH = 60


@dataclass(frozen=True, slots=True)
class Download:
    """A file for the user to download. `file_name` is valid on every operating system."""

    data: bytes
    file_name: str
    mime: str


def download_of(image: Image, data: bytes, *, with_prompt: bool) -> Download:
    """Return a download copy of `image`, whose file has the bytes `data`.

    With `with_prompt`, the prompt is in the metadata of a PNG. Otherwise it is removed from there.
    """
    texts = _recipe_text(image) if with_prompt else {}
    copy = download_copy(data, recipe_text=texts)
    return Download(copy, download_file_name(image, "-with-prompt" if texts else ""), image.mime)


def _recipe_text(image: Image) -> dict[str, str]:
    """Return the metadata texts for a copy with the prompt, by keyword.

    Other image tools read the text `parameters` in this format.
    """
    options = {
        "Model": image.model,
        "Style": image.style,
        "Size": f"{image.width}x{image.height}",
        "Quality": image.quality,
    }
    line = ", ".join(f"{name}: {value}" for name, value in options.items() if value)
    return {"prompt": image.prompt, "parameters": f"{image.sent_prompt or image.prompt}\n{line}"}


def download_file_name(image: Image, suffix: str = "") -> str:
    """Return a file name such as "red-fox-1a2b3c4d.png".

    It consists of the image's name or prompt, the first 8 characters of its id, `suffix` and the extension.
    """
    name = unicodedata.normalize("NFC", (image.name or image.prompt)[: 4 * FILE_NAME_LENGTH])
    words = "".join(letter if letter.isalnum() else " " for letter in name)
    stem = "-".join(words.split())[:FILE_NAME_LENGTH].strip("-") or "image"
    return f"{stem}-{image.id[:8]}{suffix}.{file_extension(image.mime)}"
