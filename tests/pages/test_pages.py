"""The pages without a browser: what they offer, and to whom."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core import bootstrap, errors
from core.accounts.audit_log import PAGE_SIZE as AUDIT_PAGE
from core.accounts.audit_log import Action
from core.accounts.client_info import ClientInfo
from core.accounts.passwords import prehash
from core.common.clock import utc_now
from core.common.ids import new_id
from core.database.models import Job, JobState, Scope
from core.enhancement.drafts import Drafts, DraftState
from core.images.gallery_queries import PAGE_SIZE, Filters
from core.images.image_files import verify_image
from core.prompts.recipe import Recipe
from core.prompts.styles import STYLES
from core.settings import load_settings
from core.studio import Studio
from pages.ui.error_panel import HELP
from pages.ui.formatting import escape_markdown
from pages.ui.gallery.state import STATE_KEY as GALLERY_STATE
from pages.ui.links import page_url
from tests.support.app_process import MAIN
from tests.support.counting import Counted
from tests.support.images import plain_png
from tests.support.sign_in import ticket_of
from tests.support.waiting import until

MIN_PRESETS = 16
Open = Callable[..., AppTest]


@pytest.fixture(params=[pytest.param({}, id="offline")])
def settings(request: pytest.FixtureRequest) -> dict[str, str]:
    given: dict[str, str] = request.param
    return given


@pytest.fixture
def studio(tmp_path: Path, settings: dict[str, str]) -> Iterator[Studio]:
    built = bootstrap.build(load_settings(data_dir=tmp_path / "data", **settings))
    bootstrap.install(built)
    yield built
    bootstrap.install(None)
    built.close()


@pytest.fixture
def open_page(studio: Studio, monkeypatch: pytest.MonkeyPatch) -> Open:
    """Opens a page as somebody, or as nobody; without a connection, token and caller are handed in."""

    def open_as(name: str | None, page: str | None = None) -> AppTest:
        token = None
        if name:
            if studio.passwords.stored_hash(name) is None:
                studio.registration.create_user(name, prehash("unused"))
            token = studio.sessions.redeem_ticket(ticket_of(studio, name))
        monkeypatch.setattr("pages.ui.session.token", lambda: token)
        monkeypatch.setattr(
            "pages.ui.session.current_client", lambda: ClientInfo("192.0.2.1", "Firefox/1 (Linux)")
        )
        test = AppTest.from_file(MAIN, default_timeout=30)
        test.run()
        if page:
            test.switch_page(page).run()
        assert not test.exception
        return test

    return open_as


def labels(elements: object) -> list[str]:
    return [element.label for element in elements]  # type: ignore[attr-defined]


def test_nobody_gets_past_the_door(open_page: Open) -> None:
    test = open_page(None)
    assert "Username" in labels(test.text_input)
    assert not {"Base prompt", "Prompt", "Search", "Current password"} & {
        *labels(test.text_area),
        *labels(test.text_input),
    }


def test_the_first_visitor_is_told_what_an_account_is_for(open_page: Open) -> None:
    test = open_page(None)
    assert any("administrator" in info.value for info in test.info)


def test_the_fields_have_the_promised_labels(open_page: Open) -> None:
    test = open_page("ada")
    assert {"Name", "Guidance (optional)"} <= set(labels(test.text_input))
    assert labels(test.multiselect) == ["Traits"]
    assert {"Base prompt", "Prompt"} == set(labels(test.text_area))
    assert {"Style", "Model", "Size", "Quality"} <= set(labels(test.selectbox))
    assert labels(test.number_input) == ["Images"]
    assert {"Enhance prompt", "Generate 1 image · free"} <= set(labels(test.button))


def test_every_preset_is_offered_with_its_description(open_page: Open) -> None:
    [style] = [box for box in open_page("ada").selectbox if box.label == "Style"]
    assert style.options[0] == "None"
    assert style.options[1:] == [f"{preset.label} — {preset.description}" for preset in STYLES]
    assert len(STYLES) >= MIN_PRESETS


def named(elements: Iterable[Any], label: str) -> Any:
    [element] = [element for element in elements if element.label == label]
    return element


def choices(test: AppTest, label: str) -> list[str]:
    [box] = [box for box in test.selectbox if box.label == label]
    return list(box.options)


@pytest.mark.parametrize(
    "settings",
    [pytest.param({"openai_base_url": "http://127.0.0.1:9/v1", "image_model": "dall-e-3"}, id="dall-e-3")],
    indirect=True,
)
def test_each_model_offers_only_what_it_can_do(open_page: Open) -> None:
    test = open_page("ada")
    assert [box.value for box in test.selectbox if box.label == "Model"] == ["dall-e-3"]
    assert choices(test, "Size") == ["Square · 1024×1024", "Wide · 1792×1024", "Tall · 1024×1792"]
    assert choices(test, "Quality") == ["Standard", "HD"]
    assert test.number_input[0].max == 1
    [model] = [box for box in test.selectbox if box.label == "Model"]
    model.set_value("gpt-image-2.6-flare").run()
    assert {"Low", "Extra high", "Max"} <= set(choices(test, "Quality"))
    assert test.number_input[0].max == 10


def test_the_badge_says_on_every_page_that_the_engine_is_offline(open_page: Open) -> None:
    for page in (None, "gallery.py", "account.py"):
        test = open_page("ada", page)
        assert any("**not** by an image model" in text.value for text in test.markdown), page
    signed_out = open_page(None)
    assert any("**not** by an image model" in text.value for text in signed_out.markdown)


def test_a_withdrawn_user_is_out_at_the_next_click(open_page: Open, studio: Studio) -> None:
    admin = open_page("chief")
    assert admin
    test = open_page("guest")
    assert labels(test.multiselect) == ["Traits"]
    [guest] = [one for one in studio.users.list(_admin(studio)) if one.username == "guest"]
    studio.users.withdraw(_admin(studio), guest.user_id)
    test.run()
    assert "Username" in labels(test.text_input)
    assert not test.multiselect


def _admin(studio: Studio) -> object:
    token = studio.sessions.redeem_ticket(ticket_of(studio, "chief"))
    return studio.sessions.authenticate(token)


def test_only_the_administrator_sees_other_people(open_page: Open) -> None:
    assert "People" in [text.value for text in open_page("chief", "account.py").subheader]
    assert "People" not in [text.value for text in open_page("guest", "account.py").subheader]


def test_a_draft_is_stored_as_it_is_typed(open_page: Open, studio: Studio) -> None:
    test = open_page("ada")
    next(field for field in test.text_input if field.label == "Name").set_value("Wren").run()
    next(field for field in test.text_area if field.label == "Prompt").set_value("a wren").run()
    token = studio.sessions.redeem_ticket(ticket_of(studio, "ada"))
    user = studio.sessions.authenticate(token)
    assert user
    draft = studio.drafts.load(user.user_id)
    assert (draft.name, draft.prompt) == ("Wren", "a wren")
    assert open_page("bert").text_input[0].value == ""


def test_password_managers_know_the_fields(open_page: Open) -> None:
    known = {field.label: field.proto.autocomplete for field in open_page(None).text_input}
    assert set(known.values()) == {"username", "new-password"}
    open_page("ada")
    known = {field.label: field.proto.autocomplete for field in open_page(None).text_input}
    assert set(known.values()) == {"username", "new-password", "current-password"}


class FullDrafts(Drafts):
    """Drafts on a disk that has no room left."""

    def save(self, user_id: str, draft: DraftState, *, before: DraftState | None = None) -> None:
        raise errors.StorageFull


def test_a_draft_that_can_not_be_stored_stays_on_the_page(open_page: Open, studio: Studio) -> None:
    bootstrap.install(replace(studio, drafts=FullDrafts(studio.database)))
    test = open_page("ada")
    [name] = [field for field in test.text_input if field.label == "Name"]
    name.set_value("Juniper").run()
    assert not test.exception
    assert any(errors.StorageFull.code in caption.value for caption in test.caption)
    assert [field.value for field in test.text_input if field.label == "Name"] == ["Juniper"]
    bootstrap.install(studio)
    test.run()
    assert not test.error
    owner = studio.sessions.authenticate(studio.sessions.redeem_ticket(ticket_of(studio, "ada")))
    assert owner is not None
    assert studio.drafts.load(owner.user_id).name == "Juniper"


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
def test_a_link_to_hand_on_leads_here(
    studio: Studio, monkeypatch: pytest.MonkeyPatch, url: str | None, host: str | None, link: str
) -> None:
    asked = SimpleNamespace(url=url, headers={"Host": host} if host else {})
    monkeypatch.setattr("streamlit.context", asked)
    assert page_url("invite", "t=") == link


def keep_images(studio: Studio, name: str, count: int) -> str:
    """Store so many pictures for the person `name`, and return that person's id."""
    [owner] = [one.user_id for one in studio.users.list(_admin(studio)) if one.username == name]
    data = plain_png()
    for _ in range(count):
        job_id = new_id()
        key = f"images/{job_id}/0.png"
        studio.storage.put(key, data)
        with studio.database.write() as session:
            studio.gallery.add(
                session,
                owner_id=owner,
                job_id=job_id,
                recipe=Recipe(prompt="a fox", model="gpt-image-2", style="ink"),
                picture=verify_image(data),
                file_key=key,
                index=0,
                file_bytes=len(data),
            )
    return owner


