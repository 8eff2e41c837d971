"""Who may come in, for how long, and who may not, on both engines."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import hypothesis.strategies as st
import pytest
from hypothesis import given
from sqlalchemy import text
from sqlmodel import select

from core import errors
from core.accounts.identity import SignedIn
from core.accounts.passwords import RESET_LIFE, check_password, prehash
from core.accounts.registration import INVITE_LIFE
from core.accounts.sign_in import LOCK, MAX_ATTEMPTS, TICKET_LIFE
from core.accounts.usernames import check_username, fold_username
from core.accounts.users import Accounts
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
    User,
)
from core.generation.job_state import cancel_live
from core.settings import Registration
from tests.support.clock import Clock
from tests.support.concurrent_write import meanwhile
from tests.support.sign_in import HASH, change_password, enter, in_parallel, ticket_of, token_of

Event = Callable[[Accounts, SignedIn, str], object]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_with(database: Database, clock: Clock) -> Callable[[Registration], Accounts]:
    return lambda registration: Accounts(
        database, registration=registration, on_withdrawal=cancel_live, clock=clock
    )


@pytest.fixture
def accounts(open_with: Callable[[Registration], Accounts]) -> Accounts:
    return open_with(Registration.OPEN)


@pytest.fixture
def admin(accounts: Accounts) -> SignedIn:
    return enter(accounts, "root")


@pytest.fixture
def member(accounts: Accounts, admin: SignedIn) -> SignedIn:
    return enter(accounts, "ada")


def test_the_first_account_is_the_administrators(accounts: Accounts) -> None:
    assert not accounts.any_user()
    assert enter(accounts, "root").is_admin
    assert accounts.any_user()
    assert not enter(accounts, "ada").is_admin


def test_of_first_accounts_made_at_once_one_is_the_administrators(
    accounts: Accounts, database: Database
) -> None:
    made = in_parallel(8, lambda number: accounts.create_user(f"user{number}", HASH))
    assert [type(user) for user in made] == [User] * 8
    with database.read() as session:
        roles = sorted(session.exec(select(User.role)).all())
    assert roles == ["admin"] + ["member"] * 7


def test_a_name_is_given_once_also_at_once(accounts: Accounts) -> None:
    made = in_parallel(8, lambda number: accounts.create_user(("Ada", "ADA", "ada")[number % 3], HASH))
    assert sum(isinstance(user, User) for user in made) == 1
    assert sum(isinstance(user, errors.UsernameTaken) for user in made) == 7


@pytest.mark.parametrize("registration", [Registration.INVITE, Registration.CLOSED])
def test_only_the_first_account_needs_no_invitation(
    open_with: Callable[[Registration], Accounts], registration: Registration
) -> None:
    accounts = open_with(registration)
    accounts.check_registration()
    assert enter(accounts, "root").is_admin
    with pytest.raises(errors.RegistrationClosed):
        accounts.check_registration()
    with pytest.raises(errors.RegistrationClosed):
        accounts.create_user("ada", HASH)


def test_closed_means_closed_also_with_an_invitation(open_with: Callable[[Registration], Accounts]) -> None:
    accounts = open_with(Registration.CLOSED)
    invite = accounts.invite(enter(accounts, "root"))
    with pytest.raises(errors.RegistrationClosed):
        accounts.create_user("ada", HASH, invite=invite)


def test_an_invitation_makes_one_account(open_with: Callable[[Registration], Accounts]) -> None:
    accounts = open_with(Registration.INVITE)
    invite = accounts.invite(enter(accounts, "root"))
    accounts.check_registration(invite)
    assert not enter(accounts, "ada", invite=invite).is_admin
    with pytest.raises(errors.InviteInvalid):
        accounts.check_registration(invite)
    with pytest.raises(errors.InviteInvalid):
        accounts.create_user("grace", HASH, invite=invite)


def test_an_invitation_used_at_once_makes_one_account(
    open_with: Callable[[Registration], Accounts],
) -> None:
    accounts = open_with(Registration.INVITE)
    invite = accounts.invite(enter(accounts, "root"))
    made = in_parallel(6, lambda number: accounts.create_user(f"user{number}", HASH, invite=invite))
    assert sum(isinstance(user, User) for user in made) == 1
    assert sum(isinstance(user, errors.InviteInvalid) for user in made) == 5


def test_a_failed_registration_leaves_the_invitation(open_with: Callable[[Registration], Accounts]) -> None:
    accounts = open_with(Registration.INVITE)
    invite = accounts.invite(enter(accounts, "root"))
    with pytest.raises(errors.UsernameTaken):
        accounts.create_user("ROOT", HASH, invite=invite)
    enter(accounts, "ada", invite=invite)


def test_an_invitation_ends_with_its_time(
    open_with: Callable[[Registration], Accounts], clock: Clock
) -> None:
    accounts = open_with(Registration.INVITE)
    invite = accounts.invite(enter(accounts, "root"))
    clock.now += INVITE_LIFE - timedelta(seconds=1)
    accounts.check_registration(invite)
    clock.forward(seconds=1)
    with pytest.raises(errors.InviteInvalid):
        accounts.create_user("ada", HASH, invite=invite)


@pytest.mark.parametrize("invite", ["made-up", "", "\0", "\ud800"], ids=ascii)
def test_a_made_up_invitation_opens_nothing(
    open_with: Callable[[Registration], Accounts], invite: str
) -> None:
    accounts = open_with(Registration.INVITE)
    enter(accounts, "root")
    with pytest.raises((errors.InviteInvalid, errors.RegistrationClosed)):
        accounts.create_user("ada", HASH, invite=invite)


def test_a_link_sets_a_password_once_and_ends_what_stood(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    token, ticket = token_of(accounts, "ada"), ticket_of(accounts, "ada")
    admins = token_of(accounts, "root")
    for _ in range(MAX_ATTEMPTS):
        accounts.begin_attempt("ada")
    reset = accounts.password_reset(admin, member.user_id)
    assert accounts.check_reset(reset) == "ada"
    assert accounts.signed_in(token) is not None
    assert accounts.use_reset(reset, "another") == "ada"
    assert accounts.password_hash("ada") == "another"
    assert accounts.password_hash("root") == HASH
    assert accounts.signed_in(token) is None
    assert accounts.signed_in(admins) is not None
    with pytest.raises(errors.SessionEnded):
        accounts.redeem_ticket(ticket)
    accounts.begin_attempt("ada")  # whoever was locked out isn't any more
    assert_reset_is_over(accounts, reset)


def test_an_open_invitation_can_be_withdrawn(
    open_with: Callable[[Registration], Accounts], admin: SignedIn, member: SignedIn
) -> None:
    accounts = open_with(Registration.INVITE)
    used, open_one = accounts.invite(admin), accounts.invite(admin)
    accounts.create_user("guest", HASH, invite=used)
    (listed,) = accounts.open_invites(admin)
    for verb in (accounts.open_invites, lambda user: accounts.withdraw_invite(user, listed.id)):
        with pytest.raises(errors.NotAllowed):
            verb(member)
    accounts.withdraw_invite(admin, listed.id)
    assert accounts.open_invites(admin) == []
    with pytest.raises(errors.InviteInvalid):
        accounts.create_user("another", HASH, invite=open_one)


def assert_reset_is_over(accounts: Accounts, reset: str) -> None:
    before = accounts.password_hash("ada")
    with pytest.raises(errors.ResetInvalid):
        accounts.check_reset(reset)
    with pytest.raises(errors.ResetInvalid):
        accounts.use_reset(reset, "yet another")
    assert accounts.password_hash("ada") == before


def test_a_link_used_at_once_sets_one_password(accounts: Accounts, admin: SignedIn, member: SignedIn) -> None:
    reset = accounts.password_reset(admin, member.user_id)
    used = in_parallel(6, lambda number: accounts.use_reset(reset, f"hash {number}"))
    assert used.count("ada") == 1
    assert sum(isinstance(answer, errors.ResetInvalid) for answer in used) == 5


def test_a_link_ends_with_its_time(
    accounts: Accounts, admin: SignedIn, member: SignedIn, clock: Clock
) -> None:
    reset = accounts.password_reset(admin, member.user_id)
    clock.now += RESET_LIFE - timedelta(seconds=1)
    assert accounts.check_reset(reset)
    clock.forward(seconds=1)
    assert_reset_is_over(accounts, reset)


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(lambda accounts, admin, user: accounts.password_reset(admin, user), id="a newer link"),
        pytest.param(
            lambda accounts, admin, user: change_password(accounts, "ada", "x"), id="a new password"
        ),
        pytest.param(lambda accounts, admin, user: accounts.withdraw(admin, user), id="withdrawal"),
    ],
)
def test_a_link_ends_with(
    accounts: Accounts,
    admin: SignedIn,
    member: SignedIn,
    event: Callable[[Accounts, SignedIn, str], object],
) -> None:
    reset = accounts.password_reset(admin, member.user_id)
    event(accounts, admin, member.user_id)
    assert_reset_is_over(accounts, reset)
    accounts.reinstate(admin, member.user_id)
    assert_reset_is_over(accounts, reset)


@pytest.mark.parametrize("reset", ["made-up", "", "\0", "\ud800"], ids=ascii)
def test_a_made_up_link_sets_nothing(accounts: Accounts, member: SignedIn, reset: str) -> None:
    assert_reset_is_over(accounts, reset)


def test_an_account_without_access_gets_no_link(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    accounts.withdraw(admin, member.user_id)
    for user_id in (member.user_id, "nobody"):
        with pytest.raises(errors.NotAllowed):
            accounts.password_reset(admin, user_id)


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
def test_a_name_has_one_spelling(typed: str, stored: str) -> None:
    assert fold_username(typed) == stored
    if len(stored) > 1:
        assert check_username(typed) == stored


@given(st.text())
def test_folding_a_name_again_changes_nothing(name: str) -> None:
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
def test_an_unusable_name_is_refused(accounts: Accounts, name: str) -> None:
    with pytest.raises(errors.UsernameRejected):
        accounts.create_user(name, HASH)


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
def test_a_name_has_nothing_that_can_not_be_seen(name: str, sign: str) -> None:
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
def test_no_word_of_a_name_mixes_scripts(name: str) -> None:
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
def test_a_name_in_one_script_is_a_name(name: str) -> None:
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
    ],
)
def test_no_name_looks_like_another(accounts: Accounts, held: str, wanted: str) -> None:
    accounts.create_user(held, HASH)
    with pytest.raises(errors.UsernameTaken, match="looks like"):
        accounts.create_user(wanted, HASH)


def test_of_names_that_look_alike_one_is_given_also_at_once(accounts: Accounts) -> None:
    made = in_parallel(8, lambda number: accounts.create_user(("ace", "асе")[number % 2], HASH))
    assert sum(isinstance(user, User) for user in made) == 1
    assert sum(isinstance(user, errors.UsernameTaken) for user in made) == 7


def test_a_name_is_found_however_it_is_typed(accounts: Accounts) -> None:
    accounts.create_user("Straße", HASH)
    for typed in ("STRASSE", "straße", " Strasse "):
        assert accounts.password_hash(typed) == HASH
        assert token_of(accounts, typed)
    assert accounts.password_hash("strase") is None


def test_the_name_is_shown_as_it_was_typed(accounts: Accounts) -> None:
    assert enter(accounts, "Ada Lovelace".replace(" ", ".")).display_name == "Ada.Lovelace"


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
def test_a_good_password_is_taken(password: str) -> None:
    check_password(password, "ada")


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
        check_password(password, "ada.lovelace")


@given(st.text(min_size=1, max_size=1000))
def test_a_password_of_any_length_and_script_fits_bcrypt(password: str) -> None:
    assert len(prehash(password)) == 44
    assert prehash(password).isascii()


def test_long_passwords_differ_in_their_last_character() -> None:
    assert prehash("a" * 899 + "b") != prehash("a" * 899 + "c")


def test_the_same_password_from_another_keyboard_matches() -> None:
    assert prehash("e\u0301te\u0301-a\u0300-la-mer") == prehash("été-à-la-mer")


def test_half_a_character_breaks_nothing(accounts: Accounts) -> None:
    assert prehash("\ud800" * 12)
    accounts.begin_attempt("\ud800\0")
    assert accounts.password_hash("\ud800\0") is None


def test_a_session_outlives_the_process(accounts: Accounts, database_url: str, clock: Clock) -> None:
    enter(accounts, "ada")
    token = token_of(accounts, "ada")
    database = Database(database_url)
    found = Accounts(database, clock=clock).signed_in(token)
    database.close()
    assert found is not None
    assert (found.username, found.is_admin) == ("ada", True)


@pytest.mark.parametrize("token", [None, "", "made-up", "\0", "\ud800", "x" * 10_000], ids=ascii)
def test_a_made_up_token_is_nobody(accounts: Accounts, member: SignedIn, token: str | None) -> None:
    assert accounts.signed_in(token) is None


def test_sign_out_ends_one_browser(accounts: Accounts, member: SignedIn) -> None:
    here, there = token_of(accounts, "ada"), token_of(accounts, "ada")
    accounts.sign_out(here)
    accounts.sign_out(None)
    assert accounts.signed_in(here) is None
    assert accounts.signed_in(there) is not None


def test_sign_out_everywhere_ends_them_all_and_nobody_elses(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    mine, ticket = token_of(accounts, "ada"), ticket_of(accounts, "ada")
    admins = token_of(accounts, "root")
    accounts.sign_out_everywhere(member)
    assert accounts.signed_in(mine) is None
    with pytest.raises(errors.SessionEnded):
        accounts.redeem_ticket(ticket)
    assert accounts.signed_in(admins) is not None


def test_a_new_password_ends_every_session(accounts: Accounts, member: SignedIn) -> None:
    token, ticket = token_of(accounts, "ada"), ticket_of(accounts, "ada")
    change_password(accounts, "Ada", "another")
    assert accounts.signed_in(token) is None
    assert accounts.password_hash("ada") == "another"
    with pytest.raises(errors.SessionEnded):
        accounts.redeem_ticket(ticket)


def test_withdrawal_ends_everything_at_once_until_it_is_undone(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    token, ticket = token_of(accounts, "ada"), ticket_of(accounts, "ada")
    accounts.withdraw(admin, member.user_id)
    assert accounts.signed_in(token) is None
    assert accounts.password_hash("ada") is None
    with pytest.raises(errors.SessionEnded):
        accounts.redeem_ticket(ticket)
    with pytest.raises(errors.SignInFailed):
        accounts.issue_ticket("ada", HASH)
    accounts.reinstate(admin, member.user_id)
    assert accounts.signed_in(token) is None
    assert accounts.signed_in(token_of(accounts, "ada")) is not None


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(
            lambda accounts, admin, user: change_password(accounts, "ada", "x"), id="a new password"
        ),
        pytest.param(
            lambda accounts, admin, user: accounts.use_reset(accounts.password_reset(admin, user), "x"),
            id="a link",
        ),
        pytest.param(lambda accounts, admin, user: accounts.withdraw(admin, user), id="withdrawal"),
    ],
)
class TestAPasswordCheckedBefore:
    """What ends everything that stands ends what is on its way, too."""

    def test_gives_no_ticket(
        self, accounts: Accounts, admin: SignedIn, member: SignedIn, event: Event
    ) -> None:
        event(accounts, admin, member.user_id)
        with pytest.raises(errors.SignInFailed):
            accounts.issue_ticket("ada", HASH)

    def test_sets_no_other(self, accounts: Accounts, admin: SignedIn, member: SignedIn, event: Event) -> None:
        event(accounts, admin, member.user_id)
        with pytest.raises(errors.SignInFailed):
            accounts.set_password_hash("ada", "another", HASH)
        accounts.reinstate(admin, member.user_id)
        assert accounts.password_hash("ada") != "another"

    def test_leaves_no_session_of_a_ticket_that_is_being_redeemed(
        self, accounts: Accounts, database: Database, admin: SignedIn, member: SignedIn, event: Event
    ) -> None:
        ticket = ticket_of(accounts, "ada")
        with meanwhile(
            database, "INSERT INTO sign_in_sessions", partial(event, accounts, admin, member.user_id)
        ):
            token = accounts.redeem_ticket(ticket)
        assert accounts.signed_in(token) is None
        accounts.reinstate(admin, member.user_id)
        assert accounts.signed_in(token) is None

    def test_leaves_no_ticket_that_is_being_made(
        self, accounts: Accounts, database: Database, admin: SignedIn, member: SignedIn, event: Event
    ) -> None:
        with meanwhile(
            database, "INSERT INTO sign_in_tickets", partial(event, accounts, admin, member.user_id)
        ):
            ticket = ticket_of(accounts, "ada")
        accounts.reinstate(admin, member.user_id)
        with pytest.raises(errors.SessionEnded):
            accounts.redeem_ticket(ticket)


def test_signing_out_everywhere_ends_what_is_being_begun(
    accounts: Accounts, database: Database, member: SignedIn
) -> None:
    ticket = ticket_of(accounts, "ada")
    with meanwhile(database, "INSERT INTO sign_in_sessions", partial(accounts.sign_out_everywhere, member)):
        token = accounts.redeem_ticket(ticket)
    assert accounts.signed_in(token) is None


def test_a_session_lasts_while_it_is_used(database: Database, clock: Clock) -> None:
    accounts = Accounts(database, session_days=2, clock=clock)
    enter(accounts, "ada")
    token = token_of(accounts, "ada")
    for _ in range(4):
        clock.forward(days=1, hours=23)
        assert accounts.signed_in(token) is not None
    clock.forward(days=2)
    assert accounts.signed_in(token) is None


def test_sessions_are_listed_for_their_owner(accounts: Accounts, admin: SignedIn, clock: Clock) -> None:
    user = enter(accounts, "ada")
    clock.forward(minutes=1)
    accounts.redeem_ticket(ticket_of(accounts, "ada"), browser="Firefox" * 100)
    assert [row.browser[:7] for row in accounts.sessions(user)] == ["Firefox", ""]
    clock.forward(days=365)
    assert accounts.sessions(user) == []


def test_a_ticket_opens_one_session(accounts: Accounts, member: SignedIn) -> None:
    ticket = ticket_of(accounts, "ada")
    tokens = in_parallel(6, lambda _: accounts.redeem_ticket(ticket))
    assert sum(isinstance(token, str) for token in tokens) == 1
    assert sum(isinstance(token, errors.SessionEnded) for token in tokens) == 5


def test_a_ticket_ends_with_its_time(accounts: Accounts, member: SignedIn, clock: Clock) -> None:
    ticket = ticket_of(accounts, "ada")
    clock.now += TICKET_LIFE
    with pytest.raises(errors.SessionEnded):
        accounts.redeem_ticket(ticket)


def test_tokens_are_stored_as_hashes_alone(accounts: Accounts, database: Database, admin: SignedIn) -> None:
    secrets = (
        ticket_of(accounts, "root"),
        accounts.invite(admin),
        accounts.password_reset(admin, admin.user_id),
        token_of(accounts, "root"),
    )
    tables = ("sign_in_tickets", "sign_in_sessions", "invites", "password_resets")
    with database.read() as session:
        stored = "".join(str(session.execute(text(f"SELECT * FROM {table}")).all()) for table in tables)
    assert stored.count("root") == 0
    assert [secret in stored for secret in secrets] == [False] * 4


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_a_name_is_locked_after_five_attempts(
    accounts: Accounts, member: SignedIn, clock: Clock, name: str
) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.begin_attempt(name)
        clock.forward(minutes=2)
    with pytest.raises(errors.SignInLocked) as caught:
        accounts.begin_attempt(name.upper())
    assert caught.value.retry_after == pytest.approx(13 * 60)
    accounts.begin_attempt("somebody-else")


def test_the_lock_ends_15_minutes_after_the_last_attempt(accounts: Accounts, clock: Clock) -> None:
    for _ in range(MAX_ATTEMPTS):
        clock.forward(minutes=3)
        accounts.begin_attempt("ada")
    clock.now += LOCK - timedelta(seconds=1)
    with pytest.raises(errors.SignInLocked):
        accounts.begin_attempt("ada")
    clock.forward(seconds=1)
    for _ in range(MAX_ATTEMPTS):
        accounts.begin_attempt("ada")
    with pytest.raises(errors.SignInLocked):
        accounts.begin_attempt("ada")


def test_five_attempts_over_a_longer_time_lock_nothing(accounts: Accounts, clock: Clock) -> None:
    for _ in range(20):
        clock.forward(minutes=4)
        accounts.begin_attempt("ada")


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_attempts_in_parallel_are_judged_five_times_at_most(
    accounts: Accounts, member: SignedIn, name: str
) -> None:
    judged = in_parallel(20, lambda _: accounts.begin_attempt(name))
    assert judged.count(None) == MAX_ATTEMPTS
    assert sum(isinstance(answer, errors.SignInLocked) for answer in judged) == 20 - MAX_ATTEMPTS


def test_a_right_password_clears_the_count(accounts: Accounts) -> None:
    for _ in range(3):
        for _ in range(MAX_ATTEMPTS - 1):
            accounts.begin_attempt("ada")
        accounts.clear_attempts("Ada")


def test_a_clock_that_is_set_back_locks_nobody_out(
    accounts: Accounts, database: Database, clock: Clock
) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.begin_attempt("ada")
    clock.now -= timedelta(days=1)
    for _ in range(MAX_ATTEMPTS):
        accounts.begin_attempt("ada")
    with pytest.raises(errors.SignInLocked) as caught:
        accounts.begin_attempt("ada")
    assert caught.value.retry_after == LOCK.total_seconds()
    accounts.tidy()
    with database.read() as session:
        assert list(session.exec(select(SignInAttempt.at))) == [clock.now] * MAX_ATTEMPTS


def test_attempts_in_parallel_are_counted_also_while_the_clock_moves(
    database: Database, accounts: Accounts
) -> None:
    moving = Accounts(database)
    judged = in_parallel(20, lambda _: moving.begin_attempt("ada"))
    assert judged.count(None) == MAX_ATTEMPTS


def test_the_lock_outlives_the_process(accounts: Accounts, database_url: str, clock: Clock) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.begin_attempt("ada")
    database = Database(database_url)
    with pytest.raises(errors.SignInLocked):
        Accounts(database, clock=clock).begin_attempt("ada")
    database.close()


@pytest.mark.parametrize(
    "verb",
    [
        pytest.param(lambda accounts, user, other: accounts.accounts(user), id="list"),
        pytest.param(lambda accounts, user, other: accounts.withdraw(user, other.user_id), id="withdraw"),
        pytest.param(lambda accounts, user, other: accounts.reinstate(user, other.user_id), id="reinstate"),
        pytest.param(lambda accounts, user, other: accounts.invite(user), id="invite"),
        pytest.param(
            lambda accounts, user, other: accounts.password_reset(user, other.user_id), id="new password"
        ),
    ],
)
def test_administration_is_the_administrators(
    accounts: Accounts,
    admin: SignedIn,
    member: SignedIn,
    verb: Callable[[Accounts, SignedIn, SignedIn], object],
) -> None:
    with pytest.raises(errors.NotAllowed):
        verb(accounts, member, admin)
    assert accounts.password_hash("root") is not None
    verb(accounts, admin, member)


def test_what_waits_of_a_withdrawn_user_is_taken_back_and_what_runs_goes_on(
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
    accounts.withdraw(admin, member.user_id)
    assert states(member) == [JobState.CANCELLED, JobState.CANCELLED, JobState.RUNNING]
    with database.read() as session:
        running = session.exec(select(Job).where(Job.state == JobState.RUNNING)).one()
    assert running.cancel_asked, "a refused call of it would be made again"
    assert states(admin) == [JobState.QUEUED]
    submit(member, JobState.QUEUED)
    accounts.reinstate(admin, member.user_id)
    assert states(member) == [JobState.CANCELLED] * 3 + [JobState.RUNNING]


def test_administrators_do_not_lock_themselves_out(accounts: Accounts, admin: SignedIn) -> None:
    with pytest.raises(errors.NotAllowed):
        accounts.withdraw(admin, admin.user_id)
    assert accounts.password_hash("root") is not None


def test_the_administrator_sees_every_account(
    accounts: Accounts, admin: SignedIn, member: SignedIn, clock: Clock
) -> None:
    accounts.withdraw(admin, member.user_id)
    listed = {
        account.username: (account.is_admin, account.withdrawn_at) for account in accounts.accounts(admin)
    }
    assert listed == {"root": (True, None), "ada": (False, clock.now)}


def test_tidying_removes_what_is_over_and_nothing_else(
    accounts: Accounts, database: Database, admin: SignedIn, clock: Clock
) -> None:
    def leave_one_of_each() -> None:
        ticket_of(accounts, "root")
        accounts.invite(admin)
        accounts.password_reset(admin, admin.user_id)
        accounts.begin_attempt("nobody")
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


def test_tidying_keeps_a_lock(accounts: Accounts, clock: Clock) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.begin_attempt("ada")
        clock.forward(minutes=3)
    clock.forward(minutes=10)
    accounts.tidy()
    with pytest.raises(errors.SignInLocked):
        accounts.begin_attempt("ada")


def test_a_database_that_takes_no_writes_signs_nobody_out(sqlite_database: Database, clock: Clock) -> None:
    accounts = Accounts(sqlite_database, clock=clock)
    enter(accounts, "ada")
    token = token_of(accounts, "ada")
    clock.forward(hours=1)
    with sqlite_database.read() as session:
        session.execute(text("PRAGMA query_only=ON"))
    with pytest.raises(errors.StorageReadOnly):
        accounts.begin_attempt("ada")
    assert accounts.signed_in(token) is not None


def test_a_password_of_a_million_accents_is_judged_like_any_other() -> None:
    """In order, they would take minutes: everything else would stand still."""
    assert len(prehash("a" + "\u0315\u0300" * 500_000)) == 44
