"""Tickets and sessions: how they are opened, how long they last, what ends them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from sqlalchemy import text

from core import errors
from core.accounts.identity import SignedIn
from core.accounts.sessions import TICKET_LIFETIME
from core.database.database import Database
from tests.support.clock import Clock
from tests.support.concurrent_write import meanwhile
from tests.support.sign_in import (
    HASH,
    Accounts,
    accounts_in,
    change_password,
    enter,
    in_parallel,
    ticket_of,
    token_of,
)

Event = Callable[[Accounts, SignedIn, str], object]


def test_a_session_survives_a_restart(accounts: Accounts, database_url: str, clock: Clock) -> None:
    enter(accounts, "ada")
    token = token_of(accounts, "ada")
    database = Database(database_url)
    found = accounts_in(database, clock=clock).sessions.authenticate(token)
    database.close()
    assert found is not None
    assert (found.username, found.is_admin) == ("ada", True)


@pytest.mark.parametrize("token", [None, "", "made-up", "\0", "\ud800", "x" * 10_000], ids=ascii)
def test_an_unknown_session_token_authenticates_nobody(
    accounts: Accounts, member: SignedIn, token: str | None
) -> None:
    assert accounts.sessions.authenticate(token) is None


def test_sign_out_ends_one_browser(accounts: Accounts, member: SignedIn) -> None:
    here, there = token_of(accounts, "ada"), token_of(accounts, "ada")
    accounts.sessions.sign_out(here)
    accounts.sessions.sign_out(None)
    assert accounts.sessions.authenticate(here) is None
    assert accounts.sessions.authenticate(there) is not None


def test_sign_out_everywhere_ends_all_sessions_of_the_user_only(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    mine, ticket = token_of(accounts, "ada"), ticket_of(accounts, "ada")
    admins = token_of(accounts, "root")
    accounts.sessions.sign_out_everywhere(member)
    assert accounts.sessions.authenticate(mine) is None
    with pytest.raises(errors.SessionEnded):
        accounts.sessions.redeem_ticket(ticket)
    assert accounts.sessions.authenticate(admins) is not None


def test_a_new_password_ends_every_session(accounts: Accounts, member: SignedIn) -> None:
    token, ticket = token_of(accounts, "ada"), ticket_of(accounts, "ada")
    change_password(accounts, "Ada", "another")
    assert accounts.sessions.authenticate(token) is None
    assert accounts.passwords.stored_hash("ada") == "another"
    with pytest.raises(errors.SessionEnded):
        accounts.sessions.redeem_ticket(ticket)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(
            lambda accounts, admin, user: change_password(accounts, "ada", "x"), id="a new password"
        ),
        pytest.param(
            lambda accounts, admin, user: accounts.passwords.use_reset(
                accounts.passwords.create_reset(admin, user), "x"
            ),
            id="a link",
        ),
        pytest.param(lambda accounts, admin, user: accounts.users.withdraw(admin, user), id="withdrawal"),
    ],
)
class TestAPasswordVerifiedBeforeAChange:
    """A change that ends sessions also stops a sign-in whose password was verified just before it."""

    def test_gets_no_ticket(
        self, accounts: Accounts, admin: SignedIn, member: SignedIn, event: Event
    ) -> None:
        event(accounts, admin, member.user_id)
        with pytest.raises((errors.SignInFailed, errors.AccessWithdrawn)):
            accounts.sessions.issue_ticket("ada", HASH)

    def test_can_not_replace_the_hash(
        self, accounts: Accounts, admin: SignedIn, member: SignedIn, event: Event
    ) -> None:
        event(accounts, admin, member.user_id)
        with pytest.raises((errors.SignInFailed, errors.AccessWithdrawn)):
            accounts.passwords.replace_hash("ada", "another", HASH)
        accounts.users.reinstate(admin, member.user_id)
        assert accounts.passwords.stored_hash("ada") != "another"

    def test_leaves_no_session_whose_ticket_is_being_redeemed(
        self, accounts: Accounts, database: Database, admin: SignedIn, member: SignedIn, event: Event
    ) -> None:
        ticket = ticket_of(accounts, "ada")
        with meanwhile(
            database, "INSERT INTO sign_in_sessions", partial(event, accounts, admin, member.user_id)
        ):
            token = accounts.sessions.redeem_ticket(ticket)
        assert accounts.sessions.authenticate(token) is None
        accounts.users.reinstate(admin, member.user_id)
        assert accounts.sessions.authenticate(token) is None

    def test_leaves_no_ticket_that_is_being_issued(
        self, accounts: Accounts, database: Database, admin: SignedIn, member: SignedIn, event: Event
    ) -> None:
        with meanwhile(
            database, "INSERT INTO sign_in_tickets", partial(event, accounts, admin, member.user_id)
        ):
            ticket = ticket_of(accounts, "ada")
        accounts.users.reinstate(admin, member.user_id)
        with pytest.raises(errors.SessionEnded):
            accounts.sessions.redeem_ticket(ticket)


def test_sign_out_everywhere_ends_a_session_that_is_being_created(
    accounts: Accounts, database: Database, member: SignedIn
) -> None:
    ticket = ticket_of(accounts, "ada")
    with meanwhile(
        database, "INSERT INTO sign_in_sessions", partial(accounts.sessions.sign_out_everywhere, member)
    ):
        token = accounts.sessions.redeem_ticket(ticket)
    assert accounts.sessions.authenticate(token) is None


def test_a_session_lasts_while_it_is_used(database: Database, clock: Clock) -> None:
    accounts = accounts_in(database, session_days=2, clock=clock)
    enter(accounts, "ada")
    token = token_of(accounts, "ada")
    for _ in range(4):
        clock.forward(days=1, hours=23)
        assert accounts.sessions.authenticate(token) is not None
    clock.forward(days=2)
    assert accounts.sessions.authenticate(token) is None


def test_sessions_are_listed_for_their_owner(accounts: Accounts, admin: SignedIn, clock: Clock) -> None:
    user = enter(accounts, "ada")
    clock.forward(minutes=1)
    accounts.sessions.redeem_ticket(ticket_of(accounts, "ada"), browser="Firefox" * 100)
    assert [row.browser[:7] for row in accounts.sessions.list(user)] == ["Firefox", ""]
    clock.forward(days=365)
    assert accounts.sessions.list(user) == ()


def test_a_ticket_opens_one_session(accounts: Accounts, member: SignedIn) -> None:
    ticket = ticket_of(accounts, "ada")
    tokens = in_parallel(6, lambda _: accounts.sessions.redeem_ticket(ticket))
    assert sum(isinstance(token, str) for token in tokens) == 1
    assert sum(isinstance(token, errors.SessionEnded) for token in tokens) == 5


def test_a_ticket_expires(accounts: Accounts, member: SignedIn, clock: Clock) -> None:
    ticket = ticket_of(accounts, "ada")
    clock.now += TICKET_LIFETIME
    with pytest.raises(errors.SessionEnded):
        accounts.sessions.redeem_ticket(ticket)


def test_a_read_only_database_signs_nobody_out(sqlite_database: Database, clock: Clock) -> None:
    accounts = accounts_in(sqlite_database, clock=clock)
    enter(accounts, "ada")
    token = token_of(accounts, "ada")
    clock.forward(hours=1)
    with sqlite_database.read() as session:
        session.execute(text("PRAGMA query_only=ON"))
    with pytest.raises(errors.StorageReadOnly):
        accounts.sign_in_attempts.begin("ada")
    assert accounts.sessions.authenticate(token) is not None
