"""Idempotency keys: if a client repeats a paid request with the same key within a day, nothing is paid again.

The repeated request gets the stored response to the first request.
"""

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

LIFETIME = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class IdempotentRequest:
    """One user's request with an idempotency key.

    `id` is the SHA-256 of the user and the key. `request_hash` is the SHA-256 of the path and the body. A
    repeated request must have the same `request_hash`.
    """

    id: str
    user_id: str
    request_hash: str

    @classmethod
    def of(cls, user_id: str, key: str, path: str, fields: dict[str, Any]) -> Self:
        body = json.dumps([path, fields], sort_keys=True)
        return cls(sha256_hex(json.dumps([user_id, key])), user_id, sha256_hex(body))


class IdempotencyStore:
    """Stores the response to each request that has an idempotency key, for LIFETIME.

    `find`, `claim` and `claim_batch` raise IdempotencyKeyReused if the key was used for a different request.
    """

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def find(self, request: IdempotentRequest) -> IdempotentResponse | None:
        """Return the stored row of the first request with this key, or None if the key is new.

        The row's `status` is None while the first request is still being processed.
        """
        with self._database.read() as session:
            return self._known(session, request)

    def claim_batch(self, session: Session, request: IdempotentRequest, batch_id: str) -> str | None:
        """Return the id of the batch that an earlier request with this key has submitted.

        If the key is new, store `batch_id` under the key and return None. Call this method in the transaction
        that submits the batch, while holding AdvisoryLock.SUBMISSION.
        """
        known = self._claim(session, request, batch_id)
        return known.batch_id if known else None

    def claim(self, request: IdempotentRequest) -> IdempotentResponse | None:
        """Return the stored row of an earlier request with this key.

        If the key is new, store a row without a response and return None. In that case, the caller must later
        call `store_response` or `release`.
        """
        with self._database.write() as session:
            self._database.lock(session, AdvisoryLock.SUBMISSION)
            return self._claim(session, request, None)

    def _claim(
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

    def store_response(self, request: IdempotentRequest, status: int, body: dict[str, Any]) -> None:
        row = update(IdempotentResponse).where(col(IdempotentResponse.id) == request.id)
        with self._database.write() as session:
            session.execute(row.values(status=status, body=body))

    def release(self, request: IdempotentRequest) -> None:
        """Make the key available again after its request has failed before anything was paid."""
        with self._database.write() as session:
            session.execute(delete(IdempotentResponse).where(col(IdempotentResponse.id) == request.id))

    def tidy(self) -> None:
        """Delete the responses that are older than LIFETIME."""
        with self._database.write() as session:
            session.execute(
                delete(IdempotentResponse).where(
                    col(IdempotentResponse.created_at) <= self._clock() - LIFETIME
                )
            )

    def _known(self, session: Session, request: IdempotentRequest) -> IdempotentResponse | None:
        row = session.get(IdempotentResponse, request.id)
        if row is None or row.created_at <= self._clock() - LIFETIME:
            return None
        if row.request_hash != request.request_hash:
            raise errors.IdempotencyKeyReused
        return row
