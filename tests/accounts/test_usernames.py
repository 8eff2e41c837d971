"""Which usernames are permitted, how they are folded, and which look alike."""

from __future__ import annotations

import hypothesis.strategies as st
import pytest
from hypothesis import given

from core import errors
from core.accounts.usernames import check_username, fill_skeletons, fold_username
from core.database.database import Database
from core.database.models import (
    User,
)
from tests.support.sign_in import (
    HASH,
    Accounts,
    enter,
    in_parallel,
    token_of,
)


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Ada", "ada"),
        ("  ada  ", "ada"),
        ("ＡＤＡ", "ada"),
        ("Straße", "strasse"),
        ("Ｇｒａｃｅ．Ｈ", "grace.h"),
        ("Ångström", "ångström"),
        ("Å", "å"),
        ("Ελένη", "ελένη"),
        ("李明", "李明"),
        ("İrem", "i̇rem"),
        ("हिन्दी", "हिन्दी"),
        ("ada@example.com", "ada@example.com"),
    ],
)
def test_a_username_is_folded_to_one_spelling(typed: str, stored: str) -> None:
    assert fold_username(typed) == stored
    if len(stored) > 1:
        assert check_username(typed) == stored


@given(st.text())
def test_folding_a_username_again_changes_nothing(name: str) -> None:
    assert fold_username(fold_username(name)) == fold_username(name)


@pytest.mark.parametrize(
    "name",
    [
        "",
        " ",
        "a",
        "a b",
        "-ada",
        "ad/a",
        "../ada",
        "a\0da",
        "ad\ud800",
        "x" * 65,
        "<b>ada",
        "ada'--",
        "\u0301da",
    ],
)
def test_an_invalid_username_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(errors.UsernameRejected):
        accounts.registration.create_user(name, HASH)


@pytest.mark.parametrize(
    "sign",
    [
        pytest.param("\u200b", id="zero-width space"),
        pytest.param("\u200c", id="zero-width non-joiner"),
        pytest.param("\u200d", id="zero-width joiner"),
        pytest.param("\ufeff", id="byte order mark"),
        pytest.param("\u00ad", id="soft hyphen"),
        pytest.param("\u202e", id="right-to-left override"),
        pytest.param("\u2066", id="isolate"),
        pytest.param("\u034f", id="grapheme joiner"),
        pytest.param("\u3164", id="hangul filler"),
        pytest.param("\uffa0", id="halfwidth hangul filler"),
        pytest.param("\ufe0f", id="variation selector"),
        pytest.param("\U000e0101", id="variation selector beyond the first plane"),
    ],
)
@pytest.mark.parametrize("name", ["a{}da", "{}ada", "ada{}"])
def test_a_username_with_an_invisible_character_is_refused(name: str, sign: str) -> None:
    with pytest.raises(errors.UsernameRejected, match=f"invisible character: U\\+{ord(sign):04X}"):
        check_username(name.format(sign))


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("\u0430dmin", id="Cyrillic a"),
        pytest.param("\u0391dmin", id="Greek large alpha"),
        pytest.param("admi\u0578", id="Armenian vo"),
        pytest.param("ada.lovel\u0430ce", id="in the second word"),
        pytest.param("ελένηа", id="Greek and Cyrillic"),
    ],
)
def test_a_username_that_mixes_scripts_within_a_word_is_refused(name: str) -> None:
    with pytest.raises(errors.UsernameRejected, match="mixes scripts"):
        check_username(name)


@pytest.mark.parametrize(
    "name",
    [
        "ελένη",
        "наталья",
        "أحمد",
        "הלן",
        "हिन्दी",
        "李明",
        "さくらの木",
        "ヒカリ2号",
        "김철수",
        "時々カメラー",
        "ada_наталья",
        "3d李",
    ],
)
def test_a_username_in_one_script_is_accepted(name: str) -> None:
    assert check_username(name)


