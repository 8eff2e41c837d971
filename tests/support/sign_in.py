"""Creating and signing in users whose password the test doesn't need to know."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol, TypeVar

from core import errors
from core.accounts.api_tokens import ApiTokens
from core.accounts.audit_log import AuditLog
from core.accounts.identity import SignedIn
from core.accounts.passwords import Passwords
from core.accounts.registration import Registration
from core.accounts.sessions import Sessions
from core.accounts.sign_in_attempts import SignInAttempts
from core.accounts.users import OnWithdrawal, Users, ignore_withdrawal
from core.common.clock import utc_now
from core.database.database import Database
from core.settings import RegistrationMode

T = TypeVar("T")


HASH = "$2b$12$not-a-real-hash"


@dataclass(frozen=True, slots=True)
class Accounts:
    """The parts of core.accounts over one database, under the names of their fields in core.studio."""

    audit_log: AuditLog
    registration: Registration
    passwords: Passwords
    sign_in_attempts: SignInAttempts
    sessions: Sessions
    users: Users
    api_tokens: ApiTokens

    def tidy(self) -> None:
        for part in (self.registration, self.passwords, self.sign_in_attempts, self.sessions):
            part.tidy()


def accounts_in(
    database: Database,
    *,
    mode: RegistrationMode = RegistrationMode.OPEN,
    session_days: int = 30,
    on_withdrawal: OnWithdrawal = ignore_withdrawal,
    clock: Callable[[], datetime] = utc_now,
) -> Accounts:
    audit_log = AuditLog(database, clock=clock)
    return Accounts(
        audit_log,
        Registration(database, audit_log, mode=mode, clock=clock),
        Passwords(database, audit_log, clock=clock),
        SignInAttempts(database, audit_log, clock=clock),
        Sessions(database, audit_log, session_days=session_days, clock=clock),
        Users(database, audit_log, on_withdrawal=on_withdrawal, clock=clock),
        ApiTokens(database, audit_log, clock=clock),
    )


class HasAccounts(Protocol):
    """Either Accounts or core.studio.Studio."""

    @property
    def registration(self) -> Registration: ...

    @property
    def passwords(self) -> Passwords: ...

    @property
    def sessions(self) -> Sessions: ...


def ticket_of(accounts: HasAccounts, username: str) -> str:
    """A ticket, as the user gets one for the right password."""
    return accounts.sessions.issue_ticket(username, accounts.passwords.stored_hash(username) or "")


def token_of(accounts: HasAccounts, username: str) -> str:
    """The token of a new session."""
    return accounts.sessions.redeem_ticket(ticket_of(accounts, username))


def change_password(accounts: HasAccounts, username: str, password_hash: str) -> None:
    """Replace the hash, as the user can who knows the current password."""
    passwords = accounts.passwords
    passwords.replace_hash(username, password_hash, passwords.stored_hash(username) or "")


def enter(accounts: HasAccounts, username: str, *, invite: str | None = None) -> SignedIn:
    """Create an account and sign it in."""
    accounts.registration.create_user(username, HASH, invite=invite)
    user = accounts.sessions.authenticate(token_of(accounts, username))
    assert user is not None
    return user


def in_parallel(times: int, action: Callable[[int], T]) -> list[T | errors.ImageError]:
    """Run `action` in `times` threads at once; the result or the error of each."""

    def attempt(number: int) -> T | errors.ImageError:
        try:
            return action(number)
        except errors.ImageError as error:
            return error

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(attempt, range(times)))
