"""Calls the service for one enhancement and records what it cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import structlog

from core import errors

T = TypeVar("T")
log = structlog.get_logger(__name__)


OnFailure = Callable[[errors.ImageError], None]


def log_failure(failure: str, action: Callable[[], T]) -> T | None:
    """What `action` gives; a text that was paid for is shown whatever becomes of what is done beside it."""
    try:
        return action()
    except Exception as error:
        log.error(failure, error=repr(error))
        return None
