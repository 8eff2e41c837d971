"""Downloads: a copy of an image with or without its prompt, and a file name for it."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from itertools import accumulate

from core.common.media_types import file_extension
from core.database.models import Image
from core.images.image_files import download_copy

# The longest name without id and extension. File systems permit 255 bytes for the whole name.
FILE_NAME_LENGTH, FILE_NAME_BYTES = 60, 220
# Two invisible signs that join or part letters in Persian, in the scripts of India, and in others.
_JOINERS = "\u200c\u200d"
_LOOSE_JOINERS = re.compile(f"[{_JOINERS}]+(?=-|$)")


@dataclass(frozen=True, slots=True)
class Download:
    """A file for the user to download. `file_name` is valid on every operating system.

    `ascii_name` is for programs that don't read names in Unicode.
    """

    data: bytes
    file_name: str
    ascii_name: str
    mime: str


def download_of(image: Image, data: bytes, *, with_prompt: bool) -> Download:
    """Return a copy of `image` for the user to download. `data` is the content of the image's file.

    With `with_prompt`, the metadata of a PNG contains the prompt. Otherwise the prompt is removed from the
    metadata. WebP and JPEG files are copied unchanged. Raises BadImage if a PNG is damaged.
    """
    texts = _recipe_text(image) if with_prompt else {}
    copy = download_copy(data, recipe_text=texts)
    suffix = "-with-prompt" if texts and holds_prompt(image.mime) else ""
    ascii_name = download_file_name(image, suffix, ascii_only=True)
    return Download(copy, download_file_name(image, suffix), ascii_name, image.mime)


def holds_prompt(mime: str) -> bool:
    """Return whether the prompt can be written into a file of this media type."""
    return mime == "image/png"


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


def download_file_name(image: Image, suffix: str = "", *, ascii_only: bool = False) -> str:
    """Return a file name such as "red-fox-1a2b3c4d.png".

    It consists of the image's name or prompt, the first 8 characters of its id, `suffix` and the extension.
    With `ascii_only`, accents and the letters that ASCII doesn't have are left out.
    """
    name = (image.name or image.prompt)[: 4 * FILE_NAME_LENGTH]
    if ascii_only:
        name = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    stem = _stem(unicodedata.normalize("NFC", name)) or "image"
    return f"{stem}-{image.id[:8]}{suffix}.{file_extension(image.mime)}"


def _stem(text: str) -> str:
    """Return the beginning of `text` with a hyphen for each run of signs that aren't letters or digits.

    Marks such as vowel signs and accents stay with their letters. The text is cut between two letters.
    """
    letters = _letters(text)
    sizes = accumulate(len(letter.encode()) for letter in letters)
    lengths = accumulate(map(len, letters))
    fitting = [
        letter
        for letter, length, size in zip(letters, lengths, sizes, strict=True)
        if length <= FILE_NAME_LENGTH and size <= FILE_NAME_BYTES
    ]
    return _LOOSE_JOINERS.sub("", "".join(fitting)).strip("-")


def _letters(text: str) -> list[str]:
    """Return the letters and digits of `text`, each with its marks, and "-" for each run of other signs."""
    letters: list[str] = []
    for sign in text:
        after_letter = bool(letters) and letters[-1] != "-"
        if sign.isalnum():
            letters.append(sign)
        elif after_letter and (sign in _JOINERS or unicodedata.category(sign).startswith("M")):
            letters[-1] += sign
        elif after_letter:
            letters.append("-")
    return letters
