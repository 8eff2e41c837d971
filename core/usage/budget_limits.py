"""Budget limits as values, and the sentences that describe them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from core import errors
from core.usage.money import MICROS, format_money

# Stored for one user in place of a limit. NULL is another thing: as the settings say.
NO_LIMIT = -1
# More than anybody spends or makes, and no more than a column holds.
MAX_USD_LIMIT = 1_000_000
MAX_IMAGES_LIMIT = 1_000_000_000


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
class UserLimits:
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
class BudgetUse:
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

    lines: tuple[BudgetUse, ...]

    def refusal(self, need: Need) -> errors.BudgetSpent | None:
        """Why `need` isn't covered: of several budgets, by the one that is longest in renewing."""
        short = [line for line in self.lines if not line.covers(need)]
        return max(short, key=lambda line: line.renews_at).refusal(need) if short else None


def format_amount(which: BudgetKind, amount: int | None) -> str:
    """So much of one budget as people read it; None is no limit."""
    if amount is None:
        return "no limit"
    return format_money(amount) if which.is_money else f"{amount:,}"


def format_limit(which: BudgetKind, own: int | None) -> str:
    """One user's own limit as people read it."""
    if own is None:
        return "as in the settings"
    return format_amount(which, None if own < 0 else own)


def describe_changes(before: UserLimits, after: UserLimits) -> Iterator[str]:
    for which in BudgetKind:
        old, new = before.of(which), after.of(which)
        if old != new:
            yield f"{which.label}: {format_limit(which, old)}, now {format_limit(which, new)}"


def micros_from_dollars(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * MICROS)


def check_limit(which: BudgetKind, limit: int | None) -> None:
    most = MAX_USD_LIMIT * MICROS if which.is_money else MAX_IMAGES_LIMIT
    if limit is not None and not NO_LIMIT <= limit <= most:
        raise errors.InvalidParameter(
            f"A budget can be 0 to {format_money(most) if which.is_money else f'{most:,} images'}.",
            suggestions=("Enter another limit, or choose none.",),
            field=which,
        )


def _refusal_words(line: BudgetUse, need: Need) -> str:
    period = "Today's" if line.which.is_daily else "This month's"
    left = line.left or 0
    if line.which.is_money:
        rest, asked = f"{format_money(left)} left", f"this would cost about {format_money(need.micros)}"
    else:
        rest, asked = f"room for {left:,} more", f"this would be {need.images:,}"
    said = f"has {rest}, and {asked}" if left else "is used up"
    kind = "budget" if line.which.is_money else "image budget"
    return f"{period} {kind} {said}. It resets on {line.renews_at:%d %b %Y, %H:%M} UTC."
