"""Routes serve users only their own data, sessions begin and end safely, and all errors have one format."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from io import StringIO
from pathlib import Path

import httpx2
import pytest
from fastapi import Response
from fastapi.routing import APIRoute
from sqlalchemy import text
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Mount
from starlette.testclient import TestClient

from core import bootstrap, errors
from core.accounts.audit_log import COLUMN_TITLES
from core.accounts.identity import SignedIn
from core.api.app import create_api, create_auth, sessions
from core.api.gallery_routes import gallery
from core.api.generation_routes import generation
from core.api.image_responses import CACHE_CONTROL
from core.common.ids import new_id
from core.database.models import Job, JobState, Scope, SignInSession
from core.prompts.recipe import Recipe
from core.settings import load_settings
from core.studio import Studio
from core.web import access_rules
from core.web.cookies import LEGACY_COOKIE
from core.web.guard import Guard
from tests.support.sign_in import change_password, ticket_of
from tests.support.waiting import until

RECIPE = Recipe(prompt="a fox", model="offline-painter", name="Fox/..\r\nÜ", size="256x256")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    settings = load_settings(_env_file=None, data_dir=tmp_path_factory.mktemp("studio"))
    studio = bootstrap.build(settings)
    yield studio
    studio.close()


def client_of(studio: Studio, **headers: str) -> TestClient:
    routes = [Mount("/api", create_api(lambda: studio)), Mount("/auth", create_auth(lambda: studio))]
    return TestClient(
        Starlette(routes=routes, middleware=[Middleware(Guard, get_settings=lambda: studio.settings)]),
        base_url="http://localhost:8501",
        headers=headers,
        raise_server_exceptions=False,
    )


@dataclass
class Person:
    """A user with a signed-in browser."""

    user: SignedIn
    client: TestClient
    token: str


@pytest.fixture(scope="module")
def enter(studio: Studio) -> Callable[[], Person]:
    def make() -> Person:
        name = f"user-{new_id()[:8]}"
        studio.registration.create_user(name, "!")
        client = client_of(studio)
        ticket = ticket_of(studio, name)
        assert client.post("/auth/session", json={"ticket": ticket}).status_code == 204
        token = client.cookies[studio.cookie.plain]
        user = studio.sessions.authenticate(token)
        assert user is not None
        return Person(user, client, token)

    return make


@pytest.fixture(scope="module")
def admin(enter: Callable[[], Person]) -> Person:
    return enter()


@pytest.fixture(scope="module")
def owner(admin: Person, enter: Callable[[], Person]) -> Person:
    return enter()


@pytest.fixture(scope="module")
def image_id(studio: Studio, owner: Person) -> str:
    studio.jobs.submit(owner.user.user_id, [RECIPE])
    return until(lambda: studio.jobs.recent(owner.user.user_id)[0].image_ids)[0]


@pytest.fixture(scope="module")
def batch_id() -> str:
    return new_id()


@pytest.fixture(scope="module")
def job_id(studio: Studio, owner: Person, batch_id: str) -> str:
    """A job that runs for ever and has one partial image."""
    job = Job(
        id=new_id(),
        batch_id=batch_id,
        owner_id=owner.user.user_id,
        state=JobState.RUNNING,
        # This process's job: the sweep would settle one without a process.
        process=studio.process_lock.process_number,
        request=RECIPE.to_json(),
    )
    with studio.database.write() as session:
        session.add(job)
    studio.storage.put(f"partials/{job.id}/0", b"\x89PNG\r\n\x1a\npartial")
    return job.id


ROUTES = {
    "/images/{image_id}": "/api/images/{image}",
    "/images/{image_id}/thumbnail": "/api/images/{image}/thumbnail",
    "/images/{image_id}/download": "/api/images/{image}/download",
    "/images/jobs/{job_id}/partials/{number}": "/api/images/jobs/{job}/partials/0",
}
OPEN_TO_ALL = {"/session", "/sign-out"}


@pytest.fixture(params=ROUTES.values())
def address(request: pytest.FixtureRequest, image_id: str, job_id: str) -> str:
    return str(request.param).format(image=image_id, job=job_id)


def assert_error(body: dict[str, dict[str, object]], code: str) -> None:
    assert set(body) == {"error"}
    error = body["error"]
    assert set(error) == {"code", "message", "details", "suggestions", "retryable", "request_id"}
    assert error["code"] == code
    assert error["message"]
    assert error["suggestions"]
    assert isinstance(error["retryable"], bool)


def without_request_id(body: dict[str, dict[str, object]]) -> dict[str, object]:
    """The error without the id of its request."""
    return {name: value for name, value in body["error"].items() if name != "request_id"}


# Access


def test_every_image_route_is_listed_here() -> None:
    """Add a new image route to ROUTES, so that the tests below check who can request it."""
    image_routes = {
        route.path
        for routes in (generation.routes, gallery.routes)
        for route in routes
        if isinstance(route, APIRoute) and route.response_class is Response
    }
    assert image_routes == set(ROUTES)
    assert {route.path for route in sessions.routes if isinstance(route, APIRoute)} == OPEN_TO_ALL


def test_the_owner_gets_the_image(owner: Person, address: str) -> None:
    response = owner.client.get(address)
    assert response.status_code == 200
    assert response.headers["content-type"] in ("image/png", "image/webp")
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in response.headers["content-security-policy"]
    assert "private" in response.headers["cache-control"]


@pytest.mark.parametrize("role", ["another user", "the administrator"])
def test_another_user_learns_nothing(
    enter: Callable[[], Person], admin: Person, address: str, image_id: str, role: str
) -> None:
    other = admin if role == "the administrator" else enter()
    response = other.client.get(address)
    assert response.status_code == 404
    assert_error(response.json(), "IMG-FIND-001")
    made_up = other.client.get(address.replace(image_id, new_id()))
    assert made_up.status_code == response.status_code
    assert without_request_id(made_up.json()) == without_request_id(response.json())
    for header in ("etag", "content-length", "cache-control"):
        assert made_up.headers.get(header) == response.headers.get(header)


def test_a_known_etag_gives_no_access_to_another_user(
    owner: Person, enter: Callable[[], Person], image_id: str
) -> None:
    etag = owner.client.get(f"/api/images/{image_id}").headers["etag"]
    response = enter().client.get(f"/api/images/{image_id}", headers={"If-None-Match": etag})
    assert response.status_code == 404


def nobody(studio: Studio, person: Person, admin: Person) -> None:
    person.client.cookies.clear()


def made_up(studio: Studio, person: Person, admin: Person) -> None:
    person.client.cookies.clear()
    person.client.cookies[studio.cookie.plain] = "made-up"


def signed_out(studio: Studio, person: Person, admin: Person) -> None:
    studio.sessions.sign_out(person.token)


def withdrawn(studio: Studio, person: Person, admin: Person) -> None:
    studio.users.withdraw(admin.user, person.user.user_id)


def new_password(studio: Studio, person: Person, admin: Person) -> None:
    change_password(studio, person.user.username, "another")


def expired(studio: Studio, person: Person, admin: Person) -> None:
    with studio.database.write() as session:
        row = session.get(SignInSession, person.user.session_id)
        assert row is not None
        row.expires_at -= timedelta(days=400)


@pytest.mark.parametrize("ended", [nobody, made_up, signed_out, withdrawn, new_password, expired])
def test_nothing_is_served_without_a_valid_session(
    studio: Studio,
    enter: Callable[[], Person],
    admin: Person,
    address: str,
    ended: Callable[[Studio, Person, Person], None],
) -> None:
    person = enter()
    ended(studio, person, admin)
    response = person.client.get(address)
    assert response.status_code == 401
    assert response.headers["cache-control"] == "no-store"
    assert_error(response.json(), "IMG-AUTH-001")


# Caching and files


@pytest.mark.parametrize("kind", ["", "/thumbnail"])
def test_an_image_in_the_browsers_cache_is_not_sent_again(owner: Person, image_id: str, kind: str) -> None:
    first = owner.client.get(f"/api/images/{image_id}{kind}")
    assert first.headers["cache-control"] == CACHE_CONTROL
    assert first.headers["vary"] == "Cookie, Authorization, Accept"
    for known in (first.headers["etag"], f'"other", W/{first.headers["etag"]}'):
        again = owner.client.get(f"/api/images/{image_id}{kind}", headers={"If-None-Match": known})
        assert (again.status_code, again.content) == (304, b"")
        assert again.headers["etag"] == first.headers["etag"]
    other = owner.client.get(f"/api/images/{image_id}{kind}", headers={"If-None-Match": '"other"'})
    assert other.content == first.content


def test_image_and_thumbnail_have_different_etags(owner: Person, image_id: str) -> None:
    tags = {owner.client.get(f"/api/images/{image_id}{kind}").headers["etag"] for kind in ("", "/thumbnail")}
    assert len(tags) == 2


def test_a_download_is_a_file_with_a_safe_name(studio: Studio, owner: Person, image_id: str) -> None:
    plain = owner.client.get(f"/api/images/{image_id}/download")
    with_prompt = owner.client.get(f"/api/images/{image_id}/download?prompt=true")
    name = plain.headers["content-disposition"]
    assert name == (
        f"attachment; filename=\"Fox-U-{image_id[:8]}.png\"; filename*=UTF-8''Fox-%C3%9C-{image_id[:8]}.png"
    )
    assert ".." not in name
    assert b"a fox" in with_prompt.content
    assert b"a fox" not in plain.content
    assert plain.headers["cache-control"] == "private, no-store"


@pytest.mark.parametrize("row", [row for row in access_rules.ROUTES if row.path.startswith("/api/")])
def test_head_is_answered_as_get_is(
    studio: Studio, owner: Person, admin: Person, image_id: str, job_id: str, row: access_rules.Route
) -> None:
    if "GET" not in row.methods:
        return
    path = row.path.format(image_id=image_id, job_id=job_id, number=0, name="start.js")
    client = (admin if row.rule is access_rules.Rule.ADMIN else owner).client
    head, get = client.head(path), client.get(path)
    assert head.status_code == get.status_code
    assert headers_of(head) == headers_of(get)
    assert client_of(studio).head(path).status_code == 401


def test_head_on_a_stream_does_not_wait_for_its_end(owner: Person, job_id: str, batch_id: str) -> None:
    head = owner.client.head(f"/api/images/jobs/{batch_id}/events")
    assert (head.status_code, head.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")


def headers_of(response: httpx2.Response) -> dict[str, str]:
    """The headers that don't change from one request to the next."""
    changing = ("x-request-id", "ratelimit-remaining", "ratelimit-reset")
    return {name: value for name, value in response.headers.items() if name not in changing}