def gallery_of(open_page: Open, studio: Studio, count: int) -> tuple[AppTest, str]:
    open_page("chief")
    owner = keep_images(studio, "chief", count)
    return open_page("chief", "gallery.py"), owner


def captions(test: AppTest) -> list[str]:
    return [caption.value for caption in test.caption]


def test_the_gallery_says_how_many_pictures_there_are(open_page: Open, studio: Studio) -> None:
    test, _ = gallery_of(open_page, studio, PAGE_SIZE + 1)
    assert f"{PAGE_SIZE + 1} images" in captions(test)
    named(test.toggle, "Trash").set_value(True).run()
    assert not any("image" in words for words in captions(test))


def test_a_search_that_fills_a_page_is_not_counted(open_page: Open, studio: Studio) -> None:
    test, _ = gallery_of(open_page, studio, PAGE_SIZE + 1)
    named(test.text_input, "Search").set_value("fox").run()
    assert not any("image" in words for words in captions(test))


def test_filters_survive_a_change_of_page(open_page: Open, studio: Studio) -> None:
    test, _ = gallery_of(open_page, studio, 1)
    named(test.text_input, "Search").set_value("fox").run()
    named(test.selectbox, "Style").set_value("ink").run()
    named(test.toggle, "Favourites").set_value(True).run()
    test.switch_page("account.py").run()
    test.switch_page("gallery.py").run()
    assert named(test.text_input, "Search").value == "fox"
    assert named(test.selectbox, "Style").value == "ink"
    assert named(test.toggle, "Favourites").value


