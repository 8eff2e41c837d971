"""The address that makes images from a picture: what it takes, from whom, and what it does with bodies."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from hashlib import sha256
from io import BytesIO
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image as Picture
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.types import Message

from core import bootstrap, errors
from core.accounts.api_tokens import LIFETIMES_DAYS
from core.accounts.identity import SignedIn
from core.api.app import create_api, create_auth
from core.api.edit_routes import edits, in_turn
from core.api.upload_queue import Turns
from core.common.ids import new_id
from core.common.media_types import MEGABYTE
from core.database.models import Image, Scope
from core.settings import load_settings
from core.studio import Studio
from core.usage.budget_limits import UserLimits
from core.web.guard import MAX_BODY_BYTES, Guard
from core.web.urls import EDIT
from tests.support.counting import Counted
from tests.support.hostile_uploads import CLEANED, NAMES, REFUSED, SCRIPT, camera, saved
from tests.support.openai_service import OpenAIService, openai_service
from tests.support.sign_in import ticket_of
from tests.support.waiting import until

WORDS = {"prompt": "make it night"}
JPEG = camera("JPEG", orientation=6)


@pytest.fixture(scope="module")
def service() -> Iterator[OpenAIService]:
    with openai_service() as service:
        yield service


@pytest.fixture(autouse=True)
def fresh_journal(service: OpenAIService) -> None:
    service.reset()


@pytest.fixture(scope="module")
def studio(service: OpenAIService, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = bootstrap.build(
        load_settings(
            _env_file=None,
            data_dir=tmp_path_factory.mktemp("edits"),
            openai_base_url=service.base_url,
            openai_api_key="sk-test-abcdefgh",
            image_model="gpt-image-2",
            max_upload_mb=1,
            user_paid_per_minute=100_000,
        )
    )
    yield studio
    studio.close()


class Person:
    """Somebody signed in, and what they send."""

    def __init__(self, studio: Studio) -> None:
        self.studio = studio
        name = f"user-{new_id()[:8]}"
        studio.registration.create_user(name, "!")
        routes = [Mount("/api", create_api(lambda: studio)), Mount("/auth", create_auth(lambda: studio))]
        self.client = TestClient(
            Starlette(routes=routes, middleware=[Middleware(Guard, get_settings=lambda: studio.settings)]),
            base_url="http://localhost:8501",
            raise_server_exceptions=False,
        )
        ticket = ticket_of(studio, name)
        assert self.client.post("/auth/session", json={"ticket": ticket}).status_code == 204
        found = studio.sessions.authenticate(self.client.cookies["atelier"])
        assert found is not None
        self.user: SignedIn = found

    def edit(self, fields: dict[str, str] | None = None, /, **sent: Any) -> Any:
        """`image` and `mask` are bytes, or (name, bytes, type)."""
        headers = sent.pop("headers", {})
        parts: list[tuple[str, Any]] = [(name, (None, text)) for name, text in (fields or WORDS).items()]
        for name, data in sent.items():
            parts.append((name, data if isinstance(data, tuple) else ("x.png", data, "image/png")))
        return self.client.post(EDIT, files=parts, headers=headers)

    def image(self) -> Image:
        made = self.client.post(
            "/api/images/generate", json={"prompt": "a fox", "size": "1024x1024"}, headers={}
        )
        assert made.status_code == 201
        return self.studio.gallery.get(self.user.user_id, made.json()["id"])


@pytest.fixture(scope="module")
def ada(studio: Studio) -> Person:
    return Person(studio)


@pytest.fixture(scope="module")
def grace(studio: Studio) -> Person:
    return Person(studio)


def nobody(person: Person) -> TestClient:
    """A client of the same server without a cookie."""
    return TestClient(person.client.app, base_url="http://localhost:8501", raise_server_exceptions=False)


def refused(answer: Any) -> tuple[int, str]:
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "details", "suggestions", "retryable", "request_id"}
    return answer.status_code, error["code"]


def sent_files(service: OpenAIService) -> list[list[str]]:
    (seen,) = service.asked("/images/edits")
    files: list[list[str]] = seen.body["files"]
    return files


def uploads(studio: Studio, person: Person) -> tuple[str, ...]:
    return studio.storage.list(f"uploads/{person.user.user_id}")


def test_an_upload_becomes_an_image(studio: Studio, service: OpenAIService, ada: Person) -> None:
    answer = ada.edit(WORDS | {"n": "2", "name": "Fern"}, image=JPEG)
    assert answer.status_code == 201
    made = answer.json()
    assert len(made["ids"]) == 2
    assert ada.client.get(made["url"]).headers["content-type"] == "image/png"
    assert {studio.gallery.get(ada.user.user_id, one).name for one in made["ids"]} == {"Fern"}
    for seen in service.asked("/images/edits"):
        ((name, mime, digest),) = seen.body["files"]
        assert (name, mime) == ("image", "image/jpeg")
        assert digest != sha256(JPEG).hexdigest()


def test_what_leaves_for_the_service_has_no_place_and_no_words_in_it(
    studio: Studio, service: OpenAIService
) -> None:
    person = Person(studio)
    for number, data in enumerate(CLEANED.values()):
        assert person.edit({"prompt": f"make it night {number}"}, image=data).status_code == 201
    kept = [studio.storage.get(key) for key in uploads(studio, person)]
    assert {sha256(data).hexdigest() for data in kept} == {
        seen.body["files"][0][2] for seen in service.asked("/images/edits")
    }
    assert not any(SCRIPT in data or b"Exif" in data or b"GPS" in data for data in kept)


def test_an_image_of_ones_own_is_worked_from(service: OpenAIService, ada: Person) -> None:
    fox = ada.image()
    answer = ada.edit(WORDS | {"image_id": fox.id})
    assert answer.status_code == 201
    assert sent_files(service) == [["image", "image/png", fox.sha256]]
    told = ada.client.get(f"{answer.json()['url']}/metadata").json()
    assert told["source_id"] == fox.id


def test_an_edit_looks_its_image_up_and_is_checked_once(studio: Studio) -> None:
    gallery, uploads, moderation = (
        Counted(studio.gallery),
        Counted(studio.uploads),
        Counted(studio.client.moderation),
    )
    orders = replace(studio.orders, gallery=gallery, uploads=uploads, moderation=moderation)
    edits = replace(studio.edits, orders=orders, gallery=gallery)
    person = Person(replace(studio, gallery=gallery, uploads=uploads, orders=orders, edits=edits))
    fox = person.image()
    gallery.calls.clear(), uploads.calls.clear(), moderation.calls.clear()
    assert person.edit(WORDS | {"image_id": fox.id}).status_code == 201
    assert (gallery.calls["get_untrashed"], gallery.calls["get"]) == (1, 0)
    assert (uploads.calls["check"], moderation.calls["screen"]) == (1, 1)


def test_a_mask_goes_with_its_picture(service: OpenAIService, ada: Person) -> None:
    hole = saved("PNG", (48, 64), mode="RGBA")
    assert ada.edit(image=JPEG, mask=hole).status_code == 201
    assert [part[:2] for part in sent_files(service)] == [["image", "image/png"], ["mask", "image/png"]]
    fox = ada.image()
    assert refused(ada.edit(WORDS | {"image_id": fox.id}, mask=hole)) == (422, "IMG-REQ-UPLOAD-003")


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_what_is_no_picture_is_refused_whatever_it_is_called(
    studio: Studio, service: OpenAIService, grace: Person, data: bytes
) -> None:
    before = uploads(studio, grace)
    for part in (("cat.png", data, "image/png"), ("x.svg", data, "image/svg+xml")):
        assert refused(grace.edit(image=part)) == (422, "IMG-REQ-UPLOAD-001")
    assert service.requests == []
    assert uploads(studio, grace) == before


def test_a_files_name_says_nothing(studio: Studio, service: OpenAIService) -> None:
    person = Person(studio)
    for name in NAMES:
        answer = person.edit(image=(name, JPEG, "text/html"), headers={"Prefer": "respond-async"})
        assert answer.status_code == 202, name
    (key,) = uploads(studio, person)
    assert key.startswith(f"uploads/{person.user.user_id}/")
    until(lambda: not any(job.is_live for job in studio.jobs.recent(person.user.user_id)))
    assert {tuple(seen.body["files"][0]) for seen in service.requests} == {
        ("image", "image/jpeg", sha256(studio.storage.get(key)).hexdigest())
    }


def test_somebody_elses_image_is_answered_like_one_that_never_was(
    service: OpenAIService, ada: Person, grace: Person
) -> None:
    fox = ada.image()
    service.requests.clear()
    answers = [grace.edit(WORDS | {"image_id": image_id}) for image_id in (fox.id, "0" * 32, "../x", "a\0b")]
    assert {refused(answer) for answer in answers} == {(404, "IMG-FIND-001")}
    told = [answer.json()["error"] | {"request_id": ""} for answer in answers]
    assert told == [told[0]] * 4
    assert service.requests == []


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        pytest.param({"prompt": "x"}, {}, id="no picture"),
        pytest.param({"prompt": "x", "image_id": "1"}, {"image": JPEG}, id="two pictures"),
        pytest.param({"image_id": "1"}, {}, id="no prompt"),
        pytest.param({"prompt": "x", "promt": "y"}, {"image": JPEG}, id="unknown field"),
        pytest.param({"prompt": "x"}, {"image": JPEG, "picture": JPEG}, id="unknown file"),
        pytest.param({"prompt": "x", "image": "https://evil.invalid/x.png"}, {}, id="an address"),
        pytest.param({"prompt": "x", "n": "many"}, {"image": JPEG}, id="no number"),
        pytest.param({"prompt": "x", "n": "0"}, {"image": JPEG}, id="none"),
        pytest.param({"prompt": "x"}, {"image": JPEG, "prompt": JPEG}, id="a file for a field"),
    ],
)
def test_a_form_that_says_something_else_is_refused(
    studio: Studio, service: OpenAIService, fields: dict[str, str], files: dict[str, bytes]
) -> None:
    person = Person(studio)
    assert refused(person.edit(fields, **files)) in ((422, "IMG-REQ-FIELDS-001"), (400, "IMG-REQ-001"))
    assert (service.requests, uploads(studio, person)) == ([], ())


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        pytest.param(b"{}", "application/json", id="json"),
        pytest.param(b"no form", "multipart/form-data", id="no boundary"),
        pytest.param(b"no form", "multipart/form-data; boundary=x", id="no form"),
        pytest.param(b"--x\r\n\r\n", "multipart/form-data; boundary=x", id="cut off"),
        pytest.param(b"--x\r\n\r\nabc\r\n--x--\r\n", "multipart/form-data; boundary=x", id="without a name"),
        pytest.param(b"", "", id="nothing"),
    ],
)
def test_what_is_no_form_is_refused(ada: Person, body: bytes, kind: str) -> None:
    answer = ada.client.post(EDIT, content=body, headers={"Content-Type": kind})
    assert refused(answer) in ((422, "IMG-REQ-FIELDS-001"), (400, "IMG-REQ-001"))


def test_what_can_not_be_made_keeps_no_upload(studio: Studio, service: OpenAIService) -> None:
    person = Person(studio)
    for wrong in ({"model": "dall-e-3"}, {"size": "1x1"}, {"model": "made-up"}, {"prompt": " "}, {"n": "10"}):
        answer = person.edit(WORDS | wrong, image=JPEG)
        assert answer.status_code in (404, 422) or wrong == {"n": "10"}
        if wrong != {"n": "10"}:
            assert uploads(studio, person) == (), wrong


def test_nothing_is_kept_of_what_is_refused_by_its_mask(studio: Studio) -> None:
    person = Person(studio)
    for mask in (b"junk", saved("PNG"), saved("PNG", size=(9, 9), mode="RGBA")):
        assert person.edit(image=JPEG, mask=mask).status_code == 422
    assert uploads(studio, person) == ()


def test_nothing_is_kept_of_what_no_budget_covers(studio: Studio, service: OpenAIService) -> None:
    person = Person(studio)
    admin = replace(person.user, is_admin=True)
    studio.budgets.change(admin, person.user.user_id, UserLimits(day_images=1))
    answer = person.edit(WORDS | {"n": "2"}, image=JPEG)
    assert refused(answer) == (errors.BudgetSpent.status, errors.BudgetSpent.code)
    assert uploads(studio, person) == ()
    assert person.edit(image=JPEG).status_code == 201


@pytest.fixture
def held_up(grace: Person) -> Iterator[Turns]:
    """The turns while somebody else's picture has its."""
    api = grace.client.app.routes[0].app
    before, api.state.upload_turns = api.state.upload_turns, Turns("held up")
    go, begun = threading.Event(), threading.Event()
    api.state.upload_turns.take("somebody", lambda: (begun.set(), go.wait()))
    begun.wait()
    yield api.state.upload_turns
    go.set()
    api.state.upload_turns = before


