"""Every route of the running app has its rule, and keeps it, whoever comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from hashlib import sha256

import httpx2
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from core import bootstrap
from core.access import ROUTES, Route, Rule, is_closed
from core.api import COOKIE
from core.models import ApiToken, Job, JobState, SignInSession, new_id, utc_now
from core.recipe import Recipe
from core.settings import load_settings
from core.studio import Studio
from tests.polling import until
from tests.process import AppProcess
from tests.routes import Address, running_routes

RECIPE = Recipe(prompt="a fox", model="offline-painter", name="Fox", size="256x256")
ROWS = [Address(route.path, method) for route in ROUTES for method in route.methods]
RULES = {Address(route.path, method): route for route in ROUTES for method in route.methods}
# What stands in an address, beside the owner's image and job.
OTHER_PARTS = {
    "number": "0",
    "session_id": "s",
    "file_id:path": "f.png",
    "file_id": "f",
    "path:path": "a/b.js",
}
# What is sent to those that read a body; the rest get none.
BODIES = {"/auth/session": {"ticket": "made-up"}}
STRANGERS = ("nobody", "a withdrawn user", "an expired session")
OTHERS = ("another user", "the administrator")
TOKENS = ("a token without the scope", "a token with the scope")
ROLES = (*STRANGERS, *OTHERS, *TOKENS, "the owner")


# The table


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> set[Address]:
    return running_routes(tmp_path_factory.mktemp("routes"))


def test_every_route_of_the_running_app_is_in_the_table(found: set[Address]) -> None:
    assert found - set(ROWS) == set()


def test_every_row_of_the_table_is_a_route_of_the_running_app(found: set[Address]) -> None:
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
def test_what_streamlit_could_be_told_to_answer_is_closed_too(path: str) -> None:
    assert is_closed(path)


@pytest.mark.parametrize(
    "path", ["/", "/gallery", "/static/js/x.js", "/mediaeval", "/authors", "/components"]
)
def test_pages_and_their_files_are_not_closed(path: str) -> None:
    assert not is_closed(path)


# The doors, tried


@dataclass(frozen=True, slots=True)
class House:
    """The running app, who comes to it with which headers, and what is the owner's there."""

    app: AppProcess
    client: httpx2.Client
    headers: dict[str, dict[str, str]]
    image_ids: dict[Address, str]
    job_id: str

    def ask(self, row: Address, role: str, *, elsewhere: bool = False) -> httpx2.Response:
        """What `role` is answered; `elsewhere` asks for what doesn't exist."""
        owned = {"image_id": self.image_ids[row], "job_id": self.job_id}
        if elsewhere:
            owned = dict.fromkeys(owned, "0" * 32)
        parts = OTHER_PARTS | owned
        path = re.sub(r"{([^}]+)}", lambda part: parts[part[1]], row.path)
        self.client.cookies.clear()
        return self.client.request(
            row.method,
            self.app.base_url + path,
            headers=self.headers[role] | {"Origin": self.app.base_url},
            json=BODIES.get(row.path) if row.method in ("POST", "PUT", "PATCH") else None,
        )

    def opens(self, role: str, origin: str) -> int:
        """The status of the handshake of the pages' stream."""
        address = self.app.base_url.replace("http:", "ws:") + "/_stcore/stream"
        try:
            with connect(
                address,
                origin=origin,
                subprotocols=["streamlit"],
                additional_headers=self.headers[role],
                proxy=None,
            ) as socket:
                return socket.response.status_code
        except InvalidStatus as refused:
            return refused.response.status_code


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    folder = tmp_path_factory.mktemp("house")
    studio = bootstrap.build(load_settings(_env_file=None, data_dir=folder / "data", registration="open"))
    headers = _people(studio)
    owner = studio.accounts.signed_in(headers["the owner"]["Cookie"].partition("=")[2])
    assert owner
    image_ids = _images(studio, owner.user_id, len(ROWS))
    job_id = _waiting_job(studio, owner.user_id)
    studio.close()
    with AppProcess(folder) as app, httpx2.Client(trust_env=False) as client:
        yield House(app, client, headers, dict(zip(ROWS, image_ids, strict=True)), job_id)
        assert "Traceback" not in app.output


def _people(studio: Studio) -> dict[str, dict[str, str]]:
    """What each of ROLES sends to say who it is. The first account is the administrator's."""
    names = dict(
        zip(("the administrator", "the owner", "another user", "a withdrawn user"), "abcd", strict=True)
    )
    for name in names.values():
        studio.accounts.create_user(f"person-{name}", "!")
    names["an expired session"] = names["the owner"]
    tokens = {
        role: studio.accounts.redeem_ticket(studio.accounts.issue_ticket(f"person-{name}"))
        for role, name in names.items()
    }
    who = {role: studio.accounts.signed_in(token) for role, token in tokens.items()}
    admin, owner, expired = (who[role] for role in ("the administrator", "the owner", "an expired session"))
    withdrawn = who["a withdrawn user"]
    assert all((admin, owner, expired, withdrawn))
    studio.accounts.withdraw(admin, withdrawn.user_id)
    kept = SignInSession(
        id=sha256(tokens["a withdrawn user"].encode()).hexdigest(),
        user_id=withdrawn.user_id,
        expires_at=utc_now() + timedelta(days=1),
    )
    with studio.database.write() as session:
        # A session's row that outlived the withdrawal must open nothing either.
        session.add(kept)
        row = session.get(SignInSession, expired.session_id)
        assert row
        row.expires_at -= timedelta(days=400)
        for name, scopes in (("none", "none"), ("all", "generate read")):
            digest = sha256(f"atl_{name}".encode()).hexdigest()
            session.add(ApiToken(id=digest, user_id=owner.user_id, name=name, scopes=scopes))
    cookies = {role: {"Cookie": f"{COOKIE}={token}"} for role, token in tokens.items()}
    bearers = ({"Authorization": f"Bearer atl_{name}"} for name in ("none", "all"))
    return {"nobody": {}} | cookies | dict(zip(TOKENS, bearers, strict=True))