# The cookie


def test_the_cookie_is_unreachable_for_scripts_and_other_sites(studio: Studio, owner: Person) -> None:
    response = begin(client_of(studio), studio, owner)
    cookie = response.headers["set-cookie"].lower()
    assert cookie.startswith(f"{studio.cookie.plain}=")
    for flag in ("httponly", "samesite=lax", "path=/", f"max-age={30 * 86_400}"):
        assert flag in cookie
    assert "secure" not in cookie
    assert "domain" not in cookie
    assert response.content == b""


@pytest.mark.parametrize("by", ["setting", "scheme"])
def test_on_https_the_cookie_is_secure_and_bound_to_the_host(studio: Studio, owner: Person, by: str) -> None:
    if by == "setting":
        settings = studio.settings.model_copy(update={"public_https": True})
        client = client_of(replace(studio, settings=settings))
    else:
        client = client_of(studio)
        client.base_url = "https://localhost:8501"
    cookie = begin(client, studio, owner).headers["set-cookie"].lower()
    assert cookie.startswith(f"{studio.cookie.secure}=".lower())
    for flag in ("secure", "httponly", "samesite=lax", "path=/"):
        assert flag in cookie
    assert "domain" not in cookie


@pytest.mark.parametrize("by", ["setting", "scheme"])
def test_on_https_the_cookie_of_plain_http_is_ignored(
    studio: Studio, enter: Callable[[], Person], by: str
) -> None:
    settings = studio.settings.model_copy(update={"public_https": by == "setting"})
    client = client_of(replace(studio, settings=settings))
    if by == "scheme":
        client.base_url = "https://localhost:8501"

    def response(cookies: str) -> int:
        return client.get("/api/images", headers={"Cookie": cookies}).status_code

    token = enter().token
    assert response(f"{studio.cookie.secure}={token}") == 200
    assert response(f"{studio.cookie.plain}=planted; {studio.cookie.secure}={token}") == 200
    for planted in (
        f"{studio.cookie.plain}={token}",
        f"a=b;\t{studio.cookie.plain} ={token}; c=d",
        f"{studio.cookie.secure}=; {studio.cookie.plain}={token}",
    ):
        assert response(planted) == 401
    sign_out = client.post("/auth/sign-out", headers={"Cookie": f"{studio.cookie.plain}={token}"})
    assert sign_out.status_code == 204
    assert studio.sessions.authenticate(token) is None


