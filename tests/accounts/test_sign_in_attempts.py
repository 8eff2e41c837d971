"""The lock-out after too many sign-in attempts."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlmodel import select

from core import errors
from core.accounts.identity import SignedIn
from core.accounts.sign_in_attempts import LOCKOUT, MAX_ATTEMPTS
from core.database.database import Database
from core.database.models import (
    SignInAttempt,
)
from tests.support.clock import Clock
from tests.support.sign_in import (
    Accounts,
    accounts_in,
    in_parallel,
)


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_a_username_is_locked_after_five_attempts(
    accounts: Accounts, member: SignedIn, clock: Clock, name: str
) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin(name)
        clock.forward(minutes=2)
    with pytest.raises(errors.SignInLocked) as caught:
        accounts.sign_in_attempts.begin(name.upper())
    assert caught.value.retry_after == pytest.approx(13 * 60)
    accounts.sign_in_attempts.begin("somebody-else")


def test_the_lock_ends_15_minutes_after_the_last_attempt(accounts: Accounts, clock: Clock) -> None:
    for _ in range(MAX_ATTEMPTS):
        clock.forward(minutes=3)
        accounts.sign_in_attempts.begin("ada")
    clock.now += LOCKOUT - timedelta(seconds=1)
    with pytest.raises(errors.SignInLocked):
        accounts.sign_in_attempts.begin("ada")
    clock.forward(seconds=1)
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
    with pytest.raises(errors.SignInLocked):
        accounts.sign_in_attempts.begin("ada")


def test_five_attempts_over_a_longer_time_lock_nothing(accounts: Accounts, clock: Clock) -> None:
    for _ in range(20):
        clock.forward(minutes=4)
        accounts.sign_in_attempts.begin("ada")


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_of_parallel_attempts_five_are_checked(accounts: Accounts, member: SignedIn, name: str) -> None:
    judged = in_parallel(20, lambda _: accounts.sign_in_attempts.begin(name))
    assert judged.count(None) == MAX_ATTEMPTS
    assert sum(isinstance(answer, errors.SignInLocked) for answer in judged) == 20 - MAX_ATTEMPTS


def test_a_successful_sign_in_clears_the_attempts(accounts: Accounts) -> None:
    for _ in range(3):
        for _ in range(MAX_ATTEMPTS - 1):
            accounts.sign_in_attempts.begin("ada")
        accounts.sign_in_attempts.clear("Ada")


def test_a_clock_that_is_set_back_locks_nobody_out(
    accounts: Accounts, database: Database, clock: Clock
) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
    clock.now -= timedelta(days=1)
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
    with pytest.raises(errors.SignInLocked) as caught:
        accounts.sign_in_attempts.begin("ada")
    assert caught.value.retry_after == LOCKOUT.total_seconds()
    accounts.tidy()
    with database.read() as session:
        assert list(session.exec(select(SignInAttempt.at))) == [clock.now] * MAX_ATTEMPTS


def test_of_parallel_attempts_five_are_checked_while_the_clock_moves(
    database: Database, accounts: Accounts
) -> None:
    moving = accounts_in(database)
    judged = in_parallel(20, lambda _: moving.sign_in_attempts.begin("ada"))
    assert judged.count(None) == MAX_ATTEMPTS


def test_a_lockout_survives_a_restart(accounts: Accounts, database_url: str, clock: Clock) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
    database = Database(database_url)
    with pytest.raises(errors.SignInLocked):
        accounts_in(database, clock=clock).sign_in_attempts.begin("ada")
    database.close()


def test_tidying_keeps_a_lockout(accounts: Accounts, clock: Clock) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
        clock.forward(minutes=3)
    clock.forward(minutes=10)
    accounts.tidy()
    with pytest.raises(errors.SignInLocked):
        accounts.sign_in_attempts.begin("ada")
