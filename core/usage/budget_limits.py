"""Values for budgets: a user's limits, the used part of each limit, and messages about them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

from core import errors
from core.usage.money import MICROS, format_money

# Stored in a user's row for "no limit". NULL there means the limit of the settings.
NO_LIMIT = -1
# Larger than any real budget, and small enough for the database column.
MAX_USD_LIMIT = 1_000_000
MAX_IMAGES_LIMIT = 1_000_000_000


class BudgetKind(StrEnum):
    """The four budgets: money per day, money per month, images per day and images per month.

    The values are the names of the columns of the `Budget` table.
    """

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
    """The limits that are in force for a user. Money is in micro-USD. None means that there is no limit."""

    day_micros: int | None = None
    month_micros: int | None = None
    day_images: int | None = None
    month_images: int | None = None

    @property
    def any(self) -> bool:
        return any(limit is not None for limit in asdict(self).values())

    def of(self, kind: BudgetKind) -> int | None:
        limit: int | None = getattr(self, kind)
        return limit


@dataclass(frozen=True, slots=True)
class UserLimits:
    """The limits that an administrator has set for one user. Money is in micro-USD.

    None means that the limit of the settings applies. NO_LIMIT means that the user has no limit.
    """

    day_micros: int | None = None
    month_micros: int | None = None
    day_images: int | None = None
    month_images: int | None = None

    def of(self, kind: BudgetKind) -> int | None:
        limit: int | None = getattr(self, kind)
        return limit

    def applied_to(self, defaults: BudgetLimits) -> BudgetLimits:
        """Return the limits in force for the user.

        A limit that an administrator has set for the user replaces the limit in `defaults`.
        """
        own = {name: limit for name, limit in asdict(self).items() if limit is not None}
        return replace(defaults, **{name: None if limit < 0 else limit for name, limit in own.items()})


@dataclass(frozen=True, slots=True)
class Need:
    """The demand of one request on a user's budgets: a number of images, and an amount in micro-USD.

    `unpriced` is True if the price of the request is not completely known.
    """

    images: int = 0
    micros: int = 0
    unpriced: bool = False

    @classmethod
    def of(cls, estimates: Sequence[int | None]) -> Need:
        """Return the need of a request for as many images as `estimates` has items.

        Each item is the price of one image in micro-USD, or None if the price is unknown.
        """
        return cls(len(estimates), sum(each or 0 for each in estimates), None in estimates)

    @classmethod
    def of_text(cls, max_micros: int | None) -> Need:
        """Return the need of a prompt enhancement, which costs money but makes no image.

        `max_micros` is the highest price of the enhancement in micro-USD, or None if the price is unknown.
        """
        return cls(0, max_micros or 0, max_micros is None)


@dataclass(frozen=True, slots=True)
class BudgetUse:
    """One of a user's four budgets: its limit, and the amount used in the current UTC day or month.

    - `limit`: the limit in micro-USD or images, depending on `kind`. None means that there is no limit.
    - `used`: the amount used, in the same unit. It includes what is reserved for unfinished jobs and
      enhancements.
    - `renews_at`: the start of the next day or month, when `used` becomes 0 again.
    """

    kind: BudgetKind
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
        if not self.kind.is_money:
            return need.images <= left or not need.images
        # Free requests are never refused, even if no money is left.
        return need.micros <= left and (left > 0 or not need.unpriced)

    def refusal(self, need: Need) -> errors.BudgetSpent:
        """Return the error for a request whose `need` exceeds what is left of this budget."""
        details = f"{self.kind}: limit {self.limit}, used {self.used}, asked for {need}"
        return errors.BudgetSpent(_refusal_message(self, need), details=details, field="budget")


@dataclass(frozen=True, slots=True)
class Statement:
    """The use of a user's four budgets at one moment. `lines` has one item for each BudgetKind."""

    lines: tuple[BudgetUse, ...]

    def refusal(self, need: Need) -> errors.BudgetSpent | None:
        """Return the error for a budget that doesn't cover `need`, or None if all budgets cover `need`.

        If several budgets don't cover `need`, the error is about the budget with the latest `renews_at`.
        """
        short = [line for line in self.lines if not line.covers(need)]
        return max(short, key=lambda line: line.renews_at).refusal(need) if short else None


def format_amount(kind: BudgetKind, amount: int | None) -> str:
    """Return `amount` as text to display: dollars, or a number of images. None becomes "no limit"."""
    if amount is None:
        return "no limit"
    return format_money(amount) if kind.is_money else f"{amount:,}"


def format_limit(kind: BudgetKind, own: int | None) -> str:
    """Return `own`, a limit that an administrator has set for one user, as text to display.

    None becomes "as in the settings", and NO_LIMIT becomes "no limit".
    """
    if own is None:
        return "as in the settings"
    return format_amount(kind, None if own < 0 else own)


def describe_changes(before: UserLimits, after: UserLimits) -> Iterator[str]:
    for kind in BudgetKind:
        old, new = before.of(kind), after.of(kind)
        if old != new:
            yield f"{kind.label}: {format_limit(kind, old)}, now {format_limit(kind, new)}"


def micros_from_dollars(dollars: Decimal | None) -> int | None:
    return None if dollars is None else int(dollars * MICROS)


def check_limit(kind: BudgetKind, limit: int | None) -> None:
    highest = MAX_USD_LIMIT * MICROS if kind.is_money else MAX_IMAGES_LIMIT
    if limit is not None and not NO_LIMIT <= limit <= highest:
        raise errors.InvalidParameter(
            f"A budget can be 0 to {format_money(highest) if kind.is_money else f'{highest:,} images'}.",
            suggestions=("Enter another limit, or choose none.",),
            field=kind,
        )


def _refusal_message(budget: BudgetUse, need: Need) -> str:
    left, kind = budget.left or 0, budget.kind
    reset = f"resets on {budget.renews_at:%d %b %Y, %H:%M} UTC."
    period = "Today's" if kind.is_daily else "This month's"
    name = f"{period} {'budget' if kind.is_money else 'image budget'}"
    if not left:
        return f"{name} is used up. It {reset}"
    if kind.is_money:
        cost = f"this would cost about {format_money(need.micros)}"
        return f"{name} has {format_money(left)} left, and {cost}. It {reset}"
    more = f"{left:,} more image{'' if left == 1 else 's'} {'today' if kind.is_daily else 'this month'}"
    return f"You can make {more}; this would make {need.images:,}. The budget {reset}"
