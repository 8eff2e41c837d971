"""Every cell of the CSV file is text in a spreadsheet, and never a formula."""

from __future__ import annotations

import csv
import re
from io import StringIO

import hypothesis.strategies as st
import pytest
from hypothesis import given

from core.api.audit_routes import csv_lines, escape_formulas

FORMULA_STARTS = tuple("=+-@\t\r\n＝＋－＠")
FORMULA_LIKE_TEXT = st.text(alphabet=[*FORMULA_STARTS, *";,|\"' a1", "\u00a0"], max_size=40)


def read(*rows: tuple[str, ...]) -> list[list[str]]:
    """The cells as a CSV reader sees them, without the titles."""
    text = b"".join(csv_lines(("title",), rows)).decode("utf-8-sig")
    return list(csv.reader(StringIO(text, newline="")))[1:]


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        pytest.param('=HYPERLINK("http://x","y")', '\'=HYPERLINK("http://x","y")', id="equals"),
        pytest.param("+1+1", "'+1+1", id="plus"),
        pytest.param("-1+1", "'-1+1", id="minus"),
        pytest.param("@SUM(A1)", "'@SUM(A1)", id="at"),
        pytest.param("\t=1", "'\t'=1", id="tab"),
        pytest.param("\r=1", "'\r'=1", id="carriage return"),
        pytest.param("\n=1", "'\n'=1", id="line feed"),
        pytest.param("＝1", "'＝1", id="full width"),
        pytest.param("  =1", "'  =1", id="blanks before"),
        pytest.param('"=1', "'\"=1", id="quote before"),
        pytest.param("a;=1", "a;'=1", id="behind another separator"),
        pytest.param('a";"=1', 'a";\'"=1', id="behind a quoted separator"),
        pytest.param("a\r\n=1", "a\r'\n'=1", id="in the next line"),
    ],
)
def test_a_formula_is_escaped(text: str, cell: str) -> None:
    assert escape_formulas(text) == cell
    assert read((text,)) == [[cell]]


@pytest.mark.parametrize(
    "text", ["", "ada", "a fox, a hare", "10.0.0.1", "1-2=3", "ada@example.com", "Mozilla/5.0 (X11; Linux)"]
)
def test_other_text_is_unchanged(text: str) -> None:
    assert read((text, text)) == [[text, text]]


@given(FORMULA_LIKE_TEXT)
def test_no_cell_starts_like_a_formula(text: str) -> None:
    [[cell]] = read((text,))
    assert not cell.startswith(FORMULA_STARTS)


@given(FORMULA_LIKE_TEXT)
def test_no_part_after_another_separator_starts_like_a_formula(text: str) -> None:
    for part in re.split(r"[;,|\t\r\n]", escape_formulas(text)):
        begin = part.lstrip('" \u00a0')
        assert not begin.startswith(FORMULA_STARTS)


@given(st.text(max_size=200))
def test_only_apostrophes_are_added(text: str) -> None:
    assert escape_formulas(text).replace("'", "") == text.replace("'", "")


def test_escaping_a_long_text_is_fast() -> None:
    for character in (" ", '"', "\n", "; "):
        assert len(escape_formulas(character * 200_000 + "x")) < 700_000


def test_the_file_starts_with_a_byte_order_mark_for_excel() -> None:
    assert next(csv_lines(("title",), ())) == b'\xef\xbb\xbf"title"\r\n'
