"""Parts and promises that all pages share."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import pytest

from core import bootstrap
from core.common.ids import new_id
from core.database.models import Job, JobState
from core.prompts.recipe import Recipe
from core.studio import Studio
from pages.ui.links import page_url
from tests.support.counting import Counted
from tests.support.page_elements import OpenPage, user_id_of


def test_the_badge_says_on_every_page_that_the_engine_is_offline(open_page: OpenPage) -> None:
    for page in (None, "gallery.py", "account.py"):
        test = open_page("ada", page)
        assert any("**not** by an image model" in text.value for text in test.markdown), page
    signed_out = open_page(None)
    assert any("**not** by an image model" in text.value for text in signed_out.markdown)


@pytest.mark.parametrize(
    ("settings", "url", "host", "link"),
    [
        pytest.param(
            {}, "http://localhost:9/account?x=1", "a:1", "http://localhost:9/?invite=t%3D", id="known"
        ),
        pytest.param({}, None, "localhost:8501", "http://localhost:8501/?invite=t%3D", id="unknown"),
        pytest.param({}, "data:x", "localhost:8501", "http://localhost:8501/?invite=t%3D", id="no page"),
        pytest.param(
            {"public_https": "true"},
            None,
            "atelier.example",
            "https://atelier.example/?invite=t%3D",
            id="https",
        ),
        pytest.param({}, None, None, "/?invite=t%3D", id="nothing known"),
    ],
    indirect=["settings"],
)
def test_a_link_has_the_address_of_this_server(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, url: str | None, host: str | None, link: str
) -> None:
    asked = SimpleNamespace(url=url, headers={"Host": host} if host else {})
    monkeypatch.setattr("streamlit.context", asked)
    assert page_url("invite", "t=") == link


@pytest.mark.parametrize("page", ["create.py", "gallery.py", "account.py"])
@pytest.mark.parametrize("live", [True, False])
def test_a_run_of_a_page_reads_the_recent_jobs_once(
    open_page: OpenPage, studio: Studio, page: str, live: bool
) -> None:
    test = open_page("chief", page)
    owner = user_id_of(studio, "chief")
    with studio.database.write() as session:
        state = JobState.RUNNING if live else JobState.CANCELLED
        request = Recipe(prompt="a fox", model="offline-painter").to_json()
        session.add(Job(batch_id=new_id(), owner_id=owner, state=state, request=request))
    jobs = Counted(studio.jobs)
    bootstrap.install(replace(studio, jobs=jobs))
    test.run()
    assert not test.exception
    assert jobs.calls["recent"] == 1
