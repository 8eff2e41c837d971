"""streamlit-authenticator's controller signs people in on rows, and tells nobody which names exist."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress

import bcrypt
import pytest
from streamlit.runtime.fragment import MemoryFragmentStorage
from streamlit.runtime.memory_uploaded_file_manager import MemoryUploadedFileManager
from streamlit.runtime.pages_manager import PagesManager
from streamlit.runtime.scriptrunner_utils.script_run_context import ScriptRunContext, add_script_run_ctx
from streamlit.runtime.state import SafeSessionState, SessionState
from streamlit.testing.v1 import AppTest

from core import errors
from core.accounts.audit_log import Action, AuditFilter, AuditLog
from core.accounts.identity import SignedIn
from core.accounts.sign_in_attempts import MAX_ATTEMPTS
from core.database.database import Database
from core.settings import RegistrationMode
from pages.ui.account.authenticator import Authenticator
from tests.support.clock import Clock
from tests.support.sign_in import Accounts, accounts_in

PASSWORD = "correct horse battery"
WRONG = "wrong horse battery"


@pytest.fixture(autouse=True)
def quick_bcrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The real thing with its smallest cost."""
    salt = bcrypt.gensalt
    monkeypatch.setattr(bcrypt, "gensalt", lambda: salt(4))


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The hash of each password check that bcrypt made."""
    made: list[bytes] = []
    real = bcrypt.checkpw

    def counted(password: bytes, hashed: bytes) -> bool:
        made.append(hashed)
        return real(password, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", counted)
    return made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(database: Database, clock: Clock) -> Accounts:
    return accounts_in(database, clock=clock)


@pytest.fixture
def authenticator(accounts: Accounts) -> Authenticator:
    return authenticator_over(accounts)


@pytest.fixture
def admin(accounts: Accounts, authenticator: Authenticator) -> SignedIn:
    return enter(accounts, authenticator.register("root", PASSWORD))


@contextmanager
def tab_of_its_own() -> Iterator[None]:
    """Give this thread what each browser tab has: a session state that no other thread shares."""
    context = ScriptRunContext(
        session_id="",
        _enqueue=lambda _: None,
        query_string="",
        session_state=SafeSessionState(SessionState(), lambda: None),
        uploaded_file_mgr=MemoryUploadedFileManager(""),
        main_script_path="",
        user_info={},
        fragment_storage=MemoryFragmentStorage(),
        pages_manager=PagesManager(""),
    )
    add_script_run_ctx(ctx=context)
    yield


def authenticator_over(accounts: Accounts) -> Authenticator:
    return Authenticator(
        accounts.registration, accounts.passwords, accounts.sign_in_attempts, accounts.sessions
    )


def enter(accounts: Accounts, ticket: str) -> SignedIn:
    user = accounts.sessions.authenticate(accounts.sessions.redeem_ticket(ticket))
    assert user is not None
    return user


def test_a_registered_person_can_sign_in(accounts: Accounts, authenticator: Authenticator) -> None:
    assert enter(accounts, authenticator.register(" Ada ", PASSWORD)).username == "ada"
    assert enter(accounts, authenticator.sign_in("ADA", PASSWORD)).display_name == "Ada"


@pytest.mark.parametrize(
    "password",
    [
        pytest.param("正しい馬電池ホチキス", id="japanese"),
        pytest.param("🦊🌲🌅📖🧣👓🌸🍂🐾🎒", id="emoji"),
        pytest.param("  spaces around it  ", id="spaces around it"),
        pytest.param("fox and tree " * 69 + "end", id="900 characters"),
    ],
)
def test_a_password_of_any_script_and_length_signs_in_and_a_similar_one_does_not(
    accounts: Accounts, authenticator: Authenticator, password: str
) -> None:
    authenticator.register("ada", password)
    assert enter(accounts, authenticator.sign_in("ada", password))
    with pytest.raises(errors.SignInFailed):
        authenticator.sign_in("ada", password[:-1] + "x")


@pytest.mark.parametrize("name", ["ada", "nobody", "", "\0", "a" * 500])
def test_a_wrong_password_and_an_unknown_username_give_the_same_error(
    authenticator: Authenticator, admin: SignedIn, checks: list[bytes], name: str
) -> None:
    authenticator.register("ada", PASSWORD)
    with pytest.raises(errors.SignInFailed) as caught:
        authenticator.sign_in(name, WRONG)
    assert str(caught.value) == str(errors.SignInFailed())
    assert len(checks) == (1 if name else 0)


def test_wrong_passwords_are_recorded_in_the_audit_log(
    accounts: Accounts, database: Database, authenticator: Authenticator, admin: SignedIn
) -> None:
    for name in ("root", WRONG):
        with pytest.raises(errors.SignInFailed):
            authenticator.sign_in(name, WRONG)
    with pytest.raises(errors.SignInFailed):
        authenticator.change_password("root", WRONG, "another battery")
    entries = AuditLog(database).page(admin, AuditFilter(action=Action.SIGN_IN_FAILURE)).entries
    told = {(entry.subject, entry.details) for entry in entries}
    assert told == {("root", ""), ("", "unknown name"), ("root", "the current password, to change it")}


@pytest.mark.parametrize("name", ["ada", "nobody"])
def test_no_password_is_checked_for_a_locked_username(
    accounts: Accounts, authenticator: Authenticator, clock: Clock, checks: list[bytes], name: str
) -> None:
    authenticator.register("ada", PASSWORD)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(errors.SignInFailed):
            authenticator.sign_in(name, WRONG)
    with pytest.raises(errors.SignInLocked):
        authenticator.sign_in(name, PASSWORD)
    assert len(checks) == MAX_ATTEMPTS
    clock.forward(minutes=15)
    if name == "ada":
        assert enter(accounts, authenticator.sign_in(name, PASSWORD))


def test_of_twenty_concurrent_wrong_passwords_five_are_checked(
    authenticator: Authenticator, checks: list[bytes]
) -> None:
    authenticator.register("ada", PASSWORD)

    def attempt(_: int) -> str:
        with tab_of_its_own(), pytest.raises((errors.SignInFailed, errors.SignInLocked)) as caught:
            authenticator.sign_in("ada", WRONG)
        return type(caught.value).__name__

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(attempt, range(20)))
    assert answers.count("SignInFailed") == MAX_ATTEMPTS
    assert len(checks) == MAX_ATTEMPTS


def test_a_successful_sign_in_clears_the_attempts(authenticator: Authenticator) -> None:
    authenticator.register("ada", PASSWORD)
    for _ in range(3):
        for _ in range(MAX_ATTEMPTS - 1):
            with pytest.raises(errors.SignInFailed):
                authenticator.sign_in("ada", WRONG)
        authenticator.sign_in("ada", PASSWORD)


def test_a_withdrawn_user_is_told_so_after_the_right_password_only(
    accounts: Accounts, authenticator: Authenticator, admin: SignedIn, checks: list[bytes]
) -> None:
    user = enter(accounts, authenticator.register("ada", PASSWORD))
    accounts.users.withdraw(admin, user.user_id)
    for password, expected in ((WRONG, errors.SignInFailed), (PASSWORD, errors.AccessWithdrawn)):
        with pytest.raises(expected):
            authenticator.sign_in("ada", password)
        assert len(checks) == 1
        checks.clear()
    with pytest.raises(errors.UsernameTaken):
        authenticator.register("ada", PASSWORD)


@pytest.mark.parametrize(
    ("name", "password", "expected"),
    [
        pytest.param("root", PASSWORD, errors.UsernameTaken, id="taken"),
        pytest.param("ＲＯＯＴ", PASSWORD, errors.UsernameTaken, id="taken in full width"),
        pytest.param("a b", PASSWORD, errors.UsernameRejected, id="unusable name"),
        pytest.param("ada", "qhv-82-kz", errors.PasswordRejected, id="nine characters"),
        pytest.param("ada", "password123", errors.PasswordRejected, id="common password"),
    ],
)
def test_a_refused_registration_says_why(
    authenticator: Authenticator, admin: SignedIn, name: str, password: str, expected: type[errors.ImageError]
) -> None:
    with pytest.raises(expected):
        authenticator.register(name, password)


def test_registration_by_invitation_needs_an_invitation(database: Database) -> None:
    accounts = accounts_in(database, mode=RegistrationMode.INVITE)
    authenticator = authenticator_over(accounts)
    admin = enter(accounts, authenticator.register("root", PASSWORD))
    with pytest.raises(errors.RegistrationClosed):
        authenticator.register("ada", PASSWORD)
    invite = accounts.registration.create_invite(admin)
    assert not enter(accounts, authenticator.register("ada", PASSWORD, invite=invite)).is_admin
    with pytest.raises(errors.InviteInvalid):
        authenticator.register("grace", PASSWORD, invite=invite)


def test_concurrent_registrations_of_a_username_create_one_account(
    accounts: Accounts, authenticator: Authenticator
) -> None:
    def register(_: int) -> str:
        with tab_of_its_own(), suppress(errors.UsernameTaken):
            return authenticator.register("ada", PASSWORD)
        return ""

    with ThreadPoolExecutor(6) as pool:
        tickets = [ticket for ticket in pool.map(register, range(6)) if ticket]
    assert len(tickets) == 1
    assert enter(accounts, tickets[0]).is_admin


def test_a_changed_password_replaces_the_old_one(accounts: Accounts, authenticator: Authenticator) -> None:
    before = accounts.sessions.redeem_ticket(authenticator.register("Straße", PASSWORD))
    ticket = authenticator.change_password("strasse", PASSWORD, "another horse battery")
    assert accounts.sessions.authenticate(before) is None
    assert enter(accounts, ticket).username == "strasse"
    with pytest.raises(errors.SignInFailed):
        authenticator.sign_in("strasse", PASSWORD)
    assert authenticator.sign_in("Straße", "another horse battery")


@pytest.mark.parametrize(
    ("current", "new", "expected"),
    [
        pytest.param(WRONG, "another horse battery", errors.SignInFailed, id="wrong current one"),
        pytest.param(PASSWORD, PASSWORD, errors.PasswordRejected, id="the same"),
        pytest.param(PASSWORD, "short", errors.PasswordRejected, id="too short"),
        pytest.param(PASSWORD, "1234567890", errors.PasswordRejected, id="common"),
    ],
)
def test_a_refused_change_changes_nothing(
    accounts: Accounts,
    authenticator: Authenticator,
    current: str,
    new: str,
    expected: type[errors.ImageError],
) -> None:
    token = accounts.sessions.redeem_ticket(authenticator.register("ada", PASSWORD))
    with pytest.raises(expected):
        authenticator.change_password("ada", current, new)
    assert accounts.sessions.authenticate(token) is not None
    assert authenticator.sign_in("ada", PASSWORD)


def test_a_reset_link_sets_a_new_password(
    accounts: Accounts, authenticator: Authenticator, admin: SignedIn
) -> None:
    user = enter(accounts, authenticator.register("ada", PASSWORD))
    reset = accounts.passwords.create_reset(admin, user.user_id)
    for easy in ("short", "1234567890", "password123"):
        with pytest.raises(errors.PasswordRejected):
            authenticator.reset_password(reset, easy)
    assert authenticator.sign_in("ada", PASSWORD)
    assert enter(accounts, authenticator.reset_password(reset, "another horse battery")).username == "ada"
    with pytest.raises(errors.SignInFailed):
        authenticator.sign_in("ada", PASSWORD)
    assert authenticator.sign_in("ada", "another horse battery")
    with pytest.raises(errors.ResetInvalid):
        authenticator.reset_password(reset, "a third horse battery")


@pytest.mark.parametrize("verb", ["sign in", "change"])
def test_a_password_that_ends_while_it_is_checked_lets_nobody_in(
    accounts: Accounts,
    authenticator: Authenticator,
    admin: SignedIn,
    monkeypatch: pytest.MonkeyPatch,
    database: Database,
    verb: str,
) -> None:
    user = enter(accounts, authenticator.register("ada", PASSWORD))
    reset, new, real = (
        accounts.passwords.create_reset(admin, user.user_id),
        "another horse battery",
        bcrypt.checkpw,
    )

    def slow(password: bytes, hashed: bytes) -> bool:
        right = real(password, hashed)
        monkeypatch.setattr(bcrypt, "checkpw", real)
        authenticator.reset_password(reset, new)
        return right

    monkeypatch.setattr(bcrypt, "checkpw", slow)
    with pytest.raises(errors.SignInFailed):
        authenticator.sign_in("ada", PASSWORD) if verb == "sign in" else authenticator.change_password(
            "ada", PASSWORD, WRONG
        )
    assert authenticator.sign_in("ada", new)
    assert AuditLog(database).page(admin, AuditFilter(action=Action.SIGN_IN_FAILURE)).entries


def test_guessing_the_current_password_is_locked_too(authenticator: Authenticator) -> None:
    authenticator.register("ada", PASSWORD)
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(errors.SignInFailed):
            authenticator.change_password("ada", WRONG, "another horse battery")
    with pytest.raises(errors.SignInLocked):
        authenticator.change_password("ada", PASSWORD, "another horse battery")


def _script(authenticator, verb):  # type: ignore[no-untyped-def]
    """Runs as a page of its own, which knows nothing of this module."""
    import contextlib

    import streamlit as st

    from core.errors import ImageError

    with contextlib.suppress(ImageError), authenticator:
        if verb == "register":
            authenticator.register("grace", "correct horse battery")
        if verb == "sign in":
            authenticator.sign_in("ada", "correct horse battery")
        if verb == "wrong":
            authenticator.sign_in("ada", "wrong horse battery")
        if verb == "unknown":
            authenticator.sign_in("nobody", "wrong horse battery")
        if verb == "change":
            authenticator.change_password("ada", "correct horse battery", "another horse battery")
    st.text(f"left: {sorted(st.session_state)}")


@pytest.mark.parametrize("verb", ["register", "sign in", "wrong", "unknown", "change"])
def test_nothing_is_left_in_the_session_state(sqlite_database: Database, verb: str) -> None:
    authenticator = authenticator_over(accounts_in(sqlite_database))
    authenticator.register("ada", PASSWORD)
    page = AppTest.from_function(_script, args=(authenticator, verb)).run(timeout=20)
    assert not page.exception
    assert page.text[0].value == "left: []"
