"""Who gets in, who sees what, and what ends a sign-in, in a real browser."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from core.accounts.api_tokens import ApiTokens
from core.accounts.audit_log import AuditLog
from core.database.database import Database
from core.database.models import Scope
from tests.support.app_process import PASSWORD, AppProcess
from tests.support.browser_user import Visitor


def test_a_second_user_sees_none_of_it(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as owner, Visitor(browser, app.base_url) as other:
        owner.enter(app.ticket("owner"))
        owner.describe(name="Secretive")
        owner.generate()
        owner.finished()
        owner.go("Gallery")
        source = owner.tiles.first.get_by_role("img").get_attribute("src") or ""
        assert owner.context.request.get(source).ok
        other.enter(app.ticket("curious"))
        expect(other.field("Name")).to_have_value("")
        other.go("Gallery")
        expect(other.page.get_by_text("Your gallery is empty")).to_be_visible()
        other.type("Search", "Secretive")
        expect(other.page.get_by_text("Nothing matches")).to_be_visible()
        original = source.removesuffix("/thumbnail")
        for address in (source, original, f"{original}/download"):
            assert other.context.request.get(address).status == 404
        image_id = original.rsplit("/", 1)[-1]
        other.open(f"/gallery?image={image_id}")
        expect(other.page.get_by_text("There is no such image.")).to_be_visible()
        expect(other.page.get_by_text("Secretive")).to_have_count(0)


def test_the_next_person_in_the_same_tab_sees_nothing_of_the_last(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("first-here"))
        person.describe(name="Confidential", base_prompt="a hidden garden")
        person.generate()
        person.finished()
        person.sign_out("first-here")
        person.sign_up("second-here")
        expect(person.field("Name")).to_have_value("")
        expect(person.field("Base prompt")).to_have_value("")
        expect(person.page.get_by_text("Latest images")).to_have_count(0)
        person.go("Gallery")
        expect(person.page.get_by_text("Your gallery is empty")).to_be_visible()
        person.page.go_back()
        person.page.go_back()
        expect(person.page.get_by_text("Confidential")).to_have_count(0)


def test_sign_in_survives_a_reload_and_a_new_tab_and_ends_everywhere(
    browser: Browser, app: AppProcess
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("two-tabs")
        [cookie] = [item for item in person.context.cookies() if item["name"].startswith("atelier-")]
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Lax"
        person.page.reload()
        person.expect_signed_in("two-tabs")
        first, second = person.page, person.context.new_page()
        person.page = second
        person.open("/gallery")
        person.expect_signed_in("two-tabs")
        person.sign_out("two-tabs")
        person.page = first
        person.go("Account")
        person.expect_sign_in()


def test_a_new_password_ends_the_other_browser(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as here, Visitor(browser, app.base_url) as there:
        here.enter(app.ticket("changer"))
        there.open()
        there.sign_in("changer")
        there.expect_signed_in("changer")
        here.go("Account")
        here.field("Current password").fill(PASSWORD)
        here.page.get_by_label(re.compile("^New password \\(")).fill("nine slow carousels")
        here.field("Repeat new password").fill("nine slow carousels")
        here.page.get_by_role("button", name="Change password").click()
        expect(here.field("Current password")).to_have_value("")
        here.expect_signed_in("changer")
        there.go("Gallery")
        there.expect_sign_in()
        there.sign_in("changer", "nine slow carousels")
        there.expect_signed_in("changer")


def test_wrong_passwords_are_told_alike_and_then_have_to_wait(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        app.ticket("locked")
        person.open()
        for _ in range(5):
            person.sign_in("locked", "not the password")
            person.settle()  # the words of the try before still stand
            expect(person.page.get_by_text("That username and password don't match.")).to_be_visible()
        person.sign_in("locked", PASSWORD)
        expect(person.page.get_by_text(re.compile("is locked for 15 minutes"))).to_be_visible()


def test_a_deep_link_without_a_session_shows_the_sign_in(browser: Browser, tmp_path: Path) -> None:
    """The first request a fresh server gets: nobody has run the navigation yet."""
    with AppProcess(tmp_path) as fresh, Visitor(browser, fresh.base_url) as person:
        person.open("/gallery")
        expect(person.page.get_by_role("button", name="Create account")).to_be_visible()
        expect(person.page.get_by_label("Search")).to_have_count(0)
        person.sign_up("deep-link", path="/gallery?search=owl")
        expect(person.page.get_by_label("Search")).to_have_value("owl")


def test_invited_people_only(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path, env={"REGISTRATION": "invite"}) as app, Visitor(browser, app.base_url) as admin:
        admin.enter(app.ticket("chief"))
        with Visitor(browser, app.base_url) as stranger:
            stranger.open()
            stranger.expect_sign_in()
            expect(stranger.page.get_by_role("tab", name="Create account")).to_have_count(0)
        admin.go("Account")
        admin.page.get_by_role("button", name="Create invitation link").click()
        link = admin.page.get_by_test_id("stCode").inner_text().strip()
        with Visitor(browser, app.base_url) as guest:
            guest.sign_up("guest", path=link.removeprefix(app.base_url))
            admin.page.reload()
            admin.page.get_by_role("button", name="Withdraw access").click()
            admin.page.get_by_role("button", name="Withdraw", exact=True).click()
            expect(admin.page.get_by_text("No access")).to_be_visible()
            guest.go("Gallery")
            guest.expect_sign_in()


def test_a_forgotten_password_is_replaced_by_the_administrators_link(
    browser: Browser, tmp_path: Path
) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as admin:
        admin.enter(app.ticket("chief"))
        with Visitor(browser, app.base_url) as guest:
            guest.enter(app.ticket("guest"))
            admin.go("Account")
            admin.page.get_by_role("button", name=re.compile("^Forgotten password")).click()
            admin.page.get_by_role("button", name="Create a link to set a new password").click()
            link = admin.page.get_by_test_id("stCode").inner_text().strip()
            assert link.startswith(f"{app.base_url}/?reset=")
            with Visitor(browser, app.base_url) as forgetful:
                forgetful.open(link.removeprefix(app.base_url))
                expect(forgetful.field("Username")).to_have_value("guest")
                new = "a new set of quiet words"
                forgetful.page.get_by_label(re.compile(r"^New password \(")).fill(new)
                forgetful.field("Repeat new password").fill(new)
                forgetful.page.get_by_role("button", name="Set password").click()
                forgetful.expect_signed_in("guest")
            guest.go("Gallery")
            guest.expect_sign_in()
            guest.open(link.removeprefix(app.base_url))
            expect(guest.page.get_by_text("This password link has already been used")).to_be_visible()
            guest.sign_in("guest", new)
            guest.expect_signed_in("guest")


@pytest.mark.parametrize("gap_ms", [80, 150, 250])
def test_a_double_click_makes_one_account_and_signs_in(browser: Browser, tmp_path: Path, gap_ms: int) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.open()
        form = person.page.get_by_test_id("stForm")
        form.get_by_label("Username").fill("eager")
        for field in form.locator("input[type=password]").all():
            field.fill(PASSWORD)
        form.get_by_role("button", name="Create account").evaluate(
            "(button, gap) => { button.click(); setTimeout(() => button.click(), gap) }", gap_ms
        )
        person.expect_signed_in("eager")


def test_a_changed_password_is_confirmed(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("careful"), "/account")
        person.field("Current password").fill(PASSWORD)
        for label in ("New password (10 characters or more)", "Repeat new password"):
            person.field(label).fill(f"{PASSWORD} again")
        person.page.get_by_role("button", name="Change password").click()
        expect(person.page.get_by_text("Your password has been changed.")).to_be_visible()
        person.expect_signed_in("careful")


def test_a_token_is_shown_once_and_recorded_in_the_audit_log(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("chief"))
        person.open("/account")
        person.type("Token name", "=1+1 <b>script</b>")
        person.choose("Expires", "never")
        person.page.get_by_role("button", name="Create token").dblclick()
        expect(person.page.get_by_text("Copy your new token now")).to_be_visible()
        token = person.page.get_by_text(re.compile("^atl_")).inner_text().strip()
        person.page.get_by_role("button", name="I have copied it").click()
        expect(person.page.get_by_text(token)).to_have_count(0)
        with closing(Database(f"sqlite:///{app.data_dir / 'atelier.db'}")) as database:
            found = ApiTokens(database, AuditLog(database)).authenticate(token)
        assert found is not None
        assert (found.username, found.scopes) == ("chief", {Scope.READ})
        person.page.get_by_role("link", name="Open the audit log").click()
        expect(person.page.get_by_role("row").filter(has_text="=1+1 <b>script</b>")).to_have_count(2)
        with person.page.expect_download() as saving:
            person.page.get_by_role("link", name="Download as CSV").click()
        saved = saving.value.path().read_text("utf-8-sig")
        assert '"\'=1+1 <b>script</b>","may read; until it is revoked","127.0.0.1"' in saved
        assert token not in saved


def test_an_ended_sign_in_says_so(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as here:
        here.enter(app.ticket("in-two-places"), "/account")
        with Visitor(browser, app.base_url) as there:
            there.enter(app.ticket("in-two-places"), "/account")
            here.page.get_by_role("button", name="Sign out everywhere").click()
            here.expect_sign_in()
            there.go("Gallery")
            there.expect_sign_in()
            expect(there.page.get_by_text("Your session has ended.")).to_be_visible()
