"""Each error is counted exactly once, on both databases; only administrators see the counts."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlmodel import select

from core import errors
from core.accounts.identity import SignedIn
from core.database.database import Database
from core.database.models import ErrorCount, User
from core.usage.error_counts import ErrorCounts, ErrorFrequency
from tests.support.clock import Clock
from tests.support.crashing_worker import RECIPE
from tests.support.generation import ON_SQLITE, Studio
from tests.support.openai_service import Behaviour

HALF_PAST = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)


@pytest.fixture
def clock() -> Clock:
    clock = Clock()
    clock.now = HALF_PAST
    return clock


@pytest.fixture
def failures(database: Database, clock: Clock) -> ErrorCounts:
    return ErrorCounts(database, clock)


ADMIN = SignedIn("id", "ada", "Ada", is_admin=True, session_id="session")


def rows(database: Database) -> dict[tuple[str, datetime], int]:
    with database.read() as session:
        return {(row.code, row.hour): row.count for row in session.exec(select(ErrorCount))}


def test_failures_are_counted_by_code_and_hour(
    failures: ErrorCounts, clock: Clock, database: Database
) -> None:
    for moment in (HALF_PAST, HALF_PAST + timedelta(minutes=29), HALF_PAST + timedelta(minutes=30)):
        clock.now = moment
        failures.count(errors.QuotaSpent())
    failures.count(errors.RateLimited())
    noon, one = HALF_PAST.replace(minute=0), HALF_PAST.replace(hour=13, minute=0)
    quota, rate = errors.QuotaSpent.code, errors.RateLimited.code
    assert rows(database) == {(quota, noon): 2, (quota, one): 1, (rate, one): 1}


def test_an_error_that_is_reported_twice_is_counted_once(failures: ErrorCounts, database: Database) -> None:
    error = errors.QuotaSpent()
    failures.count(error)
    failures.count(error)
    assert list(rows(database).values()) == [1]


def test_concurrent_errors_are_counted_exactly(failures: ErrorCounts, database: Database) -> None:
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(failures.count, [errors.QuotaSpent() for _ in range(200)]))
    assert list(rows(database).values()) == [200]


def test_errors_of_the_database_are_not_counted(failures: ErrorCounts, database: Database) -> None:
    for error in (errors.DatabaseBusy(), errors.DatabaseDamaged(), errors.DatabaseUnreachable()):
        failures.count(error)
    assert rows(database) == {}


def test_a_count_that_can_not_be_written_is_logged(
    failures: ErrorCounts, database: Database, capsys: pytest.CaptureFixture[str]
) -> None:
    with database.write() as session:
        session.execute(text("DROP TABLE failures"))
    failures.count(errors.QuotaSpent())
    assert "error_not_counted" in capsys.readouterr().out


def test_the_administrator_sees_a_day_and_a_month(failures: ErrorCounts, clock: Clock) -> None:
    for hours, kind in (
        (0, errors.RateLimited),
        (23, errors.QuotaSpent),
        (23, errors.QuotaSpent),
        (24, errors.QuotaSpent),
        (24 * 30 - 1, errors.BadImage),
        (24 * 30, errors.ApiKeyRejected),
    ):
        clock.now = HALF_PAST - timedelta(hours=hours)
        failures.count(kind())
    clock.now = HALF_PAST
    assert failures.frequencies(ADMIN) == (
        ErrorFrequency(errors.QuotaSpent.code, str(errors.QuotaSpent.message), 2, 3),
        ErrorFrequency(errors.RateLimited.code, str(errors.RateLimited.message), 1, 1),
        ErrorFrequency(errors.BadImage.code, str(errors.BadImage.message), 0, 1),
    )


def test_members_see_no_counts(failures: ErrorCounts) -> None:
    with pytest.raises(errors.NotAllowed):
        failures.frequencies(replace(ADMIN, is_admin=False))


def test_a_code_of_another_version_has_no_message(failures: ErrorCounts, database: Database) -> None:
    with database.write() as session:
        session.add(ErrorCount(code="IMG-OLD-001", hour=HALF_PAST.replace(minute=0), count=3))
    assert failures.frequencies(ADMIN) == (ErrorFrequency("IMG-OLD-001", "", 3, 3),)


def test_counts_older_than_a_month_are_deleted(
    failures: ErrorCounts, clock: Clock, database: Database
) -> None:
    clock.now = HALF_PAST - timedelta(days=31)
    failures.count(errors.QuotaSpent())
    clock.now = HALF_PAST
    failures.count(errors.RateLimited())
    failures.tidy()
    assert [code for code, _hour in rows(database)] == [errors.RateLimited.code]


# Where failures reach people


@ON_SQLITE
@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        pytest.param("quota spent", errors.QuotaSpent, id="refused"),
        pytest.param("dropped", errors.ResponseLost, id="outcome unknown"),
        pytest.param(Behaviour(raw=b'{"data": [{"b64_json": "aGk="}]}'), errors.BadImage, id="damaged"),
    ],
)
def test_a_job_that_ends_without_an_image_is_counted_once(
    make_studio: Callable[..., Studio],
    database: Database,
    user: User,
    behaviour: Behaviour | str,
    kind: type[errors.ImageError],
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script(behaviour)
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    assert [code for code, _hour in rows(database)] == [kind.code]
    assert list(rows(database).values()) == [1]


@ON_SQLITE
def test_an_automatic_retry_is_not_counted(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.service.script("overloaded")
    studio.jobs.submit(user.id, [RECIPE])
    studio.work()
    assert rows(database) == {}


@ON_SQLITE
def test_a_job_of_a_dead_process_is_counted(
    make_studio: Callable[..., Studio], database: Database, user: User
) -> None:
    studio = make_studio(database, started=False)
    studio.jobs.submit(user.id, [RECIPE])
    assert studio.jobs.claim()
    studio.jobs.recovery.settle_orphans()
    assert [code for code, _hour in rows(database)] == [errors.OutcomeUnknown.code]
