"""The command line of the documents that are generated from the code: print the document, or write it."""

from __future__ import annotations

import argparse
from pathlib import Path


def print_or_write(path: Path, text: str) -> None:
    """Print `text`, or write it to `path` if the command has `--write`."""
    parser = argparse.ArgumentParser(description=f"Generates {path.parent.name}/{path.name} from the code")
    parser.add_argument("--write", action="store_true", help="write the file instead of printing it")
    if parser.parse_args().write:
        path.write_text(text, encoding="utf-8")
    else:
        print(text)
