"""The usage log: every call to the service, with its user, cost and outcome."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from sqlalchemy import and_, case, func, or_, select, update
from sqlmodel import Session, col

from core.database.columns import fit_to_columns
from core.database.database import Database
from core.database.models import Job, Usage, UsageKind

# The clocks of two processes differ by at most this much.
MAX_CLOCK_DIFFERENCE = timedelta(days=1)


class Outcome(StrEnum):
    """The outcome of a call to the service.

    UNKNOWN means that no response has arrived, so the call may have been charged. SAVED means that no call
    was sent, because a stored result was reused.
    """

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    SAVED = "saved"


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the service, as recorded in the usage log. Prices are in micro-USD, None if unknown.

    - `seconds`: the duration of the call.
    - `saved_micros`: if a stored result was reused, the price of the call that was avoided.
    - `reserved_micros`: the amount that counts against budgets while the price is unknown.
    - `lost_images`: the number of images that may have been charged but never arrived.
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
    """Sums over the calls of one user.

    - `calls`: the number of calls that were sent. `failed` of them have failed.
    - `images`: the number of images in the responses.
    - `priced_micros`: the sum of the known prices in micro-USD.
    - `unpriced_calls`: the number of calls that may have cost money, but whose price is unknown.
    - `saved_calls`: the number of calls that were not sent, because a stored result was reused.
    - `saved_micros`: the sum of the known prices of the saved calls, in micro-USD.
    - `unpriced_saved_calls`: the number of saved calls whose price is unknown.
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
        """Add `call` to the usage log in the caller's transaction."""
        session.add(Usage(**fit_to_columns(Usage, asdict(call))))

    def may_be_paid(self, session: Session, job: Job) -> bool:
        """Return whether an earlier call of this job was charged or may have been charged."""
        earlier = (
            select(col(Usage.id))
            # The user and the start time let the query use an index. The process that recorded the call may
            # have another clock.
            .where(
                col(Usage.user_id) == job.owner_id,
                col(Usage.started_at) >= job.created_at - MAX_CLOCK_DIFFERENCE,
            )
            .where(col(Usage.job_id) == job.id, col(Usage.outcome) != Outcome.FAILED)
        )
        return session.execute(earlier.limit(1)).first() is not None

    def begin(self, session: Session, call: Call) -> str:
        """Add `call` to the usage log before it is sent, with the outcome UNKNOWN. Return the new row's id.

        When the call has ended, pass the id to `end`.
        """
        row = Usage(**fit_to_columns(Usage, asdict(replace(call, outcome=Outcome.UNKNOWN))))
        session.add(row)
        return row.id

    def end(self, usage_id: str, call: Call) -> None:
        """Replace the fields of the row `usage_id`, which `begin` has added, with those of the ended `call`.

        Only the start time stays as it is.
        """
        fields = fit_to_columns(Usage, asdict(call))
        del fields["started_at"]
        with self._database.write() as session:
            session.execute(update(Usage).where(col(Usage.id) == usage_id).values(**fields))

    def record_now(self, *calls: Call) -> None:
        with self._database.write() as session:
            for call in calls:
                self.record(session, call)

    def totals(self, user_id: str, since: datetime) -> Totals:
        """Return the sums of the user's calls that started at `since` or later."""
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
