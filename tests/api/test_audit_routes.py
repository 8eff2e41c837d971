"""What is opened in a spreadsheet is text there, whatever it looks like."""

from __future__ import annotations

import csv
import re
from io import StringIO

import hypothesis.strategies as st
import pytest
from hypothesis import given

from core.api.audit_routes import harmless, sheet

DANGEROUS = tuple("=+-@\t\r\n＝＋－＠")
NEAR = st.text(alphabet=[*DANGEROUS, *";,|\"' a1", "\u00a0"], max_size=40)


def read(*rows: tuple[str, ...]) -> list[list[str]]:
    """The cells of a file as a program sees them, the titles' line aside."""
    text = b"".join(sheet(("title",), rows)).decode("utf-8-sig")
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
def test_a_formula_is_text(text: str, cell: str) -> None:
    assert harmless(text) == cell
    assert read((text,)) == [[cell]]


@pytest.mark.parametrize(
    "text", ["", "ada", "a fox, a hare", "10.0.0.1", "1-2=3", "ada@example.com", "Mozilla/5.0 (X11; Linux)"]
)
def test_other_text_stays_as_it_is(text: str) -> None:
    assert read((text, text)) == [[text, text]]


@given(NEAR)
def test_no_cell_begins_with_what_begins_a_formula(text: str) -> None:
    [[cell]] = read((text,))
    assert not cell.startswith(DANGEROUS)


@given(NEAR)
def test_no_other_separator_opens_a_cell_with_a_formula(text: str) -> None:
    for part in re.split(r"[;,|\t\r\n]", harmless(text)):
        begin = part.lstrip('" \u00a0')
        assert not begin.startswith(DANGEROUS)


@given(st.text(max_size=200))
def test_only_apostrophes_are_added(text: str) -> None:
    assert harmless(text).replace("'", "") == text.replace("'", "")


def test_a_long_text_takes_time_in_proportion() -> None:
    for sign in (" ", '"', "\n", "; "):
        assert len(harmless(sign * 200_000 + "x")) < 700_000


def test_excel_is_told_that_it_is_utf_8() -> None:
    assert next(sheet(("title",), ())) == b'\xef\xbb\xbf"title"\r\n'