@pytest.fixture
def other_studio(tmp_path: Path) -> Iterator[Studio]:
    """Another installation, which a browser reaches at another port of the same host."""
    other = bootstrap.build(load_settings(_env_file=None, data_dir=tmp_path / "other"))
    other.registration.create_user("ada", "!")
    yield other
    other.close()


@pytest.mark.parametrize("https", [False, True])
def test_a_browser_can_be_signed_in_to_two_installations_on_one_host(
    studio: Studio, other_studio: Studio, enter: Callable[[], Person], https: bool
) -> None:
    username = enter().user.username
    here, there = client_of(studio), client_of(other_studio)
    there.cookies = here.cookies.jar  # browsers don't tell cookies apart by port
    for client, at, name in ((here, studio, username), (there, other_studio, "ada")):
        client.base_url = "https://localhost:8501" if https else "http://localhost:8501"
        assert client.post("/auth/session", json={"ticket": ticket_of(at, name)}).status_code == 204
    assert [client.get("/api/images").status_code for client in (here, there)] == [200, 200]
    assert there.post("/auth/sign-out").status_code == 204
    assert [client.get("/api/images").status_code for client in (here, there)] == [200, 401]


@pytest.mark.parametrize("https", [False, True])
def test_a_browser_stays_signed_in_by_a_cookie_with_the_former_name(
    studio: Studio, other_studio: Studio, enter: Callable[[], Person], https: bool
) -> None:
    token, name = enter().token, f"__Host-{LEGACY_COOKIE}" if https else LEGACY_COOKIE
    here, there = client_of(studio), client_of(other_studio)
    there.cookies = here.cookies.jar
    for client in (here, there):
        client.base_url = "https://localhost:8501" if https else "http://localhost:8501"
    here.cookies[name] = token
    assert there.post("/auth/session", json={"ticket": ticket_of(other_studio, "ada")}).status_code == 204
    assert there.post("/auth/sign-out").status_code == 204
    assert here.get("/api/images").status_code == 200
    answer = here.post("/auth/sign-out")
    assert any(cookie.startswith(f'{name}=""') for cookie in answer.headers.get_list("set-cookie"))
    assert studio.sessions.authenticate(token) is None


