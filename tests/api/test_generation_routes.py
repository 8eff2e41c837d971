"""Programs get what the pages have: made once, told honestly, and nobody else's."""

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
from core.api.events import MOST_WAITING, Places
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
from core.images.share_links import LIVES
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


def paid(service: OpenAIService) -> int:
    return len(service.asked("/images/generations"))


def enhanced(service: OpenAIService) -> int:
    return len(service.asked("/chat/completions"))


# Making images


@ON_SQLITE
def test_images_are_made_and_told_of(studio: Studio, owner: Person, service: OpenAIService) -> None:
    asked = ASKED | {"n": 2, "style": "ink", "name": "Fern", "traits": ["red scarf"], "base_prompt": "a fox"}
    answer = owner.program().post(GENERATE, json=asked)
    assert answer.status_code == 201
    told = answer.json()
    assert len(told["ids"]) == len(told["urls"]) == paid(service) == 2
    assert (told["id"], told["url"]) == (told["ids"][0], told["urls"][0])
    assert (told["model"], told["size"], told["errors"]) == ("gpt-image-2.6-flare", "1024x1024", [])
    assert told["seconds"] > 0
    assert owner.client.get(told["url"]).status_code == 200
    image = studio.gallery.get(owner.user.user_id, told["id"])
    assert (image.name, image.traits, image.base_prompt, image.style) == (
        "Fern",
        ["red scarf"],
        "a fox",
        "ink",
    )


@ON_SQLITE
def test_a_price_is_a_number_or_unknown(owner: Person) -> None:
    known = owner.client.post(GENERATE, json=ASKED | {"model": "gpt-image-2"}).json()
    unknown = owner.client.post(GENERATE, json={"prompt": "a fox", "model": "dall-e-3"}).json()
    assert 0 < known["price"] < 1
    assert unknown["price"] is None


@ON_SQLITE
def test_two_requests_without_a_key_are_two_however_fast(owner: Person, service: OpenAIService) -> None:
    programs = [owner.program(), owner.program()]
    answers = at_once(programs, lambda one: one.post(GENERATE, json=ASKED))
    assert len({answer.json()["id"] for answer in answers}) == paid(service) == 2


@ON_SQLITE
def test_whoever_needs_not_wait_is_given_an_address_to_ask(owner: Person) -> None:
    answer = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async, wait=5"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"
    where = answer.headers["location"]
    assert answer.json()["url"] == where
    told = until(lambda: (found := owner.client.get(where).json())["result"] and found)
    assert told["state"] == "done"
    assert told["images"][0]["urls"] == told["result"]["urls"]


@ON_SQLITE
def test_whoever_has_many_requests_waiting_is_given_an_address_at_once(studio: Studio, owner: Person) -> None:
    places = Places()
    application = application_of(studio)
    application.routes[0].app.state.places = places
    program = client_at(application, Authorization=f"Bearer {owner.token()}")
    with ExitStack() as waiting:
        assert all(waiting.enter_context(places.taken(owner.user.user_id)) for _ in range(MOST_WAITING))
        answer = program.post(GENERATE, json=ASKED)
        assert answer.status_code == 202
        watched = program.get(answer.json()["events"])
        assert (watched.status_code, error_of(watched)["code"]) == (429, "IMG-REQ-RATE-001")
        with places.taken("another") as place:
            assert place
    assert not places.full(owner.user.user_id)
    until(lambda: program.get(answer.headers["location"]).json()["result"])


@ON_SQLITE
def test_a_job_that_is_not_at_its_end_says_when_to_ask_again(owner: Person, service: OpenAIService) -> None:
    service.script(Behaviour(latency=1), always=True)
    where = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async"}).headers["location"]
    answer = owner.client.get(where)
    assert answer.json()["result"] is None
    assert answer.headers["retry-after"] == "1"
    until(lambda: owner.client.get(where).json()["result"])
    assert "retry-after" not in owner.client.get(where).headers


