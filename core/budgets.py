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

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Select,
    bindparam,
    case,
    func,
    literal,
    literal_column,
    or_,
    select,
    union_all,
)
from sqlmodel import Session, col

from core import catalogue, errors
from core.accounts import SignedIn
from core.audit import Action, Audit
from core.columns import clean
from core.database import AdvisoryLock, Database
from core.models import LIVE_STATES, Budget, Job, JobState, Usage, User, UtcDateTime, utc_now
from core.money import MICROS, money_words
from core.recipe import Recipe
from core.settings import Settings
from core.usage import Call, UsageLog

# Stored for one user in place of a limit. NULL is another thing: as the settings say.
NO_LIMIT = -1
# More than anybody spends or makes, and no more than a column holds.
MOST_USD = 1_000_000
MOST_IMAGES = 1_000_000_000


class BudgetKind(StrEnum):
    """The four budgets, by the names of their columns."""

    DAY_MICROS = "day_micros"
    MONTH_MICROS = "month_micros"
    DAY_IMAGES = "day_images"
    MONTH_IMAGES = "month_images"

    @property
    def label(self) -> str:
        return f"{'Money' if self.is_money else 'Images'} per {'day' if self.is_daily else 'month'}"

    @property
    def is_money(self) -> bool:
        return self in (BudgetKind.DAY_MICROS, BudgetKind.MONTH_MICROS)

    @property
    def is_daily(self) -> bool:
        return self in (BudgetKind.DAY_MICROS, BudgetKind.DAY_IMAGES)


@dataclass(frozen=True, slots=True)
class BudgetLimits:
    """The limits that hold for a user, money in micro-USD; None is no limit."""

    day_micros: int | None = None
    month_micros: int | None = None
    day_images: int | None = None
    month_images: int | None = None

    @property
    def any(self) -> bool:
        return any(limit is not None for limit in asdict(self).values())

    def of(self, which: BudgetKind) -> int | None:
        limit: int | None = getattr(self, which)
        return limit


@dataclass(frozen=True, slots=True)
class OwnLimits:
    """What an administrator has set for one user: None is as the settings say, NO_LIMIT no limit."""

    day_micros: int | None = None
    month_micros: int | None = None
    day_images: int | None = None
    month_images: int | None = None

    def of(self, which: BudgetKind) -> int | None:
        limit: int | None = getattr(self, which)
        return limit

    def over(self, usual: BudgetLimits) -> BudgetLimits:
        """The limits that hold where `usual` are the settings'."""
        set_here = {name: limit for name, limit in asdict(self).items() if limit is not None}
        return replace(usual, **{name: None if limit < 0 else limit for name, limit in set_here.items()})


@dataclass(frozen=True, slots=True)
class Need:
    """What is asked for: so many images for so many micro-USD, and with `unpriced` more that nobody knows."""

    images: int = 0
    micros: int = 0
    unpriced: bool = False

    @classmethod
    def of(cls, estimates: Sequence[int | None]) -> Need:
        """That of one image for each of `estimates`."""
        return cls(len(estimates), sum(each or 0 for each in estimates), None in estimates)

    @classmethod
    def of_text(cls, most: int | None) -> Need:
        """That of an enhancement, which is no image."""
        return cls(0, most or 0, most is None)


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One budget of one person. Money is in micro-USD; `used` includes what is reserved."""

    which: BudgetKind
    limit: int | None
    used: int
    renews_at: datetime

    @property
    def left(self) -> int | None:
        return None if self.limit is None else max(0, self.limit - self.used)

    def covers(self, need: Need) -> bool:
        left = self.left
        if left is None:
            return True
        if not self.which.is_money:
            return need.images <= left or not need.images
        # What costs nothing is never refused for want of money.
        return need.micros <= left and (left > 0 or not need.unpriced)

    def refusal(self, need: Need) -> errors.BudgetSpent:
        """What to tell somebody whom this budget doesn't cover."""
        details = f"{self.which}: limit {self.limit}, used {self.used}, asked for {need}"
        return errors.BudgetSpent(_refusal_words(self, need), details=details, field="budget")


@dataclass(frozen=True, slots=True)
class Statement:
    """A person's four budgets at one moment."""

    lines: tuple[BudgetLine, ...]

    def refusal(self, need: Need) -> errors.BudgetSpent | None:
        """Why `need` isn't covered: of several budgets, by the one that is longest in renewing."""
        short = [line for line in self.lines if not line.covers(need)]
        return max(short, key=lambda line: line.renews_at).refusal(need) if short else None


