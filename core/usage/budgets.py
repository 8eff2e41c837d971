"""Budgets: how much money each user may spend, and how many images each user may make.

A request is checked against the budgets before anything is paid. core.usage.spending defines which calls and
jobs count.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from datetime import datetime, timedelta

from sqlmodel import Session

from core import errors
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.common.text import storable_text
from core.database.database import AdvisoryLock, Database
from core.database.models import Budget, User
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
from core.usage.spending import day_of, month_of, spending
from core.usage.usage_log import Call, UsageLog


class Budgets:
    """Reads, checks and changes the budgets of all users.

    A limit that an administrator has set for a user replaces the limit of the settings.
    """

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
        """Return the price of one image of `recipe` in micro-USD.

        Returns None if the price isn't known before the image is made.
        """
        params = recipe.params()
        return pricing.estimate_image_price(
            params, partial_images=catalogue.count_partial_images(params, self._settings)
        )

    def reservation(self, recipe: Recipe) -> int | None:
        """Return the micro-USD to reserve for one image of `recipe`.

        This is the price of the image. If the price isn't known before the image is made, it is the likely
        maximum price. Returns None if the model has no published price.
        """
        known, params = self.estimate(recipe), recipe.params()
        partials = catalogue.count_partial_images(params, self._settings)
        return known if known is not None else pricing.max_image_price(params, partial_images=partials)

    def reserve(self, session: Session, user_id: str, estimates: Sequence[int | None], now: datetime) -> None:
        """Raise BudgetSpent unless the user's budgets cover as many images as `estimates` has items.

        Each item is the amount to reserve for one image in micro-USD, or None if the price is unknown.

        This method writes nothing. The reservation is the row of a queued job, which the caller adds in the
        same transaction. The caller must hold AdvisoryLock.SUBMISSION. Otherwise two concurrent submissions
        could spend the same money.
        """
        if refusal := self._refusal(session, user_id, Need.of(estimates), now):
            raise refusal

    def refusal(self, user_id: str, need: Need) -> errors.BudgetSpent | None:
        """Return the BudgetSpent error if the user's budgets don't cover `need` now, and None if they do."""
        with self._database.read() as session:
            return self._refusal(session, user_id, need, self._clock())

    def check_enhancement(self, user_id: str, max_micros: int | None) -> None:
        """Raise BudgetSpent unless the user's budgets cover an enhancement that costs `max_micros` micro-USD.

        None means that the price is unknown.
        """
        if refusal := self.refusal(user_id, Need.of_text(max_micros)):
            raise refusal

    def begin_text_call(self, usage: UsageLog, call: Call) -> str:
        """Add the call of an enhancement to `usage` before the call is sent. Return the id of the new row.

        The row reserves `call.reserved_micros` of the user's budgets. The row's outcome is UNKNOWN until the
        caller passes the id to `usage.end`. If this process is killed before that, the outcome stays UNKNOWN.
        Raises BudgetSpent if the budgets don't cover the reservation, and StorageError or DatabaseError if
        the row can't be written.
        """
        with self._database.write() as session:
            self._database.lock(session, AdvisoryLock.SUBMISSION)
            # Read the clock after waiting for the lock: the call counts in the day in which it is sent.
            now = self._clock()
            if refusal := self._refusal(session, call.user_id, Need.of_text(call.reserved_micros), now):
                raise refusal
            return usage.begin(session, replace(call, started_at=now))

    def has_limits(self, user_id: str) -> bool:
        """Return whether at least one of the user's four budgets has a limit."""
        with self._database.read() as session:
            return self._limits(session, user_id).any

    def statement(self, user_id: str) -> Statement:
        """Return the user's limits, and how much of them is used now."""
        with self._database.read() as session:
            return _statement(session, user_id, self._limits(session, user_id), self._clock())

    def user_limits(self, user_id: str) -> UserLimits:
        """Return the limits that an administrator has set for this user."""
        with self._database.read() as session:
            return _user_limits(session, user_id)

    def change(self, admin: SignedIn, user_id: str, limits: UserLimits) -> None:
        """Set the limits of one user, and record the change in the audit log.

        Raises NotAllowed if `admin` isn't an administrator or if there is no such user, and InvalidParameter
        if a limit is out of range.
        """
        if not admin.is_admin:
            raise errors.NotAllowed
        for kind in BudgetKind:
            check_limit(kind, limits.of(kind))
        with self._database.write() as session:
            # The row lock serialises concurrent changes.
            user = session.get(User, storable_text(user_id), with_for_update=True)
            if user is None:
                raise errors.NotAllowed("There is no such account.")
            before = _user_limits(session, user.id)
            session.merge(Budget(user_id=user.id, **asdict(limits), updated_at=self._clock()))
            details = "; ".join(describe_changes(before, limits))
            self._audit_log.record(
                session, Action.BUDGET_CHANGE, actor=admin.user_id, subject=user.username, details=details
            )

    def _limits(self, session: Session, user_id: str) -> BudgetLimits:
        return _user_limits(session, user_id).applied_to(self.default_limits)

    def _refusal(
        self, session: Session, user_id: str, need: Need, now: datetime
    ) -> errors.BudgetSpent | None:
        limits = self._limits(session, user_id)
        return _statement(session, user_id, limits, now).refusal(need) if limits.any else None


def _user_limits(session: Session, user_id: str) -> UserLimits:
    row = session.get(Budget, user_id)
    return UserLimits(*(getattr(row, kind) for kind in BudgetKind)) if row else UserLimits()


def _statement(session: Session, user_id: str, limits: BudgetLimits, now: datetime) -> Statement:
    used = spending(session, user_id, now)
    tomorrow = day_of(now) + timedelta(days=1)
    next_month = month_of(month_of(now) + timedelta(days=31))
    return Statement(
        tuple(
            BudgetUse(kind, limits.of(kind), getattr(used, kind), tomorrow if kind.is_daily else next_month)
            for kind in BudgetKind
        )
    )