def test_when_the_last_page_is_emptied_the_first_is_shown(open_page: Open, studio: Studio) -> None:
    test, owner = gallery_of(open_page, studio, PAGE_SIZE + 1)
    first = studio.gallery.page(owner)
    [last] = studio.gallery.page(owner, after=first.next).images
    next(button for button in test.button if button.label == "Older").click().run()
    assert "Newer" in labels(test.button)
    studio.gallery.trash(owner, last.id)
    test.run()
    assert "Nothing matches" not in [text.value for text in test.subheader]
    assert f"{PAGE_SIZE} images" in captions(test)


@pytest.mark.parametrize("leave", ["filter", "page"])
def test_undo_is_offered_until_one_looks_elsewhere(open_page: Open, studio: Studio, leave: str) -> None:
    test, owner = gallery_of(open_page, studio, 2)
    image = studio.gallery.page(owner).images[0]
    studio.gallery.trash(owner, image.id)
    test.session_state[GALLERY_STATE].trashed_id = image.id
    test.run()
    assert "Undo" in labels(test.button)
    if leave == "filter":
        named(test.toggle, "Favourites").set_value(True).run()
    else:
        test.switch_page("account.py").run()
        test.switch_page("gallery.py").run()
    assert "Undo" not in labels(test.button)
    assert studio.gallery.count(owner, Filters(trash=True)) == 1


