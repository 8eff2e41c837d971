"""Measures and prints one table: `python -m tests.bench [--only PART ...] [--json FILE]`."""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

from core.settings import Settings
from tests.bench.figures import Figure, table
from tests.bench.images import overhead, wall
from tests.bench.loading import loading
from tests.bench.starting import idle, startup
from tests.bench.watching import poll

PARTS: dict[str, Callable[[Path], Iterator[Figure]]] = {
    "wall": wall,
    "overhead": overhead,
    "startup": startup,
    "idle": idle,
    "poll": poll,
    "loading": loading,
}
_FOREIGN = ("OPENAI_", "STREAMLIT_", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure Atelier.")
    parser.add_argument(
        "--only", nargs="+", choices=PARTS, default=[*PARTS], metavar="PART", help=", ".join(PARTS)
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    given = parser.parse_args()
    scrub()
    figures = []
    for part in given.only:
        print(f"measuring {part} …", flush=True)
        figures += measured(part)
    print(f"\n{machine()}\n\n{table(figures)}")
    if given.json:
        rows = [asdict(figure) | {"met": figure.met} for figure in figures]
        given.json.write_text(json.dumps({"machine": machine(), "figures": rows}, indent=2) + "\n")


def measured(part: str) -> list[Figure]:
    with tempfile.TemporaryDirectory(prefix="atelier-bench-", ignore_cleanup_errors=True) as folder:
        return list(PARTS[part](Path(folder)))


def scrub() -> None:
    """Nobody's key or settings are measured, nor used."""
    settings = {name.upper() for name in Settings.model_fields}
    for name in list(os.environ):
        if name.upper() in settings or name.upper().startswith(_FOREIGN):
            del os.environ[name]


def machine() -> str:
    load = f", load {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}{load}"


if __name__ == "__main__":
    main()
