"""One idempotency key buys once, and its response is given again."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlmodel import select

from core.database.models import CachedEnhancement, IdempotentResponse, Image, Job
from core.studio import Studio
from tests.support.api_clients import (
    ASKED,
    ENHANCE,
    FOX,
    GENERATE,
    Person,
    clients_of,
    count_enhancements,
    count_generations,
    error_of,
    rows,
)
from tests.support.generation import ON_SQLITE
from tests.support.openai_service import Behaviour, OpenAIService


def concurrently(clients: list[Any], send: Callable[[Any], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(send, clients))


def test_twenty_requests_with_one_key_buy_once(studio: Studio, owner: Person, service: OpenAIService) -> None:
    service.script(Behaviour(latency=0.3), always=True)
    token = owner.token()
    programs = clients_of(studio, 20, Authorization=f"Bearer {token}")
    responses = concurrently(
        programs, lambda one: one.post(GENERATE, json=ASKED, headers={"Idempotency-Key": "a"})
    )
    assert {response.status_code for response in responses} == {201}
    assert len({response.text for response in responses}) == 1
    assert (count_generations(service), len(rows(studio, Job)), len(rows(studio, Image))) == (1, 1, 1)


def test_twenty_enhancements_with_one_key_buy_once(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    service.script(Behaviour(latency=0.3), always=True)
    token = owner.token()
    programs = clients_of(studio, 20, Authorization=f"Bearer {token}")
    responses = concurrently(
        programs, lambda one: one.post(ENHANCE, json=FOX, headers={"Idempotency-Key": "a"})
    )
    assert {response.status_code for response in responses} == {200}
    assert len({response.text for response in responses}) == 1
    assert count_enhancements(service) == 1


@ON_SQLITE
def test_a_fifth_concurrent_enhancement_is_refused(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    service.script(Behaviour(latency=1), always=True)
    programs = clients_of(studio, 8, Authorization=f"Bearer {owner.token()}")
    numbered = list(zip(programs, range(8), strict=True))
    responses = concurrently(numbered, lambda one: one[0].post(ENHANCE, json=FOX | {"name": f"Fox {one[1]}"}))
    assert sorted(response.status_code for response in responses) == [200] * 4 + [429] * 4
    assert count_enhancements(service) == 4


@ON_SQLITE
def test_the_bearer_scheme_is_recognised_in_any_case_and_spacing(owner: Person) -> None:
    for scheme in ("Bearer\t", "bearer  ", "BEARER "):
        response = owner.client.get("/api/images", headers={"Authorization": f"{scheme}atl_made-up"})
        assert response.status_code == 401


@ON_SQLITE
@pytest.mark.parametrize("path", [GENERATE, ENHANCE])
def test_a_key_is_refused_for_a_different_request(owner: Person, service: OpenAIService, path: str) -> None:
    body, key = (ASKED if path == GENERATE else FOX), {"Idempotency-Key": "a"}
    assert owner.client.post(path, json=body, headers=key).is_success
    asked = len(service.requests)
    other = owner.client.post(path, json=body | {"name": "another"}, headers=key)
    assert (other.status_code, error_of(other)["code"]) == (422, "IMG-REQ-KEY-001")
    elsewhere = owner.client.post(
        ENHANCE if path == GENERATE else GENERATE, json=FOX | {} if path == GENERATE else ASKED, headers=key
    )
    assert elsewhere.status_code == 422
    assert len(service.requests) == asked


@ON_SQLITE
def test_two_users_may_use_the_same_key(studio: Studio, owner: Person, service: OpenAIService) -> None:
    key = {"Idempotency-Key": "a"}
    first = owner.client.post(GENERATE, json=ASKED, headers=key).json()
    second = Person.enter(studio).client.post(GENERATE, json=ASKED, headers=key).json()
    assert first["id"] != second["id"]
    assert count_generations(service) == 2


@ON_SQLITE
@pytest.mark.parametrize("fault", ["moderation", "dropped"])
def test_a_request_that_failed_at_the_service_is_not_sent_again(
    owner: Person, service: OpenAIService, fault: str
) -> None:
    service.script(fault)
    key = {"Idempotency-Key": "a"}
    responses = [owner.client.post(GENERATE, json=ASKED, headers=key) for _ in range(2)]
    assert len({(response.status_code, error_of(response)["code"]) for response in responses}) == 1
    assert count_generations(service) == 1


@ON_SQLITE
@pytest.mark.parametrize("path", [GENERATE, ENHANCE])
def test_a_refusal_that_bought_nothing_leaves_the_key_free(owner: Person, path: str) -> None:
    key = {"Idempotency-Key": "a"}
    wrong = {"prompt": " "} if path == GENERATE else {"name": " "}
    assert owner.client.post(path, json=wrong, headers=key).status_code == 422
    assert owner.client.post(path, json=ASKED if path == GENERATE else FOX, headers=key).is_success


@ON_SQLITE
def test_a_failed_enhancement_that_cost_nothing_can_be_repeated_with_its_key(
    owner: Person, service: OpenAIService
) -> None:
    service.script("moderation")
    key = {"Idempotency-Key": "a"}
    assert owner.client.post(ENHANCE, json=FOX, headers=key).status_code == 422
    assert owner.client.post(ENHANCE, json=FOX, headers=key).status_code == 200


def test_a_key_is_free_after_a_day(studio: Studio, owner: Person, service: OpenAIService) -> None:
    key = {"Idempotency-Key": "a"}
    first = owner.client.post(GENERATE, json=ASKED, headers=key).json()
    with studio.database.write() as session:
        for row in session.exec(select(IdempotentResponse)):
            row.created_at -= timedelta(days=1)
    second = owner.client.post(GENERATE, json=ASKED, headers=key).json()
    assert first["id"] != second["id"]
    assert count_generations(service) == 2
    with studio.database.write() as session:
        for row in session.exec(select(IdempotentResponse)):
            row.created_at -= timedelta(days=1)
    studio.idempotency.tidy()
    assert rows(studio, IdempotentResponse) == []


@ON_SQLITE
def test_an_enhancement_of_a_lost_process_is_unknown_and_not_sent_again(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    key = {"Idempotency-Key": "a"}
    assert owner.client.post(ENHANCE, json=FOX, headers=key).status_code == 200
    with studio.database.write() as session:
        (row,) = session.exec(select(IdempotentResponse))
        row.status, row.body = None, None
        row.created_at -= timedelta(minutes=30)
    kept = owner.client.post(ENHANCE, json=FOX, headers=key)
    assert kept.status_code == 200  # from the enhancement cache
    with studio.database.write() as session:
        (cached,) = session.exec(select(CachedEnhancement))
        cached.created_at -= timedelta(days=2)
    lost = owner.client.post(ENHANCE, json=FOX, headers=key)
    assert (lost.status_code, error_of(lost)["code"]) == (504, "IMG-GEN-UNKNOWN-001")
    assert count_enhancements(service) == 1


@ON_SQLITE
def test_two_identical_requests_without_a_key_buy_twice(owner: Person, service: OpenAIService) -> None:
    programs = [owner.program(), owner.program()]
    responses = concurrently(programs, lambda one: one.post(GENERATE, json=ASKED))
    assert len({response.json()["id"] for response in responses}) == count_generations(service) == 2
