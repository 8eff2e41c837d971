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
from core.common.ids import digest_of
from core.database.database import AdvisoryLock, Database
from core.database.models import KeptAnswer

LIFE = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class KeptRequest:
    """One user's request under one key; `request_hash` tells whether it is the same request again."""

    id: str
    user_id: str
    request_hash: str

    @classmethod
    def of(cls, user_id: str, key: str, path: str, asked: dict[str, Any]) -> Self:
        body = json.dumps([path, asked], sort_keys=True)
        return cls(digest_of(json.dumps([user_id, key])), user_id, digest_of(body))


class KeptAnswers:
    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        self._database = database
        self._clock = clock

    def find(self, request: KeptRequest) -> KeptAnswer | None:
        """What is kept of the same request. Raises KeyReused where the key was another request's."""
        with self._database.read() as session:
            return self._known(session, request)

    def batch(self, session: Session, request: KeptRequest, batch_id: str) -> str | None:
        """The batch that was submitted under this key, else None, and `batch_id` is now the one.

        It is for the transaction of the submission, in which nobody else submits.
        """
        known = self._begin(session, request, batch_id)
        return known.batch_id if known else None

    def begin(self, request: KeptRequest) -> KeptAnswer | None:
        """What is kept of the same request, else None, and whoever asked is the one to answer it."""
        with self._database.write() as session:
            self._database.alone(session, AdvisoryLock.SUBMISSION)
            return self._begin(session, request, None)

    def _begin(self, session: Session, request: KeptRequest, batch_id: str | None) -> KeptAnswer | None:
        known = self._known(session, request)
        if known is None:
            session.execute(delete(KeptAnswer).where(col(KeptAnswer.id) == request.id))
            session.add(
                KeptAnswer(
                    id=request.id, user_id=request.user_id, request_hash=request.request_hash,
                    created_at=self._clock(), batch_id=batch_id,
                )
            )  # fmt: skip
        return known

    def answer(self, request: KeptRequest, status: int, body: dict[str, Any]) -> None:
        """Keep what a request was answered."""
        kept = update(KeptAnswer).where(col(KeptAnswer.id) == request.id)
        with self._database.write() as session:
            session.execute(kept.values(status=status, body=body))

    def forget(self, request: KeptRequest) -> None:
        """Let the key go: what was asked for has failed, and bought nothing."""
        with self._database.write() as session:
            session.execute(delete(KeptAnswer).where(col(KeptAnswer.id) == request.id))

    def tidy(self) -> None:
        """Remove what is too old to answer."""
        with self._database.write() as session:
            session.execute(delete(KeptAnswer).where(col(KeptAnswer.created_at) <= self._clock() - LIFE))

    def _known(self, session: Session, request: KeptRequest) -> KeptAnswer | None:
        row = session.get(KeptAnswer, request.id)
        if row is None or row.created_at <= self._clock() - LIFE:
            return None
        if row.request_hash != request.request_hash:
            raise errors.KeyReused
        return row
