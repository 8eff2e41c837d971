"""The client that a request came from: address, browser and request id, for the audit log."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """From where, with which program, and under which id in the log; empty for what the app does itself."""

    address: str = ""
    browser: str = ""
    request_id: str = ""


_NOBODY = ClientInfo()
client_info: ContextVar[ClientInfo] = ContextVar("client_info", default=_NOBODY)
