"""The edit route: what it accepts, from whom, and how it treats uploads."""

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
from PIL import Image as PILImage
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
from core.api.edit_routes import edits, run_in_upload_queue
from core.api.upload_queue import UploadQueue
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
    """A signed-in user with a browser."""

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
        found = studio.sessions.authenticate(self.client.cookies[studio.cookie.plain])
        assert found is not None
        self.user: SignedIn = found

    def edit(self, fields: dict[str, str] | None = None, /, **files: Any) -> Any:
        """`image` and `mask` are bytes, or (name, bytes, type)."""
        headers = files.pop("headers", {})
        parts: list[tuple[str, Any]] = [(name, (None, text)) for name, text in (fields or WORDS).items()]
        for name, data in files.items():
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
    """A client of the same server without a session."""
    return TestClient(person.client.app, base_url="http://localhost:8501", raise_server_exceptions=False)


def refused(response: Any) -> tuple[int, str]:
    error = response.json()["error"]
    assert set(error) == {"code", "message", "details", "suggestions", "retryable", "request_id"}
    return response.status_code, error["code"]


def received_files(service: OpenAIService) -> list[list[str]]:
    (seen,) = service.requests_to("/images/edits")
    files: list[list[str]] = seen.body["files"]
    return files


def uploads(studio: Studio, person: Person) -> tuple[str, ...]:
    return studio.storage.list(f"uploads/{person.user.user_id}")


def test_an_uploaded_image_is_edited(studio: Studio, service: OpenAIService, ada: Person) -> None:
    response = ada.edit(WORDS | {"n": "2", "name": "Fern"}, image=JPEG)
    assert response.status_code == 201
    made = response.json()
    assert len(made["ids"]) == 2
    assert ada.client.get(made["url"]).headers["content-type"] == "image/png"
    assert {studio.gallery.get(ada.user.user_id, one).name for one in made["ids"]} == {"Fern"}
    for seen in service.requests_to("/images/edits"):
        ((name, mime, digest),) = seen.body["files"]
        assert (name, mime) == ("image", "image/jpeg")
        assert digest != sha256(JPEG).hexdigest()


def test_uploads_are_sent_without_location_or_text_metadata(studio: Studio, service: OpenAIService) -> None:
    person = Person(studio)
    for number, data in enumerate(CLEANED.values()):
        assert person.edit({"prompt": f"make it night {number}"}, image=data).status_code == 201
    kept = [studio.storage.get(key) for key in uploads(studio, person)]
    assert {sha256(data).hexdigest() for data in kept} == {
        seen.body["files"][0][2] for seen in service.requests_to("/images/edits")
    }
    assert not any(SCRIPT in data or b"Exif" in data or b"GPS" in data for data in kept)


def test_an_image_of_the_users_gallery_is_edited(service: OpenAIService, ada: Person) -> None:
    fox = ada.image()
    response = ada.edit(WORDS | {"image_id": fox.id})
    assert response.status_code == 201
    assert received_files(service) == [["image", "image/png", fox.sha256]]
    result = ada.client.get(f"{response.json()['url']}/metadata").json()
    assert result["source_id"] == fox.id


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


def test_a_mask_is_sent_with_its_image(service: OpenAIService, ada: Person) -> None:
    mask = saved("PNG", (48, 64), mode="RGBA")
    assert ada.edit(image=JPEG, mask=mask).status_code == 201
    assert [part[:2] for part in received_files(service)] == [["image", "image/png"], ["mask", "image/png"]]
    fox = ada.image()
    assert refused(ada.edit(WORDS | {"image_id": fox.id}, mask=mask)) == (422, "IMG-REQ-UPLOAD-003")


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_a_file_that_is_no_image_is_refused_under_any_name(
    studio: Studio, service: OpenAIService, grace: Person, data: bytes
) -> None:
    before = uploads(studio, grace)
    for part in (("cat.png", data, "image/png"), ("x.svg", data, "image/svg+xml")):
        assert refused(grace.edit(image=part)) == (422, "IMG-REQ-UPLOAD-001")
    assert service.requests == []
    assert uploads(studio, grace) == before


def test_a_files_name_and_type_are_ignored(studio: Studio, service: OpenAIService) -> None:
    person = Person(studio)
    for name in NAMES:
        response = person.edit(image=(name, JPEG, "text/html"), headers={"Prefer": "respond-async"})
        assert response.status_code == 202, name
    (key,) = uploads(studio, person)
    assert key.startswith(f"uploads/{person.user.user_id}/")
    until(lambda: not any(job.is_live for job in studio.jobs.recent(person.user.user_id)))
    assert {tuple(seen.body["files"][0]) for seen in service.requests} == {
        ("image", "image/jpeg", sha256(studio.storage.get(key)).hexdigest())
    }


