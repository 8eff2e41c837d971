"""A studio on each database with a loopback service, and a person who is signed in."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from core import bootstrap
from core.settings import load_settings
from core.studio import Studio
from tests.support.api_clients import Person
from tests.support.openai_service import OpenAIService


@pytest.fixture
def make(database_url: str, tmp_path: Path, service: OpenAIService) -> Iterator[Callable[..., Studio]]:
    made: list[Studio] = []

    def build(**changes: Any) -> Studio:
        settings: dict[str, Any] = {"partial_images": 0, "shutdown_grace": 5, "user_paid_per_minute": 1000}
        made.append(
            bootstrap.build(
                load_settings(
                    _env_file=None,
                    data_dir=tmp_path / "data",
                    database_url=database_url,
                    openai_base_url=service.base_url,
                    **settings | changes,
                )
            )
        )
        return made[-1]

    yield build
    for studio in made:
        studio.close()


@pytest.fixture
def studio(make: Callable[..., Studio]) -> Studio:
    return make()


@pytest.fixture
def owner(studio: Studio) -> Person:
    return Person.enter(studio)
