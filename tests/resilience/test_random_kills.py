"""Kills at random moments on each engine: no promise is broken. `make chaos` runs as many as you like."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.resilience.random_kills import ENGINES, run


@pytest.mark.parametrize(
    ("engine", "kills"),
    [("sqlite", 4), *(pytest.param(engine, 150, marks=pytest.mark.proof) for engine in ENGINES)],
)
def test_kills_at_random_moments_lose_nothing_and_buy_nothing_twice(
    engine: str, kills: int, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    seed = random.randrange(10**6)
    account = run(engine, kills, seed, tmp_path)
    record_property("counted", "\n".join(f"{name:<52}{figure:>8}" for name, figure in account.rows()))
    broken = {promise: items for promise, items in account.broken.items() if items}
    assert broken == {}, f"seed {seed}; journal, rows and logs are in {tmp_path}"
    assert account.books.images
    # A process that isn't scheduled in time can't read what has arrived. Without the spool it was a third.
    assert kills < 100 or account.cut_before_disk < account.answered / 20
