"""The client that sent the current request: address, browser and request id, for the audit log."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClientInfo:
    """The client's address, the User-Agent header and the id of the current request.

    All three are empty outside of a request.
    """

    address: str = ""
    browser: str = ""
    request_id: str = ""


_NO_CLIENT = ClientInfo()
# core.web.request_context sets the variable for each HTTP request. pages.ui.session sets it each time
# Streamlit executes a page's script.
client_info: ContextVar[ClientInfo] = ContextVar("client_info", default=_NO_CLIENT)
