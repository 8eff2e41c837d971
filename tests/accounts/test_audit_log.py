"""The audit log: what is recorded, in the transaction of the action, and without secrets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count, pairwise
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlmodel import col, select

from core import errors
from core.accounts.api_tokens import PREFIX, ApiTokens
from core.accounts.audit_log import PAGE_SIZE, Action, AuditFilter, AuditLog
from core.accounts.identity import SignedIn
from core.accounts.sign_in_attempts import LOCKOUT, MAX_ATTEMPTS
from core.common.clock import utc_now
from core.database.database import ROWS_PER_PAGE, Database
from core.database.models import AuditEntry, Scope, Table, User
from core.database.pagination import Cursor
from core.images.gallery import Gallery
from core.images.share_links import LIFETIMES, ShareLinks
from core.settings import RegistrationMode, load_settings
from core.storage.storage import Storage
from core.usage.budget_limits import UserLimits
from core.usage.budgets import Budgets
from tests.support.client_info import called_from
from tests.support.clock import Clock
from tests.support.gallery import Keeper, plans_of
from tests.support.sign_in import HASH, accounts_in, change_password, enter, in_parallel, ticket_of

Act = Callable[[], object]
KEY = "sk-proj-abcdefghijklmnop1234"


@dataclass
class World:
    """All parts that record entries, an administrator and a member. `secrets` are the tokens handed out."""

    database: Database
    storage: Storage
    clock: Clock
    secrets: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.audit_log = AuditLog(self.database, clock=self.clock)
        self.accounts = accounts_in(self.database, mode=RegistrationMode.INVITE, clock=self.clock)
        self.tokens = ApiTokens(self.database, self.audit_log, clock=self.clock)
        self.gallery = Gallery(self.database, self.storage, self.audit_log, clock=self.clock)
        self.shares = ShareLinks(self.database, self.audit_log, clock=self.clock)
        self.budgets = Budgets(self.database, load_settings(), self.audit_log, clock=self.clock)
        self.admin = enter(self.accounts, "root")
        self.member = enter(self.accounts, "ada", invite=self.accounts.registration.create_invite(self.admin))

    def kept(self, secret: str) -> str:
        self.secrets.append(secret)
        return secret

    def image(self) -> str:
        with self.database.read() as session:
            owner = session.get(User, self.member.user_id)
        assert owner
        return Keeper(self.gallery, self.database, self.storage).keep(owner).id

    def trashed(self) -> str:
        image = self.image()
        self.gallery.trash(self.member.user_id, image)
        return image

    def ticket(self) -> str:
        return self.kept(ticket_of(self.accounts, "ada"))

    def cookie(self) -> str:
        return self.kept(self.accounts.sessions.redeem_ticket(self.ticket()))

    def token(self) -> str:
        return self.kept(self.tokens.create(self.member, "script", [Scope.READ], 30))

    def reset(self) -> str:
        return self.kept(self.accounts.passwords.create_reset(self.admin, self.member.user_id))

    def open_invite(self) -> str:
        self.kept(self.accounts.registration.create_invite(self.admin))
        return self.accounts.registration.open_invites(self.admin)[0].id

    def attempted(self, times: int = 1) -> None:
        for _ in range(times):
            self.accounts.sign_in_attempts.begin("ada")

    def withdrawn(self) -> str:
        self.accounts.users.withdraw(self.admin, self.member.user_id)
        return self.member.user_id

    def back(self) -> None:
        """Sign the member in again: the case may have ended the session."""
        self.accounts.users.reinstate(self.admin, self.member.user_id)
        member = self.accounts.sessions.authenticate(self.cookie())
        assert member
        self.member = member

    def another_day(self, case: Case) -> Act:
        """What the case does, prepared on a day on which nothing is locked and nobody withdrawn."""
        self.clock.forward(days=1)
        self.back()
        return case.prepare(self)

    def entries(self, action: Action | None = None) -> list[AuditEntry]:
        """The entries, oldest first."""
        found = select(AuditEntry).order_by(col(AuditEntry.at), col(AuditEntry.id))
        with self.database.read() as session:
            return [one for one in session.exec(found) if action is None or one.action == action]

    def stored(self) -> dict[str, list[str]]:
        """The rows of all tables."""
        with self.database.read() as session:
            return {
                table.name: sorted(str(row) for row in session.execute(table.select()))
                for table in Table.metadata.sorted_tables
            }


@dataclass(frozen=True)
class Case:
    """`prepare` returns the action to record; `actor`, `subject` and `details` are those of its entry."""

    prepare: Callable[[World], Act]
    actor: str
    subject: str | None
    details: str = ""


def sign_in(world: World) -> Act:
    ticket = world.ticket()
    return lambda: world.kept(world.accounts.sessions.redeem_ticket(ticket))


def sign_out(world: World) -> Act:
    cookie = world.cookie()
    return lambda: world.accounts.sessions.sign_out(cookie)


def fail(world: World) -> Act:
    world.attempted()
    return lambda: world.accounts.sign_in_attempts.record_failure("ada")


def lock_out(world: World) -> Act:
    world.attempted(MAX_ATTEMPTS)
    return lambda: world.accounts.sign_in_attempts.record_failure("ada")


def use_reset(world: World) -> Act:
    reset = world.reset()
    return lambda: world.accounts.passwords.use_reset(reset, HASH)


def register(world: World) -> Act:
    invite = world.kept(world.accounts.registration.create_invite(world.admin))
    return lambda: world.accounts.registration.create_user("grace", HASH, invite=invite)


def withdraw_invite(world: World) -> Act:
    invite = world.open_invite()
    return lambda: world.accounts.registration.withdraw_invite(world.admin, invite)


def reinstate(world: World) -> Act:
    user_id = world.withdrawn()
    return lambda: world.accounts.users.reinstate(world.admin, user_id)


def use_token(world: World) -> Act:
    token = world.token()
    return lambda: world.tokens.authenticate(token)


def revoke_token(world: World) -> Act:
    world.token()
    token = world.tokens.list(world.member)[0]
    return lambda: world.tokens.revoke(world.member, token.id)


def trash(world: World) -> Act:
    image = world.image()
    return lambda: world.gallery.trash(world.member.user_id, image)


def restore(world: World) -> Act:
    image = world.trashed()
    return lambda: world.gallery.restore(world.member.user_id, image)


def purge(world: World) -> Act:
    later = world.clock.now + timedelta(days=31)
    sum(world.gallery.purge(later))
    world.trashed()
    return lambda: sum(world.gallery.purge(later))


def change_budget(world: World) -> Act:
    limits = iter(range(1, 1000))
    return lambda: world.budgets.change(
        world.admin, world.member.user_id, UserLimits(day_images=next(limits))
    )


def share(world: World) -> Act:
    image = world.image()
    return lambda: world.kept(world.shares.create(world.member, image, LIFETIMES[0]))


def stop_sharing(world: World) -> Act:
    image = world.image()
    world.kept(world.shares.create(world.member, image, LIFETIMES[0]))
    [share] = world.shares.list(world.member, image)
    return lambda: world.shares.revoke(world.member, share.id)


CASES = {
    Action.SIGN_IN: Case(sign_in, "ada", ""),
    Action.SIGN_IN_FAILURE: Case(fail, "", "ada"),
    Action.LOCK_OUT: Case(lock_out, "", "ada"),
    Action.SIGN_OUT: Case(sign_out, "ada", ""),
    Action.PASSWORD_CHANGE: Case(lambda w: lambda: change_password(w.accounts, "ada", HASH), "ada", "ada"),
    Action.PASSWORD_RESET_MADE: Case(lambda w: w.reset, "root", "ada"),
    Action.PASSWORD_RESET_USED: Case(use_reset, "", "ada"),
    Action.REGISTRATION: Case(register, "grace", "grace", "member, by invitation "),
    Action.INVITATION_MADE: Case(
        lambda w: lambda: w.kept(w.accounts.registration.create_invite(w.admin)), "root", None
    ),
    Action.INVITATION_WITHDRAWN: Case(withdraw_invite, "root", None),
    Action.WITHDRAWAL: Case(lambda w: w.withdrawn, "root", "ada"),
    Action.REINSTATEMENT: Case(reinstate, "root", "ada"),
    Action.TOKEN_MADE: Case(lambda w: w.token, "ada", "script", "may read; for 30 days"),
    Action.TOKEN_USED: Case(use_token, "ada", "script"),
    Action.TOKEN_FAILURE: Case(
        lambda w: lambda: w.tokens.authenticate(f"{PREFIX}made-up"), "", "", "unknown token"
    ),
    Action.TOKEN_REVOKED: Case(revoke_token, "ada", "script"),
    Action.BUDGET_CHANGE: Case(change_budget, "root", "ada", "Images per day: "),
    Action.TRASH: Case(trash, "ada", None),
    Action.RESTORE: Case(restore, "ada", None),
    Action.PURGE: Case(purge, "", None, "of user "),
    Action.SHARE_MADE: Case(share, "ada", None, ""),
    Action.SHARE_WITHDRAWN: Case(stop_sharing, "ada", None, ""),
}


@pytest.fixture
def world(database: Database, storage: Storage) -> World:
    return World(database, storage, Clock())


def test_every_action_has_a_case() -> None:
    assert set(CASES) == set(Action)


def test_every_action_is_recorded(world: World, subtests: pytest.Subtests) -> None:
    for action, case in CASES.items():
        with subtests.test(str(action)):
            act = world.another_day(case)
            before = {entry.id for entry in world.entries()}
            with called_from("192.0.2.7", "Firefox", "request-1"):
                act()
            (entry,) = [one for one in world.entries(action) if one.id not in before]
            assert entry.at == world.clock.now
            assert entry.actor_name == case.actor
            assert (entry.actor_id is None) is (case.actor == "")
            assert entry.subject == case.subject or (case.subject is None and entry.subject)
            assert entry.details.startswith(case.details)
            assert (entry.address, entry.browser, entry.request_id) == ("192.0.2.7", "Firefox", "request-1")


@contextmanager
def no_entries(database: Database) -> Iterator[None]:
    """Let the database take no more entries, as if it failed at that moment."""
    when = "BEFORE INSERT ON audit_entries"
    body = "$$ BEGIN RAISE EXCEPTION 'refused'; END $$"
    function = f"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS {body}"
    refuse, table = (
        f"CREATE TRIGGER refused {when} FOR EACH ROW EXECUTE FUNCTION refuse()",
        "ON audit_entries",
    )
    if database.is_sqlite:
        function, table = "SELECT 1", ""
        refuse = f"CREATE TRIGGER refused {when} BEGIN SELECT RAISE(ABORT, 'refused'); END"
    with database.write() as session:
        session.execute(text(function))
        session.execute(text(refuse))
    yield
    with database.write() as session:
        session.execute(text(f"DROP TRIGGER refused {table}"))


def test_an_action_that_can_not_be_recorded_is_rolled_back(world: World, subtests: pytest.Subtests) -> None:
    for action, case in CASES.items():
        with subtests.test(str(action)):
            act = world.another_day(case)
            with no_entries(world.database):
                before = world.stored()
                # A token's use is let through, or refused, also where nothing can be written.
                used = action in (Action.TOKEN_USED, Action.TOKEN_FAILURE)
                with suppress(errors.DatabaseError) if used else pytest.raises(errors.DatabaseError):
                    act()
                assert world.stored() == before


@pytest.mark.parametrize(
    ("act", "error"),
    [
        pytest.param(
            lambda w: w.gallery.trash(w.member.user_id, w.image(), "other"),
            errors.ImageNotFound,
            id="trash",
        ),
        pytest.param(
            lambda w: w.accounts.registration.create_user(
                "ada", HASH, invite=w.accounts.registration.create_invite(w.admin)
            ),
            errors.UsernameTaken,
            id="registration",
        ),
        pytest.param(
            lambda w: w.accounts.passwords.use_reset("made-up", HASH), errors.ResetInvalid, id="reset"
        ),
        pytest.param(
            lambda w: w.accounts.sessions.redeem_ticket("made-up"), errors.SessionEnded, id="sign-in"
        ),
        pytest.param(
            lambda w: w.tokens.create(w.member, "", [Scope.READ], None),
            errors.TokenOptionsRejected,
            id="token",
        ),
        pytest.param(
            lambda w: w.accounts.users.withdraw(w.member, w.admin.user_id), errors.NotAllowed, id="withdrawal"
        ),
    ],
)
def test_a_refused_action_is_not_recorded(
    world: World, act: Callable[[World], object], error: type[errors.ImageError]
) -> None:
    before = [entry.id for entry in world.entries() if entry.action != Action.INVITATION_MADE]
    with pytest.raises(error):
        act(world)
    assert [one.id for one in world.entries() if one.action != Action.INVITATION_MADE] == before


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda w: w.accounts.sessions.sign_out("made-up"), id="sign-out of nobody"),
        pytest.param(lambda w: w.accounts.users.withdraw(w.admin, "nobody"), id="withdrawal of nobody"),
        pytest.param(lambda w: w.accounts.users.reinstate(w.admin, "nobody"), id="reinstatement of nobody"),
        pytest.param(lambda w: w.accounts.registration.withdraw_invite(w.admin, "none"), id="no invitation"),
        pytest.param(lambda w: w.tokens.revoke(w.admin, "none"), id="no token"),
        pytest.param(lambda w: sum(w.gallery.purge(w.clock.now)), id="an empty trash"),
        pytest.param(lambda w: w.gallery.change(w.member.user_id, w.image(), favourite=True), id="favourite"),
        pytest.param(lambda w: w.gallery.restore(w.member.user_id, w.image()), id="no deleted image"),
    ],
)
def test_an_action_that_changes_nothing_is_not_recorded(world: World, act: Callable[[World], object]) -> None:
    before = len(world.entries())
    act(world)
    assert len(world.entries()) == before


# Without secrets


def test_no_secret_is_recorded(world: World) -> None:
    for case in CASES.values():
        with called_from("192.0.2.7", f"curl Authorization: Bearer {KEY}", KEY):
            world.another_day(case)()
    world.tokens.create(world.member, f"for {KEY}", [Scope.READ], None)
    recorded = "".join(map(str, world.entries()))
    assert "Bearer[secret]" in recorded
    assert len(world.secrets) > len(CASES) / 2
    for secret in (*world.secrets, KEY, HASH):
        assert secret not in recorded


def test_a_password_typed_as_a_username_is_not_recorded(world: World) -> None:
    world.accounts.sign_in_attempts.begin("correct horse battery")
    world.accounts.sign_in_attempts.record_failure("correct horse battery")
    (entry,) = world.entries(Action.SIGN_IN_FAILURE)
    assert (entry.subject, entry.details) == ("", "unknown name")


def test_client_text_is_cut_to_its_column_in_both_databases(world: World) -> None:
    caller_ = called_from("x" * 1_000, "\0\ud800 Firefox " * 1_000, "y" * 1_000)
    with caller_, world.database.write() as session:
        world.audit_log.record(session, Action.SIGN_IN, subject="s" * 1_000, details="\0" * 1_000)
    (entry,) = [one for one in world.entries() if one.subject.startswith("ss")]
    texts = (entry.address, entry.browser, entry.subject, entry.details, entry.request_id)
    assert [len(text) for text in texts] == [64, 200, 128, 400, 64]


# Bounded


def test_unknown_usernames_leave_one_entry_per_hour_and_address(world: World) -> None:
    for address in ("192.0.2.1", "192.0.2.2"):
        for number in range(10):
            with called_from(address):
                world.accounts.sign_in_attempts.record_failure(f"nobody-{number}")
    assert len(world.entries(Action.SIGN_IN_FAILURE)) == 2
    world.clock.forward(hours=1)
    with called_from("192.0.2.1"):
        world.accounts.sign_in_attempts.record_failure("nobody")
    assert len(world.entries(Action.SIGN_IN_FAILURE)) == 3


@pytest.mark.parametrize("name", ["root", "nobody"])
def test_a_failed_sign_in_writes_to_disk_for_unknown_usernames_too(
    sqlite_database: Database, tmp_path: Path, name: str
) -> None:
    accounts, log = accounts_in(sqlite_database), tmp_path / "only.db-wal"
    accounts.registration.create_user("root", HASH)
    for _ in range(2):
        accounts.sign_in_attempts.begin(name)
        before = log.stat().st_size
        accounts.sign_in_attempts.record_failure(name)
        assert log.stat().st_size > before


def test_a_locked_username_leaves_no_more_entries(world: World) -> None:
    def attempt(_: int) -> None:
        world.accounts.sign_in_attempts.begin("ada")
        world.accounts.sign_in_attempts.record_failure("ada")

    in_parallel(20, attempt)
    assert len(world.entries(Action.SIGN_IN_FAILURE)) == MAX_ATTEMPTS
    assert len(world.entries(Action.LOCK_OUT)) == 1
    world.clock.now += LOCKOUT
    in_parallel(20, attempt)
    assert len(world.entries(Action.SIGN_IN_FAILURE)) == 2 * MAX_ATTEMPTS
    assert len(world.entries(Action.LOCK_OUT)) == 2


def test_ended_tokens_are_recorded_with_the_reason(world: World) -> None:
    world.token()
    change_password(world.accounts, "ada", HASH)
    world.back()
    world.token()
    world.accounts.passwords.use_reset(world.reset(), HASH)
    world.back()
    world.token()
    world.withdrawn()
    ended = {(one.actor_name, one.subject, one.details) for one in world.entries(Action.TOKEN_REVOKED)}
    assert ended == {
        ("ada", "script", "of ada, by a new password"),
        ("", "script", "of ada, by a new password by a link"),
        ("root", "script", "of ada, by the withdrawal"),
    }


def test_a_reset_link_created_by_the_operator_is_recorded_as_such(world: World) -> None:
    world.kept(world.accounts.passwords.create_reset_as_operator("ada"))
    (entry,) = world.entries(Action.PASSWORD_RESET_MADE)
    assert (entry.actor_id, entry.subject, entry.details) == (None, "ada", "by the server's operator")


# Reading


def test_only_an_administrator_reads_the_audit_log(world: World) -> None:
    with pytest.raises(errors.NotAllowed):
        world.audit_log.page(world.member)
    with pytest.raises(errors.NotAllowed):
        world.audit_log.iterate(world.member)
    assert world.audit_log.page(world.admin).entries


def test_an_administrators_token_does_not_read_the_audit_log(world: World) -> None:
    user = world.tokens.authenticate(world.tokens.create(world.admin, "script", list(Scope), None))
    assert user
    with pytest.raises(errors.NotAllowed):
        world.audit_log.page(user)


def fill(world: World, entries: int) -> None:
    """Record `entries` entries, several with the same time."""
    number = count()
    with world.database.write() as session:
        for _ in range(entries):
            if next(number) % 3 == 0:
                world.clock.forward(seconds=1)
            world.audit_log.record(session, Action.SIGN_IN, actor=world.member.user_id)


def test_the_pages_go_through_the_whole_audit_log_and_back(world: World) -> None:
    fill(world, 2 * PAGE_SIZE + 7)
    whole = [entry.id for entry in world.entries()][::-1]
    first = world.audit_log.page(world.admin)
    second = world.audit_log.page(world.admin, after=first.next)
    third = world.audit_log.page(world.admin, after=second.next)
    pages = (first, second, third)
    assert [len(page.entries) for page in pages] == [PAGE_SIZE, PAGE_SIZE, len(whole) - 2 * PAGE_SIZE]
    assert [entry.id for page in pages for entry in page.entries] == whole
    assert (first.newer, third.next) == (None, None)
    assert world.audit_log.page(world.admin, after=third.newer).entries == second.entries
    assert world.audit_log.page(world.admin, after=second.newer).entries == first.entries
    assert world.audit_log.page(world.admin, after="made-up") == first


def test_new_entries_do_not_shift_the_pages(world: World) -> None:
    fill(world, PAGE_SIZE + 9)
    first = world.audit_log.page(world.admin)
    rest = world.audit_log.page(world.admin, after=first.next)
    fill(world, 5)
    assert world.audit_log.page(world.admin, after=first.next).entries == rest.entries
    assert len(world.audit_log.page(world.admin, after=rest.newer).entries) == PAGE_SIZE


def test_all_entries_are_read_in_portions(world: World) -> None:
    fill(world, ROWS_PER_PAGE + 7)
    assert [entry.id for entry in world.audit_log.iterate(world.admin)] == [
        one.id for one in world.entries()
    ][::-1]


@pytest.mark.parametrize(
    ("which", "found"),
    [
        pytest.param(AuditFilter(action=Action.WITHDRAWAL), [("root", "ada")], id="an action"),
        pytest.param(AuditFilter("ada", Action.WITHDRAWAL), [("root", "ada")], id="done to a person"),
        pytest.param(AuditFilter("root", Action.WITHDRAWAL), [("root", "ada")], id="done by a person"),
        pytest.param(AuditFilter("grace", Action.WITHDRAWAL), [], id="another person"),
        pytest.param(
            AuditFilter("ada", Action.TOKEN_MADE), [("ada", "root")], id="a name like a person's, by her"
        ),
        pytest.param(AuditFilter("root", Action.TOKEN_MADE), [], id="a name like a person's, not about him"),
    ],
)
def test_entries_are_filtered_by_person_and_action(
    world: World, which: AuditFilter, found: list[tuple[str, str]]
) -> None:
    world.tokens.create(world.member, "root", [Scope.READ], None)
    world.withdrawn()
    entries = world.audit_log.page(world.admin, which).entries
    assert [(one.actor_name, one.subject) for one in entries] == found
    assert list(world.audit_log.iterate(world.admin, which)) == list(entries)


def test_entries_are_listed_newest_first(world: World) -> None:
    fill(world, 20)
    times = [entry.at for entry in world.audit_log.page(world.admin).entries]
    assert all(later >= earlier for later, earlier in pairwise(times))


def test_a_page_is_read_through_the_index(sqlite_database: Database) -> None:
    admin = SignedIn("1", "root", "root", is_admin=True, session_id="1")
    with plans_of(sqlite_database) as plans:
        for after in (None, Cursor(utc_now(), "f").encode(), Cursor(utc_now(), "0", newer=True).encode()):
            AuditLog(sqlite_database).page(admin, after=after)
    assert len(plans) >= 3
    for plan in plans:
        assert "USING INDEX ix_audit_entries_at" in plan
        assert "TEMP B-TREE" not in plan
