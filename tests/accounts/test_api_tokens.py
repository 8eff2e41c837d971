"""API tokens: scopes, lifetimes, limits, revocation, and their entries in the audit log."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import event, text
from sqlmodel import Session, select

from core import errors
from core.accounts.api_tokens import (
    EXPIRED_LISTED_FOR,
    LIFETIMES_DAYS,
    MAX_TOKENS_PER_USER,
    PREFIX,
    ApiTokens,
    TokenSummary,
)
from core.accounts.audit_log import Action, AuditLog
from core.accounts.identity import LAST_SEEN_INTERVAL, SignedIn
from core.database.database import Database
from core.database.models import ApiToken, AuditEntry, Scope, Table
from tests.support.client_info import called_from
from tests.support.clock import Clock
from tests.support.concurrent_write import meanwhile
from tests.support.sign_in import HASH, Accounts, accounts_in, change_password, enter, in_parallel, ticket_of

BOTH = (Scope.READ, Scope.GENERATE)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def accounts(database: Database, clock: Clock) -> Accounts:
    return accounts_in(database, clock=clock)


@pytest.fixture
def tokens(database: Database, clock: Clock) -> ApiTokens:
    return ApiTokens(database, AuditLog(database, clock=clock), clock=clock)


@pytest.fixture
def admin(accounts: Accounts) -> SignedIn:
    return enter(accounts, "root")


@pytest.fixture
def member(accounts: Accounts, admin: SignedIn) -> SignedIn:
    return enter(accounts, "ada")


def only(tokens: ApiTokens, user: SignedIn) -> TokenSummary:
    (token,) = tokens.list(user)
    return token


def everything_stored(database: Database) -> str:
    """All rows of all tables, as text."""
    with database.read() as session:
        return "".join(str(session.execute(table.select()).all()) for table in Table.metadata.sorted_tables)


def test_a_token_authenticates_its_user_with_its_scopes(tokens: ApiTokens, member: SignedIn) -> None:
    token = tokens.create(member, " my  script ", BOTH, 90)
    assert token.startswith(PREFIX)
    assert len(token) > 40
    user = tokens.authenticate(token)
    assert user is not None
    assert (user.user_id, user.username, user.display_name) == (member.user_id, "ada", "ada")
    assert user.scopes == set(BOTH)
    assert user.token_id == only(tokens, member).id
    assert only(tokens, member).name == "my script"


def test_only_the_hash_of_a_token_is_stored_anywhere(
    tokens: ApiTokens, database: Database, member: SignedIn
) -> None:
    token = tokens.create(member, "script", BOTH, None)
    assert tokens.authenticate(token)
    tokens.revoke(member, only(tokens, member).id)
    tokens.create(member, "another", BOTH, None)
    stored = everything_stored(database)
    assert "script" in stored
    assert token not in stored
    assert token.removeprefix(PREFIX) not in stored


def test_a_browsers_session_may_do_everything(member: SignedIn) -> None:
    assert member.scopes is None
    for scope in Scope:
        member.require(scope)


@pytest.mark.parametrize("scope", Scope)
def test_a_token_has_its_scopes_only(tokens: ApiTokens, member: SignedIn, scope: Scope) -> None:
    user = tokens.authenticate(tokens.create(member, "script", [scope], 30))
    assert user is not None
    user.require(scope)
    for other in set(Scope) - {scope}:
        with pytest.raises(errors.ScopeMissing, match="isn't allowed to do that"):
            user.require(other)


def test_a_token_of_an_administrator_has_no_administrator_rights(
    tokens: ApiTokens, accounts: Accounts, admin: SignedIn
) -> None:
    user = tokens.authenticate(tokens.create(admin, "script", BOTH, None))
    assert user is not None
    assert not user.is_admin
    with pytest.raises(errors.NotAllowed):
        accounts.registration.create_invite(user)


def test_a_token_can_not_create_or_revoke_tokens(tokens: ApiTokens, member: SignedIn) -> None:
    user = tokens.authenticate(tokens.create(member, "script", BOTH, None))
    assert user is not None
    with pytest.raises(errors.ScopeMissing):
        tokens.create(user, "another", BOTH, None)
    with pytest.raises(errors.ScopeMissing):
        tokens.revoke(user, only(tokens, member).id)
    assert only(tokens, member)


def test_an_ended_session_can_not_create_a_token(
    tokens: ApiTokens, accounts: Accounts, admin: SignedIn, member: SignedIn, clock: Clock
) -> None:
    accounts.sessions.sign_out_everywhere(member)
    with pytest.raises(errors.SessionEnded):
        tokens.create(member, "script", BOTH, None)
    clock.forward(days=400)
    with pytest.raises(errors.SessionEnded):
        tokens.create(admin, "script", BOTH, None)
    assert tokens.list(member) == tokens.list(admin) == ()


def test_a_new_password_ends_a_token_that_is_being_created(
    tokens: ApiTokens, accounts: Accounts, database: Database, member: SignedIn
) -> None:
    with meanwhile(database, "INSERT INTO api_tokens", lambda: change_password(accounts, "ada", "another")):
        token = tokens.create(member, "script", BOTH, None)
    assert tokens.authenticate(token) is None
    assert tokens.list(member) == ()


@pytest.mark.parametrize("life", LIFETIMES_DAYS)
def test_a_token_expires(tokens: ApiTokens, member: SignedIn, clock: Clock, life: int | None) -> None:
    token = tokens.create(member, "script", BOTH, life)
    clock.now += timedelta(days=life or 10_000, seconds=-1)
    assert tokens.authenticate(token)
    assert not only(tokens, member).expired(clock.now)
    clock.forward(seconds=1)
    assert (tokens.authenticate(token) is None) is (life is not None)
    assert only(tokens, member).expired(clock.now) is (life is not None)


def test_a_revoked_token_stops_working_at_once(tokens: ApiTokens, member: SignedIn) -> None:
    token, other = tokens.create(member, "script", BOTH, None), tokens.create(member, "other", BOTH, None)
    [script] = [one for one in tokens.list(member) if one.name == "script"]
    tokens.revoke(member, script.id)
    assert tokens.authenticate(token) is None
    assert tokens.authenticate(other)
    tokens.revoke(member, script.id)


def test_a_user_can_not_revoke_another_users_token(
    tokens: ApiTokens, admin: SignedIn, member: SignedIn
) -> None:
    token = tokens.create(member, "script", BOTH, None)
    tokens.revoke(admin, only(tokens, member).id)
    assert tokens.authenticate(token)
    assert tokens.list(admin) == ()


@pytest.mark.parametrize(
    "event_",
    [
        pytest.param(lambda accounts, admin, user: accounts.users.withdraw(admin, user), id="withdrawal"),
        pytest.param(lambda accounts, admin, user: change_password(accounts, "ada", "x"), id="new password"),
        pytest.param(
            lambda accounts, admin, user: accounts.passwords.use_reset(
                accounts.passwords.create_reset(admin, user), "x"
            ),
            id="new password by a link",
        ),
    ],
)
def test_tokens_are_ended_by(
    tokens: ApiTokens,
    accounts: Accounts,
    admin: SignedIn,
    member: SignedIn,
    event_: Callable[[Accounts, SignedIn, str], object],
) -> None:
    mine, admins = tokens.create(member, "script", BOTH, None), tokens.create(admin, "script", BOTH, None)
    event_(accounts, admin, member.user_id)
    assert tokens.authenticate(mine) is None
    accounts.users.reinstate(admin, member.user_id)
    assert tokens.authenticate(mine) is None
    assert tokens.authenticate(admins)


def test_a_withdrawn_user_has_no_token_whatever_is_in_its_table(
    tokens: ApiTokens, database: Database, member: SignedIn
) -> None:
    token = tokens.create(member, "script", BOTH, None)
    with database.write() as session:
        session.execute(text("UPDATE users SET withdrawn_at = '2026-01-01' WHERE username = 'ada'"))
    assert tokens.authenticate(token) is None


@pytest.mark.parametrize(
    "token", ["", "atl_", "atl_made-up", "made-up", "\0", "atl_\0", "atl_\ud800", "atl_" + "x" * 10_000]
)
def test_an_unknown_token_authenticates_nobody(tokens: ApiTokens, member: SignedIn, token: str) -> None:
    tokens.create(member, "script", BOTH, None)
    assert tokens.authenticate(token) is None


def test_session_tokens_and_api_tokens_are_not_interchangeable(
    tokens: ApiTokens, accounts: Accounts, member: SignedIn
) -> None:
    assert tokens.authenticate(accounts.sessions.redeem_ticket(ticket_of(accounts, "ada"))) is None
    assert accounts.sessions.authenticate(tokens.create(member, "script", BOTH, None)) is None


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("", id="none"),
        pytest.param(" \n\t ", id="blank"),
        pytest.param("x" * 65, id="too long"),
        pytest.param("a\0b", id="NUL"),
        pytest.param("a\x1bb", id="control"),
        pytest.param("a\u202eb", id="right-to-left override"),
        pytest.param("a\u200bb", id="zero-width"),
        pytest.param("a\ud800b", id="half a character"),
    ],
)
def test_an_unreadable_token_name_is_refused(tokens: ApiTokens, member: SignedIn, name: str) -> None:
    with pytest.raises(errors.TokenOptionsRejected):
        tokens.create(member, name, BOTH, None)
    assert tokens.list(member) == ()


@pytest.mark.parametrize("name", ["x", "x" * 64, "kleines Skript 🦊", "スクリプト", "=1+1", "<b>"])
def test_a_readable_token_name_is_kept(tokens: ApiTokens, member: SignedIn, name: str) -> None:
    tokens.create(member, name, BOTH, None)
    assert only(tokens, member).name == name


@pytest.mark.parametrize("life", [0, -1, 1, 31, 10**12])
def test_only_the_offered_lifetimes_are_accepted(tokens: ApiTokens, member: SignedIn, life: int) -> None:
    with pytest.raises(errors.TokenOptionsRejected):
        tokens.create(member, "script", BOTH, life)


def test_a_token_without_a_scope_is_refused(tokens: ApiTokens, member: SignedIn) -> None:
    with pytest.raises(errors.TokenOptionsRejected):
        tokens.create(member, "script", [], None)


def test_the_number_of_valid_tokens_per_user_is_limited(
    tokens: ApiTokens, accounts: Accounts, admin: SignedIn, member: SignedIn, clock: Clock
) -> None:
    for number in range(MAX_TOKENS_PER_USER):
        tokens.create(member, f"script {number}", BOTH, 30)
    with pytest.raises(errors.TokenOptionsRejected, match="already have 20 API tokens"):
        tokens.create(member, "one more", BOTH, 30)
    tokens.create(admin, "another's", BOTH, 30)
    tokens.revoke(member, tokens.list(member)[0].id)
    tokens.create(member, "in its place", BOTH, 30)
    clock.forward(days=30)
    again = accounts.sessions.authenticate(accounts.sessions.redeem_ticket(ticket_of(accounts, "ada")))
    assert again
    tokens.create(again, "when they have expired", BOTH, 30)


def test_concurrent_creations_keep_the_limit_of_tokens(tokens: ApiTokens, member: SignedIn) -> None:
    for number in range(MAX_TOKENS_PER_USER - 2):
        tokens.create(member, f"script {number}", BOTH, None)
    made = in_parallel(8, lambda number: tokens.create(member, f"at once {number}", BOTH, None))
    assert sum(isinstance(one, errors.TokenOptionsRejected) for one in made) == 6
    assert len(tokens.list(member)) == MAX_TOKENS_PER_USER


def test_the_time_of_use_is_written_every_few_minutes_at_most(
    tokens: ApiTokens, member: SignedIn, clock: Clock
) -> None:
    token = tokens.create(member, "script", BOTH, None)
    assert only(tokens, member).used_at is None
    assert tokens.authenticate(token)
    first = only(tokens, member).used_at
    assert first == clock.now
    clock.now += LAST_SEEN_INTERVAL
    assert tokens.authenticate(token)
    assert only(tokens, member).used_at == first
    clock.forward(seconds=1)
    assert tokens.authenticate(token)
    assert only(tokens, member).used_at == clock.now


def test_a_token_in_constant_use_writes_nothing(
    tokens: ApiTokens, database: Database, member: SignedIn
) -> None:
    token = tokens.create(member, "script", BOTH, None)
    assert tokens.authenticate(token)
    written: list[str] = []
    event.listen(
        database.engine,
        "before_cursor_execute",
        lambda _c, _u, statement, *_: written.append(statement.split()[0]),
    )
    for _ in range(5):
        assert tokens.authenticate(token)
    assert set(written) <= {"BEGIN", "SELECT"}


def uses(database: Database) -> list[tuple[str, str]]:
    """The day and address of each recorded use of a token."""
    found = select(AuditEntry).where(AuditEntry.action == Action.TOKEN_USED).order_by(AuditEntry.at)
    with database.read() as session:
        return [(f"{row.at:%d}", row.address) for row in session.exec(found)]


def test_the_first_use_per_day_and_address_is_recorded(
    tokens: ApiTokens, database: Database, member: SignedIn, clock: Clock
) -> None:
    token = tokens.create(member, "script", BOTH, None)
    for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.1"):
        with called_from(address):
            assert tokens.authenticate(token)
    clock.forward(hours=6)
    with called_from("10.0.0.1"):
        assert tokens.authenticate(token)
    assert sorted(uses(database)) == [("01", "10.0.0.1"), ("01", "10.0.0.2")]
    clock.forward(hours=6)
    with called_from("10.0.0.1"):
        assert tokens.authenticate(token)
    assert uses(database)[-1] == ("02", "10.0.0.1")
    assert len(uses(database)) == 3


def refusals(database: Database) -> list[tuple[str, str, str]]:
    """The subject, details and address of each recorded refusal."""
    found = select(AuditEntry).where(AuditEntry.action == Action.TOKEN_FAILURE).order_by(AuditEntry.at)
    with database.read() as session:
        return [(row.subject, row.details, row.address) for row in session.exec(found)]


@pytest.mark.parametrize(
    ("end", "why"),
    [
        pytest.param(lambda clock, _: clock.forward(days=30), "it has expired", id="expired"),
        pytest.param(
            lambda _, session: session.execute(text("UPDATE users SET withdrawn_at = '2026-01-01'")),
            "its user's access was withdrawn",
            id="withdrawn",
        ),
    ],
)
def test_a_refused_token_is_recorded_once_per_day_and_address(
    tokens: ApiTokens,
    database: Database,
    member: SignedIn,
    clock: Clock,
    end: Callable[[Clock, Session], object],
    why: str,
) -> None:
    token = tokens.create(member, "script", BOTH, 30)
    assert tokens.authenticate(token)
    with database.write() as session:
        end(clock, session)
    for address in ("10.0.0.1", "10.0.0.1", "10.0.0.2", "10.0.0.1"):
        with called_from(address):
            assert tokens.authenticate(token) is None
    told = [("ada", f"script: {why}", address) for address in ("10.0.0.1", "10.0.0.2")]
    assert sorted(refusals(database)) == told
    clock.forward(days=1)
    with called_from("10.0.0.1"):
        assert tokens.authenticate(token) is None
    assert sorted(refusals(database)) == sorted([*told, told[0]])


def test_unknown_tokens_are_recorded_once_per_hour_and_address(
    tokens: ApiTokens, database: Database, clock: Clock
) -> None:
    for address in ("10.0.0.1", "10.0.0.2"):
        with called_from(address):
            for made_up in ("atl_made-up", "atl_another", "no token at all"):
                assert tokens.authenticate(made_up) is None
    assert sorted(refusals(database)) == [("", "unknown token", f"10.0.0.{n}") for n in (1, 2)]
    clock.forward(hours=1)
    with called_from("10.0.0.1"):
        assert tokens.authenticate("atl_made-up") is None
    assert len(refusals(database)) == 3
    assert "made-up" not in everything_stored(database)


def test_concurrent_uses_of_a_token_are_recorded_once(
    tokens: ApiTokens, database: Database, member: SignedIn
) -> None:
    token = tokens.create(member, "script", BOTH, None)
    found = in_parallel(8, lambda _: tokens.authenticate(token))
    assert all(isinstance(user, SignedIn) for user in found)
    assert len(uses(database)) == 1


def test_a_read_only_database_still_accepts_tokens(sqlite_database: Database, clock: Clock) -> None:
    user = enter(accounts_in(sqlite_database, clock=clock), "ada")
    tokens = ApiTokens(sqlite_database, AuditLog(sqlite_database, clock=clock), clock=clock)
    token = tokens.create(user, "script", BOTH, None)
    with sqlite_database.read() as session:
        session.execute(text("PRAGMA query_only=ON"))
    assert tokens.authenticate(token)


def test_expired_tokens_are_listed_for_a_while(
    tokens: ApiTokens, database: Database, member: SignedIn, clock: Clock
) -> None:
    tokens.create(member, "short", BOTH, 30)
    tokens.create(member, "for ever", BOTH, None)
    clock.now += timedelta(days=30) + EXPIRED_LISTED_FOR - timedelta(seconds=1)
    tokens.tidy()
    assert {token.name for token in tokens.list(member)} == {"short", "for ever"}
    clock.forward(seconds=1)
    tokens.tidy()
    assert only(tokens, member).name == "for ever"
    with database.read() as session:
        assert len(session.exec(select(ApiToken)).all()) == 1


def test_a_new_account_has_no_tokens(tokens: ApiTokens, accounts: Accounts, member: SignedIn) -> None:
    tokens.create(member, "script", BOTH, None)
    accounts.registration.create_user("grace", HASH)
    assert tokens.list(enter(accounts, "linus")) == ()