@pytest.mark.parametrize(
    ("held", "wanted"),
    [
        pytest.param("ace", "асе", id="Cyrillic"),
        pytest.param("асе", "ace", id="Latin beside Cyrillic"),
        pytest.param("bob", "ВОВ", id="in large letters"),
        pytest.param("kim", "ΚΙΜ", id="Greek in large letters"),
        pytest.param("ada_ace", "ada_асе", id="the second word"),
        pytest.param("ëë", "ёё", id="with marks"),
        pytest.param("alice", "\u0251lice", id="Latin alpha"),
        pytest.param("gregor", "\u0261regor", id="script g"),
        pytest.param("alice", "al\u0269ce", id="Latin iota"),
        pytest.param("yves", "\u028fves", id="small capital y"),
        pytest.param("alice", "a1ice", id="1 for l"),
        pytest.param("alice", "AIice", id="large i for l"),
        pytest.param("ALICE", "AL1CE", id="1 for large i"),
        pytest.param("root1", "r00t1", id="0 for o"),
        pytest.param("rootl", "r00t1", id="two digits"),
        pytest.param("alice", "alice.", id="a dot at the end"),
        pytest.param("alice", "_alice_", id="lines around it"),
        pytest.param("bob", "b\u0a66b", id="a zero of another script"),
        pytest.param("mark", "rnark", id="r and n for m"),
    ],
)
def test_a_username_that_looks_like_another_is_refused(accounts: Accounts, held: str, wanted: str) -> None:
    accounts.registration.create_user(held, HASH)
    with pytest.raises(errors.UsernameTaken, match="looks like"):
        accounts.registration.create_user(wanted, HASH)


def test_concurrent_registrations_of_lookalike_usernames_create_one_account(accounts: Accounts) -> None:
    made = in_parallel(8, lambda number: accounts.registration.create_user(("ace", "асе")[number % 2], HASH))
    assert sum(isinstance(user, User) for user in made) == 1
    assert sum(isinstance(user, errors.UsernameTaken) for user in made) == 7


def test_a_username_is_found_in_every_spelling_that_folds_to_it(accounts: Accounts) -> None:
    accounts.registration.create_user("Straße", HASH)
    for typed in ("STRASSE", "straße", " Strasse "):
        assert accounts.passwords.stored_hash(typed) == HASH
        assert token_of(accounts, typed)
    assert accounts.passwords.stored_hash("strase") is None


def test_the_display_name_keeps_the_spelling_of_the_registration(accounts: Accounts) -> None:
    assert enter(accounts, "Ada Lovelace".replace(" ", ".")).display_name == "Ada.Lovelace"


@pytest.mark.parametrize(
    ("held", "wanted"),
    [("all", "ali"), ("ann", "anna"), ("jo.doe", "jodoe"), ("van", "nan"), ("ada1", "ada2"), ("é", "e")],
)
def test_usernames_that_do_not_look_alike_are_both_free(accounts: Accounts, held: str, wanted: str) -> None:
    accounts.registration.create_user(held * 2, HASH)
    assert accounts.registration.create_user(wanted * 2, HASH)


def test_the_table_takes_no_second_user_with_the_same_skeleton(
    accounts: Accounts, database: Database
) -> None:
    first = accounts.registration.create_user("alice", HASH)
    with pytest.raises(errors.DatabaseError), database.write() as session:
        session.add(User(username="other", display_name="other", password_hash=HASH, skeleton=first.skeleton))


def test_accounts_from_before_that_look_alike_keep_working(accounts: Accounts, database: Database) -> None:
    with database.write() as session:
        for name in ("alice", "a1ice"):
            session.add(User(username=name, display_name=name, password_hash=HASH))
            session.flush()
    accounts.registration.create_user("grace", HASH)
    with database.write() as session:
        assert fill_skeletons(session) == [("a1ice", "alice")]
    for name in ("alice", "a1ice"):
        assert accounts.passwords.stored_hash(name) == HASH
        assert token_of(accounts, name)
    with pytest.raises(errors.UsernameTaken, match="looks like"):
        accounts.registration.create_user("al\u0269ce", HASH)
