"""A picture is sent whole, in the part that is asked for, or not at all where it is known."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient

from core.api.app import create_auth
from core.api.image_responses import CACHE, picture
from tests.support.api_clients import error_of

DATA = bytes(range(100))
read: list[int] = []


@pytest.fixture(scope="module")
def client() -> TestClient:
    app: FastAPI = create_auth(lambda: pytest.fail("no studio is needed"))

    def bytes_of() -> bytes:
        read.append(1)
        return DATA

    @app.api_route("/picture", methods=["GET", "HEAD"])
    def get(request: Request) -> Response:
        return picture(request, "v1", "image/png", bytes_of, len(DATA))

    return TestClient(app)


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        pytest.param("bytes=0-9", 0, 9, id="the beginning"),
        pytest.param("bytes=90-", 90, 99, id="the rest"),
        pytest.param("bytes=-5", 95, 99, id="the end"),
        pytest.param("bytes=-500", 0, 99, id="more than all, from the end"),
        pytest.param("bytes=99-1000", 99, 99, id="beyond the end"),
        pytest.param("bytes = 3 - 3", 3, 3, id="one byte"),
    ],
)
def test_a_part_is_sent_with_its_place(client: TestClient, asked: str, first: int, last: int) -> None:
    answer = client.get("/picture", headers={"Range": asked})
    assert (answer.status_code, answer.content) == (206, DATA[first : last + 1])
    assert answer.headers["content-range"] == f"bytes {first}-{last}/100"
    assert answer.headers["etag"] == '"v1"'


@pytest.mark.parametrize("asked", ["bytes=100-", "bytes=5-4", "bytes=-0", "bytes=999999999999999999-"])
def test_a_part_that_is_not_there_is_refused(client: TestClient, asked: str) -> None:
    answer = client.get("/picture", headers={"Range": asked})
    assert (answer.status_code, error_of(answer)["code"]) == (416, "IMG-REQ-RANGE-001")
    assert answer.headers["content-range"] == "bytes */100"


@pytest.mark.parametrize(
    "asked",
    ["bytes=-", "bytes=a-b", "items=0-9", "bytes=0-1,3-4", "0-9", "", "bytes=0-٣", f"bytes={'9' * 30}-"],
)
def test_what_is_no_part_is_answered_with_all(client: TestClient, asked: str) -> None:
    answer = client.get("/picture", headers={"Range": asked.encode()})
    assert (answer.status_code, answer.content) == (200, DATA)
    assert answer.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(("known", "status"), [('"v1"', 206), ('"v0"', 200), ('W/"v1"', 200)])
def test_a_part_of_another_version_is_answered_with_all(client: TestClient, known: str, status: int) -> None:
    answer = client.get("/picture", headers={"Range": "bytes=0-9", "If-Range": known})
    assert answer.status_code == status


def test_a_look_at_the_head_reads_nothing(client: TestClient) -> None:
    read.clear()
    head, whole = client.head("/picture"), client.get("/picture")
    assert head.content == b""
    assert dict(head.headers) == dict(whole.headers)
    assert head.headers["cache-control"] == CACHE
    assert len(read) == 1


@pytest.mark.parametrize("known", ['"v1"', 'W/"v1"', '"v0", "v1"', "*"])
def test_what_is_known_is_not_sent_again(client: TestClient, known: str) -> None:
    answer = client.get("/picture", headers={"If-None-Match": known, "Range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (304, b"")
