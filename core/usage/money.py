"""Money: micro-USD as whole numbers in rows and sums, dollars as text for people."""

from __future__ import annotations

from decimal import Decimal

# Micro-USD in one US dollar.
MICROS = 1_000_000


def format_money(micros: int) -> str:
    """An amount in dollars, with four decimals below one cent so that it isn't shown as $0.00."""
    amount = Decimal(micros) / MICROS
    return f"${amount:,.2f}" if micros >= MICROS // 100 or not micros else f"${amount:,.4f}"
