"""Something done as if it were asked for from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.accounts.client_info import ClientInfo, client_info


@contextmanager
def called_from(address: str, browser: str = "", request_id: str = "") -> Iterator[None]:
    before = client_info.set(ClientInfo(address, browser, request_id))
    try:
        yield
    finally:
        client_info.reset(before)
