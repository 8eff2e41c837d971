"""A stream of events does no more work than there are pictures, whatever a row says."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from core import errors
from core.api.events import _partials
from core.provider.catalogue import MAX_PARTIAL_IMAGES


def test_no_more_partial_pictures_are_looked_for_than_there_can_be() -> None:
    job = SimpleNamespace(id="a", attempts=1, partials=1_000_000, is_live=True)
    looked: list[int] = []

    def partial(job_id: str, number: int) -> bytes:
        looked.append(number)
        assert number < MAX_PARTIAL_IMAGES
        if number == 1:
            raise errors.ImageNotFound
        return b"\x89PNG"

    async def told() -> list[Any]:
        seen: dict[tuple[str, int], int] = {}
        batch: Any = SimpleNamespace(jobs=[job])
        return [made.number for _ in range(2) async for made in _partials(batch, seen, partial)]

    assert asyncio.run(told()) == [0, 2]
    assert looked == [0, 1, 2]
