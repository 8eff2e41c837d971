"""The way in for people of whom a test knows no password."""

from __future__ import annotations

from core.accounts import Accounts


def ticket_of(accounts: Accounts, username: str) -> str:
    """A ticket as a right password gives one."""
    return accounts.issue_ticket(username, accounts.password_hash(username) or "")


def change_password(accounts: Accounts, username: str, password_hash: str) -> None:
    """What a person does who knows the password of before."""
    accounts.set_password_hash(username, password_hash, accounts.password_hash(username) or "")