def _images(studio: Studio, owner_id: str, count: int) -> list[str]:
    """So many images of their own: one for each address that may move or change it."""
    studio.jobs.submit(owner_id, RECIPE, 1)
    (first,) = until(lambda: studio.jobs.recent(owner_id)[0].image_ids)
    image = studio.gallery.get(owner_id, first)
    data, small = studio.gallery.original(owner_id, first), studio.gallery.thumbnail(owner_id, first)
    ids = [first]
    for number in range(count - 1):
        fields = image.model_dump() | {"id": new_id(), "file_key": f"{image.file_key}-{number}"}
        studio.storage.put(fields["file_key"], data)
        studio.storage.put(f"thumbnails/{fields['id']}", small)
        with studio.database.write() as session:
            session.add(type(image)(**fields))
        ids.append(fields["id"])
    return ids


def _waiting_job(studio: Studio, owner_id: str) -> str:
    """A job that has a partial picture already, and waits for its next call."""
    job = Job(
        batch_id=new_id(),
        owner_id=owner_id,
        state=JobState.QUEUED,
        request=RECIPE.to_json(),
        partials=1,
        due_at=utc_now() + timedelta(days=1),
    )
    with studio.database.write() as session:
        session.add(job)
    studio.storage.put(f"partials/{job.id}/0", b"\x89PNG\r\n\x1a\npartial")
    return job.id


HTTP_ROWS = [row for row in ROWS if row.method != "WEBSOCKET"]


@pytest.mark.parametrize("row", HTTP_ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_each_route_keeps_its_rule_whoever_comes(house: House, row: Address) -> None:
    for role in ROLES:
        _KEEPS[RULES[row].rule](house, row, role)


def _keeps_public(house: House, row: Address, role: str) -> None:
    answer = house.ask(row, role)
    assert answer.is_success, role
    # The same to everybody: nothing about anybody is in it.
    assert answer.content == house.ask(row, "nobody").content


def _keeps_closed(house: House, row: Address, role: str) -> None:
    answer = house.ask(row, role)
    assert answer.status_code == 404, role
    if row.method != "HEAD":
        assert "IMG-REQ-PAGE-001" in answer.text


def _keeps_door(house: House, row: Address, role: str) -> None:
    answer = house.ask(row, "nobody" if role == "the owner" else role)
    assert answer.status_code in (204, 401), role
    assert all("=;" in cookie or '=""' in cookie for cookie in answer.headers.get_list("set-cookie"))


def _keeps_signed_in(house: House, row: Address, role: str) -> None:
    answer = house.ask(row, role)
    if role in STRANGERS:
        assert (answer.status_code, code_of(answer)) == (401, "IMG-AUTH-001"), role
    elif role in TOKENS:
        _keeps_scope(answer, RULES[row], role)
    else:
        assert answer.is_success, (role, answer.text)


def _keeps_owner(house: House, row: Address, role: str) -> None:
    if role not in OTHERS:
        _keeps_signed_in(house, row, role)
        return
    answer, nothing = house.ask(row, role), house.ask(row, role, elsewhere=True)
    assert (answer.status_code, code_of(answer)) == (404, "IMG-FIND-001"), role
    told, made_up = (one.json()["error"] | {"request_id": None} for one in (answer, nothing))
    assert told == made_up
    differing = {"date", "x-request-id"}
    assert {k: v for k, v in answer.headers.items() if k not in differing} == {
        k: v for k, v in nothing.headers.items() if k not in differing
    }


def _keeps_scope(answer: httpx2.Response, route: Route, role: str) -> None:
    if route.scope is None:
        assert answer.status_code == 401, role
    elif role == "a token without the scope":
        assert answer.status_code == 403, role
    else:
        assert answer.is_success, (role, answer.text)


def code_of(answer: httpx2.Response) -> str:
    return str(answer.json()["error"]["code"])


_KEEPS = {
    Rule.PUBLIC: _keeps_public,
    Rule.SHELL: _keeps_public,
    Rule.CLOSED: _keeps_closed,
    Rule.DOOR: _keeps_door,
    Rule.SIGNED_IN: _keeps_signed_in,
    Rule.OWNER: _keeps_owner,
}


def test_the_stream_opens_to_its_own_page_alone(house: House) -> None:
    assert [row.path for row in ROWS if RULES[row].rule is Rule.SOCKET] == ["/_stcore/stream"]
    for role in ROLES:
        assert house.opens(role, house.app.base_url) == 101, role
        for origin in ("http://127.0.0.1:1", "https://evil.example", "null"):
            assert house.opens(role, origin) == 403, role


def test_no_rule_is_left_untried(capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        print(f"\n{len(ROUTES)} addresses, {len(ROWS)} with their methods, each tried as {len(ROLES)} roles")
    assert {RULES[row].rule for row in HTTP_ROWS} <= set(_KEEPS)
