"""Who may register, and the invitations that create an account."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlmodel import select

from core import errors
from core.accounts.identity import SignedIn
from core.accounts.registration import INVITE_LIFETIME
from core.database.database import Database
from core.database.models import (
    INVITE_NAME_LENGTH,
    User,
)
from core.settings import RegistrationMode
from tests.support.clock import Clock
from tests.support.sign_in import (
    HASH,
    Accounts,
    enter,
    in_parallel,
)


def test_the_first_account_becomes_the_administrator(accounts: Accounts) -> None:
    assert not accounts.registration.has_users()
    assert enter(accounts, "root").is_admin
    assert accounts.registration.has_users()
    assert not enter(accounts, "ada").is_admin


def test_of_concurrent_first_accounts_only_one_becomes_the_administrator(
    accounts: Accounts, database: Database
) -> None:
    made = in_parallel(8, lambda number: accounts.registration.create_user(f"user{number}", HASH))
    assert [type(user) for user in made] == [User] * 8
    with database.read() as session:
        roles = sorted(session.exec(select(User.role)).all())
    assert roles == ["admin"] + ["member"] * 7


def test_concurrent_registrations_of_one_username_create_one_account(accounts: Accounts) -> None:
    made = in_parallel(
        8, lambda number: accounts.registration.create_user(("Ada", "ADA", "ada")[number % 3], HASH)
    )
    assert sum(isinstance(user, User) for user in made) == 1
    assert sum(isinstance(user, errors.UsernameTaken) for user in made) == 7


@pytest.mark.parametrize("registration", [RegistrationMode.INVITE, RegistrationMode.CLOSED])
def test_only_the_first_account_needs_no_invitation(
    open_with: Callable[[RegistrationMode], Accounts], registration: RegistrationMode
) -> None:
    accounts = open_with(registration)
    accounts.registration.check()
    assert enter(accounts, "root").is_admin
    with pytest.raises(errors.RegistrationClosed):
        accounts.registration.check()
    with pytest.raises(errors.RegistrationClosed):
        accounts.registration.create_user("ada", HASH)


def test_closed_registration_refuses_invitations_too(
    open_with: Callable[[RegistrationMode], Accounts],
) -> None:
    accounts = open_with(RegistrationMode.CLOSED)
    invite = accounts.registration.create_invite(enter(accounts, "root"))
    with pytest.raises(errors.RegistrationClosed):
        accounts.registration.create_user("ada", HASH, invite=invite)


def test_an_invitation_creates_one_account(open_with: Callable[[RegistrationMode], Accounts]) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    invite = accounts.registration.create_invite(enter(accounts, "root"))
    accounts.registration.check(invite)
    assert not enter(accounts, "ada", invite=invite).is_admin
    with pytest.raises(errors.InviteInvalid):
        accounts.registration.check(invite)
    with pytest.raises(errors.InviteInvalid):
        accounts.registration.create_user("grace", HASH, invite=invite)


@pytest.mark.parametrize(
    ("given", "listed"), [("  Grace\n Hopper ", "Grace Hopper"), ("", ""), ("x\0" * 100, None)]
)
def test_an_invitation_is_listed_with_the_name_of_whom_it_is_for(
    open_with: Callable[[RegistrationMode], Accounts], admin: SignedIn, given: str, listed: str | None
) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    accounts.registration.create_invite(admin, given)
    [invite] = accounts.registration.open_invites(admin)
    assert invite.name == listed if listed is not None else 0 < len(invite.name) <= INVITE_NAME_LENGTH


def test_concurrent_uses_of_an_invitation_create_one_account(
    open_with: Callable[[RegistrationMode], Accounts],
) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    invite = accounts.registration.create_invite(enter(accounts, "root"))
    made = in_parallel(
        6, lambda number: accounts.registration.create_user(f"user{number}", HASH, invite=invite)
    )
    assert sum(isinstance(user, User) for user in made) == 1
    assert sum(isinstance(user, errors.InviteInvalid) for user in made) == 5


def test_a_failed_registration_leaves_the_invitation(
    open_with: Callable[[RegistrationMode], Accounts],
) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    invite = accounts.registration.create_invite(enter(accounts, "root"))
    with pytest.raises(errors.UsernameTaken):
        accounts.registration.create_user("ROOT", HASH, invite=invite)
    enter(accounts, "ada", invite=invite)


def test_an_invitation_expires(open_with: Callable[[RegistrationMode], Accounts], clock: Clock) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    invite = accounts.registration.create_invite(enter(accounts, "root"))
    clock.now += INVITE_LIFETIME - timedelta(seconds=1)
    accounts.registration.check(invite)
    clock.forward(seconds=1)
    with pytest.raises(errors.InviteInvalid):
        accounts.registration.create_user("ada", HASH, invite=invite)


@pytest.mark.parametrize("invite", ["made-up", "", "\0", "\ud800"], ids=ascii)
def test_an_unknown_invitation_is_refused(
    open_with: Callable[[RegistrationMode], Accounts], invite: str
) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    enter(accounts, "root")
    with pytest.raises((errors.InviteInvalid, errors.RegistrationClosed)):
        accounts.registration.create_user("ada", HASH, invite=invite)


def test_an_open_invitation_can_be_withdrawn(
    open_with: Callable[[RegistrationMode], Accounts], admin: SignedIn, member: SignedIn
) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    used, open_one = accounts.registration.create_invite(admin), accounts.registration.create_invite(admin)
    accounts.registration.create_user("guest", HASH, invite=used)
    (listed,) = accounts.registration.open_invites(admin)
    for verb in (
        accounts.registration.open_invites,
        lambda user: accounts.registration.withdraw_invite(user, listed.id),
    ):
        with pytest.raises(errors.NotAllowed):
            verb(member)
    accounts.registration.withdraw_invite(admin, listed.id)
    assert accounts.registration.open_invites(admin) == []
    with pytest.raises(errors.InviteInvalid):
        accounts.registration.create_user("another", HASH, invite=open_one)
