"""The API's documentation is complete, self-contained and only for signed-in users."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from playwright.sync_api import Browser

from core import bootstrap
from core.api.app import create_api
from core.database.database import Database
from core.settings import load_settings
from core.studio import Studio
from core.web.cookies import LEGACY_COOKIE
from tests.support.api_clients import Person, client_of
from tests.support.app_process import AppProcess
from tests.support.sign_in import accounts_in, ticket_of

PAGES = ("/api/docs", "/api/docs/start.js", "/api/docs/swagger-ui.css", "/api/openapi.json")


@pytest.fixture(scope="module")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Studio]:
    studio = bootstrap.build(load_settings(_env_file=None, data_dir=tmp_path_factory.mktemp("studio")))
    yield studio
    studio.close()


@pytest.fixture(scope="module")
def document(studio: Studio) -> dict[str, Any]:
    return dict(Person.enter(studio).client.get("/api/openapi.json").json())


@pytest.mark.parametrize("path", PAGES)
def test_only_signed_in_people_and_programs_get_the_documentation(studio: Studio, path: str) -> None:
    person = Person.enter(studio)
    assert client_of(studio).get(path).status_code == 401
    assert person.client.get(path).status_code == person.program().get(path).status_code == 200


@pytest.mark.parametrize("path", ["/api/docs/main.py", "/api/docs/..%2fmain.py", "/api/redoc", "/api/docs/"])
def test_no_other_files_are_served(studio: Studio, path: str) -> None:
    assert Person.enter(studio).client.get(path).status_code == 404


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def test_every_route_is_documented_with_all_its_errors(document: dict[str, Any]) -> None:
    routes = {
        f"{method} {route.path}"
        for route in create_api(lambda: pytest.fail("no studio is needed")).state.routes
        for method in route.methods
        if route.include_in_schema
    }
    described = dict(operations(document))
    assert set(described) == routes
    for name, operation in described.items():
        assert operation["summary"], name
        assert {"400", "401", "403", "413", "429", "500", "503", "507"} <= set(operation["responses"]), name
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                schema = response["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/Failed"}, (name, status)
                assert "IMG-" in response["description"], (name, status)


def test_client_generators_can_read_it(document: dict[str, Any]) -> None:
    described = dict(operations(document))
    names = [operation["operationId"] for operation in described.values()]
    assert len(names) == len(set(names))
    assert {"generate", "edit", "enhance_prompt", "list_images", "get_image", "watch_job"} <= set(names)
    contents = [
        (name, media_type, content.get("schema"))
        for name, operation in described.items()
        for response in operation["responses"].values()
        for media_type, content in response.get("content", {}).items()
    ]
    images = [schema for _, media_type, schema in contents if media_type == "image/*"]
    assert images == [{"type": "string", "format": "binary"}] * 7
    streams = {name: schema["type"] for name, media_type, schema in contents if "event-stream" in media_type}
    assert streams == {"GET /images/jobs/{job_id}/events": "string", "POST /images/enhance-prompt": "string"}


def test_it_names_the_ways_to_sign_in_and_the_server(studio: Studio, document: dict[str, Any]) -> None:
    assert document["servers"] == [{"url": "/api"}]
    assert document["components"]["securitySchemes"]["session"]["name"] == studio.cookie.plain
    assert set(document["components"]["securitySchemes"]) == {"token", "session"}
    assert document["security"] == [{"token": []}, {"session": []}]


def test_a_browser_shows_it_without_files_from_other_sites(tmp_path: Path, browser: Browser) -> None:
    with AppProcess(tmp_path) as app:
        accounts = accounts_in(Database(f"sqlite:///{app.data_dir / 'atelier.db'}"))
        accounts.registration.create_user("ada", "!")
        session = accounts.sessions.redeem_ticket(ticket_of(accounts, "ada"))
        page = browser.new_page()
        page.context.add_cookies([{"name": LEGACY_COOKIE, "value": session, "url": app.base_url}])
        requested: list[str] = []
        problems: list[str] = []
        page.on("request", lambda request: requested.append(request.url))
        page.on(
            "console", lambda line: problems.append(line.text) if line.type in ("error", "warning") else None
        )
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.goto(f"{app.base_url}/api/docs")
        page.get_by_text("Generate images", exact=True).click()
        page.get_by_role("button", name="Try it out").click()
        page.get_by_role("button", name="Execute").click()
        page.locator(".live-responses-table .response-col_status", has_text="201").wait_for()
        assert all(url.startswith((app.base_url, "data:", "blob:")) for url in requested)
        assert problems == []
        page.close()
        cookies = {LEGACY_COOKIE: session}
        answer = httpx2.get(f"{app.base_url}/api/docs", cookies=cookies, trust_env=False)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