class Budgets:
    """Everybody's budgets: the settings' limits, and those that an administrator has set for one user."""

    def __init__(
        self,
        database: Database,
        settings: Settings,
        *,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._database = database
        self._settings = settings
        self._clock = clock
        self._audit = Audit(database, clock=clock)
        self.usual = BudgetLimits(
            _micros(settings.budget_day_usd),
            _micros(settings.budget_month_usd),
            settings.budget_day_images,
            settings.budget_month_images,
        )

    def estimate(self, recipe: Recipe) -> int | None:
        """What one image will cost in micro-USD; None where that isn't known beforehand."""
        params = recipe.params()
        return catalogue.estimate(params, partial_images=catalogue.partials_of(params, self._settings))

    def reservation(self, recipe: Recipe) -> int | None:
        """What is set aside for one image: its price, or the most that it is likely to cost."""
        known, params = self.estimate(recipe), recipe.params()
        partials = catalogue.partials_of(params, self._settings)
        return known if known is not None else catalogue.likely_most(params, partial_images=partials)

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

    def begin(self, usage: UsageLog, call: Call) -> str:
        """Write down a text call before it leaves, with what it reserves; its id, for `usage.end`.

        Its outcome is unknown from now on: if this process is killed meanwhile, that stays the truth. Raises
        BudgetSpent where its reservation isn't covered, StorageError or DatabaseError.
        """
        with self._database.write() as session:
            self._database.alone(session, AdvisoryLock.SUBMISSION)
            # Not before the lock: a call counts in the day in which it leaves.
            now = self._clock()
            if refusal := self._refusal(session, call.user_id, Need.of_text(call.reserved_micros), now):
                raise refusal
            return usage.begin(session, replace(call, started_at=now))

    def any_for(self, user_id: str) -> bool:
        """Whether any budget holds for this user."""
        with self._database.read() as session:
            return self._limits(session, user_id).any

    def statement(self, user_id: str) -> Statement:
        with self._database.read() as session:
            return _statement(session, user_id, self._limits(session, user_id), self._clock())

    def own(self, user_id: str) -> OwnLimits:
        """What has been set for this user alone."""
        with self._database.read() as session:
            return _own(session, user_id)

    def change(self, admin: SignedIn, user_id: str, own: OwnLimits) -> None:
        """Set one user's limits, from now on. Raises NotAllowed, or InvalidParameter for impossible ones."""
        if not admin.is_admin:
            raise errors.NotAllowed
        for which in BudgetKind:
            _check(which, own.of(which))
        with self._database.write() as session:
            # Two changes at once are one after the other.
            user = session.get(User, clean(user_id), with_for_update=True)
            if user is None:
                raise errors.NotAllowed("There is no such account.")
            before = _own(session, user.id)
            session.merge(Budget(user_id=user.id, **asdict(own), updated_at=self._clock()))
            details = "; ".join(_change_words(before, own))
            self._audit.record(
                session, Action.BUDGET_CHANGE, actor=admin.user_id, subject=user.username, details=details
            )

    def _limits(self, session: Session, user_id: str) -> BudgetLimits:
        return _own(session, user_id).over(self.usual)

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


def amount_words(which: BudgetKind, amount: int | None) -> str:
    """So much of one budget as people read it; None is no limit."""
    if amount is None:
        return "no limit"
    return money_words(amount) if which.is_money else f"{amount:,}"


def limit_words(which: BudgetKind, own: int | None) -> str:
    """One user's own limit as people read it."""
    if own is None:
        return "as in the settings"
    return amount_words(which, None if own < 0 else own)


def _change_words(before: OwnLimits, after: OwnLimits) -> Iterator[str]:
    for which in BudgetKind:
        old, new = before.of(which), after.of(which)
        if old != new:
            yield f"{which.label}: {limit_words(which, old)}, now {limit_words(which, new)}"


def _micros(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * MICROS)


def _check(which: BudgetKind, limit: int | None) -> None:
    most = MOST_USD * MICROS if which.is_money else MOST_IMAGES
    if limit is not None and not NO_LIMIT <= limit <= most:
        raise errors.InvalidParameter(
            f"A budget can be 0 to {money_words(most) if which.is_money else f'{most:,} images'}.",
            suggestions=("Enter another limit, or choose none.",),
            field=which,
        )


def _own(session: Session, user_id: str) -> OwnLimits:
    row = session.get(Budget, user_id)
    return OwnLimits(*(getattr(row, which) for which in BudgetKind)) if row else OwnLimits()


def _statement(session: Session, user_id: str, limits: BudgetLimits, now: datetime) -> Statement:
    used = _used(session, user_id, now)
    tomorrow = day_of(now) + timedelta(days=1)
    next_month = month_of(month_of(now) + timedelta(days=31))
    return Statement(
        tuple(
            BudgetLine(
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


def _refusal_words(line: BudgetLine, need: Need) -> str:
    period = "Today's" if line.which.is_daily else "This month's"
    left = line.left or 0
    if line.which.is_money:
        rest, asked = f"{money_words(left)} left", f"this would cost about {money_words(need.micros)}"
    else:
        rest, asked = f"room for {left:,} more", f"this would be {need.images:,}"
    said = f"has {rest}, and {asked}" if left else "is used up"
    kind = "budget" if line.which.is_money else "image budget"
    return f"{period} {kind} {said}. It resets on {line.renews_at:%d %b %Y, %H:%M} UTC."
