"""The queue is fair, keeps its limits for all users together, and estimates waits; on both databases."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from sqlalchemy import text, update
from sqlmodel import col

from core.common.ids import new_id
from core.database.database import Database
from core.database.models import Job, JobState, Usage, UsageKind, User
from core.generation.job_queue import DEFAULT_CALL_SECONDS, LONGEST_PAUSE, JobQueue, Limits
from core.usage.usage_log import Outcome
from tests.support.clock import Clock
from tests.support.generation import ON_SQLITE
from tests.support.waiting import until

Submit = Callable[..., list[str]]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def queue_with(database: Database, clock: Clock) -> Callable[..., JobQueue]:
    return lambda **limits: JobQueue(database, Limits(**limits), clock=clock)


@pytest.fixture
def submit(database: Database, clock: Clock) -> Submit:
    """`submit(user, count)`: the ids of so many queued jobs; a later call's jobs are later."""

    def add(user: User, count: int = 1, **fields: object) -> list[str]:
        clock.forward(seconds=1)
        batch = new_id()
        with database.write() as session:
            jobs = [
                Job(batch_id=batch, position=n, owner_id=user.id, request={}, created_at=clock.now, **fields)
                for n in range(count)
            ]
            session.add_all(jobs)
        return [job.id for job in jobs]

    return add


def end(database: Database, job: Job, *, seconds: float = 10, state: JobState = JobState.DONE) -> None:
    with database.write() as session:
        session.execute(update(Job).where(col(Job.id) == job.id).values(state=state))
        session.add(
            Usage(
                user_id=job.owner_id,
                kind=UsageKind.GENERATE,
                model="m",
                job_id=job.id,
                started_at=job.started_at,
                seconds=seconds,
                outcome="ok",
            )
        )


def owners(jobs: Iterable[Job | None]) -> list[str]:
    return [job.owner_id if job else "" for job in jobs]


def test_no_job_starts_for_a_withdrawn_user(
    queue_with: Callable[..., JobQueue],
    submit: Submit,
    database: Database,
    clock: Clock,
    user: User,
    other_user: User,
) -> None:
    queue = queue_with()
    submit(user, 2)
    with database.write() as session:
        session.execute(update(User).where(col(User.id) == user.id).values(withdrawn_at=clock.now))
    assert queue.claim() is None
    submit(other_user, 1)
    assert owners(queue.claim() for _ in range(2)) == [other_user.id, ""]


def test_a_users_hundred_jobs_do_not_hold_up_another_users_one(
    queue_with: Callable[..., JobQueue], submit: Submit, user: User, other_user: User
) -> None:
    queue = queue_with(at_once=4, per_user=4)
    submit(user, 100)
    submit(other_user, 1)
    assert owners(queue.claim() for _ in range(4)) == [user.id, other_user.id, user.id, user.id]


def test_with_one_job_at_a_time_users_take_turns(
    queue_with: Callable[..., JobQueue],
    submit: Submit,
    database: Database,
    clock: Clock,
    user: User,
    other_user: User,
) -> None:
    queue, order = queue_with(at_once=1), []
    submit(user, 3)
    submit(other_user, 2)
    for _ in range(5):
        clock.forward(seconds=1)
        job = queue.claim()
        assert job
        assert queue.claim() is None
        order.append(job.owner_id)
        end(database, job)
    assert order == [user.id, other_user.id, user.id, other_user.id, user.id]


def test_a_users_own_jobs_keep_their_order(
    queue_with: Callable[..., JobQueue], submit: Submit, user: User
) -> None:
    queue, ids = queue_with(at_once=9, per_user=9), []
    for count in (2, 3):
        ids += submit(user, count)
    assert [job.id for job in iter(queue.claim, None)] == ids


def test_no_user_exceeds_the_limit_per_user(
    queue_with: Callable[..., JobQueue], submit: Submit, user: User, other_user: User
) -> None:
    queue = queue_with(at_once=4, per_user=1)
    submit(user, 5)
    submit(other_user, 5)
    assert owners(queue.claim() for _ in range(3)) == [user.id, other_user.id, ""]


def test_calls_per_minute_stay_within_the_limit(
    queue_with: Callable[..., JobQueue], submit: Submit, database: Database, clock: Clock, user: User
) -> None:
    queue = queue_with(at_once=9, per_user=9, per_minute=2)
    submit(user, 5)
    first = queue.claim()
    assert first
    end(database, first)
    clock.forward(seconds=20)
    assert queue.claim()
    assert queue.claim() is None
    clock.forward(seconds=41)
    assert queue.claim()
    assert queue.claim() is None


def test_a_saved_call_counts_neither_for_the_minute_nor_for_the_estimated_duration(
    queue_with: Callable[..., JobQueue], submit: Submit, database: Database, clock: Clock, user: User
) -> None:
    queue = queue_with(at_once=1, per_minute=1)
    submit(user, 3)
    with database.write() as session:
        session.add(
            Usage(
                user_id=user.id,
                kind=UsageKind.GENERATE,
                model="m",
                started_at=clock.now,
                outcome=Outcome.SAVED,
            )
        )
    assert queue.claim()
    first, *_ = sorted(queue_with(at_once=1).positions(user.id).values(), key=lambda position: position.ahead)
    assert first.seconds == DEFAULT_CALL_SECONDS


