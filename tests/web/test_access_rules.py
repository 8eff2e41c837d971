"""Every route of the running app has an access rule, and keeps it for every role."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from core import bootstrap
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.common.ids import new_id
from core.database.models import Job, JobState, Scope, SignInSession
from core.generation.job_queue import LONGEST_PAUSE
from core.prompts.recipe import Recipe
from core.settings import load_settings
from core.studio import Studio
from core.web.access_rules import PAGES, ROUTES, Rule, is_open
from core.web.cookies import LEGACY_COOKIE
from tests.support.app_process import ROOT, AppProcess
from tests.support.routes import RouteAddress, running_routes
from tests.support.sign_in import ticket_of
from tests.support.waiting import until

RECIPE = Recipe(prompt="a fox", model="offline-painter", name="Fox", size="256x256")
ROWS = [RouteAddress(route.path, method) for route in ROUTES for method in route.methods]
RULES = {RouteAddress(route.path, method): route for route in ROUTES for method in route.methods}
# Path parameters other than the owner's image and job.
OTHER_PARTS = {
    "number": "0",
    "name": "start.js",
    "session_id": "s",
    "file_id:path": "f.png",
    "file_id": "f",
    "path:path": "a/b.js",
}
# JSON bodies of the routes that read one.
BODIES: dict[str, dict[str, object]] = {
    "POST /auth/session": {"ticket": "made-up"},
    "POST /api/images/generate": {"prompt": "a fox"},
    "POST /api/images/enhance-prompt": {"base_prompt": "a fox"},
    "PATCH /api/images/{image_id}": {"favourite": True},
}
# Form fields, besides the id of the owner's image.
FORMS = {"POST /api/images/edit": {"prompt": "a fox in the rain"}}
WITHOUT, WITH, LINK = "a token without the scope", "a token with the scope", "the holder of a link"
STRANGERS = ("nobody", "a withdrawn user", "an expired session")
ENDED = "a withdrawn user's token"
OTHERS = ("another user", "the administrator")
ROLES = (*STRANGERS, ENDED, *OTHERS, LINK, WITHOUT, WITH, "the owner")


# The table


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> set[RouteAddress]:
    return running_routes(tmp_path_factory.mktemp("routes"))


def test_every_route_of_the_running_app_is_in_the_table(found: set[RouteAddress]) -> None:
    assert found - set(ROWS) == set()


def test_every_row_of_the_table_is_a_route_of_the_running_app(found: set[RouteAddress]) -> None:
    assert set(ROWS) - found == set()
    assert len(ROWS) == len(set(ROWS))


@pytest.mark.parametrize(
    "path",
    [
        "/_stcore",
        "/_stcore/script-health-check",
        "/_stcore/metrics/x",
        "/_stcore/anything-new",
        "/app/static/x.html",
    ],
)
def test_routes_that_streamlits_settings_could_add_are_closed(path: str) -> None:
    assert not is_open(path)


@pytest.mark.parametrize(
    "path", ["/static/js/x.js", "/favicon.png", "/api/nothing", "/auth", "/healthz", *PAGES]
)
def test_pages_their_files_and_the_apis_are_open(path: str) -> None:
    assert is_open(path, {"/static/js/x.js", "/favicon.png"})


@pytest.mark.parametrize(
    "path",
    [
        *("/metrics", "/v1/models", "/mediaeval", "/authors", "/components", "/gallery/x", "/index.html"),
        *("/static", "/static/js/y.js", "/_stcore/healthy", "/healthz2"),
    ],
)
def test_other_addresses_are_not_open(path: str) -> None:
    assert not is_open(path, {"/static/js/x.js"})


def test_every_page_has_its_address() -> None:
    names = {path.stem for path in (ROOT / "pages").glob("*.py")} - {"main"}
    assert set(PAGES) == {"" if name == "create" else f"/{name}" for name in names}


# Each route, requested as each role


@dataclass(frozen=True, slots=True)
class RunningApp:
    """The running app, the headers of each role, and the ids of the owner's images and job."""

    app: AppProcess
    client: httpx2.Client
    headers: dict[str, dict[str, str]]
    image_ids: dict[RouteAddress, str]
    links: dict[RouteAddress, str]
    job_id: str

    def ask(self, row: RouteAddress, role: str, *, elsewhere: bool = False) -> httpx2.Response:
        """The response to `role`; with `elsewhere` for an id that doesn't exist."""
        owned = {"image_id": self.image_ids[row], "job_id": self.job_id}
        if elsewhere:
            owned = dict.fromkeys(owned, "0" * 32)
        parts = OTHER_PARTS | owned
        path = re.sub(r"{([^}]+)}", lambda part: parts[part[1]], row.path)
        form = FORMS.get(f"{row.method} {row.path}")
        fields = form | {"image_id": owned["image_id"]} if form else {}
        self.client.cookies.clear()
        with self.client.stream(
            row.method,
            self.app.base_url + path,
            params={"share": self.links[row]} if role == LINK else None,
            headers=self._headers(row, role) | {"Origin": self.app.base_url, "Prefer": "respond-async"},
            json=BODIES.get(f"{row.method} {row.path}"),
            files={name: (None, text) for name, text in fields.items()} or None,
        ) as answer:
            # An event stream doesn't end while its job is waiting.
            if not answer.headers.get("content-type", "").startswith("text/event-stream"):
                answer.read()
        return answer

    def _headers(self, row: RouteAddress, role: str) -> dict[str, str]:
        if role not in (WITH, WITHOUT):
            return self.headers[role]
        wanted = RULES[row].scope or Scope.READ
        other = Scope.GENERATE if wanted is Scope.READ else Scope.READ
        return self.headers[wanted if role == WITH else other]

    def opens(self, role: str, origin: str) -> int:
        """The status of the handshake with the pages' WebSocket."""
        address = self.app.base_url.replace("http:", "ws:") + "/_stcore/stream"
        try:
            with connect(
                address,
                origin=origin,
                subprotocols=["streamlit"],
                additional_headers=self.headers.get(role, {}),
                proxy=None,
            ) as socket:
                return socket.response.status_code
        except InvalidStatus as refused:
            return refused.response.status_code


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    folder = tmp_path_factory.mktemp("house")
    studio = bootstrap.build(load_settings(_env_file=None, data_dir=folder / "data", registration="open"))
    people, headers = _people(studio)
    owner = people["the owner"]
    image_ids = dict(zip(ROWS, _images(studio, owner.user_id, len(ROWS)), strict=True))
    links = {
        row: studio.share_links.create(owner, made, timedelta(days=1)) for row, made in image_ids.items()
    }
    job_id = _waiting_job(studio, owner.user_id)
    studio.close()
    with AppProcess(folder) as app, httpx2.Client(trust_env=False, timeout=60) as client:
        yield RunningApp(app, client, headers, image_ids, links, job_id)
        assert "Traceback" not in app.output


