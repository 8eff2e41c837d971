"""The tables of settings in docs/settings.md, written from the code: `make settings`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from core.settings import Settings
from tests.support.generated_document import print_or_write

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "settings.md"
# The title of each section, by the first of its settings in core/settings.py.
SECTIONS = {
    "host": "Where Atelier listens",
    "data_dir": "Where data is kept",
    "registration": "People",
    "openai_api_key": "The image service",
    "concurrency": "How much work is done at once",
    "budget_day_usd": "Budgets and limits",
}
_HEAD = """\
# Settings

Each setting is an environment variable or a line in the file `.env` in the folder where Atelier is started;
an environment variable wins. `.env.example` lists all of them, ready to copy. An empty variable counts as
unset. Settings are read once, at the start. If a value is wrong, Atelier doesn't start, and says which one.

This file is generated from `core/settings.py` by `make settings`."""
_COLUMNS = "| variable | default | values | what it does |\n|---|---|---|---|"

# The words of a pattern such as `^(DEBUG|INFO)$`.
_WORD = re.compile(r"\w+")


def document() -> str:
    """The whole of docs/settings.md."""
    return "\n".join([_HEAD, *_sections()])


def _sections() -> Iterator[str]:
    schema = Settings.model_json_schema()
    for name, field in schema["properties"].items():
        if title := SECTIONS.get(name):
            yield f"\n## {title}\n"
            yield _COLUMNS
        cells = f"`{name.upper()}`", _default(field["default"]), _values(field, schema["$defs"])
        yield f"| {' | '.join(cells)} | {field['description']}. |"
    yield ""


def _default(value: Any) -> str:
    if value is None:
        return "unset"
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _values(field: dict[str, Any], enums: dict[str, Any]) -> str:
    """The values that a setting may have: its words, the bounds of its number, or "text"."""
    kind = field.get("anyOf", [field])[0]  # of an optional setting, the kind that isn't null
    if kind.get("type") == "boolean":
        return "`true` or `false`"
    if "$ref" in kind:
        return ", ".join(f"`{word}`" for word in enums[kind["$ref"].rpartition("/")[2]]["enum"])
    if "maximum" not in kind:
        words = _WORD.findall(kind.get("pattern", ""))
        return ", ".join(f"`{word}`" for word in words) or "text"
    low = f"{kind['minimum']:,.0f}" if "minimum" in kind else f"above {kind['exclusiveMinimum']:,.0f}"
    return f"{low} to {kind['maximum']:,.0f}"


if __name__ == "__main__":
    print_or_write(DOCUMENT, document())
