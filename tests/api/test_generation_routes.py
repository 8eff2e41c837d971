"""The API generates, enhances and lists images: paid once, with honest results, and for their owner only."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, update
from sqlmodel import col, select

from core import bootstrap
from core.api.events import MAX_STREAMS, StreamSlots
from core.common.clock import utc_now
from core.database.models import (
    CachedEnhancement,
    IdempotentResponse,
    Image,
    Job,
    JobState,
    Scope,
    Usage,
    User,
)
from core.images.share_links import LIFETIMES
from core.settings import load_settings
from core.studio import Studio
from core.web.cookies import COOKIE
from tests.support.api_clients import (
    Person,
    application_of,
    client_at,
    client_of,
    clients_of,
    error_of,
    events_of,
)
from tests.support.generation import ON_SQLITE
from tests.support.openai_service import Behaviour, OpenAIService
from tests.support.waiting import until

ASKED = {"prompt": "a fox in the snow", "size": "1024x1024", "quality": "low"}
GENERATE, ENHANCE = "/api/images/generate", "/api/images/enhance-prompt"
FOX = {"name": "Fern", "traits": ["red scarf"], "base_prompt": "a fox in the snow"}


@pytest.fixture
def make(database_url: str, tmp_path: Path, service: OpenAIService) -> Iterator[Callable[..., Studio]]:
    made: list[Studio] = []

    def build(**changes: Any) -> Studio:
        settings: dict[str, Any] = {"partial_images": 0, "shutdown_grace": 5, "user_paid_per_minute": 1000}
        made.append(
            bootstrap.build(
                load_settings(
                    _env_file=None,
                    data_dir=tmp_path / "data",
                    database_url=database_url,
                    openai_base_url=service.base_url,
                    **settings | changes,
                )
            )
        )
        return made[-1]

    yield build
    for studio in made:
        studio.close()


@pytest.fixture
def studio(make: Callable[..., Studio]) -> Studio:
    return make()


@pytest.fixture
def owner(studio: Studio) -> Person:
    return Person.enter(studio)


def rows(studio: Studio, table: Any) -> list[Any]:
    with studio.database.read() as session:
        return list(session.exec(select(table)))


def count_generations(service: OpenAIService) -> int:
    return len(service.requests_to("/images/generations"))


def count_enhancements(service: OpenAIService) -> int:
    return len(service.requests_to("/chat/completions"))


# Generating


@ON_SQLITE
def test_images_are_generated_and_described(studio: Studio, owner: Person, service: OpenAIService) -> None:
    asked = ASKED | {"n": 2, "style": "ink", "name": "Fern", "traits": ["red scarf"], "base_prompt": "a fox"}
    response = owner.program().post(GENERATE, json=asked)
    assert response.status_code == 201
    result = response.json()
    assert len(result["ids"]) == len(result["urls"]) == count_generations(service) == 2
    assert (result["id"], result["url"]) == (result["ids"][0], result["urls"][0])
    assert (result["model"], result["size"], result["errors"]) == ("gpt-image-2.6-flare", "1024x1024", [])
    assert result["seconds"] > 0
    assert owner.client.get(result["url"]).status_code == 200
    image = studio.gallery.get(owner.user.user_id, result["id"])
    assert (image.name, image.traits, image.base_prompt, image.style) == (
        "Fern",
        ["red scarf"],
        "a fox",
        "ink",
    )


@ON_SQLITE
def test_a_price_is_a_number_or_null_when_unknown(owner: Person) -> None:
    known = owner.client.post(GENERATE, json=ASKED | {"model": "gpt-image-2"}).json()
    unknown = owner.client.post(GENERATE, json={"prompt": "a fox", "model": "dall-e-3"}).json()
    assert 0 < known["price"] < 1
    assert unknown["price"] is None


@ON_SQLITE
def test_two_identical_requests_without_a_key_buy_twice(owner: Person, service: OpenAIService) -> None:
    programs = [owner.program(), owner.program()]
    responses = concurrently(programs, lambda one: one.post(GENERATE, json=ASKED))
    assert len({response.json()["id"] for response in responses}) == count_generations(service) == 2


@ON_SQLITE
def test_respond_async_returns_the_status_address_at_once(owner: Person) -> None:
    response = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async, wait=5"})
    assert response.status_code == 202
    assert response.headers["preference-applied"] == "respond-async"
    address = response.headers["location"]
    assert response.json()["url"] == address
    result = until(lambda: (found := owner.client.get(address).json())["result"] and found)
    assert result["state"] == "done"
    assert result["images"][0]["urls"] == result["result"]["urls"]


@ON_SQLITE
def test_a_user_with_many_waiting_requests_gets_the_status_address_at_once(
    studio: Studio, owner: Person
) -> None:
    slots = StreamSlots()
    application = application_of(studio)
    application.routes[0].app.state.stream_slots = slots
    program = client_at(application, Authorization=f"Bearer {owner.token()}")
    with ExitStack() as waiting:
        assert all(waiting.enter_context(slots.occupy(owner.user.user_id)) for _ in range(MAX_STREAMS))
        response = program.post(GENERATE, json=ASKED)
        assert response.status_code == 202
        watched = program.get(response.json()["events"])
        assert (watched.status_code, error_of(watched)["code"]) == (429, "IMG-REQ-RATE-001")
        with slots.occupy("another") as is_free:
            assert is_free
    assert not slots.full(owner.user.user_id)
    until(lambda: program.get(response.headers["location"]).json()["result"])


@ON_SQLITE
def test_an_unfinished_job_has_a_retry_after_header(owner: Person, service: OpenAIService) -> None:
    service.script(Behaviour(latency=1), always=True)
    address = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async"}).headers["location"]
    response = owner.client.get(address)
    assert response.json()["result"] is None
    assert response.headers["retry-after"] == "1"
    until(lambda: owner.client.get(address).json()["result"])
    assert "retry-after" not in owner.client.get(address).headers


@ON_SQLITE
def test_an_event_stream_has_the_partial_images_and_the_end(
    make: Callable[..., Studio], service: OpenAIService
) -> None:
    owner = Person.enter(make(partial_images=2))
    service.script(Behaviour(pause=0.7), always=True)
    accepted = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async"}).json()
    stream = owner.client.get(accepted["events"])
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    stream_events = events_of(stream.text)
    partials = [json.loads(data) for name, data in stream_events if name == "partial"]
    assert [preview["number"] for preview in partials] == list(range(len(partials)))
    assert partials
    assert all(b64decode(preview["b64_json"]).startswith(b"\x89PNG") for preview in partials)
    assert stream_events[0][0] == "progress"
    assert stream_events[-1][0] == "end"
    again = owner.client.get(accepted["url"]).json()["result"]
    assert json.loads(stream_events[-1][1]) == again


@ON_SQLITE
def test_the_partial_images_of_a_second_attempt_have_new_urls(
    make: Callable[..., Studio], service: OpenAIService
) -> None:
    owner = Person.enter(make(partial_images=1, resend_unknown=True))
    service.script(Behaviour(pause=1, dropped=True))
    service.script(Behaviour(pause=1))
    accepted = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async"}).json()
    stream_events = events_of(owner.client.get(accepted["events"]).text)
    partials = [json.loads(data) for name, data in stream_events if name == "partial"]
    assert [preview["number"] for preview in partials] == [0, 0]
    assert len({preview["url"] for preview in partials}) == 2


@ON_SQLITE
def test_another_users_batch_looks_like_an_unknown_one(studio: Studio, owner: Person) -> None:
    job = owner.client.post(GENERATE, json=ASKED).json()["job"]
    other = Person.enter(studio)
    for tail in ("", "/events"):
        responses = [other.client.get(f"/api/images/jobs/{name}{tail}") for name in (job, "0" * 32)]
        assert [response.status_code for response in responses] == [404, 404]
        assert {error_of(response)["code"] for response in responses} == {"IMG-FIND-001"}


@ON_SQLITE
@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        pytest.param("moderation", 422, "IMG-PRM-BLOCK-001", id="moderation"),
        pytest.param("quota spent", 402, "IMG-GEN-QUOTA-001", id="quota spent"),
        pytest.param("key rejected", 502, "IMG-AUTH-KEY-001", id="key rejected"),
        pytest.param("dropped", 504, "IMG-GEN-UNKNOWN-003", id="outcome unknown"),
    ],
)
def test_an_error_of_the_service_keeps_its_status_and_code(
    owner: Person, service: OpenAIService, fault: str, status: int, code: str
) -> None:
    service.script(fault)
    response = owner.client.post(GENERATE, json=ASKED)
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert count_generations(service) == 1
    assert "sk-proj" not in response.text


@ON_SQLITE
def test_a_partly_failed_batch_returns_its_images_and_errors(
    make: Callable[..., Studio], service: OpenAIService
) -> None:
    owner = Person.enter(make(concurrency=1))
    service.script(Behaviour(), "moderation")
    response = owner.client.post(GENERATE, json=ASKED | {"n": 3})
    result = response.json()
    assert response.status_code == 201
    assert len(result["ids"]) == 2
    assert [error["code"] for error in result["errors"]] == ["IMG-PRM-BLOCK-001"]
    assert "violence" in result["errors"][0]["message"]


@ON_SQLITE
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        pytest.param({"prompt": " "}, 422, "IMG-PRM-EMPTY-001", id="no prompt"),
        pytest.param({"prompt": "x" * 33_000}, 422, "IMG-PRM-LONG-001", id="a prompt that is too long"),
        pytest.param({"prompt": "a\0b"}, 422, "IMG-PRM-WORDS-001", id="an unseen character"),
        pytest.param({"size": "1x1"}, 422, "IMG-GEN-PARAM-001", id="unsupported size"),
        pytest.param({"style": "nouveau"}, 422, "IMG-GEN-PARAM-001", id="no style"),
        pytest.param({"model": "nobody's"}, 404, "IMG-GEN-MODEL-001", id="no model"),
        pytest.param({"size": "1０２４x1０２４"}, 422, "IMG-GEN-PARAM-001", id="other digits"),
        pytest.param({"n": 0}, 422, "IMG-REQ-FIELDS-001", id="no image"),
        pytest.param({"n": 11}, 422, "IMG-REQ-FIELDS-001", id="too many images"),
        pytest.param({"n": True}, 422, "IMG-REQ-FIELDS-001", id="no number"),
        pytest.param({"styel": "ink"}, 422, "IMG-REQ-FIELDS-001", id="a field that isn't known"),
        pytest.param({"\ud800": 1}, 422, "IMG-REQ-FIELDS-001", id="a name that is no text"),
        pytest.param({"prompt": "\ud800"}, 422, "IMG-PRM-WORDS-001", id="words that are no text"),
        pytest.param({"style": "\ud800"}, 422, "IMG-REQ-FIELDS-001", id="a style that is no text"),
    ],
)
def test_an_invalid_request_is_refused_before_anything_is_paid(
    owner: Person, service: OpenAIService, change: dict[str, Any], status: int, code: str
) -> None:
    body = json.dumps(ASKED | change)
    response = owner.client.post(GENERATE, content=body, headers={"Content-Type": "application/json"})
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert count_generations(service) == 0


# One key, one purchase


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


# Enhancing


@ON_SQLITE
def test_an_enhancement_does_not_change_the_draft_and_is_counted(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    before = studio.drafts.load(owner.user.user_id)
    responses = [owner.program().post(ENHANCE, json=FOX | {"style": "ink"}) for _ in range(2)]
    assert [set(response.json()) for response in responses] == [{"enhanced_prompt"}] * 2
    assert responses[0].json() == responses[1].json()
    assert studio.drafts.load(owner.user.user_id) == before
    assert studio.enhancements.current(owner.user.user_id) is None
    assert [row.outcome for row in rows(studio, Usage)] == ["ok", "saved"]
    assert count_enhancements(service) == 1


@ON_SQLITE
def test_an_enhancement_streams_on_request(owner: Person) -> None:
    plain = {"Accept": "text/event-stream"}
    response = owner.client.post(ENHANCE, json=FOX, headers=plain)
    assert response.headers["content-type"].startswith("text/event-stream")
    stream_events = events_of(response.text)
    assert [name for name, _ in stream_events[:-1]] == ["delta"] * (len(stream_events) - 1)
    assert len(stream_events) > 2
    assert stream_events[-1][0] == "done"
    again = owner.client.post(ENHANCE, json=FOX)
    assert json.loads(stream_events[-1][1]) == again.json()


@ON_SQLITE
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_an_enhancement_that_fails_at_once_has_an_error_status(
    owner: Person, service: OpenAIService, accept: str
) -> None:
    service.script("moderation")
    response = owner.client.post(ENHANCE, json=FOX, headers={"Accept": accept})
    assert (response.status_code, error_of(response)["code"]) == (422, "IMG-PRM-BLOCK-001")


@ON_SQLITE
def test_a_stream_that_fails_ends_with_an_error_event(owner: Person, service: OpenAIService) -> None:
    service.script("length")
    response = owner.client.post(ENHANCE, json=FOX, headers={"Accept": "text/event-stream"})
    name, data = events_of(response.text)[-1]
    assert name == "error"
    assert json.loads(data)["error"]["code"] == "IMG-PRM-CUT-002"


@ON_SQLITE
@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param({}, "IMG-PRM-EMPTY-001", id="nothing"),
        pytest.param({"name": "x" * 200}, "IMG-PRM-WORDS-001", id="a name that is too long"),
        pytest.param(FOX | {"style": "nouveau"}, "IMG-GEN-PARAM-001", id="no style"),
        pytest.param(FOX | {"mood": "calm"}, "IMG-REQ-FIELDS-001", id="a field that isn't known"),
    ],
)
def test_an_invalid_description_is_refused(
    owner: Person, service: OpenAIService, body: dict[str, Any], code: str
) -> None:
    response = owner.client.post(ENHANCE, json=body)
    assert (response.status_code, error_of(response)["code"]) == (422, code)
    assert count_enhancements(service) == 0


# Lists and changes


@pytest.fixture
def five_images(owner: Person) -> list[str]:
    """Five images, newest first."""
    prompts = [f"fox {number}" for number in range(5)]
    made = [owner.client.post(GENERATE, json=ASKED | {"prompt": prompt}).json()["id"] for prompt in prompts]
    return made[::-1]


def list_ids(person: Person, address: str = "/api/images") -> list[str]:
    """The ids on all pages from `address` on."""
    ids: list[str] = []
    next_page: str | None = address
    while next_page:
        page = person.client.get(next_page).json()
        ids += [image["id"] for image in page["images"]]
        next_page = page["next"]
    return ids


def test_pages_list_every_image_once(owner: Person, five_images: list[str]) -> None:
    assert list_ids(owner, "/api/images?limit=2") == five_images
    assert list_ids(owner, "/api/images?limit=2&q=FOX&model=gpt-image-2.6-flare") == five_images
    assert list_ids(owner, "/api/images?q=fox 3") == [five_images[1]]
    assert list_ids(owner, "/api/images?style=ink") == []


@ON_SQLITE
def test_a_next_page_whose_images_are_gone_is_empty(owner: Person, five_images: list[str]) -> None:
    next_page = owner.client.get("/api/images?limit=3").json()["next"]
    for image_id in five_images[3:]:
        assert owner.client.delete(f"/api/images/{image_id}").status_code == 204
    assert owner.client.get(next_page).json() == {"images": [], "next": None}


@ON_SQLITE
@pytest.mark.parametrize("cursor", ["x", "", "%00", "PjIwMjY", "é"])
def test_an_invalid_cursor_is_refused(owner: Person, cursor: str) -> None:
    response = owner.client.get(f"/api/images?cursor={cursor}")
    assert (response.status_code, error_of(response)["code"]) == (400, "IMG-REQ-001")


def test_a_changed_name_and_favourite_are_found(owner: Person, five_images: list[str]) -> None:
    address = f"/api/images/{five_images[2]}"
    result = owner.client.patch(address, json={"name": "Fern", "favourite": True}).json()
    assert (result["name"], result["favourite"]) == ("Fern", True)
    assert list_ids(owner, "/api/images?q=fern") == [five_images[2]]
    assert list_ids(owner, "/api/images?favourite=true") == [five_images[2]]
    assert owner.client.patch(address, json={}).json()["name"] == "Fern"
    assert owner.client.patch(address, json={"name": "\x07"}).status_code == 422
    assert list_ids(owner, "/api/images?q=fox 2") == [five_images[2]]


@ON_SQLITE
def test_a_token_without_read_gets_no_metadata_of_its_changes(owner: Person, five_images: list[str]) -> None:
    write_only, address = owner.program([Scope.GENERATE]), f"/api/images/{five_images[0]}"
    for change in ({}, {"favourite": True}, {"name": "Fern"}):
        response = write_only.patch(address, json=change)
        assert (response.status_code, response.content) == (204, b"")
    result = owner.program().patch(address, json={}).json()
    assert (result["favourite"], result["name"]) == (True, "Fern")
    assert write_only.delete(address).content == write_only.post(f"{address}/restore").content == b""


@ON_SQLITE
def test_a_deleted_image_is_in_the_trash_and_can_be_restored(owner: Person, five_images: list[str]) -> None:
    address = f"/api/images/{five_images[0]}"
    assert owner.client.delete(address).status_code == 204
    assert list_ids(owner) == five_images[1:]
    assert list_ids(owner, "/api/images?trash=true") == five_images[:1]
    assert owner.client.get(f"{address}/metadata").json()["trashed_at"]
    assert owner.client.post(f"{address}/restore").status_code == 204
    assert list_ids(owner) == five_images


@ON_SQLITE
@pytest.mark.parametrize(
    ("method", "tail"),
    [
        ("GET", "/metadata"),
        ("PATCH", ""),
        ("DELETE", ""),
        ("POST", "/restore"),
        ("GET", ""),
        ("GET", "/thumbnail"),
    ],
)
def test_another_users_image_looks_like_an_unknown_one(
    studio: Studio, owner: Person, method: str, tail: str
) -> None:
    own_id = owner.client.post(GENERATE, json=ASKED).json()["id"]
    other = Person.enter(studio).program()
    body = {"favourite": True} if method == "PATCH" else None
    outcomes = []
    for image_id in (own_id, "0" * 32):
        response = other.request(method, f"/api/images/{image_id}{tail}", json=body)
        outcomes.append((response.status_code, error_of(response) | {"request_id": ""}))
    assert outcomes[0] == outcomes[1]
    assert outcomes[0][0] == 404
    assert owner.client.get(f"/api/images/{own_id}/metadata").json()["favourite"] is False
    assert list_ids(owner) == [own_id]


# Access

READS = ("/api/images", "/api/images/{id}/metadata", "/api/images/{id}", "/api/images/{id}/thumbnail")


@ON_SQLITE
def test_a_token_is_limited_to_its_scopes(owner: Person, service: OpenAIService) -> None:
    image_id = owner.client.post(GENERATE, json=ASKED).json()["id"]
    for path in READS:
        assert owner.program([Scope.READ]).get(path.format(id=image_id)).status_code == 200
        response = owner.program([Scope.GENERATE]).get(path.format(id=image_id))
        assert (response.status_code, error_of(response)["code"]) == (403, "IMG-AUTH-SCOPE-001")
    changes = [
        ("POST", GENERATE, ASKED),
        ("POST", ENHANCE, FOX),
        ("PATCH", f"/api/images/{image_id}", {"favourite": True}),
        ("DELETE", f"/api/images/{image_id}", None),
        ("POST", f"/api/images/{image_id}/restore", None),
    ]
    for method, path, body in changes:
        response = owner.program([Scope.READ]).request(method, path, json=body)
        assert (response.status_code, error_of(response)["code"]) == (403, "IMG-AUTH-SCOPE-001")
    assert len(service.requests) == 1


@ON_SQLITE
@pytest.mark.parametrize("token", ["atl_made-up", "", "x"])
def test_a_wrong_token_is_refused_even_with_a_valid_cookie(owner: Person, token: str) -> None:
    response = owner.client.get("/api/images", headers={"Authorization": f"Bearer {token}"})
    assert (response.status_code, error_of(response)["code"]) == (401, "IMG-AUTH-TOKEN-001")
    assert response.headers["www-authenticate"].startswith("Bearer ")


@ON_SQLITE
def test_an_unauthenticated_request_is_told_how_to_sign_in(studio: Studio) -> None:
    response = client_of(studio).get("/api/images")
    assert (response.status_code, error_of(response)["code"]) == (401, "IMG-AUTH-001")
    assert response.headers["www-authenticate"].startswith("Bearer ")


@ON_SQLITE
def test_a_revoked_token_stops_working_at_once(studio: Studio, owner: Person) -> None:
    program = owner.program()
    assert program.get("/api/images").status_code == 200
    (token,) = studio.api_tokens.list(owner.user)
    studio.api_tokens.revoke(owner.user, token.id)
    assert program.get("/api/images").status_code == 401


@ON_SQLITE
def test_a_share_link_shows_only_its_image(studio: Studio, owner: Person) -> None:
    ids = [owner.client.post(GENERATE, json=ASKED).json()["id"] for _ in range(2)]
    token = studio.share_links.create(owner.user, ids[0], LIFETIMES[0])
    nobody = client_of(studio)
    for tail in ("", "/thumbnail"):
        response = nobody.get(f"/api/images/{ids[0]}{tail}?share={token}")
        assert response.status_code == 200
        assert response.headers["cache-control"] == "private, no-cache"
        assert response.headers["referrer-policy"] == "no-referrer"
    for path in (f"{ids[1]}?share={token}", f"{'0' * 32}?share={token}", f"{ids[0]}?share=made-up"):
        response = nobody.get(f"/api/images/{path}")
        assert (response.status_code, error_of(response)["code"]) == (404, "IMG-FIND-001")
    for tail in ("/metadata", "/download"):
        assert nobody.get(f"/api/images/{ids[0]}{tail}?share={token}").status_code == 401
    assert nobody.delete(f"/api/images/{ids[0]}?share={token}").status_code == 401
    for share in studio.share_links.list(owner.user, ids[0]):
        studio.share_links.revoke(owner.user, share.id)
    assert nobody.get(f"/api/images/{ids[0]}?share={token}").status_code == 404
    assert owner.client.get(f"/api/images/{ids[0]}?share=made-up").status_code == 200


@ON_SQLITE
def test_a_stream_stops_when_its_user_signs_out(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    service.script(Behaviour(hold="start"))
    accepted = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async"}).json()
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(owner.client.get, accepted["events"])
        until(lambda: rows(studio, Job)[0].state == JobState.RUNNING)
        studio.sessions.sign_out(owner.client.cookies[COOKIE])
        stream_events = events_of(stream.result(timeout=30).text)
    service.let_go()  # a call that never ended would keep its connection
    assert [name for name, _ in stream_events if name == "end"] == []


@contextmanager
def withdrawn_at(studio: Studio, person: Person, statement: str) -> Iterator[None]:
    """Withdraw the person's access in the transaction that executes `statement`."""
    withdrawn: list[str] = []

    def before(connection: Any, _cursor: Any, asked: str, *_: Any) -> None:
        if asked.startswith(statement):
            this = col(User.id) == person.user.user_id
            withdrawn.append(statement)
            connection.execute(update(User).where(this).values(withdrawn_at=utc_now()))

    event.listen(studio.database.engine, "before_cursor_execute", before)
    yield
    event.remove(studio.database.engine, "before_cursor_execute", before)
    assert withdrawn


@ON_SQLITE
@pytest.mark.parametrize(
    ("path", "asked", "statement"),
    [
        pytest.param(GENERATE, ASKED, "INSERT INTO images", id="images"),
        pytest.param(ENHANCE, FOX, "INSERT INTO takes", id="a text"),
    ],
)
def test_a_waiting_user_whose_access_is_withdrawn_gets_no_result(
    studio: Studio, owner: Person, path: str, asked: dict[str, Any], statement: str
) -> None:
    with withdrawn_at(studio, owner, statement):
        response = owner.program().post(path, json=asked)
    assert (response.status_code, error_of(response)["code"]) == (401, "IMG-AUTH-TOKEN-001")


@ON_SQLITE
def test_a_streamed_text_has_no_end_after_access_is_withdrawn(studio: Studio, owner: Person) -> None:
    with withdrawn_at(studio, owner, "INSERT INTO takes"):
        response = owner.client.post(ENHANCE, json=FOX, headers={"Accept": "text/event-stream"})
    assert "done" not in response.text
    assert "IMG-AUTH" in response.text