def test_undo_brings_the_picture_back(open_page: Open, studio: Studio) -> None:
    test, owner = gallery_of(open_page, studio, 1)
    image = studio.gallery.page(owner).images[0]
    studio.gallery.trash(owner, image.id)
    test.session_state[GALLERY_STATE].trashed_id = image.id
    test.run()
    next(button for button in test.button if button.label == "Undo").click().run()
    assert "Undo" not in labels(test.button)
    assert studio.gallery.count(owner) == 1


def test_a_click_that_is_refused_keeps_the_page(open_page: Open, studio: Studio) -> None:
    test, owner = gallery_of(open_page, studio, 2)
    image = studio.gallery.page(owner).images[0]
    studio.gallery.trash(owner, image.id)
    test.session_state[GALLERY_STATE].trashed_id = image.id
    test.run()
    assert sum(studio.gallery.purge(utc_now() + timedelta(days=100))) == 1
    named(test.button, "Undo").click().run()
    assert [error.value for error in test.error] == [f"**{escape_markdown(errors.ImageNotFound.message)}**"]
    assert any(errors.ImageNotFound.code in words for words in captions(test))
    assert "1 image" in captions(test)
    named(test.toggle, "Favourites").set_value(True).run()
    assert not test.error


def test_a_large_batch_is_a_few_cards_and_a_number_and_can_be_taken_back(
    open_page: Open, studio: Studio
) -> None:
    open_page("chief")
    owner = keep_images(studio, "chief", 0)
    studio.jobs.stop(grace_seconds=10)
    recipes = [Recipe(prompt=f"fox {number}", model="offline-painter") for number in range(30)]
    studio.jobs.submit(owner, recipes)
    test = open_page("chief")
    assert labels(test.button).count("Cancel") == 3
    assert {"fox 0", "fox 1", "fox 2"} <= set(captions(test))
    assert any(words.startswith("30 images waiting") for words in captions(test))
    named(test.button, "Cancel all 30").click().run()
    assert studio.jobs.counts(owner) == {}
    assert "Cancel" not in labels(test.button)


@pytest.fixture
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    """Where the app is: a page test has no browser that says so."""
    monkeypatch.setattr("pages.ui.links.origin", lambda: "http://localhost:8501")
    return "http://localhost:8501"


def open_dialog(test: AppTest, image_id: str) -> AppTest:
    test.query_params["image"] = image_id
    test.run()
    assert not test.exception
    return test


def test_a_link_is_made_shown_once_and_stopped(open_page: Open, studio: Studio, address: str) -> None:
    test, owner = gallery_of(open_page, studio, 1)
    image = studio.gallery.page(owner).images[0]
    open_dialog(test, image.id)
    named(test.button, "Create a link").click().run()
    open_dialog(test, image.id)
    [link] = [code.value for code in test.code if "share=" in code.value]
    shared, _, token = link.partition("?share=")
    assert shared == f"{address}/api/images/{image.id}"
    assert studio.share_links.shared_image(token, image.id)
    [share] = studio.share_links.list(_admin(studio), image.id)
    assert share.expires_at - share.created_at == timedelta(days=7)
    again = open_dialog(open_page("chief", "gallery.py"), image.id)
    assert not any("share=" in code.value for code in again.code)
    named(again.button, "Stop sharing").click().run()
    assert studio.share_links.shared_image(token, image.id) is None
    assert "Stop sharing" not in labels(open_dialog(again, image.id).button)


@pytest.mark.usefixtures("address")
def test_a_link_lasts_as_long_as_was_chosen(open_page: Open, studio: Studio) -> None:
    test, owner = gallery_of(open_page, studio, 1)
    image = studio.gallery.page(owner).images[0]
    open_dialog(test, image.id)
    [life] = [group for group in test.segmented_control if group.label == "Expires in"]
    assert life.options == ["1 day", "7 days", "30 days"]
    life.set_value(timedelta(days=30))
    named(test.button, "Create a link").click().run()
    [share] = studio.share_links.list(_admin(studio), image.id)
    assert share.expires_at - share.created_at == timedelta(days=30)


