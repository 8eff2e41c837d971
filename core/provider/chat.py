"""Enhancements: streams a prompt from a text model."""

from __future__ import annotations

from core.errors import ContentFiltered, EnhancementRefused, EnhancementTooLong, EnhancementTruncated
from core.provider.error_translation import told
from core.provider.responses import Writing

# In characters: what MOST_ROOM tokens may be, a model's reasoning among them.
MAX_TEXT_LENGTH = 100_000
NOT_A_PROMPT = "The service answered with something that isn't a prompt."


def refuse_unfinished(writing: Writing, request_id: str | None, secret: str) -> None:
    if writing.refusal:
        raise EnhancementRefused(details=told(writing.refusal, secret), request_id=request_id)
    if writing.finish == "content_filter":
        filtered = ContentFiltered(details="finish_reason content_filter", request_id=request_id)
        filtered.charged = None
        raise filtered
    if writing.finish == "length":
        raise EnhancementTooLong(details="finish_reason length", request_id=request_id)
    if writing.finish is None:
        raise EnhancementTruncated(details="the answer ended without a finish_reason", request_id=request_id)


def refuse_longer(length: int, most: int, request_id: str | None) -> None:
    """Raise EnhancementTooLong for more characters than `most`."""
    if length > most:
        raise EnhancementTooLong(details=f"more than {most:,} characters", request_id=request_id)
