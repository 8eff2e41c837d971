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
from core.accounts.passwords import RESET_LIFETIME, check_password, prehash
from core.accounts.registration import INVITE_LIFETIME
from core.accounts.sessions import TICKET_LIFETIME
from core.accounts.sign_in_attempts import LOCKOUT, MAX_ATTEMPTS
from core.accounts.usernames import check_username, fold_username
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
from core.generation.job_state import cancel_live_jobs
from core.settings import RegistrationMode
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


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_with(database: Database, clock: Clock) -> Callable[[RegistrationMode], Accounts]:
    return lambda registration: accounts_in(
        database, mode=registration, on_withdrawal=cancel_live_jobs, clock=clock
    )


@pytest.fixture
def accounts(open_with: Callable[[RegistrationMode], Accounts]) -> Accounts:
    return open_with(RegistrationMode.OPEN)


@pytest.fixture
def admin(accounts: Accounts) -> SignedIn:
    return enter(accounts, "root")


@pytest.fixture
def member(accounts: Accounts, admin: SignedIn) -> SignedIn:
    return enter(accounts, "ada")


def test_the_first_account_is_the_administrators(accounts: Accounts) -> None:
    assert not accounts.registration.has_users()
    assert enter(accounts, "root").is_admin
    assert accounts.registration.has_users()
    assert not enter(accounts, "ada").is_admin


def test_of_first_accounts_made_at_once_one_is_the_administrators(
    accounts: Accounts, database: Database
) -> None:
    made = in_parallel(8, lambda number: accounts.registration.create_user(f"user{number}", HASH))
    assert [type(user) for user in made] == [User] * 8
    with database.read() as session:
        roles = sorted(session.exec(select(User.role)).all())
    assert roles == ["admin"] + ["member"] * 7


def test_a_name_is_given_once_also_at_once(accounts: Accounts) -> None:
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


def test_closed_means_closed_also_with_an_invitation(
    open_with: Callable[[RegistrationMode], Accounts],
) -> None:
    accounts = open_with(RegistrationMode.CLOSED)
    invite = accounts.registration.create_invite(enter(accounts, "root"))
    with pytest.raises(errors.RegistrationClosed):
        accounts.registration.create_user("ada", HASH, invite=invite)


def test_an_invitation_makes_one_account(open_with: Callable[[RegistrationMode], Accounts]) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    invite = accounts.registration.create_invite(enter(accounts, "root"))
    accounts.registration.check(invite)
    assert not enter(accounts, "ada", invite=invite).is_admin
    with pytest.raises(errors.InviteInvalid):
        accounts.registration.check(invite)
    with pytest.raises(errors.InviteInvalid):
        accounts.registration.create_user("grace", HASH, invite=invite)


