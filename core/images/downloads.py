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
    """Return a copy of `image` for the user to download. `data` is the content of the image's file.

    With `with_prompt`, the metadata of a PNG contains the prompt. Otherwise the prompt is removed from the
    metadata. WebP and JPEG files are copied unchanged. Raises BadImage if a PNG is damaged.
    """
    texts = _recipe_text(image) if with_prompt else {}
    copy = download_copy(data, recipe_text=texts)
    return Download(copy, download_file_name(image, "-with-prompt" if texts else ""), image.mime)


def _recipe_text(image: Image) -> dict[str, str]:
    """Return the texts to write into a PNG with the prompt. The keys are the keywords of the PNG texts.

    The text `parameters` has the format that other image tools read.
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
