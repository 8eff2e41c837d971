"""Amounts of money as text."""

from __future__ import annotations

import pytest

from core.usage.money import format_money
from pages.ui.formatting import format_price, price_basis


@pytest.mark.parametrize(
    ("micros", "words"),
    [
        (0, "$0.00"),
        (5_000, "$0.0050"),
        (9_999, "$0.0100"),
        (10_000, "$0.01"),
        (1_234_500_000, "$1,234.50"),
    ],
)
def test_an_amount_has_as_many_decimals_as_it_needs(micros: int, words: str) -> None:
    assert format_money(micros) == words


@pytest.mark.parametrize(
    ("micros", "words"),
    [
        (None, "price unknown"),
        (0, "free"),
        (60, "about $0.0001"),
        (5_000, "about $0.0050"),
        (1_234_500_000, "about $1,234.50"),
    ],
)
def test_a_price_is_formatted_like_an_amount(micros: int | None, words: str) -> None:
    assert format_price(micros) == words
    assert format_price(micros, about=False) == words.removeprefix("about ")


def test_an_unknown_price_is_shown_as_an_estimate_with_its_basis() -> None:
    assert format_price(None, limit=210_000) == "up to about $0.21"
    assert format_price(40_000, limit=210_000) == "about $0.04"
    assert "gpt-image-2.5-flare" in price_basis(None, 210_000)
    assert price_basis(None, None) == price_basis(40_000, 210_000) == ""