def test_what_has_no_file_waits_for_nobodys_turn(grace: Person, held_up: Turns) -> None:
    # Not in a `with`: where it did wait, it would until the turns go on.
    asked = ThreadPoolExecutor(1).submit(grace.edit, WORDS | {"image_id": "f" * 32})
    assert refused(asked.result(timeout=30)) == (404, "IMG-FIND-001")


def test_who_has_hung_up_has_no_turn(held_up: Turns) -> None:
    taken: list[str] = []

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def wait() -> None:
        state = SimpleNamespace(state=SimpleNamespace(upload_turns=held_up))
        request = Request({"type": "http", "app": state}, gone)
        async with asyncio.timeout(20):
            await in_turn(request, "ada", lambda: taken.append("taken"))

    with pytest.raises(errors.RequestRejected):
        asyncio.run(wait())
    assert taken == []


def test_only_this_address_takes_more_than_a_few_words(
    studio: Studio, service: OpenAIService, ada: Person
) -> None:
    photograph = JPEG + bytes(MAX_BODY_BYTES)
    assert ada.edit(image=photograph).status_code == 201
    too_large = ada.edit(image=JPEG + bytes(MEGABYTE + 1))
    assert refused(too_large) == (413, "IMG-REQ-UPLOAD-002")
    assert refused(ada.edit(image=JPEG + bytes(3 * MEGABYTE))) == (413, "IMG-REQ-SIZE-001")
    for path in ("/api/images/generate", f"{EDIT}/", "/api/images/enhance-prompt"):
        answer = ada.client.post(
            path, content=bytes(MAX_BODY_BYTES + 1), headers={"Content-Type": "text/plain"}
        )
        assert refused(answer) == (413, "IMG-REQ-SIZE-001")


