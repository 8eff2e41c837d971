"""Clients of the loopback service."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from core.provider.client import ServiceClient
from core.settings import load_settings
from tests.support.openai_service import KEY, OpenAIService
from tests.support.service_client import MakeClient


@pytest.fixture
def make_client(service: OpenAIService) -> Iterator[MakeClient]:
    """`make_client(transport=..., sleep=..., clock=..., **settings)`; the base URL is the loopback service's.

    One preview is asked for. Retries don't wait, unless `sleep` is given. The default transport loads no
    certificates, which takes about 20 ms per client.
    """
    clients: list[ServiceClient] = []

    def make(
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = lambda seconds: None,
        clock: Callable[[], float] = time.monotonic,
        **settings: Any,
    ) -> ServiceClient:
        given = {"openai_api_key": KEY, "openai_base_url": service.base_url, "partial_images": 1} | settings
        transport = transport or httpx2.HTTPTransport(verify=False)
        clients.append(ServiceClient(load_settings(**given), transport=transport, clock=clock, sleep=sleep))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


@pytest.fixture
def client(make_client: MakeClient) -> ServiceClient:
    return make_client()