def begin(client: TestClient, studio: Studio, person: Person, **headers: str):  # type: ignore[no-untyped-def]
    ticket = ticket_of(studio, person.user.username)
    return client.post("/auth/session", json={"ticket": ticket}, headers=headers)


def test_a_ticket_sent_twice_keeps_the_session_it_began(studio: Studio, owner: Person) -> None:
    client = client_of(studio)
    ticket = ticket_of(studio, owner.user.username)
    assert client.post("/auth/session", json={"ticket": ticket}).status_code == 204
    again = client.post("/auth/session", json={"ticket": ticket})
    assert again.status_code == 401
    assert_error(again.json(), "IMG-AUTH-SESSION-001")
    assert studio.sessions.authenticate(client.cookies[studio.cookie.plain]) is not None


def test_a_new_session_ends_the_browsers_previous_one(
    studio: Studio, enter: Callable[[], Person], owner: Person
) -> None:
    person = enter()
    assert begin(person.client, studio, owner).status_code == 204
    assert studio.sessions.authenticate(person.token) is None
    found = studio.sessions.authenticate(person.client.cookies[studio.cookie.plain])
    assert found is not None
    assert found.user_id == owner.user.user_id


def test_sign_out_clears_the_browser_and_ends_the_session(
    studio: Studio, owner: Person, image_id: str
) -> None:
    client = client_of(studio)
    begin(client, studio, owner)
    token = client.cookies[studio.cookie.plain]
    response = client.post("/auth/sign-out")
    assert response.status_code == 204
    assert response.headers["clear-site-data"] == '"cache"'
    assert studio.cookie.plain not in client.cookies
    assert studio.sessions.authenticate(token) is None
    assert client.get(f"/api/images/{image_id}").status_code == 401
    client.cookies[studio.cookie.plain] = token
    assert client.get(f"/api/images/{image_id}").status_code == 401


