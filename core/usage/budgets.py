"""What each person may spend and have made in a day and in a month, checked and reserved at submission.

Days and months are those of UTC. Of a budget counts what the period's calls cost and made, and what its live
jobs have reserved:

- A call that is known to have cost nothing, or was taken back, counts nothing.
- One that brought no picture and was charged, or may have been, counts what its answer says that it cost, or
  else what was reserved for it, and one image; what comes of it late takes that place.
- An answer that doesn't say its price counts what was reserved for it, too.
- Where no price is published beforehand, the most that an image is likely to cost is reserved, and what it
  did cost takes that place. Of a model that has no price at all, nothing can be: such an image is refused
  only once the money is spent, and what keeps it within bounds is a budget of images.
- An enhancement is written down before it leaves, and reserves the most that it is likely to cost: all that
  the text model is told, and the longest answer. Of a model that has no price, nothing: it is refused only
  once the money is spent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, bindparam, case, func, literal, literal_column, or_, select, union_all
from sqlmodel import Session, col

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.common.text import storable_text
from core.database.database import AdvisoryLock, Database
from core.database.models import LIVE_STATES, Budget, Job, JobState, Usage, User, UtcDateTime
from core.prompts.recipe import Recipe
from core.provider import catalogue, pricing
from core.settings import Settings
from core.usage.budget_limits import (
    BudgetKind,
    BudgetLimits,
    BudgetUse,
    Need,
    Statement,
    UserLimits,
    check_limit,
    describe_changes,
    micros_from_dollars,
)
from core.usage.usage_log import Call, UsageLog


class Budgets:
    """Everybody's budgets: the settings' limits, and those that an administrator has set for one user."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        audit_log: AuditLog,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._audit_log = audit_log
        self.default_limits = BudgetLimits(
            micros_from_dollars(settings.budget_day_usd),
            micros_from_dollars(settings.budget_month_usd),
            settings.budget_day_images,
            settings.budget_month_images,
        )

    def estimate(self, recipe: Recipe) -> int | None:
        """What one image will cost in micro-USD; None where that isn't known beforehand."""
        params = recipe.params()
        return pricing.estimate_image_price(
            params, partial_images=catalogue.count_partial_images(params, self._settings)
        )

    def reservation(self, recipe: Recipe) -> int | None:
        """What is set aside for one image: its price, or the most that it is likely to cost."""
        known, params = self.estimate(recipe), recipe.params()
        partials = catalogue.count_partial_images(params, self._settings)
        return known if known is not None else pricing.max_image_price(params, partial_images=partials)

    def reserve(self, session: Session, user_id: str, estimates: Sequence[int | None], now: datetime) -> None:
        """Refuse what isn't covered; the caller adds the jobs, which are its reservation.

        In one write transaction that keeps out every other submission: else two of them could both have the
        last of a budget. Raises BudgetSpent.
        """
        if refusal := self._refusal(session, user_id, Need.of(estimates), now):
            raise refusal

    def refusal(self, user_id: str, need: Need) -> errors.BudgetSpent | None:
        """Why `need` wouldn't be covered now."""
        with self._database.read() as session:
            return self._refusal(session, user_id, need, self._clock())

    def check_enhancement(self, user_id: str, most: int | None) -> None:
        """Raise BudgetSpent where no money is left for `most` micro-USD, None for an unknown price."""
        if refusal := self.refusal(user_id, Need.of_text(most)):
            raise refusal

    def begin_text_call(self, usage: UsageLog, call: Call) -> str:
        """Write down a text call before it leaves, with what it reserves; its id, for `usage.end`.

        Its outcome is unknown from now on: if this process is killed meanwhile, that stays the truth. Raises
        BudgetSpent where its reservation isn't covered, StorageError or DatabaseError.
        """
        with self._database.write() as session:
            self._database.lock(session, AdvisoryLock.SUBMISSION)
            # Not before the lock: a call counts in the day in which it leaves.
            now = self._clock()
            if refusal := self._refusal(session, call.user_id, Need.of_text(call.reserved_micros), now):
                raise refusal
            return usage.begin(session, replace(call, started_at=now))

    def has_limits(self, user_id: str) -> bool:
        """Whether any budget holds for this user."""
        with self._database.read() as session:
            return self._limits(session, user_id).any

    def statement(self, user_id: str) -> Statement:
        with self._database.read() as session:
            return _statement(session, user_id, self._limits(session, user_id), self._clock())

    def user_limits(self, user_id: str) -> UserLimits:
        """What has been set for this user alone."""
        with self._database.read() as session:
            return _own(session, user_id)

    def change(self, admin: SignedIn, user_id: str, own: UserLimits) -> None:
        """Set one user's limits, from now on. Raises NotAllowed, or InvalidParameter for impossible ones."""
        if not admin.is_admin:
            raise errors.NotAllowed
        for which in BudgetKind:
            check_limit(which, own.of(which))
        with self._database.write() as session:
            # Two changes at once are one after the other.
            user = session.get(User, storable_text(user_id), with_for_update=True)
            if user is None:
                raise errors.NotAllowed("There is no such account.")
            before = _own(session, user.id)
            session.merge(Budget(user_id=user.id, **asdict(own), updated_at=self._clock()))
            details = "; ".join(describe_changes(before, own))
            self._audit_log.record(
                session, Action.BUDGET_CHANGE, actor=admin.user_id, subject=user.username, details=details
            )

    def _limits(self, session: Session, user_id: str) -> BudgetLimits:
        return _own(session, user_id).over(self.default_limits)

    def _refusal(
        self, session: Session, user_id: str, need: Need, now: datetime
    ) -> errors.BudgetSpent | None:
        limits = self._limits(session, user_id)
        return _statement(session, user_id, limits, now).refusal(need) if limits.any else None