@ON_SQLITE
def test_a_batch_is_watched_to_its_end_with_its_pictures(
    make: Callable[..., Studio], service: OpenAIService
) -> None:
    owner = Person.enter(make(partial_images=2))
    service.script(Behaviour(pause=0.7), always=True)
    accepted = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async"}).json()
    stream = owner.client.get(accepted["events"])
    assert stream.headers["content-type"].startswith("text/event-stream")
    assert stream.headers["cache-control"] == "no-store"
    told = events_of(stream.text)
    partials = [json.loads(data) for name, data in told if name == "partial"]
    assert [picture["number"] for picture in partials] == list(range(len(partials)))
    assert partials
    assert all(b64decode(picture["b64_json"]).startswith(b"\x89PNG") for picture in partials)
    assert told[0][0] == "progress"
    assert told[-1][0] == "end"
    again = owner.client.get(accepted["url"]).json()["result"]
    assert json.loads(told[-1][1]) == again


@ON_SQLITE
def test_the_pictures_of_a_second_call_are_other_ones(
    make: Callable[..., Studio], service: OpenAIService
) -> None:
    owner = Person.enter(make(partial_images=1, resend_unknown=True))
    service.script(Behaviour(pause=1, dropped=True))
    service.script(Behaviour(pause=1))
    accepted = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async"}).json()
    told = events_of(owner.client.get(accepted["events"]).text)
    partials = [json.loads(data) for name, data in told if name == "partial"]
    assert [picture["number"] for picture in partials] == [0, 0]
    assert len({picture["url"] for picture in partials}) == 2


@ON_SQLITE
def test_another_users_batch_and_one_that_never_was_are_the_same(studio: Studio, owner: Person) -> None:
    job = owner.client.post(GENERATE, json=ASKED).json()["job"]
    other = Person.enter(studio)
    for tail in ("", "/events"):
        answers = [other.client.get(f"/api/images/jobs/{name}{tail}") for name in (job, "0" * 32)]
        assert [answer.status_code for answer in answers] == [404, 404]
        assert {error_of(answer)["code"] for answer in answers} == {"IMG-FIND-001"}


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
def test_a_failure_of_the_service_is_answered_as_what_it_is(
    owner: Person, service: OpenAIService, fault: str, status: int, code: str
) -> None:
    service.script(fault)
    answer = owner.client.post(GENERATE, json=ASKED)
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert paid(service) == 1
    assert "sk-proj" not in answer.text


@ON_SQLITE
def test_what_came_of_a_batch_is_answered_with_why_the_rest_did_not(
    make: Callable[..., Studio], service: OpenAIService
) -> None:
    owner = Person.enter(make(concurrency=1))
    service.script(Behaviour(), "moderation")
    answer = owner.client.post(GENERATE, json=ASKED | {"n": 3})
    told = answer.json()
    assert answer.status_code == 201
    assert len(told["ids"]) == 2
    assert [error["code"] for error in told["errors"]] == ["IMG-PRM-BLOCK-001"]
    assert "violence" in told["errors"][0]["message"]


@ON_SQLITE
@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        pytest.param({"prompt": " "}, 422, "IMG-PRM-EMPTY-001", id="no prompt"),
        pytest.param({"prompt": "x" * 33_000}, 422, "IMG-PRM-LONG-001", id="a prompt that is too long"),
        pytest.param({"prompt": "a\0b"}, 422, "IMG-PRM-WORDS-001", id="an unseen character"),
        pytest.param({"size": "1x1"}, 422, "IMG-GEN-PARAM-001", id="no size of the model"),
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
def test_what_can_not_be_bought_is_refused_before_it_is(
    owner: Person, service: OpenAIService, change: dict[str, Any], status: int, code: str
) -> None:
    body = json.dumps(ASKED | change)
    answer = owner.client.post(GENERATE, content=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, error_of(answer)["code"]) == (status, code)
    assert paid(service) == 0


# One key, one purchase


def at_once(clients: list[Any], send: Callable[[Any], Any]) -> list[Any]:
    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(send, clients))


def test_twenty_requests_under_one_key_buy_once(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    service.script(Behaviour(latency=0.3), always=True)
    token = owner.token()
    programs = clients_of(studio, 20, Authorization=f"Bearer {token}")
    answers = at_once(programs, lambda one: one.post(GENERATE, json=ASKED, headers={"Idempotency-Key": "a"}))
    assert {answer.status_code for answer in answers} == {201}
    assert len({answer.text for answer in answers}) == 1
    assert (paid(service), len(rows(studio, Job)), len(rows(studio, Image))) == (1, 1, 1)


def test_twenty_enhancements_under_one_key_buy_once(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    service.script(Behaviour(latency=0.3), always=True)
    token = owner.token()
    programs = clients_of(studio, 20, Authorization=f"Bearer {token}")
    answers = at_once(programs, lambda one: one.post(ENHANCE, json=FOX, headers={"Idempotency-Key": "a"}))
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.text for answer in answers}) == 1
    assert enhanced(service) == 1