@pytest.mark.parametrize("fault", [errors.DatabaseBusy, errors.StorageFull], ids=["locked", "full"])
def test_a_browser_can_sign_out_while_the_database_refuses_writes(
    studio: Studio, owner: Person, fault: type[errors.ImageError], capsys: pytest.CaptureFixture[str]
) -> None:
    client = client_of(studio)
    begin(client, studio, owner)
    token = client.cookies[studio.cookie.plain]
    with refused_writes(studio, full=fault is errors.StorageFull):
        assert client.post("/auth/sign-out").status_code == 204
    assert studio.cookie.plain not in client.cookies
    logged = capsys.readouterr().out
    assert "session_not_deleted" in logged
    assert fault.code in logged
    assert studio.sessions.authenticate(token) is not None


@contextmanager
def refused_writes(studio: Studio, *, full: bool) -> Iterator[None]:
    """Make every deletion fail, as on a full disk or under another program's lock."""
    message = "database or disk is full" if full else "database is locked"
    # A unique name: another connection may not know yet that the previous trigger is gone.
    name = f"refusing_{new_id()}"
    with studio.database.write() as session:
        session.execute(
            text(
                f"CREATE TRIGGER {name} BEFORE DELETE ON sign_in_sessions "
                f"BEGIN SELECT RAISE(ABORT, '{message}'); END"
            )
        )
    yield
    with studio.database.write() as session:
        session.execute(text(f"DROP TRIGGER {name}"))


def test_signing_out_without_a_session_succeeds(studio: Studio) -> None:
    assert client_of(studio).post("/auth/sign-out").status_code == 204


@pytest.mark.parametrize("path", ["/auth/session", "/auth/sign-out"])
@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://localhost:9999", "http://localhost", "null", "", "http://["]
)
def test_another_site_cannot_send_requests_for_a_browser(
    studio: Studio, owner: Person, path: str, origin: str
) -> None:
    client = client_of(studio)
    begin(client, studio, owner)
    ticket = ticket_of(studio, owner.user.username)
    response = client.post(path, json={"ticket": ticket}, headers={"Origin": origin})
    assert response.status_code == 403
    assert_error(response.json(), "IMG-REQ-ORIGIN-001")
    assert studio.sessions.authenticate(client.cookies[studio.cookie.plain]) is not None
    assert studio.sessions.redeem_ticket(ticket)


def test_the_apps_own_pages_can_send_requests(studio: Studio, owner: Person) -> None:
    assert begin(client_of(studio), studio, owner, Origin="http://localhost:8501").status_code == 204


# The audit log


def rows_of(response: httpx2.Response) -> list[list[str]]:
    return list(csv.reader(StringIO(response.content.decode("utf-8-sig"), newline="")))


