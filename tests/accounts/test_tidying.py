"""Removing expired rows waits for changes under way, and never deadlocks with them."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import timedelta

from core.accounts.identity import SignedIn
from core.accounts.passwords import RESET_LIFETIME
from core.accounts.registration import INVITE_LIFETIME
from core.database.database import Database
from core.settings import RegistrationMode
from tests.support.clock import Clock
from tests.support.concurrent_write import meanwhile
from tests.support.sign_in import HASH, Accounts, accounts_in, ticket_of


def later(database: Database, at_work: ExitStack, clock: Clock, span: timedelta) -> Accounts:
    """The accounts' parts in a process whose clock is ahead."""
    other = Database(database.url.render_as_string(hide_password=False))
    at_work.callback(other.close)
    return accounts_in(other, clock=lambda: clock.now + span)


def test_an_invitation_that_expires_during_the_registration_can_be_used(
    database: Database, at_work: ExitStack, clock: Clock, admin: SignedIn
) -> None:
    accounts = accounts_in(database, mode=RegistrationMode.INVITE, clock=clock)
    invite = accounts.registration.create_invite(admin)
    tidy = later(database, at_work, clock, INVITE_LIFETIME + timedelta(minutes=1)).registration.tidy
    with meanwhile(database, "INSERT INTO users", tidy):
        assert accounts.registration.create_user("ada", HASH, invite=invite).username == "ada"


def test_a_new_password_does_not_deadlock_with_the_removal_of_expired_sessions(
    database: Database,
    at_work: ExitStack,
    clock: Clock,
    accounts: Accounts,
    admin: SignedIn,
    member: SignedIn,
) -> None:
    reset = accounts.passwords.create_reset(admin, member.user_id)
    ticket_of(accounts, "ada")
    tidy = later(database, at_work, clock, timedelta(days=400)).sessions.tidy
    with meanwhile(database, "DELETE FROM sign_in_tickets", tidy):
        assert accounts.passwords.use_reset(reset, HASH) == "ada"


def test_a_reset_link_that_expires_while_it_is_used_still_works(
    database: Database,
    at_work: ExitStack,
    clock: Clock,
    accounts: Accounts,
    admin: SignedIn,
    member: SignedIn,
) -> None:
    reset = accounts.passwords.create_reset(admin, member.user_id)
    tidy = later(database, at_work, clock, RESET_LIFETIME + timedelta(minutes=1)).passwords.tidy
    with meanwhile(database, "UPDATE users", tidy):
        assert accounts.passwords.use_reset(reset, HASH + "2") == "ada"
