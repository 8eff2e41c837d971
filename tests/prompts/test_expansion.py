"""Expanding one text into many prompts, and counting them without writing them out."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.errors import TooManyPrompts
from core.prompts.expansion import (
    MAX_COUNT,
    _count,
    _parse,
    count_prompts,
    expand_prompts,
    find_unclosed_brace,
)


@pytest.mark.parametrize(
    ("text", "prompts"),
    [
        pytest.param(
            "a {red|blue} {fox|owl}", ("a red fox", "a red owl", "a blue fox", "a blue owl"), id="all pairs"
        ),
        pytest.param("a fox\n\n  an owl \r\n", ("a fox", "an owl"), id="a line each"),
        pytest.param("one\ntwo {1|2}", ("one", "two 1", "two 2"), id="both"),
        pytest.param("{a|{b|c} d}", ("a", "b d", "c d"), id="braces in braces"),
        pytest.param("a {big |}dog", ("a big dog", "a dog"), id="or nothing"),
        pytest.param("a {fox}", ("a {fox}",), id="no alternatives"),
        pytest.param("{a|b", ("{a|b",), id="not closed"),
        pytest.param("a|b}", ("a|b}",), id="not opened"),
        pytest.param(r"\{a|b\} {x|y\|z}", ("{a|b} x", "{a|b} y|z"), id="escaped"),
        pytest.param("C:\\path", ("C:\\path",), id="a backslash before a letter"),
        pytest.param("", (), id="nothing"),
    ],
)
def test_a_text_is_expanded_into_its_prompts(text: str, prompts: tuple[str, ...]) -> None:
    assert expand_prompts(text, limit=100) == prompts
    assert count_prompts(text) == len(prompts)


@given(st.text(alphabet="ab {|}\\\n", max_size=40))
def test_the_count_is_the_number_of_expanded_prompts(text: str) -> None:
    count = count_prompts(text)
    if count <= 1_000:
        assert len(expand_prompts(text, limit=1_000)) == count
    else:
        with pytest.raises(TooManyPrompts):
            expand_prompts(text, limit=1_000)


def test_too_many_prompts_are_refused_before_they_are_written_out() -> None:
    with pytest.raises(TooManyPrompts, match="a trillion") as refused:
        expand_prompts("{a|b}" * 6_000, limit=100)
    assert refused.value.field == "prompt"


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{a|b}" * 40, id="10**12 and more"),
        pytest.param("{a|b}" * 20_000, id="a number of 6,000 digits"),
        pytest.param("{" + "{a|b}" * 20_000 + "|c}", id="in braces"),
        pytest.param(("{a|b}" * 39 + "\n") * 2, id="in two lines"),
    ],
)
def test_counting_stops_at_its_limit(text: str) -> None:
    assert count_prompts(text) == MAX_COUNT
    # No intermediate count is larger.
    assert all(_count(_parse(line)) <= MAX_COUNT for line in text.splitlines())
    with pytest.raises(TooManyPrompts, match="more than a"):
        expand_prompts(text, limit=100)


@pytest.mark.parametrize("text", ["{" * 16_000 + "|" + "}" * 16_000, "{a|" * 10_000, "\\" * 32_000])
def test_deep_nesting_is_parsed(text: str) -> None:
    assert count_prompts(text) <= 2


@pytest.mark.parametrize(
    ("text", "line"),
    [
        pytest.param("a {red|blue} fox\nan owl", None, id="all are closed"),
        pytest.param("an owl\n\na fox {asleep|awake", 3, id="the third line"),
        pytest.param("a {red|{dark|light} blue fox", 1, id="the outer one"),
        pytest.param(r"a \{ fox", None, id="escaped"),
    ],
)
def test_the_first_line_with_an_unclosed_brace_is_found(text: str, line: int | None) -> None:
    assert find_unclosed_brace(text) == line
