"""The client that sent a request (address, browser, request id), for the audit log."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """Address, User-Agent and request id of the current request. All are empty for the app's own work."""

    address: str = ""
    browser: str = ""
    request_id: str = ""


_NO_CLIENT = ClientInfo()
# Set for each HTTP request by core.web.request_context, and for each page run by pages.ui.session.
client_info: ContextVar[ClientInfo] = ContextVar("client_info", default=_NO_CLIENT)