def test_another_users_image_looks_like_an_unknown_one(
    service: OpenAIService, ada: Person, grace: Person
) -> None:
    fox = ada.image()
    service.requests.clear()
    responses = [
        grace.edit(WORDS | {"image_id": image_id}) for image_id in (fox.id, "0" * 32, "../x", "a\0b")
    ]
    assert {refused(response) for response in responses} == {(404, "IMG-FIND-001")}
    result = [response.json()["error"] | {"request_id": ""} for response in responses]
    assert result == [result[0]] * 4
    assert service.requests == []


@pytest.mark.parametrize(
    ("fields", "files"),
    [
        pytest.param({"prompt": "x"}, {}, id="no image"),
        pytest.param({"prompt": "x", "image_id": "1"}, {"image": JPEG}, id="two images"),
        pytest.param({"image_id": "1"}, {}, id="no prompt"),
        pytest.param({"prompt": "x", "promt": "y"}, {"image": JPEG}, id="unknown field"),
        pytest.param({"prompt": "x"}, {"image": JPEG, "photo": JPEG}, id="unknown file"),
        pytest.param({"prompt": "x", "image": "https://evil.invalid/x.png"}, {}, id="an address"),
        pytest.param({"prompt": "x", "n": "many"}, {"image": JPEG}, id="no number"),
        pytest.param({"prompt": "x", "n": "0"}, {"image": JPEG}, id="none"),
        pytest.param({"prompt": "x"}, {"image": JPEG, "prompt": JPEG}, id="a file for a field"),
    ],
)
def test_a_form_with_wrong_fields_is_refused(
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
def test_a_malformed_form_is_refused(ada: Person, body: bytes, kind: str) -> None:
    response = ada.client.post(EDIT, content=body, headers={"Content-Type": kind})
    assert refused(response) in ((422, "IMG-REQ-FIELDS-001"), (400, "IMG-REQ-001"))


def test_a_refused_request_stores_no_upload(studio: Studio, service: OpenAIService) -> None:
    person = Person(studio)
    for wrong in ({"model": "dall-e-3"}, {"size": "1x1"}, {"model": "made-up"}, {"prompt": " "}, {"n": "10"}):
        response = person.edit(WORDS | wrong, image=JPEG)
        assert response.status_code in (404, 422) or wrong == {"n": "10"}
        if wrong != {"n": "10"}:
            assert uploads(studio, person) == (), wrong


def test_a_refused_mask_stores_no_upload(studio: Studio) -> None:
    person = Person(studio)
    for mask in (b"junk", saved("PNG"), saved("PNG", size=(9, 9), mode="RGBA")):
        assert person.edit(image=JPEG, mask=mask).status_code == 422
    assert uploads(studio, person) == ()


def test_a_request_over_budget_stores_no_upload(studio: Studio, service: OpenAIService) -> None:
    person = Person(studio)
    admin = replace(person.user, is_admin=True)
    studio.budgets.change(admin, person.user.user_id, UserLimits(day_images=1))
    response = person.edit(WORDS | {"n": "2"}, image=JPEG)
    assert refused(response) == (errors.BudgetSpent.status, errors.BudgetSpent.code)
    assert uploads(studio, person) == ()
    assert person.edit(image=JPEG).status_code == 201


@pytest.fixture
def busy_queue(grace: Person) -> Iterator[UploadQueue]:
    """The app's upload queue while another user's upload occupies it."""
    api = grace.client.app.routes[0].app
    before, api.state.upload_queue = api.state.upload_queue, UploadQueue("busy")
    go, begun = threading.Event(), threading.Event()
    api.state.upload_queue.submit("somebody", lambda: (begun.set(), go.wait()))
    begun.wait()
    yield api.state.upload_queue
    go.set()
    api.state.upload_queue = before


def test_a_request_without_a_file_skips_the_queue(grace: Person, busy_queue: UploadQueue) -> None:
    # Not in a `with` block, which would wait for ever if the request did wait for the queue.
    asked = ThreadPoolExecutor(1).submit(grace.edit, WORDS | {"image_id": "f" * 32})
    assert refused(asked.result(timeout=30)) == (404, "IMG-FIND-001")


def test_a_disconnected_client_gets_no_turn(busy_queue: UploadQueue) -> None:
    done: list[str] = []

    async def disconnected() -> Message:
        return {"type": "http.disconnect"}

    async def wait() -> None:
        app = SimpleNamespace(state=SimpleNamespace(upload_queue=busy_queue))
        request = Request({"type": "http", "app": app}, disconnected)
        async with asyncio.timeout(20):
            await run_in_upload_queue(request, "ada", lambda: done.append("done"))

    with pytest.raises(errors.RequestRejected):
        asyncio.run(wait())
    assert done == []


def test_only_the_edit_route_accepts_large_bodies(
    studio: Studio, service: OpenAIService, ada: Person
) -> None:
    photograph = JPEG + bytes(MAX_BODY_BYTES)
    assert ada.edit(image=photograph).status_code == 201
    too_large = ada.edit(image=JPEG + bytes(MEGABYTE + 1))
    assert refused(too_large) == (413, "IMG-REQ-UPLOAD-002")
    assert refused(ada.edit(image=JPEG + bytes(3 * MEGABYTE))) == (413, "IMG-REQ-SIZE-001")
    for path in ("/api/images/generate", f"{EDIT}/", "/api/images/enhance-prompt"):
        response = ada.client.post(
            path, content=bytes(MAX_BODY_BYTES + 1), headers={"Content-Type": "text/plain"}
        )
        assert refused(response) == (413, "IMG-REQ-SIZE-001")


@pytest.mark.parametrize("charset", ["punycode", "undefined", "utf-7", "idna"])
def test_only_utf_8_forms_are_accepted(ada: Person, charset: str) -> None:
    kind = {"Content-Type": f"multipart/form-data; boundary=x; charset={charset}"}
    body = b'--x\r\nContent-Disposition: form-data; name="f-"\r\n\r\nfox\r\n--x--\r\n'
    response = ada.client.post(EDIT, content=body, headers=kind)
    assert refused(response) == (415, "IMG-REQ-TYPE-001")


def test_a_body_without_a_length_is_cut_off_at_the_limit(ada: Person) -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="image"; filename="x"\r\n\r\n'

    def endless() -> Iterator[bytes]:
        yield head
        for _ in range(64):
            yield bytes(64 * 1024)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refused(ada.client.post(EDIT, content=endless(), headers=kind)) == (413, "IMG-REQ-SIZE-001")


def test_an_unauthenticated_request_is_refused_before_its_body_is_read(studio: Studio, ada: Person) -> None:
    """Otherwise anybody could fill the disk with uploads."""
    read = []

    def body() -> Iterator[bytes]:
        for number in range(4):
            read.append(number)
            yield bytes(1000)

    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    assert refused(nobody(ada).post(EDIT, content=body(), headers=kind)) == (401, "IMG-AUTH-001")
    assert edits.routes[0].body_field is None  # type: ignore[attr-defined]


def test_requests_with_one_key_buy_once(studio: Studio, service: OpenAIService) -> None:
    person, key = Person(studio), {"Idempotency-Key": "k1"}
    first = person.edit(image=JPEG, headers=key)
    again = person.edit(image=("other.png", JPEG, "image/jpeg"), headers=key)
    assert (first.status_code, again.status_code) == (201, 201)
    assert first.json()["ids"] == again.json()["ids"]
    assert len(service.requests_to("/images/edits")) == 1
    other = person.edit(image=saved("PNG"), headers=key)
    assert refused(other) == (422, "IMG-REQ-KEY-001")


def test_a_key_gets_the_same_response_after_its_image_was_deleted(
    service: OpenAIService, ada: Person
) -> None:
    fox, key = ada.image(), {"Idempotency-Key": "k2"}
    first = ada.edit(WORDS | {"image_id": fox.id}, headers=key)
    ada.studio.gallery.trash(ada.user.user_id, fox.id)
    again = ada.edit(WORDS | {"image_id": fox.id}, headers=key)
    assert (again.status_code, again.json()["ids"]) == (201, first.json()["ids"])
    assert refused(ada.edit(WORDS | {"image_id": fox.id}))[0] == 404


def test_respond_async_returns_the_status_address(
    studio: Studio, service: OpenAIService, ada: Person
) -> None:
    response = ada.edit(image=JPEG, headers={"Prefer": "respond-async"})
    assert response.status_code == 202
    address = response.headers["location"]
    status = until(
        lambda: (
            (result := ada.client.get(address).json())
            and result["state"] not in ("queued", "running")
            and result
        )
    )
    assert len(status["result"]["urls"]) == 1


def test_the_documentation_shows_the_form(ada: Person) -> None:
    document: dict[str, Any] = ada.client.get("/api/openapi.json").json()
    body = document["paths"]["/images/edit"]["post"]["requestBody"]["content"]["multipart/form-data"]
    assert {"prompt", "image_id", "image", "mask", "n"} <= set(body["schema"]["properties"])


def test_a_read_only_token_cannot_edit(studio: Studio, service: OpenAIService) -> None:
    person = Person(studio)
    token = studio.api_tokens.create(person.user, "reader", [Scope.READ], LIFETIMES_DAYS[0])
    response = nobody(person).post(
        EDIT, data=WORDS, files={"image": JPEG}, headers={"Authorization": f"Bearer {token}"}
    )
    assert response.status_code == 403
    assert service.requests == []


def test_the_result_is_an_image(ada: Person) -> None:
    made = ada.edit(image=JPEG).json()
    with PILImage.open(BytesIO(ada.client.get(made["url"]).content)) as image:
        assert image.size == (1024, 1024)
