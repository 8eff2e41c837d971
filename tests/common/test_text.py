"""Foreign text is normalised in linear time."""

from __future__ import annotations

import pytest

from core.accounts.usernames import fold_username
from core.common.text import MAX_COMBINING_MARKS, fold_case, has_too_many_marks, limit_combining_marks
from core.prompts.facts import _normalised

ACCENTS = "\u0301\u0316"
HOSTILE = [
    pytest.param("a" + ACCENTS * 500, id="accents"),
    pytest.param("a" + "\uff9e\u0301" * 500, id="what becomes a mark when it is normalised"),
    pytest.param("a" + "\u0f73\u0f73" * 500, id="signs that are two marks"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_a_run_of_marks_is_cut_beyond_what_any_language_needs(text: str) -> None:
    assert has_too_many_marks(text)
    cut = limit_combining_marks(f"{text} fox é")
    assert not has_too_many_marks(cut)
    assert cut.startswith(text[: MAX_COMBINING_MARKS // 2])
    assert cut.endswith(" fox é")
    assert len(cut) <= MAX_COMBINING_MARKS + len("a fox é")


@pytest.mark.parametrize(
    "text", ["", "a fox", "a" + "\u0301" * MAX_COMBINING_MARKS, "é" * 500, "\u0ba8\u0bbf" * 500, "ガ" * 500]
)
def test_text_of_real_languages_is_unchanged(text: str) -> None:
    assert limit_combining_marks(text) == text
    assert not has_too_many_marks(text)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_is_cut_before_it_is_folded(text: str) -> None:
    most = 3 * MAX_COMBINING_MARKS
    assert len(fold_case(text)) < most
    assert len(_normalised(text)) < most
    assert fold_username(text) == ""


@pytest.mark.parametrize("written", ["İSTANBUL", "istanbul", "Istanbul", "ıstanbul", "i\u0307stanbul"])
def test_the_letter_i_is_one_with_and_without_its_dot(written: str) -> None:
    assert fold_case(written) == fold_case(fold_case(written)) == "istanbul"
