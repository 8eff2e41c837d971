"""The enhancement cache: if a user repeats a request within a day, the stored text is used free of charge."""

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
from core.prompts.instructions import chat_messages
from core.prompts.request import PromptRequest
from core.provider.chat import EnhancedPrompt
from core.responses.parsing import TokenCount

MAX_AGE = timedelta(days=1)


class EnhancementCache:
    """Stores the latest enhanced prompt for each request, per user. Users never share entries.

    `service` is the URL of the service. An enhanced prompt from another service isn't reused.
    """

    def __init__(
        self, database: Database, *, service: str = "", clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._database = database
        self._service = service
        self._clock = clock

    def find(self, user_id: str, model: str, request: PromptRequest) -> CachedEnhancement | None:
        """Return the user's cached entry for this `request` to `model`, or None if there is none.

        An entry isn't found if it is older than MAX_AGE. It also isn't found if the app's instructions to the
        model have changed since it was stored.
        """
        with self._database.read() as session:
            entry = session.get(CachedEnhancement, self.key(user_id, model, request))
        return entry if entry and entry.created_at > self._clock() - MAX_AGE else None

    def store(self, user_id: str, request: PromptRequest, enhanced: EnhancedPrompt) -> None:
        """Store the enhanced prompt. An earlier entry for the same request is replaced."""
        fields = fit_to_columns(
            CachedEnhancement,
            {
                "id": self.key(user_id, enhanced.model, request),
                "user_id": user_id,
                "created_at": self._clock(),
                "model": enhanced.model,
                "text": enhanced.text,
                "added_back": enhanced.added_back,
                "input_tokens": enhanced.usage.input_tokens,
                "output_tokens": enhanced.usage.output_tokens,
                "price_micros": enhanced.price_micros,
            },
        )
        with self._database.write() as session:
            session.execute(
                self._database.insert(CachedEnhancement)
                .values(fields)
                .on_conflict_do_update(index_elements=["id"], set_=fields)
            )

    def key(self, user_id: str, model: str, request: PromptRequest) -> str:
        """Return the key of the entry for this request.

        The key is the SHA-256, in hexadecimal, of the user, the service, the model and all messages to the
        model.
        """
        identity = json.dumps([user_id, self._service, model, chat_messages(request)])
        return sha256(identity.encode()).hexdigest()

    def tidy(self) -> None:
        """Delete the entries that are older than MAX_AGE."""
        with self._database.write() as session:
            session.execute(
                delete(CachedEnhancement).where(col(CachedEnhancement.created_at) <= self._clock() - MAX_AGE)
            )


def as_enhanced(entry: CachedEnhancement) -> EnhancedPrompt:
    """Convert a cached entry to an EnhancedPrompt. Its price is the price of the original call."""
    return EnhancedPrompt(
        text=entry.text,
        added_back=tuple(entry.added_back),
        usage=TokenCount(entry.input_tokens, entry.output_tokens),
        request_id=None,
        model=entry.model,
        price_micros=entry.price_micros,
        seconds=0.0,
    )
