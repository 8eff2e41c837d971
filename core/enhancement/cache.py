"""Finished enhancements of the last day, each of which answers the same request of the same user again."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete
from sqlmodel import col

from core.common.clock import utc_now
from core.database.columns import fit_to_columns
from core.database.database import Database
from core.database.models import CachedEnhancement
from core.prompts.instructions import messages
from core.prompts.request import PromptRequest
from core.provider.chat import EnhancedPrompt
from core.provider.pricing import TokenCount

LIFE = timedelta(days=1)


class Takes:
    """One text for each thing that was asked of `service`; nobody is answered from another user's."""

    def __init__(
        self, database: Database, *, service: str = "", clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._service = service
        self._clock = clock

    def find(self, user_id: str, model: str, request: PromptRequest) -> CachedEnhancement | None:
        """What this user got for the same words, under the same instructions, within a day."""
        with self._database.read() as session:
            take = session.get(CachedEnhancement, self.key(user_id, model, request))
        return take if take and take.created_at > self._clock() - LIFE else None

    def keep(self, user_id: str, request: PromptRequest, enhanced: EnhancedPrompt) -> None:
        fields = {
            "id": self.key(user_id, enhanced.model, request),
            "user_id": user_id,
            "created_at": self._clock(),
            "model": enhanced.model,
            "text": enhanced.text,
            "added_back": enhanced.added_back,
            "input_tokens": enhanced.usage.input_tokens,
            "output_tokens": enhanced.usage.output_tokens,
            "price_micros": enhanced.price_micros,
        }
        with self._database.write() as session:
            session.merge(CachedEnhancement(**fit_to_columns(CachedEnhancement, fields)))

    def key(self, user_id: str, model: str, request: PromptRequest) -> str:
        """Stands for who asks, which model of which service, and for what: 64 hexadecimal digits."""
        asked = json.dumps([user_id, self._service, model, messages(request)])
        return sha256(asked.encode()).hexdigest()

    def tidy(self) -> None:
        """Remove what is too old to answer."""
        with self._database.write() as session:
            session.execute(
                delete(CachedEnhancement).where(col(CachedEnhancement.created_at) <= self._clock() - LIFE)
            )


def as_enhanced(take: CachedEnhancement) -> EnhancedPrompt:
    """A kept text as it was finished, with the price that was paid for it then."""
    return EnhancedPrompt(
        text=take.text,
        added_back=tuple(take.added_back),
        usage=TokenCount(take.input_tokens, take.output_tokens),
        request_id=None,
        model=take.model,
        price_micros=take.price_micros,
        seconds=0.0,
    )