@ON_SQLITE
def test_a_fifth_enhancement_at_once_has_to_wait(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    service.script(Behaviour(latency=1), always=True)
    programs = clients_of(studio, 8, Authorization=f"Bearer {owner.token()}")
    numbered = list(zip(programs, range(8), strict=True))
    answers = at_once(numbered, lambda one: one[0].post(ENHANCE, json=FOX | {"name": f"Fox {one[1]}"}))
    assert sorted(answer.status_code for answer in answers) == [200] * 4 + [429] * 4
    assert enhanced(service) == 4


@ON_SQLITE
def test_a_token_is_a_token_whatever_stands_before_it(owner: Person) -> None:
    for scheme in ("Bearer\t", "bearer  ", "BEARER "):
        answer = owner.client.get("/api/images", headers={"Authorization": f"{scheme}atl_made-up"})
        assert answer.status_code == 401


@ON_SQLITE
@pytest.mark.parametrize("path", [GENERATE, ENHANCE])
def test_a_key_is_for_one_request_alone(owner: Person, service: OpenAIService, path: str) -> None:
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
def test_a_key_is_its_users_own(studio: Studio, owner: Person, service: OpenAIService) -> None:
    key = {"Idempotency-Key": "a"}
    first = owner.client.post(GENERATE, json=ASKED, headers=key).json()
    second = Person.enter(studio).client.post(GENERATE, json=ASKED, headers=key).json()
    assert first["id"] != second["id"]
    assert paid(service) == 2


@ON_SQLITE
@pytest.mark.parametrize("fault", ["moderation", "dropped"])
def test_what_has_failed_after_it_was_sent_fails_again_and_is_not_sent_again(
    owner: Person, service: OpenAIService, fault: str
) -> None:
    service.script(fault)
    key = {"Idempotency-Key": "a"}
    answers = [owner.client.post(GENERATE, json=ASKED, headers=key) for _ in range(2)]
    assert len({(answer.status_code, error_of(answer)["code"]) for answer in answers}) == 1
    assert paid(service) == 1


@ON_SQLITE
@pytest.mark.parametrize("path", [GENERATE, ENHANCE])
def test_a_refusal_that_bought_nothing_leaves_the_key_free(owner: Person, path: str) -> None:
    key = {"Idempotency-Key": "a"}
    wrong = {"prompt": " "} if path == GENERATE else {"name": " "}
    assert owner.client.post(path, json=wrong, headers=key).status_code == 422
    assert owner.client.post(path, json=ASKED if path == GENERATE else FOX, headers=key).is_success


@ON_SQLITE
def test_an_enhancement_that_cost_nothing_may_be_tried_again_under_its_key(
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
    assert paid(service) == 2
    with studio.database.write() as session:
        for row in session.exec(select(IdempotentResponse)):
            row.created_at -= timedelta(days=1)
    studio.idempotency.tidy()
    assert rows(studio, IdempotentResponse) == []


@ON_SQLITE
def test_an_enhancement_whose_process_is_gone_is_unknown_and_not_sent_again(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    key = {"Idempotency-Key": "a"}
    assert owner.client.post(ENHANCE, json=FOX, headers=key).status_code == 200
    with studio.database.write() as session:
        (row,) = session.exec(select(IdempotentResponse))
        row.status, row.body = None, None
        row.created_at -= timedelta(minutes=30)
    kept = owner.client.post(ENHANCE, json=FOX, headers=key)
    assert kept.status_code == 200  # its text had been kept
    with studio.database.write() as session:
        (cached,) = session.exec(select(CachedEnhancement))
        cached.created_at -= timedelta(days=2)
    lost = owner.client.post(ENHANCE, json=FOX, headers=key)
    assert (lost.status_code, error_of(lost)["code"]) == (504, "IMG-GEN-UNKNOWN-001")
    assert enhanced(service) == 1


# Enhancing


@ON_SQLITE
def test_an_enhancement_leaves_the_draft_alone_and_is_counted(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    before = studio.drafts.load(owner.user.user_id)
    answers = [owner.program().post(ENHANCE, json=FOX | {"style": "ink"}) for _ in range(2)]
    assert [set(answer.json()) for answer in answers] == [{"enhanced_prompt"}] * 2
    assert answers[0].json() == answers[1].json()
    assert studio.drafts.load(owner.user.user_id) == before
    assert studio.enhancements.current(owner.user.user_id) is None
    assert [row.outcome for row in rows(studio, Usage)] == ["ok", "saved"]
    assert enhanced(service) == 1


@ON_SQLITE
def test_an_enhancement_streams_where_that_is_asked_for(owner: Person) -> None:
    plain = {"Accept": "text/event-stream"}
    answer = owner.client.post(ENHANCE, json=FOX, headers=plain)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = events_of(answer.text)
    assert [name for name, _ in told[:-1]] == ["delta"] * (len(told) - 1)
    assert len(told) > 2
    assert told[-1][0] == "done"
    again = owner.client.post(ENHANCE, json=FOX)
    assert json.loads(told[-1][1]) == again.json()


@ON_SQLITE
@pytest.mark.parametrize("accept", ["application/json", "text/event-stream"])
def test_an_enhancement_that_fails_at_once_has_its_status(
    owner: Person, service: OpenAIService, accept: str
) -> None:
    service.script("moderation")
    answer = owner.client.post(ENHANCE, json=FOX, headers={"Accept": accept})
    assert (answer.status_code, error_of(answer)["code"]) == (422, "IMG-PRM-BLOCK-001")


@ON_SQLITE
def test_a_stream_that_breaks_off_says_so_in_the_one_shape(owner: Person, service: OpenAIService) -> None:
    service.script("length")
    answer = owner.client.post(ENHANCE, json=FOX, headers={"Accept": "text/event-stream"})
    name, data = events_of(answer.text)[-1]
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
def test_what_can_not_be_enhanced_is_refused(
    owner: Person, service: OpenAIService, body: dict[str, Any], code: str
) -> None:
    answer = owner.client.post(ENHANCE, json=body)
    assert (answer.status_code, error_of(answer)["code"]) == (422, code)
    assert enhanced(service) == 0


# Lists and changes


@pytest.fixture
def five(owner: Person) -> list[str]:
    """Five images, newest first."""
    prompts = [f"picture {number}" for number in range(5)]
    made = [owner.client.post(GENERATE, json=ASKED | {"prompt": prompt}).json()["id"] for prompt in prompts]
    return made[::-1]


def listed(person: Person, address: str = "/api/images") -> list[str]:
    """The ids on all pages from `address` on."""
    ids: list[str] = []
    following: str | None = address
    while following:
        page = person.client.get(following).json()
        ids += [image["id"] for image in page["images"]]
        following = page["next"]
    return ids


def test_a_list_is_read_page_by_page_to_its_end(owner: Person, five: list[str]) -> None:
    assert listed(owner, "/api/images?limit=2") == five
    assert listed(owner, "/api/images?limit=2&q=PICTURE&model=gpt-image-2.6-flare") == five
    assert listed(owner, "/api/images?q=picture 3") == [five[1]]
    assert listed(owner, "/api/images?style=ink") == []


@ON_SQLITE
def test_a_list_whose_rest_is_gone_ends_instead_of_beginning_anew(owner: Person, five: list[str]) -> None:
    following = owner.client.get("/api/images?limit=3").json()["next"]
    for image_id in five[3:]:
        assert owner.client.delete(f"/api/images/{image_id}").status_code == 204
    assert owner.client.get(following).json() == {"images": [], "next": None}


@ON_SQLITE
@pytest.mark.parametrize("cursor", ["x", "", "%00", "PjIwMjY", "é"])
def test_a_made_up_cursor_is_refused(owner: Person, cursor: str) -> None:
    answer = owner.client.get(f"/api/images?cursor={cursor}")
    assert (answer.status_code, error_of(answer)["code"]) == (400, "IMG-REQ-001")


def test_a_new_name_and_a_favourite_are_found_again(owner: Person, five: list[str]) -> None:
    where = f"/api/images/{five[2]}"
    told = owner.client.patch(where, json={"name": "Fern", "favourite": True}).json()
    assert (told["name"], told["favourite"]) == ("Fern", True)
    assert listed(owner, "/api/images?q=fern") == [five[2]]
    assert listed(owner, "/api/images?favourite=true") == [five[2]]
    assert owner.client.patch(where, json={}).json()["name"] == "Fern"
    assert owner.client.patch(where, json={"name": "\x07"}).status_code == 422
    assert listed(owner, "/api/images?q=picture 2") == [five[2]]


@ON_SQLITE
def test_a_token_that_may_not_read_is_told_nothing_of_what_it_changes(owner: Person, five: list[str]) -> None:
    blind, where = owner.program([Scope.GENERATE]), f"/api/images/{five[0]}"
    for change in ({}, {"favourite": True}, {"name": "Fern"}):
        answer = blind.patch(where, json=change)
        assert (answer.status_code, answer.content) == (204, b"")
    told = owner.program().patch(where, json={}).json()
    assert (told["favourite"], told["name"]) == (True, "Fern")
    assert blind.delete(where).content == blind.post(f"{where}/restore").content == b""


@ON_SQLITE
def test_what_is_deleted_is_in_the_trash_and_comes_back(owner: Person, five: list[str]) -> None:
    where = f"/api/images/{five[0]}"
    assert owner.client.delete(where).status_code == 204
    assert listed(owner) == five[1:]
    assert listed(owner, "/api/images?trash=true") == five[:1]
    assert owner.client.get(f"{where}/metadata").json()["trashed_at"]
    assert owner.client.post(f"{where}/restore").status_code == 204
    assert listed(owner) == five


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
def test_another_users_image_and_one_that_never_was_are_the_same(
    studio: Studio, owner: Person, method: str, tail: str
) -> None:
    mine = owner.client.post(GENERATE, json=ASKED).json()["id"]
    other = Person.enter(studio).program()
    body = {"favourite": True} if method == "PATCH" else None
    told = []
    for image_id in (mine, "0" * 32):
        answer = other.request(method, f"/api/images/{image_id}{tail}", json=body)
        told.append((answer.status_code, error_of(answer) | {"request_id": ""}))
    assert told[0] == told[1]
    assert told[0][0] == 404
    assert owner.client.get(f"/api/images/{mine}/metadata").json()["favourite"] is False
    assert listed(owner) == [mine]


# Who may do what

READS = ("/api/images", "/api/images/{id}/metadata", "/api/images/{id}", "/api/images/{id}/thumbnail")


@ON_SQLITE
def test_a_token_reads_or_buys_as_far_as_it_may(owner: Person, service: OpenAIService) -> None:
    mine = owner.client.post(GENERATE, json=ASKED).json()["id"]
    for path in READS:
        assert owner.program([Scope.READ]).get(path.format(id=mine)).status_code == 200
        answer = owner.program([Scope.GENERATE]).get(path.format(id=mine))
        assert (answer.status_code, error_of(answer)["code"]) == (403, "IMG-AUTH-SCOPE-001")
    changes = [
        ("POST", GENERATE, ASKED),
        ("POST", ENHANCE, FOX),
        ("PATCH", f"/api/images/{mine}", {"favourite": True}),
        ("DELETE", f"/api/images/{mine}", None),
        ("POST", f"/api/images/{mine}/restore", None),
    ]
    for method, path, body in changes:
        answer = owner.program([Scope.READ]).request(method, path, json=body)
        assert (answer.status_code, error_of(answer)["code"]) == (403, "IMG-AUTH-SCOPE-001")
    assert len(service.requests) == 1


@ON_SQLITE
@pytest.mark.parametrize("token", ["atl_made-up", "", "x"])
def test_a_wrong_token_is_refused_whatever_cookie_comes_with_it(owner: Person, token: str) -> None:
    answer = owner.client.get("/api/images", headers={"Authorization": f"Bearer {token}"})
    assert (answer.status_code, error_of(answer)["code"]) == (401, "IMG-AUTH-TOKEN-001")
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@ON_SQLITE
def test_nobody_is_told_how_to_sign_in_and_nothing_else(studio: Studio) -> None:
    answer = client_of(studio).get("/api/images")
    assert (answer.status_code, error_of(answer)["code"]) == (401, "IMG-AUTH-001")
    assert answer.headers["www-authenticate"].startswith("Bearer ")


@ON_SQLITE
def test_a_revoked_token_ends_at_once(studio: Studio, owner: Person) -> None:
    program = owner.program()
    assert program.get("/api/images").status_code == 200
    (token,) = studio.api_tokens.list(owner.user)
    studio.api_tokens.revoke(owner.user, token.id)
    assert program.get("/api/images").status_code == 401


@ON_SQLITE
def test_a_link_opens_its_picture_and_nothing_else(studio: Studio, owner: Person) -> None:
    ids = [owner.client.post(GENERATE, json=ASKED).json()["id"] for _ in range(2)]
    token = studio.share_links.create(owner.user, ids[0], LIVES[0])
    nobody = client_of(studio)
    for tail in ("", "/thumbnail"):
        answer = nobody.get(f"/api/images/{ids[0]}{tail}?share={token}")
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "private, no-cache"
        assert answer.headers["referrer-policy"] == "no-referrer"
    for path in (f"{ids[1]}?share={token}", f"{'0' * 32}?share={token}", f"{ids[0]}?share=made-up"):
        answer = nobody.get(f"/api/images/{path}")
        assert (answer.status_code, error_of(answer)["code"]) == (404, "IMG-FIND-001")
    for tail in ("/metadata", "/download"):
        assert nobody.get(f"/api/images/{ids[0]}{tail}?share={token}").status_code == 401
    assert nobody.delete(f"/api/images/{ids[0]}?share={token}").status_code == 401
    for share in studio.share_links.list(owner.user, ids[0]):
        studio.share_links.revoke(owner.user, share.id)
    assert nobody.get(f"/api/images/{ids[0]}?share={token}").status_code == 404
    assert owner.client.get(f"/api/images/{ids[0]}?share=made-up").status_code == 200


@ON_SQLITE
def test_a_stream_ends_when_its_reader_is_not_let_in_any_more(
    studio: Studio, owner: Person, service: OpenAIService
) -> None:
    service.script("silent", always=True)
    accepted = owner.client.post(GENERATE, json=ASKED, headers={"Prefer": "respond-async"}).json()
    with ThreadPoolExecutor(1) as pool:
        stream = pool.submit(owner.client.get, accepted["events"])
        until(lambda: rows(studio, Job)[0].state == JobState.RUNNING)
        studio.sessions.sign_out(owner.client.cookies[COOKIE])
        told = events_of(stream.result(timeout=30).text)
    assert [name for name, _ in told if name == "end"] == []


@contextmanager
def withdrawn_with(studio: Studio, person: Person, statement: str) -> Iterator[None]:
    """Take the person's access away in the transaction that comes to `statement`."""
    gone: list[str] = []

    def before(connection: Any, _cursor: Any, asked: str, *_: Any) -> None:
        if asked.startswith(statement):
            this = col(User.id) == person.user.user_id
            gone.append(statement)
            connection.execute(update(User).where(this).values(withdrawn_at=utc_now()))

    event.listen(studio.database.engine, "before_cursor_execute", before)
    yield
    event.remove(studio.database.engine, "before_cursor_execute", before)
    assert gone


@ON_SQLITE
@pytest.mark.parametrize(
    ("path", "asked", "statement"),
    [
        pytest.param(GENERATE, ASKED, "INSERT INTO images", id="images"),
        pytest.param(ENHANCE, FOX, "INSERT INTO takes", id="a text"),
    ],
)
def test_who_waits_is_told_nothing_once_their_access_is_withdrawn(
    studio: Studio, owner: Person, path: str, asked: dict[str, Any], statement: str
) -> None:
    with withdrawn_with(studio, owner, statement):
        answer = owner.program().post(path, json=asked)
    assert (answer.status_code, error_of(answer)["code"]) == (401, "IMG-AUTH-TOKEN-001")


@ON_SQLITE
def test_a_text_that_streams_has_no_end_for_whom_is_not_let_in_any_more(
    studio: Studio, owner: Person
) -> None:
    with withdrawn_with(studio, owner, "INSERT INTO takes"):
        answer = owner.client.post(ENHANCE, json=FOX, headers={"Accept": "text/event-stream"})
    assert "done" not in answer.text
    assert "IMG-AUTH" in answer.text
