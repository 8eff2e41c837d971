"""The client that a request came from: address, browser and request id, for the audit log."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Caller:
    """From where, with which program, and under which id in the log; empty for what the app does itself."""

    address: str = ""
    browser: str = ""
    request_id: str = ""


_NOBODY = Caller()
caller: ContextVar[Caller] = ContextVar("caller", default=_NOBODY)
