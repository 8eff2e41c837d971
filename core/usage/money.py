"""Money: stored and added up as whole micro-USD, shown to people in dollars."""

from __future__ import annotations

from decimal import Decimal

# Micro-USD in one US dollar.
MICROS = 1_000_000


def format_money(micros: int) -> str:
    """Return `micros` micro-USD as dollars, such as "$1.25".

    Amounts below one cent get four decimals, so that they aren't shown as $0.00.
    """
    amount = Decimal(micros) / MICROS
    return f"${amount:,.2f}" if micros >= MICROS // 100 or not micros else f"${amount:,.4f}"
