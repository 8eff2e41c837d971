"""Fixtures: enhancements with the tests' own service, and the calls that they recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from sqlmodel import select

from core.accounts.audit_log import AuditLog
from core.database.database import Database
from core.database.models import Usage, User
from core.enhancement.cache import EnhancementCache
from core.enhancement.drafts import Drafts
from core.enhancement.enhancer import Enhancer
from core.enhancement.runs import EnhancementRun, Enhancements
from core.provider.client import ServiceClient
from core.settings import load_settings
from core.usage.budgets import Budgets
from core.usage.usage_log import UsageLog
from tests.support.clock import Clock
from tests.support.enhancements import (
    DRAFT,
    FOX,
    SECRET,
    wait_for_end,
)
from tests.support.openai_service import OpenAIService


@pytest.fixture
def drafts(database: Database) -> Drafts:
    return Drafts(database)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_enhancements(
    database: Database, service: OpenAIService, clock: Clock
) -> Iterator[Callable[..., Enhancements]]:
    """`open_enhancements(budget_day_usd=1)`: the enhancements of one process with these settings."""
    with ExitStack() as stack:

        def make(database: Database = database, **changes: Any) -> Enhancements:
            settings = load_settings(
                openai_base_url=service.base_url, openai_api_key="sk-test-abcdefgh", **changes
            )
            client = ServiceClient(settings, sleep=lambda _: None)
            stack.callback(client.close)
            enhancer = Enhancer(
                client,
                UsageLog(database),
                EnhancementCache(database, clock=clock),
                Budgets(database, settings, AuditLog(database, clock=clock), clock=clock),
                model=settings.default_text_model,
                offline=False,
                secret=SECRET,
                clock=clock,
            )
            opened = Enhancements(enhancer, Drafts(database), clock=clock)
            stack.callback(opened.close, grace_seconds=30)
            return opened

        yield make


@pytest.fixture
def enhancements(open_enhancements: Callable[..., Enhancements]) -> Enhancements:
    return open_enhancements()


@pytest.fixture
def calls(database: Database) -> Callable[[], list[Usage]]:
    """`calls()`: every call in the usage log."""

    def rows() -> list[Usage]:
        with database.read() as session:
            return list(session.exec(select(Usage)))

    return rows


@pytest.fixture
def run_with(database: Database, service: OpenAIService) -> Iterator[Callable[..., EnhancementRun]]:
    """`run_with(drafts, user, cache)`: one run with these drafts and this cache, once it has ended."""
    settings = load_settings(openai_base_url=service.base_url)
    client = ServiceClient(settings)

    def run(drafts: Drafts, user: User, cache: EnhancementCache | None = None) -> EnhancementRun:
        usage, cache = UsageLog(database), cache or EnhancementCache(database)
        budgets = Budgets(database, settings, AuditLog(database))
        enhancer = Enhancer(client, usage, cache, budgets, model="m", offline=False, secret=SECRET)
        enhancements = Enhancements(enhancer, drafts)
        enhancements.start(user.id, FOX, DRAFT)
        ended = wait_for_end(enhancements, user)
        enhancements.close(grace_seconds=30)
        return ended

    yield run
    client.close()
