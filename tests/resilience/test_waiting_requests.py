"""Waiting programs at the running app: they hang up, it is killed, it is stopped; nothing is bought twice."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
from sqlmodel import select

from core.accounts.api_tokens import ApiTokens
from core.accounts.audit_log import AuditLog
from core.database.database import Database
from core.database.models import Job, JobState, Scope
from core.web.guard import MAX_BODY_BYTES
from tests.support.app_process import AppProcess
from tests.support.openai_service import Behaviour, OpenAIService
from tests.support.sign_in import accounts_in, enter
from tests.support.waiting import until

ASKED = {"prompt": "a fox in the snow", "size": "1024x1024", "quality": "low"}
GENERATE = "/api/images/generate"


class Program:
    """A program with a token at a running app."""

    def __init__(self, app: AppProcess, database_url: str) -> None:
        self.app = app
        self.database = Database(database_url)
        self.database.migrate()
        accounts = accounts_in(self.database)
        user = enter(accounts, "ada")
        token = ApiTokens(self.database, AuditLog(self.database)).create(user, "script", list(Scope), None)
        self.headers = {"Authorization": f"Bearer {token}"}

    def send(self, method: str, path: str, body: Any = None, *, timeout: float = 60, **headers: str) -> Any:
        with httpx2.Client(trust_env=False, timeout=timeout) as client:
            named = {name.replace("_", "-"): value for name, value in headers.items()} | self.headers
            return client.request(method, self.app.base_url + path, json=body, headers=named)

    def states(self) -> list[str]:
        with self.database.read() as session:
            return sorted(session.exec(select(Job.state)).all())


@pytest.fixture
def program(tmp_path: Path, service: OpenAIService, database_url: str) -> Iterator[Program]:
    env = {
        "DATABASE_URL": database_url,
        "OPENAI_BASE_URL": service.base_url,
        "PARTIAL_IMAGES": "0",
        "CONCURRENCY": "1",
        "SHUTDOWN_GRACE": "10",
    }
    with AppProcess(tmp_path, env=env) as app:
        found = Program(app, database_url)
        yield found
        found.database.close()


ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def paid(service: OpenAIService) -> int:
    return len(service.requests_to("/images/generations"))


@ON_SQLITE
def test_whoever_hangs_up_pays_for_nothing_that_was_not_begun(
    program: Program, service: OpenAIService
) -> None:
    service.script(Behaviour(latency=2), always=True)
    with pytest.raises(httpx2.TimeoutException):
        program.send("POST", GENERATE, ASKED | {"n": 3}, timeout=1)
    until(lambda: program.states() == [JobState.CANCELLED, JobState.CANCELLED, JobState.DONE])
    assert paid(service) == 1
    assert len(program.send("GET", "/api/images").json()["images"]) == 1


@ON_SQLITE
def test_whoever_hangs_up_with_a_key_finds_all_of_it_when_they_ask_again(
    program: Program, service: OpenAIService
) -> None:
    service.script(Behaviour(latency=1), always=True)
    with pytest.raises(httpx2.TimeoutException):
        program.send("POST", GENERATE, ASKED | {"n": 2}, timeout=0.5, Idempotency_Key="a")
    answer = program.send("POST", GENERATE, ASKED | {"n": 2}, Idempotency_Key="a")
    assert answer.status_code == 201
    assert len(answer.json()["ids"]) == paid(service) == 2


def test_a_key_is_known_after_the_process_was_killed(program: Program, service: OpenAIService) -> None:
    service.script(Behaviour(latency=2), always=True)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(program.send, "POST", GENERATE, ASKED | {"n": 2}, Idempotency_Key="a")
        until(lambda: paid(service) == 1)
        program.app.kill()
        with pytest.raises(httpx2.HTTPError):
            waiting.result()
    program.app.start()
    answer = program.send("POST", GENERATE, ASKED | {"n": 2}, Idempotency_Key="a")
    told = answer.json()
    # The one whose call was in flight isn't sent again; the one that waited is made.
    assert answer.status_code == 201
    assert [error["code"] for error in told["errors"]] == ["IMG-GEN-UNKNOWN-001"]
    assert told["price"] is None
    assert (len(told["ids"]), paid(service)) == (1, 2)


@ON_SQLITE
def test_a_stopped_server_tells_who_waits_where_to_ask_and_goes_on(
    program: Program, service: OpenAIService
) -> None:
    service.script(Behaviour(latency=2), always=True)
    with ThreadPoolExecutor(2) as pool:
        waiting = pool.submit(program.send, "POST", GENERATE, ASKED)
        until(lambda: JobState.RUNNING in program.states())
        program.app.stop()
        answer = waiting.result()
    assert answer.status_code == 202
    program.app.start()
    told = program.send("GET", answer.headers["location"]).json()
    assert told["state"] == "done"
    assert paid(service) == 1


@ON_SQLITE
def test_every_answer_has_its_requests_id_also_the_refusals_at_the_door(program: Program) -> None:
    def id_of(path: str, method: str = "GET", **headers: str) -> tuple[int, str]:
        answer = program.send(method, path, **headers)
        if not answer.is_success:
            assert answer.json()["error"]["request_id"] == answer.headers["x-request-id"]
        return answer.status_code, answer.headers["x-request-id"]

    given = "a-request-of-mine"
    assert id_of("/api/images", X_Request_ID=given) == (200, given)
    assert id_of("/api/images/x", X_Request_ID=given) == (404, given)
    assert id_of("/api/nothing", X_Request_ID=given) == (404, given)
    assert id_of("/api/images", "PUT", X_Request_ID=given) == (405, given)
    assert id_of(GENERATE, "POST", X_Request_ID=given) == (422, given)
    assert id_of("/auth/session", "POST", X_Request_ID=given, Origin="https://evil.example") == (403, given)
    assert given in program.app.output
    for wrong in ("short", "x" * 65, "with space in it", "<script>alert(1)</script>"):
        status, made = id_of("/api/images", X_Request_ID=wrong)
        assert status == 200
        assert made != wrong
        assert len(made) == 32


@ON_SQLITE
@pytest.mark.parametrize("chunked", [True, False])
def test_a_body_that_is_too_large_is_refused_in_the_one_shape(program: Program, chunked: bool) -> None:
    body = json.dumps(ASKED | {"prompt": "x" * MAX_BODY_BYTES}).encode()
    with httpx2.Client(trust_env=False) as client, suppress(httpx2.WriteError):
        answer = client.post(
            program.app.base_url + GENERATE,
            content=iter([body[:400_000], body[400_000:]]) if chunked else body,
            headers=program.headers | {"Content-Type": "application/json"},
        )
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "IMG-REQ-SIZE-001"
