"""An image is sent whole, as the requested range, or not at all when the client has it."""

from __future__ import annotations

import pytest
from fastapi import FastAPI, Request, Response
from starlette.testclient import TestClient

from core.api.app import create_auth
from core.api.image_responses import CACHE_CONTROL, image_response
from tests.support.api_clients import error_of

DATA = bytes(range(100))
reads: list[int] = []


@pytest.fixture(scope="module")
def client() -> TestClient:
    app: FastAPI = create_auth(lambda: pytest.fail("no studio is needed"))

    def read() -> bytes:
        reads.append(1)
        return DATA

    @app.api_route("/image", methods=["GET", "HEAD"])
    def get(request: Request) -> Response:
        return image_response(request, "v1", "image/png", read, len(DATA))

    return TestClient(app)


@pytest.mark.parametrize(
    ("range_header", "first", "last"),
    [
        pytest.param("bytes=0-9", 0, 9, id="the beginning"),
        pytest.param("bytes=90-", 90, 99, id="the rest"),
        pytest.param("bytes=-5", 95, 99, id="the end"),
        pytest.param("bytes=-500", 0, 99, id="more than all, from the end"),
        pytest.param("bytes=99-1000", 99, 99, id="beyond the end"),
        pytest.param("bytes = 3 - 3", 3, 3, id="one byte"),
    ],
)
def test_a_range_is_sent_with_its_position(
    client: TestClient, range_header: str, first: int, last: int
) -> None:
    response = client.get("/image", headers={"Range": range_header})
    assert (response.status_code, response.content) == (206, DATA[first : last + 1])
    assert response.headers["content-range"] == f"bytes {first}-{last}/100"
    assert response.headers["etag"] == '"v1"'


@pytest.mark.parametrize("range_header", ["bytes=100-", "bytes=5-4", "bytes=-0", "bytes=999999999999999999-"])
def test_an_unsatisfiable_range_is_refused(client: TestClient, range_header: str) -> None:
    response = client.get("/image", headers={"Range": range_header})
    assert (response.status_code, error_of(response)["code"]) == (416, "IMG-REQ-RANGE-001")
    assert response.headers["content-range"] == "bytes */100"


@pytest.mark.parametrize(
    "range_header",
    ["bytes=-", "bytes=a-b", "items=0-9", "bytes=0-1,3-4", "0-9", "", "bytes=0-٣", f"bytes={'9' * 30}-"],
)
def test_a_malformed_range_gets_the_whole_image(client: TestClient, range_header: str) -> None:
    response = client.get("/image", headers={"Range": range_header.encode()})
    assert (response.status_code, response.content) == (200, DATA)
    assert response.headers["accept-ranges"] == "bytes"


@pytest.mark.parametrize(("known", "status"), [('"v1"', 206), ('"v0"', 200), ('W/"v1"', 200)])
def test_a_range_of_another_version_gets_the_whole_image(client: TestClient, known: str, status: int) -> None:
    response = client.get("/image", headers={"Range": "bytes=0-9", "If-Range": known})
    assert response.status_code == status


def test_a_head_request_reads_no_bytes(client: TestClient) -> None:
    reads.clear()
    head, whole = client.head("/image"), client.get("/image")
    assert head.content == b""
    assert dict(head.headers) == dict(whole.headers)
    assert head.headers["cache-control"] == CACHE_CONTROL
    assert len(reads) == 1


@pytest.mark.parametrize("known", ['"v1"', 'W/"v1"', '"v0", "v1"', "*"])
def test_a_cached_image_is_not_sent_again(client: TestClient, known: str) -> None:
    response = client.get("/image", headers={"If-None-Match": known, "Range": "bytes=0-9"})
    assert (response.status_code, response.content) == (304, b"")
