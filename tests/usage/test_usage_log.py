"""Every call is counted once, for its own user, on both engines."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlmodel import select

from core.database.database import Database
from core.database.models import Usage, UsageKind, User
from core.provider.payloads import user_tag
from core.usage.usage_log import Call, Outcome, Totals, UsageLog

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)


@pytest.fixture
def log(database: Database) -> UsageLog:
    return UsageLog(database)


def a_call(user: User) -> Call:
    return Call(
        user_id=user.id,
        kind=UsageKind.GENERATE,
        model="gpt-image-2",
        offline=False,
        started_at=NOON,
        seconds=12.5,
        outcome=Outcome.OK,
        price_micros=40_000,
        images=1,
    )


def saved_calls(user: User) -> list[Call]:
    saved = replace(a_call(user), outcome=Outcome.SAVED, price_micros=0, images=0)
    return [
        replace(saved, saved_micros=40_000),
        replace(saved, kind=UsageKind.ENHANCE, saved_micros=500),
        replace(saved, saved_micros=None),
    ]


def test_totals_add_up_one_users_calls(log: UsageLog, user: User, other_user: User) -> None:
    call = a_call(user)
    for recorded in (
        call,
        replace(call, price_micros=60_000, images=3),
        replace(call, price_micros=None),
        replace(call, price_micros=None, images=0, outcome=Outcome.UNKNOWN),
        replace(call, price_micros=None, images=0, outcome=Outcome.FAILED, error_code="IMG-GEN-RATE-001"),
        replace(call, price_micros=None, offline=True),
        replace(call, started_at=NOON - timedelta(microseconds=1)),
        replace(call, user_id=other_user.id),
        *saved_calls(user),
    ):
        log.record_now(recorded)
    assert log.totals(user.id, NOON) == Totals(
        calls=6,
        images=6,
        priced_micros=100_000,
        unpriced_calls=2,
        failed=1,
        saved_calls=3,
        saved_micros=40_500,
        unpriced_saved_calls=1,
    )


def test_a_started_call_is_counted_once(log: UsageLog, database: Database, user: User) -> None:
    call = replace(a_call(user), kind=UsageKind.ENHANCE, images=0)
    with database.write() as session:
        begun = log.begin(session, replace(call, price_micros=None, reserved_micros=50_000))
    assert log.totals(user.id, NOON) == Totals(1, 0, 0, 1, 0)
    log.end(begun, replace(call, started_at=NOON + timedelta(hours=1), reserved_micros=50_000))
    assert log.totals(user.id, NOON) == Totals(1, 0, 40_000, 0, 0)
    with database.read() as session:
        assert session.exec(select(Usage)).one().started_at == NOON


@pytest.mark.parametrize("counts", [{"reserved_micros": 7}, {"lost_images": 1}], ids=str)
def test_a_failure_that_may_have_been_charged_is_unpriced(
    log: UsageLog, user: User, counts: dict[str, int]
) -> None:
    failed = replace(a_call(user), outcome=Outcome.FAILED, price_micros=None, images=0)
    log.record_now(replace(failed, **counts))
    totals = log.totals(user.id, NOON)
    assert (totals.failed, totals.unpriced_calls, totals.images) == (1, 1, 0)


def test_totals_of_nothing_are_zero(log: UsageLog, user: User) -> None:
    assert log.totals(user.id, NOON) == Totals(0, 0, 0, 0, 0, 0, 0, 0)


def test_totals_hold_more_than_32_bits(log: UsageLog, user: User) -> None:
    for _ in range(3):
        log.record_now(replace(a_call(user), price_micros=2**40))
    assert log.totals(user.id, NOON).priced_micros == 3 * 2**40


def test_a_call_is_recorded_with_the_callers_transaction_or_not_at_all(
    log: UsageLog, database: Database, user: User
) -> None:
    with pytest.raises(ZeroDivisionError), database.write() as session:  # noqa: PT012 (all of the block is one transaction)
        log.record(session, a_call(user))
        session.flush()
        raise ZeroDivisionError
    assert log.totals(user.id, NOON).calls == 0
    with database.write() as session:
        log.record(session, a_call(user))
    assert log.totals(user.id, NOON).calls == 1


def test_no_foreign_request_id_loses_a_call(log: UsageLog, database: Database, user: User) -> None:
    log.record_now(replace(a_call(user), request_id="r\0\ud800" + "x" * 500))
    with database.read() as session:
        kept = session.exec(select(Usage)).one().request_id
    assert kept is not None
    assert kept.startswith("r\ufffd")
    assert len(kept) == 128


def test_a_users_tag_is_stable_and_anonymous() -> None:
    tag = user_tag("ada", b"secret")
    assert tag == user_tag("ada", b"secret")
    assert len(tag) == 32
    assert int(tag, 16)
    assert len({tag, user_tag("ada", b"other"), user_tag("grace", b"secret")}) == 3
