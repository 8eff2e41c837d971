"""A token has its scopes, a share link its image, and what is withdrawn stops at once."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, update
from sqlmodel import col

from core.common.clock import utc_now
from core.database.models import Job, JobState, Scope, User
from core.images.share_links import LIFETIMES
from core.studio import Studio
from tests.support.api_clients import (
    ASKED,
    ENHANCE,
    FOX,
    GENERATE,
    Person,
    client_of,
    error_of,
    events_of,
    rows,
)
from tests.support.generation import ON_SQLITE
from tests.support.openai_service import Behaviour, OpenAIService
from tests.support.waiting import until

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
        studio.sessions.sign_out(owner.client.cookies[studio.cookie.plain])
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
