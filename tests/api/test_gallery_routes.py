"""The API lists and changes images, for their owner only."""

from __future__ import annotations

import pytest

from core.database.models import ErrorCount, Scope
from core.studio import Studio
from tests.support.api_clients import ASKED, GENERATE, Person, error_of, rows
from tests.support.generation import ON_SQLITE


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


@ON_SQLITE
@pytest.mark.parametrize("path", ["", "/thumbnail", "/download"])
def test_an_error_that_no_person_sees_is_not_counted(studio: Studio, owner: Person, path: str) -> None:
    """A page shows a broken image in its own way, and replaces a preview that is gone by its image."""
    gone = f"/api/images/{'0' * 32}{path}"
    assert owner.client.get(gone, headers={"Sec-Fetch-Dest": "image"}).status_code == 404
    preview = f"/api/images/jobs/{'0' * 32}/partials/0"
    assert owner.client.get(preview, headers={"Sec-Fetch-Dest": "image"}).status_code == 404
    assert rows(studio, ErrorCount) == []
    assert owner.program().get(gone).status_code == 404
    assert [(row.code, row.count) for row in rows(studio, ErrorCount)] == [("IMG-FIND-001", 1)]
