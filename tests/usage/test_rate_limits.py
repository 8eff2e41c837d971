"""No user or API token exceeds their requests per minute, however many processes there are."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlmodel import select

from core import bootstrap
from core.database.database import Database
from core.database.models import RateWindow, Scope
from core.settings import load_settings
from core.studio import Studio
from core.usage.rate_limits import Limit, RateKind, RateLimits
from tests.support.api_clients import Person, error_of
from tests.support.clock import Clock

ADA = [Limit("user:ada", 10)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def rates(database: Database, clock: Clock) -> RateLimits:
    return RateLimits(database, clock=clock)


def let_through(rates: RateLimits, limits: list[Limit], times: int, kind: RateKind = RateKind.READ) -> int:
    return sum(not rates.acquire(kind, limits).exceeded for _ in range(times))


def test_concurrent_requests_get_exactly_the_limit(
    database: Database, rates: RateLimits, clock: Clock
) -> None:
    others = [
        rates,
        RateLimits(Database(database.engine.url.render_as_string(hide_password=False)), clock=clock),
    ]
    with ThreadPoolExecutor(16) as pool:
        through = sum(pool.map(lambda number: let_through(others[number % 2], ADA, 4), range(16)))
    others[1]._database.close()
    assert through == 10


def test_after_a_minute_requests_are_admitted_again(rates: RateLimits, clock: Clock) -> None:
    assert let_through(rates, ADA, 12) == 10
    clock.forward(seconds=59)
    refused = rates.acquire(RateKind.READ, ADA)
    assert (refused.exceeded, refused.remaining, refused.reset) == (True, 0, 1)
    clock.forward(seconds=1)
    first = rates.acquire(RateKind.READ, ADA)
    assert (first.exceeded, first.limit, first.remaining, first.reset) == (False, 10, 9, 60)


def test_reads_writes_and_users_are_counted_separately(rates: RateLimits) -> None:
    assert let_through(rates, ADA, 11) == 10
    assert let_through(rates, ADA, 11, RateKind.PAID) == 10
    assert let_through(rates, [Limit("user:grace", 3)], 11) == 3


def test_a_request_refused_for_its_token_does_not_count_for_its_user(rates: RateLimits) -> None:
    assert let_through(rates, [*ADA, Limit("token:a", 4)], 30) == 4
    assert let_through(rates, [*ADA, Limit("token:b", 40)], 30) == 6
    assert let_through(rates, ADA, 1) == 0


def test_a_window_in_the_future_is_restarted(rates: RateLimits, clock: Clock) -> None:
    clock.forward(days=1)
    assert let_through(rates, ADA, 11) == 10
    clock.forward(days=-1)
    assert let_through(rates, ADA, 11) == 10


def test_ended_windows_are_deleted(rates: RateLimits, database: Database, clock: Clock) -> None:
    rates.acquire(RateKind.READ, ADA)
    clock.forward(seconds=30)
    rates.acquire(RateKind.READ, [Limit("user:grace", 3)])
    clock.forward(seconds=30)
    rates.tidy()
    with database.read() as session:
        assert [row.subject for row in session.exec(select(RateWindow))] == ["user:grace"]


# At the API


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    folder: Path = tmp_path_factory.mktemp("studio")
    limits = {
        "user_reads_per_minute": 6,
        "token_reads_per_minute": 4,
        "user_paid_per_minute": 3,
        "token_paid_per_minute": 2,
    }
    studio = bootstrap.build(load_settings(_env_file=None, data_dir=folder, **limits))
    yield studio
    studio.close()


def test_responses_state_the_remaining_requests_and_when_to_retry(studio: Studio) -> None:
    program = Person.enter(studio).program()
    answers = [program.get("/api/images") for _ in range(5)]
    assert [answer.status_code for answer in answers] == [200] * 4 + [429]
    assert [answer.headers["ratelimit-remaining"] for answer in answers] == ["3", "2", "1", "0", "0"]
    assert {answer.headers["ratelimit-limit"] for answer in answers} == {"4"}
    assert error_of(answers[-1])["code"] == "IMG-REQ-RATE-001"
    assert 0 < int(answers[-1].headers["retry-after"]) <= 60
    assert answers[-1].headers["retry-after"] == answers[-1].headers["ratelimit-reset"]


def test_all_tokens_and_the_browser_share_the_users_limit(studio: Studio) -> None:
    person = Person.enter(studio)
    first, second = person.program(), person.program()
    answers = [
        one.get("/api/images").status_code for one in (first, first, second, second, second, person.client)
    ]
    assert answers == [200] * 6
    assert second.get("/api/images").status_code == person.client.get("/api/images").status_code == 429


def test_paid_requests_have_their_own_limit_and_failures_count(studio: Studio) -> None:
    person = Person.enter(studio)
    program = person.program()
    answers = [program.delete("/api/images/x").status_code for _ in range(3)]
    assert answers == [404, 404, 429]
    answer = program.delete("/api/images/x")
    assert "ratelimit-remaining" in answer.headers
    assert program.get("/api/images").status_code == 200


def test_image_requests_count_for_tokens_but_not_for_browsers(studio: Studio) -> None:
    person = Person.enter(studio)
    assert {person.client.get("/api/images/x").status_code for _ in range(20)} == {404}
    with studio.database.read() as session:
        assert session.get(RateWindow, (f"user:{person.user.user_id}", "read")) is None
    program = person.program([Scope.READ])
    assert [program.get("/api/images/x").status_code for _ in range(5)] == [404] * 4 + [429]
