"""Administration: listing, withdrawing and reinstating users; tidying."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import text
from sqlmodel import select

from core import errors
from core.accounts.identity import SignedIn
from core.common.ids import new_id
from core.database.database import Database
from core.database.models import (
    Invite,
    Job,
    JobState,
    PasswordReset,
    SignInAttempt,
    SignInSession,
    SignInTicket,
)
from tests.support.clock import Clock
from tests.support.sign_in import (
    HASH,
    Accounts,
    ticket_of,
    token_of,
)


def test_withdrawal_ends_sessions_and_sign_in_until_the_user_is_reinstated(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    token, ticket = token_of(accounts, "ada"), ticket_of(accounts, "ada")
    accounts.users.withdraw(admin, member.user_id)
    assert accounts.sessions.authenticate(token) is None
    assert accounts.passwords.stored_hash("ada") is None
    with pytest.raises(errors.SessionEnded):
        accounts.sessions.redeem_ticket(ticket)
    with pytest.raises(errors.AccessWithdrawn):
        accounts.sessions.issue_ticket("ada", HASH)
    accounts.users.reinstate(admin, member.user_id)
    assert accounts.sessions.authenticate(token) is None
    assert accounts.sessions.authenticate(token_of(accounts, "ada")) is not None


def test_tokens_are_stored_only_as_hashes(accounts: Accounts, database: Database, admin: SignedIn) -> None:
    secrets = (
        ticket_of(accounts, "root"),
        accounts.registration.create_invite(admin),
        accounts.passwords.create_reset(admin, admin.user_id),
        token_of(accounts, "root"),
    )
    tables = ("sign_in_tickets", "sign_in_sessions", "invites", "password_resets")
    with database.read() as session:
        stored = "".join(str(session.execute(text(f"SELECT * FROM {table}")).all()) for table in tables)
    assert stored.count("root") == 0
    assert [secret in stored for secret in secrets] == [False] * 4


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(lambda accounts, user, other: accounts.users.list(user), id="list"),
        pytest.param(
            lambda accounts, user, other: accounts.users.withdraw(user, other.user_id), id="withdraw"
        ),
        pytest.param(
            lambda accounts, user, other: accounts.users.reinstate(user, other.user_id), id="reinstate"
        ),
        pytest.param(lambda accounts, user, other: accounts.registration.create_invite(user), id="invite"),
        pytest.param(
            lambda accounts, user, other: accounts.passwords.create_reset(user, other.user_id),
            id="new password",
        ),
    ],
)
def test_members_can_not_administer(
    accounts: Accounts,
    admin: SignedIn,
    member: SignedIn,
    verb: Callable[[Accounts, SignedIn, SignedIn], object],
) -> None:
    with pytest.raises(errors.NotAllowed):
        verb(accounts, member, admin)
    assert accounts.passwords.stored_hash("root") is not None
    verb(accounts, admin, member)


def test_withdrawal_cancels_queued_jobs_and_lets_running_ones_finish(
    accounts: Accounts, database: Database, admin: SignedIn, member: SignedIn, clock: Clock
) -> None:
    def submit(owner: SignedIn, state: JobState) -> None:
        with database.write() as session:
            session.add(
                Job(batch_id=new_id(), owner_id=owner.user_id, state=state, request={}, due_at=clock.now)
            )

    def states(owner: SignedIn) -> list[str]:
        with database.read() as session:
            return sorted(session.exec(select(Job.state).where(Job.owner_id == owner.user_id)).all())

    for state in (JobState.QUEUED, JobState.QUEUED, JobState.RUNNING):
        submit(member, state)
    submit(admin, JobState.QUEUED)
    accounts.users.withdraw(admin, member.user_id)
    assert states(member) == [JobState.CANCELLED, JobState.CANCELLED, JobState.RUNNING]
    with database.read() as session:
        running = session.exec(select(Job).where(Job.state == JobState.RUNNING)).one()
    assert running.cancel_asked, "a refused call of it would be made again"
    assert states(admin) == [JobState.QUEUED]
    submit(member, JobState.QUEUED)
    accounts.users.reinstate(admin, member.user_id)
    assert states(member) == [JobState.CANCELLED] * 3 + [JobState.RUNNING]


def test_administrators_can_not_withdraw_themselves(accounts: Accounts, admin: SignedIn) -> None:
    with pytest.raises(errors.NotAllowed):
        accounts.users.withdraw(admin, admin.user_id)
    assert accounts.passwords.stored_hash("root") is not None


def test_the_administrator_sees_every_account(
    accounts: Accounts, admin: SignedIn, member: SignedIn, clock: Clock
) -> None:
    accounts.users.withdraw(admin, member.user_id)
    listed = {
        account.username: (account.is_admin, account.withdrawn_at) for account in accounts.users.list(admin)
    }
    assert listed == {"root": (True, None), "ada": (False, clock.now)}


def test_tidying_removes_only_expired_rows(
    accounts: Accounts, database: Database, admin: SignedIn, clock: Clock
) -> None:
    def leave_one_of_each() -> None:
        ticket_of(accounts, "root")
        accounts.registration.create_invite(admin)
        accounts.passwords.create_reset(admin, admin.user_id)
        accounts.sign_in_attempts.begin("nobody")
        token_of(accounts, "root")

    leave_one_of_each()
    clock.forward(days=40)
    leave_one_of_each()
    accounts.tidy()
    with database.read() as session:
        counts = [
            len(session.exec(select(table)).all())
            for table in (SignInTicket, Invite, PasswordReset, SignInAttempt, SignInSession)
        ]
    assert counts == [1, 1, 1, 1, 1]