def test_the_limits_hold_when_many_claim_at_once(
    queue_with: Callable[..., JobQueue], submit: Submit, user: User
) -> None:
    queue = queue_with(at_once=3, per_user=9)
    submit(user, 8)
    with ThreadPoolExecutor(8) as pool:
        claimed = [job.id for job in pool.map(lambda _: queue.claim(), range(8)) if job]
    assert len(claimed) == len(set(claimed)) == 3


def test_a_claimed_job_is_running_and_counts_its_calls(
    queue_with: Callable[..., JobQueue], submit: Submit, clock: Clock, user: User
) -> None:
    queue = queue_with()
    submit(user, 1, attempts=2, due_at=clock.now)
    job = queue.claim()
    assert job
    assert (job.state, job.attempts, job.due_at, job.started_at) == (JobState.RUNNING, 3, None, clock.now)


def test_a_job_that_waits_for_its_retry_holds_up_nobody(
    queue_with: Callable[..., JobQueue], submit: Submit, clock: Clock, user: User
) -> None:
    queue = queue_with()
    (late,) = submit(user, 1, due_at=clock.now + timedelta(seconds=30))
    (now,) = submit(user)
    first = queue.claim()
    assert first
    assert (first.id, queue.claim()) == (now, None)
    clock.forward(seconds=30)
    second = queue.claim()
    assert second
    assert second.id == late


def test_a_job_that_seems_to_wait_for_hours_is_due(
    queue_with: Callable[..., JobQueue], submit: Submit, clock: Clock, user: User
) -> None:
    """The clock was set back while the job waited."""
    queue = queue_with()
    submit(user, 1, due_at=clock.now + LONGEST_PAUSE + timedelta(minutes=1))
    (waiting,) = submit(user, 1, due_at=clock.now + LONGEST_PAUSE)
    assert queue.claim()
    assert queue.claim() is None
    clock.forward(seconds=LONGEST_PAUSE.total_seconds())
    job = queue.claim()
    assert job
    assert job.id == waiting


def test_calls_that_seem_to_start_later_do_not_count_as_those_of_the_last_minute(
    queue_with: Callable[..., JobQueue], submit: Submit, database: Database, clock: Clock, user: User
) -> None:
    queue = queue_with(at_once=9, per_user=9, per_minute=1)
    submit(user, 3)
    ended = queue.claim()
    assert ended
    end(database, ended)
    clock.forward(hours=-1)
    assert queue.claim()
    assert queue.claim() is None


def test_users_take_turns_although_the_clock_is_set_back(
    queue_with: Callable[..., JobQueue],
    submit: Submit,
    database: Database,
    clock: Clock,
    user: User,
    other_user: User,
) -> None:
    queue, order = queue_with(at_once=1), []
    submit(user, 3)
    submit(other_user, 3)
    for _ in range(6):
        job = queue.claim()
        assert job
        order.append(job.owner_id)
        end(database, job)
        clock.forward(seconds=1)
        if len(order) == 2:
            clock.forward(hours=-1)
    assert order == [user.id, other_user.id] * 3


@ON_SQLITE
def test_an_empty_queue_has_no_positions(queue_with: Callable[..., JobQueue], user: User) -> None:
    assert queue_with().positions(user.id) == {}


@ON_SQLITE
def test_a_position_counts_the_jobs_that_start_before_it(
    queue_with: Callable[..., JobQueue], submit: Submit, user: User, other_user: User
) -> None:
    submit(other_user, 100)
    mine = submit(user, 2)
    positions = queue_with(at_once=1).positions(user.id)
    assert [positions[job].ahead for job in mine] == [1, 3]
    assert [positions[job].seconds for job in mine] == [DEFAULT_CALL_SECONDS, 3 * DEFAULT_CALL_SECONDS]


@ON_SQLITE
def test_the_wait_is_estimated_from_the_latest_calls(
    queue_with: Callable[..., JobQueue], submit: Submit, database: Database, user: User
) -> None:
    queue = queue_with(at_once=2, per_user=2)
    submit(user, 3)
    for seconds in (4, 8, 100):
        job = queue.claim()
        assert job
        end(database, job, seconds=seconds)
    mine = submit(user, 5)
    assert queue.claim()
    positions = queue.positions(user.id)
    assert [positions[job].seconds for job in mine[1:]] == [0, 8, 8, 16]


@ON_SQLITE
def test_the_wait_considers_the_limits_per_user_and_per_minute(
    queue_with: Callable[..., JobQueue], submit: Submit, user: User
) -> None:
    mine = submit(user, 5)
    alone = queue_with(at_once=9, per_user=1).positions(user.id)
    assert [alone[job].seconds / DEFAULT_CALL_SECONDS for job in mine] == [0, 1, 2, 3, 4]
    slowly = queue_with(at_once=9, per_user=9, per_minute=2).positions(user.id)
    assert [slowly[job].seconds for job in mine] == [0, 0, 60, 60, 120]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_job_cancelled_while_a_claim_waits_for_its_row_is_not_started(
    queue_with: Callable[..., JobQueue], database: Database, submit: Submit, user: User
) -> None:
    (job_id,) = submit(user)
    with ThreadPoolExecutor(1) as pool:
        with database.write() as session:
            session.execute(update(Job).where(col(Job.id) == job_id).values(state=JobState.CANCELLED))
            claim = pool.submit(queue_with().claim)
            until(lambda: waits_for_a_lock(database))
        assert claim.result() is None
    with database.read() as session:
        assert session.get_one(Job, job_id).state == JobState.CANCELLED


def waits_for_a_lock(database: Database) -> bool:
    with database.read() as session:
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted AND locktype = 'transactionid'")
        return bool(session.execute(waiting).scalar_one())
