"""Hands the count of tried inputs on with each test's report, for the summary at the end."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.fuzz_inputs import TRIED


@pytest.fixture(autouse=True)
def counted(request: pytest.FixtureRequest) -> Iterator[None]:
    before = TRIED.total()
    yield
    request.node.user_properties.append(("inputs", TRIED.total() - before))