def test_an_invitation_used_at_once_makes_one_account(
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


def test_an_invitation_ends_with_its_time(
    open_with: Callable[[RegistrationMode], Accounts], clock: Clock
) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    invite = accounts.registration.create_invite(enter(accounts, "root"))
    clock.now += INVITE_LIFETIME - timedelta(seconds=1)
    accounts.registration.check(invite)
    clock.forward(seconds=1)
    with pytest.raises(errors.InviteInvalid):
        accounts.registration.create_user("ada", HASH, invite=invite)


@pytest.mark.parametrize("invite", ["made-up", "", "\0", "\ud800"], ids=ascii)
def test_a_made_up_invitation_opens_nothing(
    open_with: Callable[[RegistrationMode], Accounts], invite: str
) -> None:
    accounts = open_with(RegistrationMode.INVITE)
    enter(accounts, "root")
    with pytest.raises((errors.InviteInvalid, errors.RegistrationClosed)):
        accounts.registration.create_user("ada", HASH, invite=invite)


def test_a_link_sets_a_password_once_and_ends_what_stood(
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


def assert_reset_is_over(accounts: Accounts, reset: str) -> None:
    before = accounts.passwords.stored_hash("ada")
    with pytest.raises(errors.ResetInvalid):
        accounts.passwords.check_reset(reset)
    with pytest.raises(errors.ResetInvalid):
        accounts.passwords.use_reset(reset, "yet another")
    assert accounts.passwords.stored_hash("ada") == before


def test_a_link_used_at_once_sets_one_password(accounts: Accounts, admin: SignedIn, member: SignedIn) -> None:
    reset = accounts.passwords.create_reset(admin, member.user_id)
    used = in_parallel(6, lambda number: accounts.passwords.use_reset(reset, f"hash {number}"))
    assert used.count("ada") == 1
    assert sum(isinstance(answer, errors.ResetInvalid) for answer in used) == 5


def test_a_link_ends_with_its_time(
    accounts: Accounts, admin: SignedIn, member: SignedIn, clock: Clock
) -> None:
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
def test_a_link_ends_with(
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
def test_a_made_up_link_sets_nothing(accounts: Accounts, member: SignedIn, reset: str) -> None:
    assert_reset_is_over(accounts, reset)


def test_an_account_without_access_gets_no_link(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    accounts.users.withdraw(admin, member.user_id)
    for user_id in (member.user_id, "nobody"):
        with pytest.raises(errors.NotAllowed):
            accounts.passwords.create_reset(admin, user_id)


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
    accounts.registration.create_user(held, HASH)
    with pytest.raises(errors.UsernameTaken, match="looks like"):
        accounts.registration.create_user(wanted, HASH)


def test_of_names_that_look_alike_one_is_given_also_at_once(accounts: Accounts) -> None:
    made = in_parallel(8, lambda number: accounts.registration.create_user(("ace", "асе")[number % 2], HASH))
    assert sum(isinstance(user, User) for user in made) == 1
    assert sum(isinstance(user, errors.UsernameTaken) for user in made) == 7


def test_a_name_is_found_however_it_is_typed(accounts: Accounts) -> None:
    accounts.registration.create_user("Straße", HASH)
    for typed in ("STRASSE", "straße", " Strasse "):
        assert accounts.passwords.stored_hash(typed) == HASH
        assert token_of(accounts, typed)
    assert accounts.passwords.stored_hash("strase") is None


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
    accounts.sign_in_attempts.begin("\ud800\0")
    assert accounts.passwords.stored_hash("\ud800\0") is None


def test_a_session_outlives_the_process(accounts: Accounts, database_url: str, clock: Clock) -> None:
    enter(accounts, "ada")
    token = token_of(accounts, "ada")
    database = Database(database_url)
    found = accounts_in(database, clock=clock).sessions.authenticate(token)
    database.close()
    assert found is not None
    assert (found.username, found.is_admin) == ("ada", True)


@pytest.mark.parametrize("token", [None, "", "made-up", "\0", "\ud800", "x" * 10_000], ids=ascii)
def test_a_made_up_token_is_nobody(accounts: Accounts, member: SignedIn, token: str | None) -> None:
    assert accounts.sessions.authenticate(token) is None


def test_sign_out_ends_one_browser(accounts: Accounts, member: SignedIn) -> None:
    here, there = token_of(accounts, "ada"), token_of(accounts, "ada")
    accounts.sessions.sign_out(here)
    accounts.sessions.sign_out(None)
    assert accounts.sessions.authenticate(here) is None
    assert accounts.sessions.authenticate(there) is not None


def test_sign_out_everywhere_ends_them_all_and_nobody_elses(
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


def test_withdrawal_ends_everything_at_once_until_it_is_undone(
    accounts: Accounts, admin: SignedIn, member: SignedIn
) -> None:
    token, ticket = token_of(accounts, "ada"), ticket_of(accounts, "ada")
    accounts.users.withdraw(admin, member.user_id)
    assert accounts.sessions.authenticate(token) is None
    assert accounts.passwords.stored_hash("ada") is None
    with pytest.raises(errors.SessionEnded):
        accounts.sessions.redeem_ticket(ticket)
    with pytest.raises(errors.SignInFailed):
        accounts.sessions.issue_ticket("ada", HASH)
    accounts.users.reinstate(admin, member.user_id)
    assert accounts.sessions.authenticate(token) is None
    assert accounts.sessions.authenticate(token_of(accounts, "ada")) is not None


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
class TestAPasswordCheckedBefore:
    """What ends everything that stands ends what is on its way, too."""

    def test_gives_no_ticket(
        self, accounts: Accounts, admin: SignedIn, member: SignedIn, event: Event
    ) -> None:
        event(accounts, admin, member.user_id)
        with pytest.raises(errors.SignInFailed):
            accounts.sessions.issue_ticket("ada", HASH)

    def test_sets_no_other(self, accounts: Accounts, admin: SignedIn, member: SignedIn, event: Event) -> None:
        event(accounts, admin, member.user_id)
        with pytest.raises(errors.SignInFailed):
            accounts.passwords.replace_hash("ada", "another", HASH)
        accounts.users.reinstate(admin, member.user_id)
        assert accounts.passwords.stored_hash("ada") != "another"

    def test_leaves_no_session_of_a_ticket_that_is_being_redeemed(
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

    def test_leaves_no_ticket_that_is_being_made(
        self, accounts: Accounts, database: Database, admin: SignedIn, member: SignedIn, event: Event
    ) -> None:
        with meanwhile(
            database, "INSERT INTO sign_in_tickets", partial(event, accounts, admin, member.user_id)
        ):
            ticket = ticket_of(accounts, "ada")
        accounts.users.reinstate(admin, member.user_id)
        with pytest.raises(errors.SessionEnded):
            accounts.sessions.redeem_ticket(ticket)


def test_signing_out_everywhere_ends_what_is_being_begun(
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


def test_a_ticket_ends_with_its_time(accounts: Accounts, member: SignedIn, clock: Clock) -> None:
    ticket = ticket_of(accounts, "ada")
    clock.now += TICKET_LIFETIME
    with pytest.raises(errors.SessionEnded):
        accounts.sessions.redeem_ticket(ticket)


def test_tokens_are_stored_as_hashes_alone(accounts: Accounts, database: Database, admin: SignedIn) -> None:
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


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_a_name_is_locked_after_five_attempts(
    accounts: Accounts, member: SignedIn, clock: Clock, name: str
) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin(name)
        clock.forward(minutes=2)
    with pytest.raises(errors.SignInLocked) as caught:
        accounts.sign_in_attempts.begin(name.upper())
    assert caught.value.retry_after == pytest.approx(13 * 60)
    accounts.sign_in_attempts.begin("somebody-else")


def test_the_lock_ends_15_minutes_after_the_last_attempt(accounts: Accounts, clock: Clock) -> None:
    for _ in range(MAX_ATTEMPTS):
        clock.forward(minutes=3)
        accounts.sign_in_attempts.begin("ada")
    clock.now += LOCKOUT - timedelta(seconds=1)
    with pytest.raises(errors.SignInLocked):
        accounts.sign_in_attempts.begin("ada")
    clock.forward(seconds=1)
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
    with pytest.raises(errors.SignInLocked):
        accounts.sign_in_attempts.begin("ada")


def test_five_attempts_over_a_longer_time_lock_nothing(accounts: Accounts, clock: Clock) -> None:
    for _ in range(20):
        clock.forward(minutes=4)
        accounts.sign_in_attempts.begin("ada")


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_attempts_in_parallel_are_judged_five_times_at_most(
    accounts: Accounts, member: SignedIn, name: str
) -> None:
    judged = in_parallel(20, lambda _: accounts.sign_in_attempts.begin(name))
    assert judged.count(None) == MAX_ATTEMPTS
    assert sum(isinstance(answer, errors.SignInLocked) for answer in judged) == 20 - MAX_ATTEMPTS


def test_a_right_password_clears_the_count(accounts: Accounts) -> None:
    for _ in range(3):
        for _ in range(MAX_ATTEMPTS - 1):
            accounts.sign_in_attempts.begin("ada")
        accounts.sign_in_attempts.clear("Ada")


def test_a_clock_that_is_set_back_locks_nobody_out(
    accounts: Accounts, database: Database, clock: Clock
) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
    clock.now -= timedelta(days=1)
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
    with pytest.raises(errors.SignInLocked) as caught:
        accounts.sign_in_attempts.begin("ada")
    assert caught.value.retry_after == LOCKOUT.total_seconds()
    accounts.tidy()
    with database.read() as session:
        assert list(session.exec(select(SignInAttempt.at))) == [clock.now] * MAX_ATTEMPTS


def test_attempts_in_parallel_are_counted_also_while_the_clock_moves(
    database: Database, accounts: Accounts
) -> None:
    moving = accounts_in(database)
    judged = in_parallel(20, lambda _: moving.sign_in_attempts.begin("ada"))
    assert judged.count(None) == MAX_ATTEMPTS


def test_the_lock_outlives_the_process(accounts: Accounts, database_url: str, clock: Clock) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
    database = Database(database_url)
    with pytest.raises(errors.SignInLocked):
        accounts_in(database, clock=clock).sign_in_attempts.begin("ada")
    database.close()


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
def test_administration_is_the_administrators(
    accounts: Accounts,
    admin: SignedIn,
    member: SignedIn,
    verb: Callable[[Accounts, SignedIn, SignedIn], object],
) -> None:
    with pytest.raises(errors.NotAllowed):
        verb(accounts, member, admin)
    assert accounts.passwords.stored_hash("root") is not None
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
    accounts.users.withdraw(admin, member.user_id)
    assert states(member) == [JobState.CANCELLED, JobState.CANCELLED, JobState.RUNNING]
    with database.read() as session:
        running = session.exec(select(Job).where(Job.state == JobState.RUNNING)).one()
    assert running.cancel_asked, "a refused call of it would be made again"
    assert states(admin) == [JobState.QUEUED]
    submit(member, JobState.QUEUED)
    accounts.users.reinstate(admin, member.user_id)
    assert states(member) == [JobState.CANCELLED] * 3 + [JobState.RUNNING]


def test_administrators_do_not_lock_themselves_out(accounts: Accounts, admin: SignedIn) -> None:
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


def test_tidying_removes_what_is_over_and_nothing_else(
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


def test_tidying_keeps_a_lock(accounts: Accounts, clock: Clock) -> None:
    for _ in range(MAX_ATTEMPTS):
        accounts.sign_in_attempts.begin("ada")
        clock.forward(minutes=3)
    clock.forward(minutes=10)
    accounts.tidy()
    with pytest.raises(errors.SignInLocked):
        accounts.sign_in_attempts.begin("ada")


def test_a_database_that_takes_no_writes_signs_nobody_out(sqlite_database: Database, clock: Clock) -> None:
    accounts = accounts_in(sqlite_database, clock=clock)
    enter(accounts, "ada")
    token = token_of(accounts, "ada")
    clock.forward(hours=1)
    with sqlite_database.read() as session:
        session.execute(text("PRAGMA query_only=ON"))
    with pytest.raises(errors.StorageReadOnly):
        accounts.sign_in_attempts.begin("ada")
    assert accounts.sessions.authenticate(token) is not None


def test_a_password_of_a_million_accents_is_judged_like_any_other() -> None:
    """In order, they would take minutes: everything else would stand still."""
    assert len(prehash("a" + "\u0315\u0300" * 500_000)) == 44
