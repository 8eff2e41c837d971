"""Fixtures of the accounts' tests: the parts of core.accounts, an administrator and a member."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from core.accounts.identity import SignedIn
from core.database.database import Database
from core.generation.job_state import cancel_live_jobs
from core.settings import RegistrationMode
from tests.support.clock import Clock
from tests.support.sign_in import (
    Accounts,
    accounts_in,
    enter,
)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_with(database: Database, clock: Clock) -> Callable[[RegistrationMode], Accounts]:
    return lambda registration: accounts_in(
        database, mode=registration, on_withdrawal=cancel_live_jobs, clock=clock
    )


@pytest.fixture
def accounts(open_with: Callable[[RegistrationMode], Accounts]) -> Accounts:
    return open_with(RegistrationMode.OPEN)


@pytest.fixture
def admin(accounts: Accounts) -> SignedIn:
    return enter(accounts, "root")


@pytest.fixture
def member(accounts: Accounts, admin: SignedIn) -> SignedIn:
    return enter(accounts, "ada")
