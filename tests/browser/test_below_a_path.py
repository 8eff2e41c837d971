"""Atelier works below a path of a host that it shares, behind proxies that remove the path or keep it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest
from playwright.sync_api import Browser, expect

from core.maintenance.recover import recovery_link
from core.settings import load_settings
from tests.support.app_process import AppProcess
from tests.support.browser_user import Visitor
from tests.support.path_proxy import OTHER, PATH, PathProxy, Way


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    with AppProcess(tmp_path_factory.mktemp("below"), env={"BASE_PATH": PATH}) as process:
        yield process


@pytest.mark.parametrize(
    "way", [Way.HAPROXY_REMOVES, *(pytest.param(way, marks=pytest.mark.proof) for way in list(Way)[1:])]
)
def test_everything_works_below_a_path(browser: Browser, app: AppProcess, tmp_path: Path, way: Way) -> None:
    name = f"below-{way}".replace(" ", "-")
    with (
        PathProxy(way, tmp_path, f"127.0.0.1:{app.port}") as proxy,
        Visitor(browser, proxy.base_url) as person,
    ):
        requested: list[str] = []
        person.context.on("request", lambda request: requested.append(request.url))
        person.page.goto(proxy.base_url)  # without a slash
        person.sign_up(name, path="/?first=visit")
        person.describe(base_prompt="a lighthouse")
        person.generate()
        person.finished()
        person.go("Gallery")
        expect(person.tiles).to_have_count(1)
        person.page.reload()
        person.expect_signed_in(name)
        dialog = person.open_tile()
        with person.page.expect_download() as download:
            dialog.get_by_role("button", name="Download").click()
            person.page.get_by_role("link", name="Without the prompt").click()
        assert Path(download.value.path()).read_bytes().startswith(b"\x89PNG")
        dialog.get_by_role("button", name="Download").click()  # close its popover
        person.page.get_by_role("button", name="Share", exact=True).click()
        person.page.get_by_role("button", name="Create a link", exact=True).click()
        link = person.page.get_by_test_id("stCode").filter(has_text="share=").inner_text().strip()
        assert link.startswith(f"{proxy.base_url}/api/images/")
        assert httpx2.get(link, trust_env=False).headers["content-type"] == "image/png"
        person.open("/api/docs")
        expect(person.page.get_by_text("Generate images", exact=True)).to_be_visible()
        person.open("/gallery/")
        person.sign_out(name)
        person.sign_in(name)
        person.expect_signed_in(name)
        settings = load_settings(data_dir=app.data_dir, base_path=PATH, port=urlsplit(proxy.origin).port)
        reset = recovery_link(settings, name)
        person.sign_out(name)
        person.page.goto(reset.replace("localhost", "127.0.0.1"))
        expect(person.page.get_by_role("button", name="Set password")).to_be_visible()
        outside = [url for url in requested if not url.startswith((proxy.base_url, "blob:", "data:"))]
        assert outside == []
        assert httpx2.get(f"{proxy.origin}/api/images", trust_env=False).text == OTHER


def test_urls_in_responses_are_below_the_path(app: AppProcess) -> None:
    client = httpx2.Client(base_url=f"{app.base_url}{PATH}", trust_env=False, timeout=60)
    with client:
        ticket = app.ticket("program").token
        assert client.post("/auth/session", json={"ticket": ticket}).status_code == 204
        made = client.post("/api/images/generate", json={"prompt": "a fox"}).json()
        for url in made["urls"]:
            assert url.startswith(f"{PATH}/api/images/")
            assert httpx2.get(app.base_url + url, cookies=client.cookies, trust_env=False).is_success
        later = client.post(
            "/api/images/generate", json={"prompt": "an owl"}, headers={"Prefer": "respond-async"}
        )
        assert later.headers["location"].startswith(f"{PATH}/api/images/jobs/")
        assert later.json()["events"] == f"{later.headers['location']}/events"
        listed = client.get("/api/images?limit=1").json()
        assert listed["images"][0]["thumbnail_url"].startswith(f"{PATH}/api/images/")
        assert client.get("/api/openapi.json").json()["servers"] == [{"url": f"{PATH}/api"}]


def test_a_sign_in_that_reaches_another_application_says_so(browser: Browser, tmp_path: Path) -> None:
    with (
        AppProcess(tmp_path) as unaware,
        PathProxy(Way.HAPROXY_REMOVES, tmp_path, f"127.0.0.1:{unaware.port}") as proxy,
        Visitor(browser, proxy.base_url) as person,
    ):
        unaware.ticket("lost")
        person.open()
        person.sign_in("lost")
        person.page.get_by_text("What can I do?").click()
        expect(person.page.get_by_text("BASE_PATH").first).to_be_visible()
        person.expect_sign_in()
        assert "IMG-AUTH-PATH-001" in unaware.output