def _people(studio: Studio) -> tuple[dict[str, SignedIn], dict[str, dict[str, str]]]:
    """The users by role, and the headers that each role sends. The first account is the administrator."""
    roles = ("the administrator", "the owner", "another user", "a withdrawn user")
    for number, _ in enumerate(roles):
        studio.registration.create_user(f"person-{number}", "!")
    names = {role: f"person-{number}" for number, role in enumerate(roles)} | {STRANGERS[2]: "person-1"}
    cookies = {role: studio.sessions.redeem_ticket(ticket_of(studio, name)) for role, name in names.items()}
    people = {
        role: found for role, token in cookies.items() if (found := studio.sessions.authenticate(token))
    }
    tokens = {
        ENDED: studio.api_tokens.create(people["a withdrawn user"], "all", set(Scope), 30),
        **{scope: studio.api_tokens.create(people["the owner"], scope, {scope}, 30) for scope in Scope},
    }
    studio.users.withdraw(people["the administrator"], people["a withdrawn user"].user_id)
    with studio.database.write() as session:
        # A session row that was left after the withdrawal must not authenticate either.
        session.add(
            SignInSession(
                id=sha256(cookies["a withdrawn user"].encode()).hexdigest(),
                user_id=people["a withdrawn user"].user_id,
                expires_at=utc_now() + timedelta(days=1),
            )
        )
        row = session.get(SignInSession, people["an expired session"].session_id)
        assert row
        row.expires_at -= timedelta(days=400)
    headers = {role: {"Cookie": f"{LEGACY_COOKIE}={token}"} for role, token in cookies.items()}
    headers |= {role: {"Authorization": f"Bearer {token}"} for role, token in tokens.items()}
    return people, {"nobody": {}, LINK: {}} | headers


def _images(studio: Studio, owner_id: str, count: int) -> list[str]:
    """One image per route: a route may move or change its image."""
    studio.jobs.submit(owner_id, [RECIPE])
    (first,) = until(lambda: studio.jobs.recent(owner_id)[0].image_ids)
    image = studio.gallery.get(owner_id, first)
    data, small = studio.gallery.original(owner_id, first), studio.gallery.thumbnail(owner_id, first)
    ids = [first]
    for number in range(count - 1):
        fields = image.model_dump() | {"id": new_id(), "file_key": f"{image.file_key}-{number}"}
        studio.storage.put(fields["file_key"], data)
        studio.storage.put(f"thumbnails/{fields['id']}.webp", small)
        with studio.database.write() as session:
            session.add(type(image)(**fields))
        ids.append(fields["id"])
    return ids


def _waiting_job(studio: Studio, owner_id: str) -> str:
    """A queued job with one preview."""
    made = new_id()
    job = Job(
        id=made,
        batch_id=made,
        owner_id=owner_id,
        state=JobState.QUEUED,
        request=RECIPE.to_json(),
        partials=1,
        # Any later, and the queue would think that the clock was set back, and start the job.
        due_at=utc_now() + LONGEST_PAUSE,
    )
    with studio.database.write() as session:
        session.add(job)
    studio.storage.put(f"partials/{job.id}/0", b"\x89PNG\r\n\x1a\npartial")
    return job.id


