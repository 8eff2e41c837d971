"""The event stream reads no more partial images than there can be, even for a damaged row."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

from core import errors
from core.api.events import _new_partials
from core.provider.catalogue import MAX_PARTIAL_IMAGES
from core.web.urls import Urls


def test_at_most_max_partial_images_are_read() -> None:
    job = SimpleNamespace(id="a", attempts=1, partials=1_000_000, is_live=True)
    read: list[int] = []

    def read_partial(job_id: str, number: int) -> bytes:
        read.append(number)
        assert number < MAX_PARTIAL_IMAGES
        if number == 1:
            raise errors.ImageNotFound
        return b"\x89PNG"

    async def sent_numbers() -> list[Any]:
        sent: dict[tuple[str, int], int] = {}
        batch: Any = SimpleNamespace(jobs=[job])
        return [
            partial.number
            for _ in range(2)
            async for partial in _new_partials(batch, sent, read_partial, Urls())
        ]

    assert asyncio.run(sent_numbers()) == [0, 2]
    assert read == [0, 1, 2]