@pytest.mark.usefixtures("address")
def test_an_image_that_has_gone_meanwhile_is_not_shared(open_page: Open, studio: Studio) -> None:
    test, owner = gallery_of(open_page, studio, 1)
    image = studio.gallery.page(owner).images[0]
    open_dialog(test, image.id)
    studio.gallery.trash(owner, image.id)
    named(test.button, "Create a link").click().run()
    assert not test.exception
    assert studio.share_links.list(_admin(studio), image.id) == ()


def metrics(test: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in test.metric}


BUDGETS = pytest.mark.parametrize(
    "settings",
    [pytest.param({"budget_day_images": "2", "budget_month_usd": "5"}, id="offline")],
    indirect=True,
)


@BUDGETS
def test_the_account_page_says_what_is_used_and_left(open_page: Open, studio: Studio) -> None:
    open_page("chief")
    owner = keep_images(studio, "chief", 0)
    studio.jobs.stop(grace_seconds=10)
    studio.jobs.submit(owner, [Recipe(prompt="fox", model="offline-painter")])
    test = open_page("chief", "account.py")
    shown = metrics(test)
    assert (shown["Images today"], shown["Spent this month"]) == ("1", r"\$0\.00")
    assert {r"of 2, 1 left", r"of \$5\.00, \$5\.00 left", "no limit"} <= set(captions(test))


def test_where_nothing_is_limited_the_account_page_says_so(open_page: Open) -> None:
    assert captions(open_page("chief", "account.py")).count("no limit") == 4


@pytest.mark.parametrize(
    "settings",
    [pytest.param({"openai_base_url": "http://127.0.0.1:9/v1", "budget_day_usd": "1"}, id="money")],
    indirect=True,
)
def test_what_is_set_aside_for_prices_that_are_not_known_is_said(open_page: Open) -> None:
    assert any("likely to cost is set aside" in words for words in captions(open_page("chief", "account.py")))


@BUDGETS
def test_create_says_before_a_click_what_the_budget_does_not_cover(open_page: Open, studio: Studio) -> None:
    test = open_page("chief")
    assert not test.warning
    test.number_input[0].set_value(3).run()
    [warning] = test.warning
    assert r"You can make 2 more images today; this would make 3\." in warning.value
    named(test.text_area, "Prompt").set_value("a fox").run()
    named(test.button, "Generate 3 images · free").click().run()
    assert not test.exception
    assert any("IMG-GEN-BUDGET-001" in words for words in captions(test))
    assert not test.warning
    owner = keep_images(studio, "chief", 0)
    assert studio.jobs.recent(owner) == ()


@BUDGETS
def test_the_administrator_changes_somebodys_budget(open_page: Open, studio: Studio) -> None:
    open_page("chief")
    open_page("guest")
    guest = keep_images(studio, "guest", 0)
    test = open_page("chief", "account.py")
    [opener] = [button for button in test.button if button.key == f"budget-{guest}"]
    opener.click().run()
    [kind] = [box for box in test.selectbox if box.label == "Images per day"]
    assert kind.options == ["Default (2)", "No limit", "Custom"]
    [money] = [box for box in test.selectbox if box.label == "Money per day"]
    assert money.options[0] == "Default (no limit)"


def test_a_member_changes_nobodys_budget(open_page: Open) -> None:
    open_page("chief")
    assert "Budget" not in labels(open_page("guest", "account.py").button)


def make_token(open_page: Open, name: str) -> AppTest:
    """Create a token on the account page."""
    test = open_page("ada", "account.py")
    named(test.text_input, "Token name").set_value(name)
    named(test.checkbox, "Generate and change images (this may cost money)").set_value(True)
    named(test.selectbox, "Expires").set_value(0)
    named(test.button, "Create token").click().run()
    assert not test.exception
    return test


def shown_tokens(test: AppTest) -> list[str]:
    return [code.value for code in test.code if code.value.startswith("atl_")]


def test_a_token_is_shown_once_and_listed(open_page: Open, studio: Studio) -> None:
    test = make_token(open_page, "my *script*")
    (token,) = shown_tokens(test)
    found = studio.api_tokens.authenticate(token)
    assert found is not None
    assert (found.username, found.scopes) == ("ada", set(Scope))
    test.run()
    assert shown_tokens(test) == [token]
    named(test.button, "I have copied it").click().run()
    assert shown_tokens(test) == []
    assert shown_tokens(open_page("ada", "account.py")) == []
    assert r"**my \*script\***" in [text.value for text in test.markdown]
    assert any("never expires · last used" in caption.value for caption in test.caption)