@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-7", "idna"])
def test_a_form_is_read_in_utf_8_alone(ada: Person, charset: str) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    body = b'--x\r\nContent-Disposition: form-data; name="f-"\r\n\r\nfox\r\n--x--\r\n'
    answer = ada.client.post(EDIT, content=body, headers=kind)
    assert refused(answer) == (415, "IMG-REQ-TYPE-001")


def test_a_body_that_does_not_say_how_long_it_is_ends_at_the_cap(ada: Person) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'

    def endless() -> Iterator[bytes]:
        yield head
        for _ in range(64):
            yield bytes(64 * 1024)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refused(ada.client.post(EDIT, content=endless(), headers=kind)) == (413, "IMG-REQ-SIZE-001")


def test_nobody_is_refused_before_a_body_is_read(studio: Studio, ada: Person) -> None:
    """Else anybody could fill the disk with files that wait for a sign-in."""
    read = []

    def body() -> Iterator[bytes]:
        for number in range(4):
            read.append(number)
            yield bytes(1000)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refused(nobody(ada).post(EDIT, content=body(), headers=kind)) == (401, "IMG-AUTH-001")
    assert edits.routes[0].body_field is None  # type: ignore[attr-defined]


def test_a_key_buys_once(studio: Studio, service: OpenAIService) -> None:
    person, key = Person(studio), {"Idempotency-Key": "k1"}
    first = person.edit(image=JPEG, headers=key)
    again = person.edit(image=("other.png", JPEG, "image/jpeg"), headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["ids"] == again.json()["ids"]
    assert len(service.asked("/images/edits")) == 1
    other = person.edit(image=saved("PNG"), headers=key)
    assert refused(other) == (422, "IMG-REQ-KEY-001")


def test_a_key_answers_as_before_also_when_its_picture_has_gone(service: OpenAIService, ada: Person) -> None:
    fox, key = ada.image(), {"Idempotency-Key": "k2"}
    first = ada.edit(WORDS | {"image_id": fox.id}, headers=key)
    ada.studio.gallery.trash(ada.user.user_id, fox.id)
    again = ada.edit(WORDS | {"image_id": fox.id}, headers=key)
    assert (again.status_code, again.json()["ids"]) == (201, first.json()["ids"])
    assert refused(ada.edit(WORDS | {"image_id": fox.id}))[0] == 404


def test_who_does_not_wait_gets_the_address_of_the_job(
    studio: Studio, service: OpenAIService, ada: Person
) -> None:
    answer = ada.edit(image=JPEG, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202
    where = answer.headers["location"]
    status = until(
        lambda: (told := ada.client.get(where).json()) and told["state"] not in ("queued", "running") and told
    )
    assert len(status["result"]["urls"]) == 1


def test_the_documentation_shows_the_form(ada: Person) -> None:
    document: dict[str, Any] = ada.client.get("/api/openapi.json").json()
    body = document["paths"]["/images/edit"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert {"prompt", "image_id", "image", "mask", "n"} <= set(body["schema"]["properties"])


def test_a_token_that_may_only_read_edits_nothing(studio: Studio, service: OpenAIService) -> None:
    person = Person(studio)
    token = studio.api_tokens.create(person.user, "reader", [Scope.READ], LIFETIMES_DAYS[0])
    answer = nobody(person).post(
        EDIT, data=WORDS, files={"image": JPEG}, headers={"Authorization": f"Bearer {token}"}
    )
    assert answer.status_code == 403
    assert service.requests == []


def test_the_picture_that_comes_back_is_one(ada: Person) -> None:
    made = ada.edit(image=JPEG).json()
    with Picture.open(BytesIO(ada.client.get(made["url"]).content)) as image:
        assert image.size == (1024, 1024)
