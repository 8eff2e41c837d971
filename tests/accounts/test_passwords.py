"""Rules for passwords, their hash, and reset links."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given

from core import errors
from core.accounts.identity import SignedIn
from core.accounts.passwords import RESET_LIFETIME, check_password_rules, prehash
from core.accounts.sign_in_attempts import MAX_ATTEMPTS
from tests.support.clock import Clock
from tests.support.sign_in import (
    HASH,
    Accounts,
    change_password,
    in_parallel,
    ticket_of,
    token_of,
)


def test_a_reset_link_sets_the_password_once_and_ends_sessions_and_lockout(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    token, ticket = token_of(accounts, "ada"), ticket_of(accounts, "ada")
    admins = token_of(accounts, "root")
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
    reset = accounts.passwords.create_reset(admin, member.user_id)
    assert accounts.passwords.check_reset(reset) == "ada"
    assert accounts.sessions.authenticate(token) is not None
    assert accounts.passwords.use_reset(reset, "another") == "ada"
    assert accounts.passwords.stored_hash("ada") == "another"
    assert accounts.passwords.stored_hash("root") == HASH
    assert accounts.sessions.authenticate(token) is None
    assert accounts.sessions.authenticate(admins) is not None
    with pytest.raises(errors.SessionEnded):
        accounts.sessions.redeem_ticket(ticket)
    accounts.sign_in_attempts.begin("ada")  # whoever was locked out isn't any more
    assert_reset_is_over(accounts, reset)


def assert_reset_is_over(accounts: Accounts, reset: str) -> None:
    before = accounts.passwords.stored_hash("ada")
    with pytest.raises(errors.ResetInvalid):
        accounts.passwords.check_reset(reset)
    with pytest.raises(errors.ResetInvalid):
        accounts.passwords.use_reset(reset, "yet another")
    assert accounts.passwords.stored_hash("ada") == before


def test_concurrent_uses_of_a_reset_link_set_one_password(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    reset = accounts.passwords.create_reset(admin, member.user_id)
    used = in_parallel(6, lambda number: accounts.passwords.use_reset(reset, f"hash {number}"))
    assert used.count("ada") == 1
    assert sum(isinstance(answer, errors.ResetInvalid) for answer in used) == 5


def test_a_reset_link_expires(accounts: Accounts, admin: SignedIn, member: SignedIn, clock: Clock) -> None:
    reset = accounts.passwords.create_reset(admin, member.user_id)
    clock.now += RESET_LIFETIME - timedelta(seconds=1)
    assert accounts.passwords.check_reset(reset)
    clock.forward(seconds=1)
    assert_reset_is_over(accounts, reset)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(
            lambda accounts, admin, user: accounts.passwords.create_reset(admin, user), id="a newer link"
        ),
        pytest.param(
            lambda accounts, admin, user: change_password(accounts, "ada", "x"), id="a new password"
        ),
        pytest.param(lambda accounts, admin, user: accounts.users.withdraw(admin, user), id="withdrawal"),
    ],
)
def test_a_reset_link_is_ended_by(
    accounts: Accounts,
    admin: SignedIn,
    member: SignedIn,
    event: Callable[[Accounts, SignedIn, str], object],
) -> None:
    reset = accounts.passwords.create_reset(admin, member.user_id)
    event(accounts, admin, member.user_id)
    assert_reset_is_over(accounts, reset)
    accounts.users.reinstate(admin, member.user_id)
    assert_reset_is_over(accounts, reset)


@pytest.mark.parametrize("reset", ["made-up", "", "\0", "\ud800"], ids=ascii)
def test_an_unknown_reset_link_sets_nothing(accounts: Accounts, member: SignedIn, reset: str) -> None:
    assert_reset_is_over(accounts, reset)


def test_a_withdrawn_or_unknown_user_gets_no_reset_link(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    accounts.users.withdraw(admin, member.user_id)
    for user_id in (member.user_id, "nobody"):
        with pytest.raises(errors.NotAllowed):
            accounts.passwords.create_reset(admin, user_id)


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("qhv-82-kz!", id="ten characters"),
        pytest.param("парольдлинный", id="cyrillic"),
        pytest.param("正しい馬電池ホチキス", id="japanese"),
        pytest.param("🦊🌲🌅📖🧣👓🌸🍂🐾🎒", id="emoji"),
        pytest.param("correct horse battery staple", id="passphrase"),
        pytest.param("fox and tree " * 69 + "end", id="900 characters"),
        pytest.param("ü" * 3 + "abcdefg" * 12, id="more than 72 bytes"),
    ],
)
def test_a_good_password_is_accepted(password: str) -> None:
    check_password_rules(password, "ada")


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("qhv-82-kz", id="nine characters"),
        pytest.param("", id="none"),
        pytest.param("password123", id="common"),
        pytest.param("PASSWORD123", id="common in capitals"),
        pytest.param("1234567890", id="a row of keys"),
        pytest.param("ｐａｓｓｗｏｒｄ１２３", id="common in full width"),
        pytest.param("aaaaaaaaaaaaaaaa", id="one letter"),
        pytest.param("abababababab", id="two letters"),
        pytest.param("Ada.Lovelace", id="the name itself"),
        pytest.param("x1!y" * 257, id="endless"),
    ],
)
def test_an_easy_password_is_refused(password: str) -> None:
    with pytest.raises(errors.PasswordRejected):
        check_password_rules(password, "ada.lovelace")


@given(st.text(min_size=1, max_size=1000))
def test_a_password_of_any_length_and_script_fits_bcrypt(password: str) -> None:
    assert len(prehash(password)) == 44
    assert prehash(password).isascii()


def test_long_passwords_differ_in_their_last_character() -> None:
    assert prehash("a" * 899 + "b") != prehash("a" * 899 + "c")


def test_the_same_password_from_another_keyboard_matches() -> None:
    assert prehash("e\u0301te\u0301-a\u0300-la-mer") == prehash("été-à-la-mer")


def test_lone_surrogates_are_handled(accounts: Accounts) -> None:
    assert prehash("\ud800" * 12)
    accounts.sign_in_attempts.begin("\ud800\0")
    assert accounts.passwords.stored_hash("\ud800\0") is None


def test_a_password_of_a_million_combining_marks_is_hashed_quickly() -> None:
    """In order, they would take minutes: everything else would stand still."""
    assert len(prehash("a" + "\u0315\u0300" * 500_000)) == 44