def test_a_token_is_revoked_on_the_page(open_page: Open, studio: Studio) -> None:
    test = make_token(open_page, "script")
    (token,) = shown_tokens(test)
    named(test.button, "Revoke it").click().run()
    assert studio.api_tokens.authenticate(token) is None
    assert "Revoke it" not in labels(test.button)


def test_a_token_without_a_name_says_what_is_missing(open_page: Open) -> None:
    test = make_token(open_page, " ")
    assert shown_tokens(test) == []
    assert any(errors.TokenOptionsRejected.code in caption.value for caption in test.caption)


def test_a_tokens_name_is_gone_with_its_owner(open_page: Open) -> None:
    make_token(open_page, "adas script")
    texts = [text.value for text in open_page("grace", "account.py").markdown]
    assert not any("adas script" in words for words in texts)


def audit_rows(test: AppTest) -> list[str]:
    """The rows of the audit log's table."""
    (table,) = [text.value for text in test.markdown if text.value.startswith("| When")]
    return list(table.splitlines())[2:]


def test_the_administrator_reads_the_audit_log(open_page: Open, studio: Studio) -> None:
    open_page("chief")
    make_token(open_page, "<b>*|=1")
    test = open_page("chief", "audit.py")
    assert r"\<b\>\*\|\=1" in audit_rows(test)[1]
    named(test.selectbox, "Action").set_value(Action.TOKEN_MADE).run()
    assert len(audit_rows(test)) == 1
    named(test.selectbox, "Person").set_value("chief").run()
    assert [info.value for info in test.info] == ["No matching entries."]
    named(test.selectbox, "Action").set_value("").run()
    assert all("chief" in line for line in audit_rows(test))


def test_the_audit_log_is_read_page_by_page(open_page: Open, studio: Studio) -> None:
    open_page("chief")
    for _ in range(AUDIT_PAGE):
        studio.sessions.redeem_ticket(ticket_of(studio, "chief"))
    test = open_page("chief", "audit.py")
    first = audit_rows(test)
    assert len(first) == AUDIT_PAGE
    named(test.button, "Older").click().run()
    older = audit_rows(test)
    assert "Registration" in older[-1]
    named(test.button, "Newer").click().run()
    assert audit_rows(test) == first


def test_only_an_administrator_sees_the_audit_log(open_page: Open) -> None:
    open_page("chief")
    test = open_page("guest", "account.py")
    assert "Audit" not in [text.value for text in test.subheader]
    test.switch_page("audit.py").run()
    assert [error.value for error in test.error] == [f"**{escape_markdown(errors.NotAllowed.message)}**"]
    assert not [text.value for text in test.markdown if text.value.startswith("| When")]


def test_a_failed_job_says_what_can_be_done_and_what_it_cost(open_page: Open, studio: Studio) -> None:
    open_page("chief")
    owner = keep_images(studio, "chief", 0)
    for prompt in ("a fox !fail moderation", "a fox !fail drop"):
        studio.jobs.submit(owner, [Recipe(prompt=prompt, model="offline-painter")])
    until(lambda: not any(job.is_live for job in studio.jobs.recent(owner)))
    test = open_page("chief")
    told = [error.value for error in test.error]
    assert any("violence" in words and "This cost nothing." in words for words in told)
    assert any("may have charged" in words for words in told)
    helps = [box for box in test.expander if box.label == HELP]
    assert len(helps) == 2
    for box in helps:
        assert not box.proto.expanded
        assert box.markdown[0].value.startswith("- ")
        assert any("Code IMG" in caption.value for caption in box.caption)


