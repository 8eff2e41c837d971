"""The API generates images: paid once, and with honest results."""

from __future__ import annotations

import io
import json
from base64 import b64decode, b64encode
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import pytest
from PIL import Image

from core.api.events import MAX_STREAMS, StreamSlots
from core.studio import Studio
from tests.support.api_clients import (
    ASKED,
    GENERATE,
    Person,
    application_of,
    client_at,
    count_generations,
    error_of,
    events_of,
)
from tests.support.generation import ON_SQLITE
from tests.support.images import plain_png
from tests.support.openai_service import Behaviour, OpenAIService
from tests.support.waiting import until


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
def test_an_image_is_returned_with_the_error_beside_it(
    make: Callable[..., Studio], service: OpenAIService
) -> None:
    owner = Person.enter(make())
    item = {"b64_json": b64encode(plain_png()).decode()}
    failure = {"code": "partial_failure", "message": "1 of 2 images failed"}
    service.script(Behaviour(raw=json.dumps({"data": [item], "error": failure}).encode()))
    response = owner.client.post(GENERATE, json=ASKED)
    result = response.json()
    assert (response.status_code, len(result["ids"])) == (201, 1)
    assert [error["details"] for error in result["errors"]] == ["partial_failure: 1 of 2 images failed"]
    assert owner.client.get(result["url"]).content == plain_png()


@ON_SQLITE
@pytest.mark.parametrize("kind", ["GIF", "AVIF"])
def test_an_image_of_any_format_has_its_type_and_its_file_name(
    make: Callable[..., Studio], service: OpenAIService, kind: str
) -> None:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), "teal").save(file, kind)
    item = {"b64_json": b64encode(file.getvalue()).decode()}
    service.script(Behaviour(raw=json.dumps({"data": [item]}).encode()))
    owner = Person.enter(make())
    url = owner.client.post(GENERATE, json=ASKED).json()["url"]
    shown, download = owner.client.get(url), owner.client.get(f"{url}/download")
    assert shown.content == download.content == file.getvalue()
    assert shown.headers["content-type"] == download.headers["content-type"] == f"image/{kind.lower()}"
    assert f".{kind.lower()}" in download.headers["content-disposition"]
    assert owner.client.get(f"{url}/thumbnail").headers["content-type"] == "image/webp"
    assert owner.client.get(f"{url}/metadata").json()["type"] == f"image/{kind.lower()}"


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
