"""What was called, by whom, what it cost and how it ended."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import and_, case, func, or_, select, update
from sqlmodel import Session, col

from core.database.columns import fit_to_columns
from core.database.database import Database
from core.database.models import Job, Usage, UsageKind

# By no more than this are two processes' clocks apart.
CLOCKS = timedelta(days=1)


class Outcome(StrEnum):
    """How a call ended; UNKNOWN may have been charged, SAVED was answered from the store and never made."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SAVED = "saved"


@dataclass(frozen=True, slots=True)
class Call:
    """One call to a service. `seconds` is its length, `price_micros` in micro-USD, None where unknown.

    A saved one costs nothing; `saved_micros` is what it would have cost, None where unknown.
    `reserved_micros` and `lost_images` are what it counts of a budget where it may have been charged: money
    in place of an unknown price, and pictures that never came.
    """

    user_id: str
    kind: UsageKind
    model: str
    offline: bool
    started_at: datetime
    seconds: float
    outcome: Outcome
    job_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    price_micros: int | None = None
    saved_micros: int | None = None
    reserved_micros: int | None = None
    images: int = 0
    lost_images: int = 0
    request_id: str | None = None
    error_code: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over one user's calls. `unpriced_calls` may have cost money, nobody knows how much.

    Saved calls were never made: they are in `saved_calls` alone, and of `unpriced_saved_calls` among them
    nobody knows what they would have cost.
    """

    calls: int
    images: int
    priced_micros: int
    unpriced_calls: int
    failed: int
    saved_calls: int = 0
    saved_micros: int = 0
    unpriced_saved_calls: int = 0


class UsageLog:
    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, session: Session, call: Call) -> None:
        """Add `call` to the caller's transaction."""
        session.add(Usage(**fit_to_columns(Usage, asdict(call))))

    def may_be_paid(self, session: Session, job: Job) -> bool:
        """Whether an earlier call of this job has been paid, or may have been."""
        earlier = (
            select(col(Usage.id))
            # Whose, and since when, is what the index knows; processes' clocks may differ.
            .where(col(Usage.user_id) == job.owner_id, col(Usage.started_at) >= job.created_at - CLOCKS)
            .where(col(Usage.job_id) == job.id, col(Usage.outcome) != Outcome.FAILED)
        )
        return session.execute(earlier.limit(1)).first() is not None

    def begin(self, session: Session, call: Call) -> str:
        """Add a call that is about to leave, whose outcome is unknown until `end`; its id."""
        row = Usage(**fit_to_columns(Usage, asdict(replace(call, outcome=Outcome.UNKNOWN))))
        session.add(row)
        return row.id

    def end(self, usage_id: str, call: Call) -> None:
        """Enter how a call that was begun has ended; when it began stays as it was."""
        fields = fit_to_columns(Usage, asdict(call))
        del fields["started_at"]
        with self._database.write() as session:
            session.execute(update(Usage).where(col(Usage.id) == usage_id).values(**fields))

    def record_now(self, *calls: Call) -> None:
        with self._database.write() as session:
            for call in calls:
                self.record(session, call)

    def totals(self, user_id: str, since: datetime) -> Totals:
        """The sums of the calls that began at `since` or later."""
        saved = col(Usage.outcome) == Outcome.SAVED
        unpriced = and_(
            col(Usage.price_micros).is_(None),
            or_(
                col(Usage.outcome).not_in((Outcome.FAILED, Outcome.SAVED)),
                col(Usage.reserved_micros).is_not(None),
                col(Usage.lost_images) > 0,
            ),
            col(Usage.offline).is_(False),
        )
        sums = select(
            func.count(case((saved, None), else_=1)),
            func.coalesce(func.sum(Usage.images), 0),
            func.coalesce(func.sum(Usage.price_micros), 0),
            func.count(case((unpriced, 1))),
            func.count(case((col(Usage.outcome) == Outcome.FAILED, 1))),
            func.count(case((saved, 1))),
            func.coalesce(func.sum(Usage.saved_micros), 0),
            func.count(case((and_(saved, col(Usage.saved_micros).is_(None)), 1))),
        ).where(col(Usage.user_id) == user_id, col(Usage.started_at) >= since)
        with self._database.read() as session:
            return Totals(*(int(value) for value in session.execute(sums).one()))