def test_a_failed_click_on_a_card_shows_a_panel(open_page: Open, studio: Studio) -> None:
    open_page("chief")
    owner = keep_images(studio, "chief", 0)
    studio.jobs.submit(owner, [Recipe(prompt="a fox !fail key", model="offline-painter")])
    until(lambda: not any(job.is_live for job in studio.jobs.recent(owner)))
    test = open_page("chief")
    [job] = studio.jobs.recent(owner)
    with studio.database.write() as session:
        session.get_one(Job, job.id).state = JobState.DONE
    next(button for button in test.button if button.label.startswith("Try again")).click().run()
    assert any(errors.JobNotRetryable.code in caption.value for caption in test.caption)


def test_an_enhancement_that_fails_says_what_can_be_done(open_page: Open, studio: Studio) -> None:
    test = open_page("chief")
    named(test.text_area, "Base prompt").set_value("a fox !fail key").run()
    named(test.button, "Enhance prompt").click().run()
    owner = keep_images(studio, "chief", 0)
    until(lambda: (run := studio.enhancements.current(owner)) and not run.is_live)
    test.run()
    [box] = [box for box in test.expander if box.label == HELP]
    assert any(errors.ApiKeyRejected.code in caption.value for caption in box.caption)


def test_the_administrator_sees_what_failed(open_page: Open, studio: Studio) -> None:
    assert "Nothing failed in the last 30 days." in captions(open_page("chief", "account.py"))
    for _ in range(3):
        studio.error_counts.count(errors.QuotaSpent())
    [table] = open_page("chief", "account.py").table
    assert table.value.to_dict("records") == [
        {
            "Code": escape_markdown(errors.QuotaSpent.code),
            "What people saw": escape_markdown(str(errors.QuotaSpent.message)),
            "Last 24 hours": "3",
            "Last 30 days": "3",
        }
    ]
    assert "What failed" not in [text.value for text in open_page("guest", "account.py").subheader]


def test_a_link_that_does_not_work_is_one_failure(open_page: Open, studio: Studio) -> None:
    open_page("chief")
    test = open_page(None)
    test.query_params["reset"] = "no-such-link"
    for _ in range(3):
        test.run()
    assert any(errors.ResetInvalid.code in caption.value for caption in test.caption)
    admin = studio.sessions.authenticate(studio.sessions.redeem_ticket(ticket_of(studio, "chief")))
    assert admin
    assert [(error.code, error.total) for error in studio.error_counts.frequencies(admin)] == [
        (errors.ResetInvalid.code, 1)
    ]


# Nothing is computed twice


def test_one_click_on_generate_prices_checks_and_moderates_each_prompt_once(
    open_page: Open, studio: Studio
) -> None:
    test = open_page("chief")
    named(test.toggle, "Many prompts").set_value(True).run()
    budgets, uploads, moderation = (
        Counted(studio.budgets),
        Counted(studio.uploads),
        Counted(studio.client.moderation),
    )
    quotes = replace(studio.quotes, budgets=budgets)
    orders = replace(studio.orders, quotes=quotes, uploads=uploads, moderation=moderation)
    existing_images = replace(studio.existing_images, orders=orders)
    bootstrap.install(replace(studio, quotes=quotes, orders=orders, existing_images=existing_images))
    named(test.text_area, "Prompt").set_value("a {red|blue} fox")
    test.button(key="generate").click().run()
    assert not test.exception
    assert len(studio.jobs.recent(keep_images(studio, "chief", 0))) == 2
    # The last part of each check is that of the uploads.
    assert (budgets.calls["estimate"], uploads.calls["check"], moderation.calls["screen"]) == (2, 2, 1)


@pytest.mark.parametrize("page", ["create.py", "gallery.py", "account.py"])
@pytest.mark.parametrize("live", [True, False])
def test_a_run_of_a_page_reads_the_recent_jobs_once(
    open_page: Open, studio: Studio, page: str, live: bool
) -> None:
    test = open_page("chief", page)
    owner = keep_images(studio, "chief", 0)
    with studio.database.write() as session:
        state = JobState.RUNNING if live else JobState.CANCELLED
        request = Recipe(prompt="a fox", model="offline-painter").to_json()
        session.add(Job(batch_id=new_id(), owner_id=owner, state=state, request=request))
    jobs = Counted(studio.jobs)
    bootstrap.install(replace(studio, jobs=jobs))
    test.run()
    assert not test.exception
    assert jobs.calls["recent"] == 1