@dataclass(frozen=True, slots=True)
class _Used:
    day_micros: int
    month_micros: int
    day_images: int
    month_images: int


def day_of(now: datetime) -> datetime:
    """When the UTC day of `now` began."""
    return now.replace(hour=0, minute=0, second=0, microsecond=0)


def month_of(now: datetime) -> datetime:
    return day_of(now).replace(day=1)


def _own(session: Session, user_id: str) -> UserLimits:
    row = session.get(Budget, user_id)
    return UserLimits(*(getattr(row, which) for which in BudgetKind)) if row else UserLimits()


def _statement(session: Session, user_id: str, limits: BudgetLimits, now: datetime) -> Statement:
    used = _used(session, user_id, now)
    tomorrow = day_of(now) + timedelta(days=1)
    next_month = month_of(month_of(now) + timedelta(days=31))
    return Statement(
        tuple(
            BudgetUse(
                which, limits.of(which), getattr(used, which), tomorrow if which.is_daily else next_month
            )
            for which in BudgetKind
        )
    )


def _used(session: Session, user_id: str, now: datetime) -> _Used:
    """What counts of this day and this month.

    One statement: a job that ended between two of them would be in neither.
    """
    counted = union_all(_calls(user_id, now), _reserved(user_id, now)).subquery()
    today = counted.c.at >= day_of(now)
    sums = (
        func.sum(case((today, counted.c.micros))),
        func.sum(counted.c.micros),
        func.sum(case((today, counted.c.images))),
        func.sum(counted.c.images),
    )
    row = session.execute(select(*sums)).one()
    return _Used(*(int(value or 0) for value in row))


def _calls(user_id: str, now: datetime) -> Select[Any]:
    """The month's calls that have ended, one row each."""
    at: Any = col(Usage.started_at)
    return select(
        at.label("at"),
        func.coalesce(col(Usage.price_micros), col(Usage.reserved_micros), 0).label("micros"),
        (col(Usage.images) + col(Usage.lost_images)).label("images"),
    ).where(col(Usage.user_id) == user_id, col(Usage.started_at) >= month_of(now))


def _reserved(user_id: str, now: datetime) -> Select[Any]:
    """The live jobs, one row each: what waits is called, and counts, from now on."""
    waits = col(Job.state) == JobState.QUEUED
    # The states stand in the statement itself: SQLite finds the partial index by nothing else. And the owner
    # stands in no index so: it would go through all the jobs that they ever had, and what is live is little.
    live: Any = bindparam("live", [str(state) for state in LIVE_STATES], expanding=True, literal_execute=True)
    return select(
        case((waits, literal(now, UtcDateTime())), else_=col(Job.started_at)).label("at"),
        func.coalesce(col(Job.reserved_micros), 0).label("micros"),
        literal_column("1").label("images"),
    ).where(
        col(Job.state).in_(live),
        (col(Job.owner_id) + "") == user_id,
        or_(waits, col(Job.started_at) >= month_of(now)),
    )
