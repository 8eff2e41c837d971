"""Security headers on every response, also on errors."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import httpx2
import pytest
import streamlit
from playwright.sync_api import Browser, expect

from core.web.security_headers import page_policy
from tests.support.app_process import AppProcess
from tests.support.browser_user import Visitor

INDEX = (Path(streamlit.__file__).parent / "static" / "index.html").read_text()
PAGES = ["/", "/gallery", "/nothing/here", "/favicon.png", "/_stcore/health"]
OURS = ["/api/images/x", "/api/nothing", "/auth/session", "/media/x.png"]
HOSTILE = """
async (origin) => {
  const stopped = []
  document.addEventListener("securitypolicyviolation", (event) => stopped.push(event.effectiveDirective))
  const put = (html) => document.body.append(document.createRange().createContextualFragment(html))
  put(`<img src=x onerror="window.__ran = 'attribute'">`)
  put(`<script>window.__ran = 'inline'</script>`)
  put(`<script src="${origin}/x.js"></script>`)
  put(`<img src="${origin}/x.png"><iframe src="${origin}"></iframe><object data="${origin}/x"></object>`)
  put(`<link rel=stylesheet href="${origin}/x.css"><base href="${origin}/">`)
  // In a timer: code of the test itself may use eval.
  setTimeout(() => { try { eval("window.__ran = 'eval'") } catch {} })
  try { await fetch(`${origin}/x`) } catch {}
  try { new WebSocket(origin.replace("http", "ws")) } catch {}
  await new Promise((done) => setTimeout(done, 500))
  return [window.__ran ?? null, document.baseURI, [...new Set(stopped)].sort()]
}
"""


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    with AppProcess(tmp_path_factory.mktemp("headers")) as process:
        yield process


def headers_of(app: AppProcess, path: str, **asked: str) -> httpx2.Headers:
    return httpx2.get(app.base_url + path, headers=asked, trust_env=False).headers


@pytest.mark.parametrize("asked", [{}, {"Host": "evil.example"}], ids=["answered", "refused"])
@pytest.mark.parametrize("path", [*PAGES, *OURS, "/_stcore/metrics"])
def test_every_response_forbids_framing_and_type_guessing(
    app: AppProcess, path: str, asked: dict[str, str]
) -> None:
    headers = headers_of(app, path, **asked)
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert "camera=()" in headers["permissions-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "strict-transport-security" not in headers
    assert "access-control-allow-origin" not in headers


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_only_its_own_scripts(app: AppProcess, path: str) -> None:
    policy = headers_of(app, path)["content-security-policy"]
    scripts = re.search("script-src ([^;]*)", policy)
    assert scripts
    page = httpx2.get(app.base_url, trust_env=False).text
    inline = re.findall("<script>(.*?)</script>", page, re.DOTALL)
    known = [f"'sha256-{b64encode(sha256(one.encode()).digest()).decode()}'" for one in inline]
    assert len(known) == 2
    assert scripts[1].split() == ["'self'", "blob:", "'wasm-unsafe-eval'", *known]
    for directive in ("default-src 'none'", "object-src 'none'", "base-uri 'none'", "form-action 'none'"):
        assert directive in policy
    assert not re.search(r"https?:|\*", policy)


@pytest.mark.parametrize("path", OURS)
def test_private_responses_are_sandboxed_and_not_cached(app: AppProcess, path: str) -> None:
    headers = headers_of(app, path)
    assert headers["content-security-policy"].startswith("default-src 'none'")
    assert "sandbox" in headers["content-security-policy"]
    assert headers["cache-control"] == "no-store"


def test_a_page_without_inline_scripts_needs_no_hash() -> None:
    assert "sha256" not in page_policy("<html><script src='x.js'></script></html>")


def test_on_https_browsers_are_told_to_stay_on_https(tmp_path: Path) -> None:
    with AppProcess(tmp_path, env={"PUBLIC_HTTPS": "true"}) as app:
        for path in ("/", "/api/images/x", "/_stcore/metrics"):
            assert headers_of(app, path)["strict-transport-security"] == "max-age=31536000"


def test_a_browser_blocks_injected_markup(browser: Browser, app: AppProcess) -> None:
    with AppProcess(Path(app.data_dir).parent / "elsewhere") as elsewhere:
        person = Visitor(browser, app.base_url, fresh=True)
        person.open()
        expect(person.page.get_by_role("button", name="Create account")).to_be_visible()
        assert person.failures == []
        ran, base, stopped = person.page.evaluate(HOSTILE, elsewhere.base_url)
        assert ran is None
        assert base.startswith(app.base_url)
        wanted = ("base-uri", "connect-src", "frame-src", "img-src", "object-src")
        assert {*wanted, "script-src", "script-src-attr", "script-src-elem", "style-src-elem"} == set(stopped)
        assert person.failures
        person.context.close()


def test_another_sites_page_can_neither_frame_nor_read_it(browser: Browser, app: AppProcess) -> None:
    with AppProcess(Path(app.data_dir).parent / "framing") as elsewhere:
        context = browser.new_context(bypass_csp=True)
        page = context.new_page()
        page.goto(elsewhere.base_url)
        read = page.evaluate(
            """async (origin) => {
              const frame = document.createElement("iframe")
              frame.name = "framed"
              frame.src = origin
              document.body.append(frame)
              await new Promise((done) => { frame.onload = done })
              try { return await (await fetch(`${origin}/_stcore/host-config`)).text() } catch { return null }
            }""",
            app.base_url,
        )
        framed = page.frame("framed")
        assert read is None
        assert framed
        expect(framed.locator("#root")).to_have_count(0)
        context.close()
