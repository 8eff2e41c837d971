"""The short form of `make chaos`: ten kills at random moments on each engine, and no promise broken."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.resilience.random_kills import ENGINES, run

KILLS = 10


@pytest.mark.parametrize("engine", ENGINES)
def test_kills_at_random_moments_lose_nothing_and_buy_nothing_twice(engine: str, tmp_path: Path) -> None:
    seed = random.randrange(10**6)
    account = run(engine, KILLS, seed, tmp_path)
    broken = {promise: items for promise, items in account.broken.items() if items}
    assert broken == {}, f"seed {seed}; journal, rows and logs are in {tmp_path}"
    assert account.books.images