HTTP_ROWS = [row for row in ROWS if row.method != "WEBSOCKET"]


@pytest.mark.parametrize("row", HTTP_ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_each_route_keeps_its_rule_whoever_comes(running: RunningApp, row: RouteAddress) -> None:
    for role in ROLES:
        _KEEPS[RULES[row].rule](running, row, role)


def _keeps_public(running: RunningApp, row: RouteAddress, role: str) -> None:
    answer = running.ask(row, role)
    assert answer.is_success, role
    # The response is the same for every role, so it has nothing about a user.
    assert answer.content == running.ask(row, "nobody").content


def _keeps_closed(running: RunningApp, row: RouteAddress, role: str) -> None:
    answer = running.ask(row, role)
    assert answer.status_code == 404, role
    if row.method != "HEAD":
        assert "IMG-REQ-PAGE-001" in answer.text


def _keeps_sign_in(running: RunningApp, row: RouteAddress, role: str) -> None:
    answer = running.ask(row, "nobody" if role == "the owner" else role)
    assert answer.status_code in (204, 401, 422), role
    assert all("=;" in cookie or '=""' in cookie for cookie in answer.headers.get_list("set-cookie"))


def _keeps_signed_in(running: RunningApp, row: RouteAddress, role: str) -> None:
    answer = running.ask(row, role)
    if role in (*STRANGERS, ENDED, LINK):
        refused(answer, 401, "IMG-AUTH-TOKEN-001" if role == ENDED else "IMG-AUTH-001")
    elif role == WITHOUT:
        refused(answer, 403, "IMG-AUTH-SCOPE-001")
    else:
        assert answer.is_success, (role, answer.text)
    if role in OTHERS and row.method == "GET":
        assert not [made for made in running.image_ids.values() if made in answer.text]


def _keeps_owner(running: RunningApp, row: RouteAddress, role: str) -> None:
    if role not in OTHERS:
        _keeps_signed_in(running, row, role)
        return
    answer, nothing = running.ask(row, role), running.ask(row, role, elsewhere=True)
    refused(answer, 404, "IMG-FIND-001")
    assert seen(answer) == seen(nothing)


def _keeps_owner_or_link(running: RunningApp, row: RouteAddress, role: str) -> None:
    if role != LINK:
        _keeps_owner(running, row, role)
        return
    assert running.ask(row, role).is_success
    # The link of another image is refused.
    other = replace(running, links=dict.fromkeys(running.links, running.links[ROWS[0]]))
    refused(other.ask(row, role), 404, "IMG-FIND-001")


def refused(answer: httpx2.Response, status: int, code: str) -> None:
    assert answer.status_code == status, answer.request.headers
    if answer.request.method != "HEAD":
        assert answer.json()["error"]["code"] == code


def seen(answer: httpx2.Response) -> tuple[object, ...]:
    """Everything in a response except the time and the request id."""
    changing = ("date", "x-request-id", "ratelimit-remaining", "ratelimit-reset")
    headers = {name: text for name, text in answer.headers.items() if name not in changing}
    body = answer.text.replace(answer.headers.get("x-request-id", "-"), "")
    return answer.status_code, headers, body


def _keeps_admin(running: RunningApp, row: RouteAddress, role: str) -> None:
    answer = running.ask(row, role)
    if role in (*STRANGERS, ENDED, LINK):
        assert answer.status_code == 401, role
    else:
        assert answer.status_code == (200 if role == "the administrator" else 403), role


_KEEPS = {
    Rule.ADMIN: _keeps_admin,
    Rule.PUBLIC: _keeps_public,
    Rule.PAGE_SHELL: _keeps_public,
    Rule.CLOSED: _keeps_closed,
    Rule.SIGN_IN: _keeps_sign_in,
    Rule.SIGNED_IN: _keeps_signed_in,
    Rule.OWNER: _keeps_owner,
    Rule.OWNER_OR_LINK: _keeps_owner_or_link,
}


def test_the_websocket_opens_only_for_the_apps_own_pages(running: RunningApp) -> None:
    assert [row.path for row in ROWS if RULES[row].rule is Rule.SAME_ORIGIN_SOCKET] == ["/_stcore/stream"]
    for role in ROLES:
        assert running.opens(role, running.app.base_url) == 101, role
        for origin in ("http://127.0.0.1:1", "https://evil.example", "null"):
            assert running.opens(role, origin) == 403, role


def test_every_rule_is_tested(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{len(ROUTES)} addresses, {len(ROWS)} with their methods, each tried as {len(ROLES)} roles")
    assert {RULES[row].rule for row in HTTP_ROWS} <= set(_KEEPS)
