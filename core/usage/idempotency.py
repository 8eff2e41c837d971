"""Answers to paid requests, kept for a day under their sender's key: asked again, nothing is bought."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Self

from sqlalchemy import delete, update
from sqlmodel import Session, col

from core import errors
from core.common.clock import utc_now
from core.common.ids import sha256_hex
from core.database.database import AdvisoryLock, Database
from core.database.models import IdempotentResponse

LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """One user's request under one key; `request_hash` tells whether it is the same request again."""

    id: str
    user_id: str
    request_hash: str

    @classmethod
    def of(cls, user_id: str, key: str, path: str, asked: dict[str, Any]) -> Self:
        body = json.dumps([path, asked], sort_keys=True)
        return cls(sha256_hex(json.dumps([user_id, key])), user_id, sha256_hex(body))


class IdempotencyStore:
    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def find(self, request: IdempotentRequest) -> IdempotentResponse | None:
        """The stored response. Raises IdempotencyKeyReused where the key belongs to another request."""
        with self._database.read() as session:
            return self._known(session, request)

    def batch(self, session: Session, request: IdempotentRequest, batch_id: str) -> str | None:
        """The batch that was submitted under this key, else None, and `batch_id` is now the one.

        It is for the transaction of the submission, in which nobody else submits.
        """
        known = self._begin(session, request, batch_id)
        return known.batch_id if known else None

    def begin(self, request: IdempotentRequest) -> IdempotentResponse | None:
        """What is kept of the same request, else None, and whoever asked is the one to answer it."""
        with self._database.write() as session:
            self._database.lock(session, AdvisoryLock.SUBMISSION)
            return self._begin(session, request, None)

    def _begin(
        self, session: Session, request: IdempotentRequest, batch_id: str | None
    ) -> IdempotentResponse | None:
        known = self._known(session, request)
        if known is None:
            session.execute(delete(IdempotentResponse).where(col(IdempotentResponse.id) == request.id))
            session.add(
                IdempotentResponse(
                    id=request.id, user_id=request.user_id, request_hash=request.request_hash,
                    created_at=self._clock(), batch_id=batch_id,
                )
            )  # fmt: skip
        return known

    def answer(self, request: IdempotentRequest, status: int, body: dict[str, Any]) -> None:
        """Keep what a request was answered."""
        kept = update(IdempotentResponse).where(col(IdempotentResponse.id) == request.id)
        with self._database.write() as session:
            session.execute(kept.values(status=status, body=body))

    def forget(self, request: IdempotentRequest) -> None:
        """Let the key go: what was asked for has failed, and bought nothing."""
        with self._database.write() as session:
            session.execute(delete(IdempotentResponse).where(col(IdempotentResponse.id) == request.id))

    def tidy(self) -> None:
        """Remove what is too old to answer."""
        with self._database.write() as session:
            session.execute(
                delete(IdempotentResponse).where(col(IdempotentResponse.created_at) <= self._clock() - LIFE)
            )

    def _known(self, session: Session, request: IdempotentRequest) -> IdempotentResponse | None:
        row = session.get(IdempotentResponse, request.id)
        if row is None or row.created_at <= self._clock() - LIFE:
            return None
        if row.request_hash != request.request_hash:
            raise errors.IdempotencyKeyReused
        return row
