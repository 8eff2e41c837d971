"""The table of errors in docs/errors.md, written from the code: `make errors`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from core.errors import ImageError, all_errors
from tests.support.generated_document import print_or_write

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "errors.md"
FAMILIES = {
    "IMG-GEN": "Generating an image",
    "IMG-PRM": "Prompts",
    "IMG-AUTH": "Sign-in and permissions",
    "IMG-FIND": "Images that do not exist",
    "IMG-REQ": "HTTP requests and uploads",
    "IMG-STORE": "The image store",
    "IMG-DATA": "The database",
    "IMG-SET": "Settings",
    "IMG-BACKUP": "Backups",
    "IMG-MOVE": "Moving an installation",
}
_HEAD = """\
# Errors

Every failure has a code, a message and something to do about it. Pages show them under “What can I do?”; the
Images API answers with them, always in the same shape. This file is generated from the code by `make errors`.

*Again?* says whether the same request may succeed later, unchanged. *Cost?* says whether the service may have
charged for it: “yes” and “no” are certain, “maybe” means that nobody can know. A prompt that is blocked after
the image was started is “maybe” as well.

The table has the words for an image. An error of an enhancement speaks of the text service and its settings.
"""
_COLUMNS = "| code | status | again? | cost? | message | what to do |\n|---|---|---|---|---|---|"
_COST = {True: "yes", False: "no", None: "maybe"}


def family(code: str) -> str:
    return "-".join(code.split("-")[:2])


def document() -> str:
    """The whole of docs/errors.md."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    for name, title in FAMILIES.items():
        kinds = sorted(
            (kind for kind in all_errors() if family(kind.code) == name), key=lambda kind: kind.code
        )
        yield f"## {title} (`{name}`)\n"
        yield _COLUMNS
        yield from map(_row, kinds)
        yield ""


def _row(kind: type[ImageError]) -> str:
    cells = (
        f"`{kind.code}`", str(kind.status), "yes" if kind.retryable else "no", _COST[kind.charged],
        kind.message, " ".join(kind.suggestions),
    )  # fmt: skip
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print_or_write(DOCUMENT, document())
