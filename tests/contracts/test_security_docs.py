"""docs/security.md names a test for every incident elsewhere, and each of these tests exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = (ROOT / "docs" / "security.md").read_text()
NAMED = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", DOCUMENT)))
ROWS = [line.split(" | ") for line in DOCUMENT.splitlines() if re.match(r"\| \d", line)]
HAPPENED = 17
REFERENCES = """
CVE-2026-45402 LibreChat#2385 LibreChat#13221 LibrePhotos#403 CVE-2026-45671 CVE-2026-31950 InvokeAI#9365
CVE-2025-6237 GHSA-vv9c-xxg7-wmv7 CVE-2025-1684 google/adk-python#5514 GHSA-jgx9-jr5x-mvpv CVE-2026-31943
open-webui#13557 wienerlabs/covenant#257 open-webui#2935 open-webui#16953 basketikun/chatgpt2api Sora-Studio
cherry-studio InvokeAI#5710 AUTOMATIC1111#2650 SwarmUI#590 streamlit#1294 streamlit#4711 streamlit#4173
"""


@cache
def found_in(file: str) -> frozenset[str]:
    path = ROOT / file
    tree = ast.parse(path.read_text()) if path.exists() else ast.Module([], [])
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_a_named_test_is_there(file: str, test: str) -> None:
    assert test in found_in(file)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[1][:60])
def test_every_incident_has_a_test(row: list[str]) -> None:
    assert re.search(r"`tests/[\w/]+\.py::\w+`", row[2])


def test_every_incident_is_in_the_table() -> None:
    assert {int(row[0].strip("| ")) for row in ROWS} == set(range(1, HAPPENED + 1))
    assert [reference for reference in REFERENCES.split() if reference not in DOCUMENT] == []


def test_reporting_and_limits_are_described() -> None:
    said = (ROOT / "SECURITY.md").read_text()
    for title in (
        "## Versions",
        "## Reporting",
        "## What is protected, against whom",
        "## What is not protected",
    ):
        assert title in said
    assert "private security advisories" in said
    assert not re.search(r"[\w.]+@[\w.]+\.\w+", said), "an address that nobody has confirmed"
