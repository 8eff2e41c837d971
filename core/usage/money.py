"""Amounts of money: whole micro-USD in rows and sums, dollars for people."""

from __future__ import annotations

from decimal import Decimal

# In one US dollar.
MICROS = 1_000_000


def format_money(micros: int) -> str:
    """An amount as people read it, so exactly that a small rest isn't rounded to nothing."""
    amount = Decimal(micros) / MICROS
    return f"${amount:,.2f}" if micros >= MICROS // 100 or not micros else f"${amount:,.4f}"