def test_an_administrator_downloads_the_audit_log(studio: Studio, admin: Person, owner: Person) -> None:
    studio.api_tokens.create(owner.user, '=HYPERLINK("//x";"y")', [Scope.READ], None)
    response = admin.client.get("/api/audit.csv")
    assert response.status_code == 200
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"] == "attachment; filename=audit.csv"
    assert response.headers["cache-control"] == "no-store"
    titles, *rows = rows_of(response)
    assert titles == list(COLUMN_TITLES)
    assert len(rows) > 3
    assert ["token made", owner.user.username, '\'=HYPERLINK("//x";"y")'] in [row[1:4] for row in rows]


def test_the_audit_log_can_be_filtered(studio: Studio, admin: Person, owner: Person) -> None:
    name = owner.user.username
    _, *rows = rows_of(admin.client.get("/api/audit.csv", params={"person": name, "action": "registration"}))
    assert [(row[1], row[2]) for row in rows] == [("registration", name)]
    assert admin.client.get("/api/audit.csv", params={"action": "another"}).status_code == 422


def test_nobody_else_downloads_the_audit_log(studio: Studio, owner: Person) -> None:
    assert owner.client.get("/api/audit.csv").status_code == 403
    assert client_of(studio).get("/api/audit.csv").status_code == 401


# Error format


@pytest.mark.parametrize(
    ("method", "path", "content", "status"),
    [
        pytest.param("GET", "/api/nothing", b"", 404, id="unknown address"),
        pytest.param("GET", "/auth/nothing", b"", 404, id="unknown address below auth"),
        pytest.param("POST", "/api/images/x", b"", 405, id="wrong method"),
        pytest.param("GET", "/auth/session", b"", 405, id="wrong method below auth"),
        pytest.param("POST", "/auth/session", b"{", 422, id="no JSON"),
        pytest.param("POST", "/auth/session", b"[]", 422, id="no object"),
        pytest.param("POST", "/auth/session", b"{}", 422, id="a field is missing"),
        pytest.param("POST", "/auth/session", b'{"ticket": 5}', 422, id="wrong type"),
        pytest.param("POST", "/auth/session", b'{"ticket": "%s"}' % (b"hunter2" * 50), 422, id="too long"),
        pytest.param("POST", "/auth/session", b"\xff\xfe", 422, id="no text"),
        pytest.param("GET", "/api/images/jobs/x/partials/first", b"", 422, id="no number"),
        pytest.param("GET", "/api/images/x/download?prompt=perhaps", b"", 422, id="no yes or no"),
    ],
)
def test_the_frameworks_errors_have_the_same_format(
    owner: Person, method: str, path: str, content: bytes, status: int
) -> None:
    response = owner.client.request(
        method, path, content=content, headers={"Content-Type": "application/json"} if content else {}
    )
    assert response.status_code == status
    codes = {404: "IMG-REQ-PAGE-001", 405: "IMG-REQ-METHOD-001", 422: "IMG-REQ-FIELDS-001"}
    assert_error(response.json(), codes[status])
    assert "hunter2" not in response.text
    assert (response.headers.get("allow") is not None) == (status == 405)


@pytest.mark.parametrize("image_id", ["x", "%00", "x" * 5000, "%2e%2e%2fsecret.key", "%F0%9F%A6%8A"])
def test_an_unknown_id_is_not_found(owner: Person, image_id: str) -> None:
    response = owner.client.get(f"/api/images/{image_id}")
    assert response.status_code == 404
    assert response.json()["error"]["code"] in ("IMG-FIND-001", "IMG-REQ-PAGE-001")


def test_a_bug_has_the_same_format_and_reveals_nothing() -> None:
    def broken() -> Studio:
        raise ZeroDivisionError("sk-hunter2")

    app = Starlette(routes=[Mount("/api", create_api(broken))])
    response = TestClient(app, raise_server_exceptions=False).get("/api/images/x")
    assert response.status_code == 500
    assert_error(response.json(), "IMG-GEN-001")
    assert "hunter2" not in response.text
