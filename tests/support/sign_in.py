"""The way in for people of whom a test knows no password."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from core import errors
from core.accounts.identity import SignedIn
from core.accounts.users import Accounts

T = TypeVar("T")


HASH = "$2b$12$not-a-real-hash"


def ticket_of(accounts: Accounts, username: str) -> str:
    """A ticket as a right password gives one."""
    return accounts.issue_ticket(username, accounts.password_hash(username) or "")


def token_of(accounts: Accounts, username: str) -> str:
    return accounts.redeem_ticket(ticket_of(accounts, username))


def change_password(accounts: Accounts, username: str, password_hash: str) -> None:
    """What a person does who knows the password of before."""
    accounts.set_password_hash(username, password_hash, accounts.password_hash(username) or "")


def enter(accounts: Accounts, username: str, *, invite: str | None = None) -> SignedIn:
    """Make an account and sign it in."""
    accounts.create_user(username, HASH, invite=invite)
    user = accounts.signed_in(token_of(accounts, username))
    assert user is not None
    return user


def in_parallel(times: int, action: Callable[[int], T]) -> list[T | errors.ImageError]:
    """What each of `times` threads got, error or not."""

    def attempt(number: int) -> T | errors.ImageError:
        try:
            return action(number)
        except errors.ImageError as error:
            return error

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(attempt, range(times)))
