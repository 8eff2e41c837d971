"""The whole main job in a real browser on the offline engine, and who sees what."""

from __future__ import annotations

import io
import re
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from PIL import Image
from playwright.sync_api import Browser, Locator, expect

from core.bucket import open_bucket
from core.database import Database
from core.models import Scope
from core.settings import load_settings
from core.tokens import Tokens
from pages.ui.failure import HELP
from tests.engines import PostgresServer, S3Server
from tests.polling import until
from tests.process import AppProcess
from tests.tour import ADMIN, tour
from tests.visitor import PASSWORD, Visitor

FOX = {
    "name": "Juniper",
    "traits": ("red fox", "green scarf"),
    "base_prompt": "reading under a tree at sunset",
}


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AppProcess]:
    with AppProcess(tmp_path_factory.mktemp("app")) as process:
        yield process


def test_the_main_job_as_a_new_user(browser: Browser, app: AppProcess) -> None:
    main_job(browser, app)


def test_the_main_job_on_postgresql(browser: Browser, tmp_path: Path, postgres: PostgresServer) -> None:
    with postgres.fresh() as url, AppProcess(tmp_path, env={"DATABASE_URL": url}) as app:
        main_job(browser, app)


def test_the_main_job_on_a_bucket(browser: Browser, tmp_path: Path, s3: S3Server) -> None:
    with s3.fresh() as name, AppProcess(tmp_path, env=s3.environment(f"{name}/atelier")) as app:
        main_job(browser, app)
        kept = open_bucket(load_settings(**s3.settings(f"{name}/atelier")))
        assert len(kept.list("images")) == 1
        assert not (app.data_dir / "files").exists()
        app.restart()
        kept.delete(*kept.list("thumbnails"))  # so that the picture itself is read again
        with Visitor(browser, app.base_url, fresh=True) as later:
            later.open("/gallery")
            later.sign_in("main-job")
            expect(later.tiles).to_have_count(1)
            picture = later.tiles.first.get_by_role("img")
            until(lambda: picture.evaluate("image => image.naturalWidth"))


def main_job(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("main-job")
        expect(person.page.get_by_text("Offline engine").first).to_be_visible()
        person.describe(**FOX)
        person.choose("Style", "Watercolour")
        enhanced = person.enhance()
        for words in ("Juniper", *FOX["traits"], FOX["base_prompt"]):
            assert words in enhanced
        person.type("Prompt", enhanced + "\nA paper lantern hangs above.")
        expect(person.page.get_by_role("button", name="Generate 1 image · free")).to_be_enabled()
        person.generate()
        person.finished()
        person.go("Gallery")
        expect(person.tiles).to_have_count(1)
        picture = person.tiles.first.get_by_role("img")
        expect(picture).to_have_attribute("alt", re.compile("^Juniper: "))
        dialog = person.open_tile()
        for words in (
            "paper lantern",
            "red fox, green scarf",
            "Watercolour",
            "Offline engine, not an image model",
        ):
            expect(dialog.get_by_text(words).first).to_be_visible()


def test_search_filters_favourites_trash_and_reuse(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("collector")
        for name in ("Aurora", "Bramble"):
            person.type("Name", name)
            person.generate()
            person.finished(1 if name == "Aurora" else 2)
        person.go("Gallery")
        expect(person.tiles).to_have_count(2)
        person.type("Search", "aurORA")
        expect(person.tiles).to_have_count(1)
        person.type("Search", "no such words")
        expect(person.page.get_by_text("Nothing matches")).to_be_visible()
        person.type("Search", "")
        dialog = person.open_tile()
        dialog.get_by_role("button", name="Favourite").click()
        expect(dialog.get_by_role("button", name="Remove from favourites")).to_be_visible()
        person.page.keyboard.press("Escape")
        person.page.get_by_text("Favourites").click()
        expect(person.tiles).to_contain_text(["Bramble"])
        dialog = person.open_tile()
        dialog.get_by_role("button", name="Delete", exact=True).click()
        person.page.get_by_role("button", name="Delete it").click()
        expect(person.tiles).to_have_count(0)
        person.page.get_by_text("Favourites").click()
        person.page.get_by_text("Trash", exact=True).click()
        expect(person.tiles).to_contain_text(["Bramble"])
        person.open_tile().get_by_role("button", name="Restore").click()
        expect(person.page.get_by_text("The trash is empty")).to_be_visible()
        person.page.get_by_text("Trash", exact=True).click()
        expect(person.tiles).to_have_count(2)
        person.type("Search", "aurora")
        expect(person.tiles).to_contain_text(["Aurora"])
        expect(person.tiles).to_have_count(1)
        person.open_tile().get_by_role("button", name="Reuse prompt").click()
        expect(person.field("Name")).to_have_value("Aurora")


def test_a_download_is_the_picture_with_or_without_the_prompt(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("keepsake")
        person.describe(name="Pebble")
        person.generate()
        person.finished()
        person.go("Gallery")
        person.open_tile()
        pictures = []
        for label in ("With the prompt", "Without the prompt"):
            person.page.get_by_role("button", name="Download").click()
            with person.page.expect_download() as download:
                person.page.get_by_role("link", name=label).click()
            assert download.value.suggested_filename.startswith("Pebble")
            pictures.append(Image.open(io.BytesIO(Path(download.value.path()).read_bytes())))
            person.page.keyboard.press("Escape")
        with_prompt, without = pictures
        assert with_prompt.format == without.format == "PNG"
        assert with_prompt.tobytes() == without.tobytes()
        assert "Pebble" in with_prompt.info["prompt"]
        assert "prompt" not in without.info
        assert "offline engine" in without.info["Source"]


def test_a_second_user_sees_none_of_it(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as owner, Visitor(browser, app.base_url) as other:
        owner.sign_up("owner")
        owner.describe(name="Secretive")
        owner.generate()
        owner.finished()
        owner.go("Gallery")
        source = owner.tiles.first.get_by_role("img").get_attribute("src") or ""
        assert owner.context.request.get(source).ok
        other.sign_up("curious")
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
        person.sign_up("first-here")
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
        [cookie] = [item for item in person.context.cookies() if item["name"] == "atelier"]
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
        here.sign_up("changer")
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
        person.sign_up("locked")
        person.sign_out("locked")
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
        person.sign_up("deep-link", path="/gallery")
        expect(person.page.get_by_text("Your gallery is empty")).to_be_visible()


def test_a_restart_keeps_the_session_the_draft_and_the_image(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.sign_up("keeper")
        person.describe(name="Ember", base_prompt="a lighthouse at night")
        person.generate()
        person.finished()
        app.restart()
        person.open()
        person.expect_signed_in("keeper")
        expect(person.field("Base prompt")).to_have_value("a lighthouse at night")
        person.go("Gallery")
        expect(person.tiles).to_have_count(1)


def test_the_draft_survives_a_change_of_page_and_a_reload(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("drafter")
        person.describe(**FOX)
        person.choose("Style", "Ink")
        person.type("Prompt", "My own words.")
        person.go("Gallery")
        expect(person.page.get_by_text("Your gallery is empty")).to_be_visible()
        person.go("Create")
        for _ in range(2):
            expect(person.field("Name")).to_have_value("Juniper")
            expect(person.page.get_by_role("button", name="Remove green scarf")).to_be_visible()
            expect(person.field("Base prompt")).to_have_value(FOX["base_prompt"])
            expect(person.field("Prompt")).to_have_value("My own words.")
            expect(person.field("Style")).to_have_value("Ink — Black brush and pen on white")
            person.page.reload()


def test_every_earlier_prompt_can_be_brought_back(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("historian")
        person.describe(**FOX)
        first = person.enhance()
        person.type("Prompt", "Something else entirely.")
        second = person.enhance()
        assert "Juniper" in second
        assert second != first
        person.page.get_by_role("button", name=re.compile("^History")).click()
        person.page.get_by_role("button", name=re.compile("Something else entirely")).click()
        expect(person.field("Prompt")).to_have_value("Something else entirely.")


def test_the_same_description_is_free_and_another_take_is_not(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        page = person.page
        person.sign_up("economist")
        person.describe(**FOX)
        first = person.enhance()
        person.type("Name", "Moss")
        expect(page.get_by_role("button", name="Enhance prompt")).to_be_enabled()
        person.enhance()
        person.type("Name", FOX["name"])
        assert person.enhance() == first
        free = page.get_by_text("From your enhancement today, free of charge.")
        expect(free).to_be_visible()

        def another() -> bool:
            # Right after an answer that was there at once, a click passes for the second of two.
            page.get_by_role("button", name="Another take").first.click()
            return person.field("Prompt").input_value() != first

        until(another)
        expect(free).to_have_count(0)
        expect(page.get_by_role("button", name="Another take")).to_be_enabled()


def saved_calls(person: Visitor) -> Locator:
    """What the account page counts."""
    person.go("Account")
    return (
        person.page.get_by_test_id("stMetric").filter(has_text="Saved calls").get_by_test_id("stMetricValue")
    )


def test_what_is_there_already_is_opened_or_generated_anyway(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        page = person.page
        offer = page.get_by_text("You already have this image")
        person.sign_up("repeater")
        person.type("Prompt", "a heron in the reeds")
        person.generate()
        person.finished()
        person.generate()
        expect(offer).to_be_visible()
        person.type("Prompt", "a heron in the rain")
        expect(offer).to_have_count(0)
        person.type("Prompt", "a heron in the reeds")
        person.generate()
        expect(offer).to_be_visible()
        page.get_by_role("button", name="Generate anyway · free").dblclick()
        person.finished(2)
        expect(offer).to_have_count(0)
        expect(saved_calls(person)).to_have_text("0")
        person.go("Create")
        person.generate()
        page.get_by_role("button", name="Open it").click()
        expect(page.get_by_role("dialog").get_by_text("a heron in the reeds").first).to_be_visible()
        page.keyboard.press("Escape")
        expect(person.tiles).to_have_count(2)
        expect(saved_calls(person)).to_have_text("1")


def test_of_many_prompts_only_the_new_ones_are_made(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        page = person.page
        person.sign_up("cataloguer")
        person.type("Prompt", "a heron\nan egret")
        page.get_by_text("Many prompts", exact=True).click()
        page.get_by_role("button", name="Generate 2 images · free").click()
        person.finished(2)
        person.type("Prompt", "a {heron|stork}\nan egret")
        page.get_by_role("button", name="Generate 3 images · free").click()
        expect(page.get_by_text("You already have 2 of these 3")).to_be_visible()
        expect(page.get_by_role("button", name="Generate all anyway · free")).to_be_enabled()
        page.get_by_role("button", name="Generate the new one · free").click()
        person.finished(3)
        page.get_by_role("button", name="Generate 3 images · free").click()
        expect(page.get_by_text("You already have these 3 images")).to_be_visible()
        page.get_by_role("button", name="Open gallery").click()
        expect(person.tiles).to_have_count(3)
        expect(saved_calls(person)).to_have_text("5")


def test_the_example_is_one_click_away(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("newcomer")
        expect(person.page.get_by_text("New here?")).to_be_visible()
        person.page.get_by_role("button", name="Show me an example").click()
        expect(person.page.locator("input[aria-label=Name][value=Juniper]")).to_be_visible()
        expect(person.page.get_by_text("New here?")).to_have_count(0)


@pytest.mark.parametrize(
    ("prompt", "message", "code"),
    [
        pytest.param(
            "!fail quota", "credit with the image service is used up", "IMG-GEN-QUOTA-001", id="quota"
        ),
        pytest.param(
            "!fail moderation", "safety system refused this prompt", "IMG-PRM-BLOCK-001", id="moderation"
        ),
        pytest.param("!fail key", "doesn't accept the API key", "IMG-AUTH-KEY-001", id="key"),
        pytest.param("!fail timeout", "the service may have charged", "IMG-GEN-UNKNOWN-002", id="timeout"),
    ],
)
def test_an_error_says_what_can_be_done_and_keeps_the_form(
    browser: Browser, app: AppProcess, prompt: str, message: str, code: str
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up(f"person-of-{len(message)}")
        person.describe(**FOX)
        person.type("Prompt", prompt)
        person.generate()
        expect(person.page.get_by_text(message)).to_be_visible()
        expect(person.page.get_by_text(f"Code {code}")).to_be_hidden()
        # The keyboard alone is enough.
        person.page.locator("summary", has_text=HELP).press("Enter")
        expect(person.page.get_by_text(f"Code {code}")).to_be_visible()
        expect(person.page.get_by_role("button", name="Try again")).to_be_visible()
        expect(person.field("Prompt")).to_have_value(prompt)
        expect(person.field("Name")).to_have_value("Juniper")
        person.page.get_by_role("button", name="Let it go").click()
        expect(person.page.get_by_text(message)).to_have_count(0)


def test_an_enhancement_that_fails_keeps_the_prompt(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("unlucky")
        person.describe(name="Juniper", base_prompt="!fail overloaded")
        person.type("Prompt", "Words of my own.")
        person.page.get_by_role("button", name="Enhance prompt").click()
        expect(person.page.get_by_text("overloaded right now")).to_be_visible()
        expect(person.field("Prompt")).to_have_value("Words of my own.")


def test_nothing_to_draw_is_said_before_anything_is_sent(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("blank")
        person.generate()
        expect(person.page.get_by_text("There is nothing to draw yet.")).to_be_visible()


@pytest.mark.parametrize(
    ("label", "text", "words"),
    [
        pytest.param("Name", "x" * 200, "at most 120 characters", id="name"),
        pytest.param("Base prompt", "x" * 8001, "at most 8,000 characters", id="base prompt"),
    ],
)
def test_a_fault_stands_beside_its_field_and_nothing_typed_is_lost(
    browser: Browser, app: AppProcess, label: str, text: str, words: str
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up(f"beside-{len(text)}")
        person.type("Prompt", "a prompt of my own")
        person.type(label, text)
        person.generate()
        panel = person.page.locator(f".st-key-failure-{label.lower().replace(' ', '_')}")
        expect(panel.get_by_text(words)).to_be_visible()
        panel.get_by_text(HELP).click()
        expect(panel.get_by_text("Code IMG-PRM-WORDS-001")).to_be_visible()
        expect(person.field(label)).to_have_value(text)
        expect(person.field("Prompt")).to_have_value("a prompt of my own")


def test_a_fault_in_the_options_opens_them(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("sized")
        person.type("Prompt", "a lighthouse")
        person.page.get_by_text("More options").click()
        person.field("Size").fill("huge")
        person.field("Size").press("Enter")
        person.settle()
        person.page.get_by_text("More options").click()
        person.generate()
        panel = person.page.locator(".st-key-failure-model")
        panel.get_by_text(HELP).click()
        expect(panel.get_by_text("Code IMG-GEN-PARAM-001")).to_be_visible()
        expect(person.field("Size")).to_be_visible()


def test_what_was_being_typed_when_enhance_was_clicked_is_a_version(
    browser: Browser, app: AppProcess
) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("hasty")
        person.describe(base_prompt="a lighthouse at dusk")
        person.field("Prompt").fill("Half a thought of my own")
        person.enhance()
        person.page.get_by_role("button", name="History").click()
        person.page.get_by_role("button", name="Half a thought of my own").click()
        expect(person.field("Prompt")).to_have_value("Half a thought of my own")


def test_words_from_people_are_shown_as_text(browser: Browser, app: AppProcess) -> None:
    hostile = '<img src=x onerror="window.ran=1"> **bold** [link](http://outside.invalid/) :red[x] $x$'
    with Visitor(browser, app.base_url) as person:
        person.sign_up("hostile")
        person.describe(name=hostile, base_prompt=hostile)
        person.type("Prompt", hostile)
        person.generate()
        person.finished()
        person.go("Gallery")
        expect(person.tiles.first).to_contain_text(hostile)
        dialog = person.open_tile()
        expect(dialog.get_by_text(hostile).first).to_be_visible()
        assert person.page.evaluate("window.ran") is None


def test_invited_people_only(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path, env={"REGISTRATION": "invite"}) as app, Visitor(browser, app.base_url) as admin:
        admin.sign_up("chief")
        with Visitor(browser, app.base_url) as stranger:
            stranger.open()
            stranger.expect_sign_in()
            expect(stranger.page.get_by_role("tab", name="Create account")).to_have_count(0)
        admin.go("Account")
        admin.page.get_by_role("button", name="Make an invitation link").click()
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
        admin.sign_up("chief")
        with Visitor(browser, app.base_url) as guest:
            guest.sign_up("guest")
            admin.go("Account")
            admin.page.get_by_role("button", name="Forgotten password", exact=True).click()
            admin.page.get_by_role("button", name="Make a link to set a new password").click()
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


def test_a_broken_database_is_a_panel_and_not_a_traceback(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.sign_up("unharmed")
        person.go("Gallery")
        expect(person.page.get_by_text("Your gallery is empty")).to_be_visible()
        with closing(sqlite3.connect(app.data_dir / "atelier.db")) as database:
            database.execute("ALTER TABLE images RENAME TO elsewhere")
        person.page.reload()
        expect(person.page.get_by_text("The database can't be used right now.")).to_be_visible()
        person.page.get_by_text(HELP).click()
        expect(person.page.get_by_text("Code IMG-DATA-001")).to_be_visible()
        assert "Traceback" not in person.page.inner_text("body")


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


@pytest.mark.parametrize("label", ["Name", "Base prompt", "Prompt"])
def test_what_was_just_typed_and_the_click_that_leaves_it_both_count(
    browser: Browser, tmp_path: Path, label: str
) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.sign_up("quick-typist")
        person.field(label).press_sequentially("typed in haste")
        person.go("Gallery")
        expect(person.page.get_by_role("heading", name="Gallery", exact=True)).to_be_visible()
        person.go("Create")
        expect(person.field(label)).to_have_value("typed in haste")


def test_a_refused_prompt_is_edited_before_it_is_tried_again(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.sign_up("second-thoughts")
        person.type("Prompt", "a fox !fail moderation")
        person.generate()
        person.type("Prompt", "something else meanwhile")
        person.page.get_by_role("button", name="Edit prompt").click()
        expect(person.field("Prompt")).to_have_value("a fox !fail moderation")
        person.type("Prompt", "a fox")
        person.generate()
        person.finished()


def test_a_wrong_size_is_said_where_one_looks_and_a_shape_is_understood(
    browser: Browser, tmp_path: Path
) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.sign_up("own-sizes")
        person.type("Prompt", "a fox")
        options = person.page.get_by_text("More options", exact=True)
        options.click()
        person.field("Size").press_sequentially("1000x999")
        person.field("Size").press("Enter")
        person.page.get_by_text(HELP).click()
        expect(person.page.get_by_text("Choose a size from the list.")).to_be_visible()
        options.click()
        person.generate()
        expect(person.page.get_by_text("See the details under More options.")).to_be_visible()
        expect(person.page.get_by_text(HELP)).to_be_visible()
        person.field("Size").press_sequentially("landscape")
        person.field("Size").press("Enter")
        person.settle()
        person.generate()
        person.finished()
        person.go("Gallery")
        expect(person.open_tile().get_by_text("1536 × 1024", exact=True)).to_be_visible()


def test_many_prompts_are_counted_before_they_are_sent(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path, env={"MAX_BATCH": "6"}) as app, Visitor(browser, app.base_url) as person:
        person.sign_up("explorer")
        person.type("Prompt", "a {red|blue} fox\nan owl")
        person.page.get_by_text("Many prompts", exact=True).click()
        expect(person.page.get_by_text("3 prompts · the longest")).to_be_visible()
        person.page.get_by_role("button", name="Generate 3 images · free").click()
        person.finished(3)
        person.type("Prompt", "{1|2|3}{1|2|3}{1|2|3}")
        expect(person.page.get_by_role("button", name="Generate 27 images", exact=True)).to_be_disabled()
        expect(person.page.get_by_text("These are 27 prompts; a batch can have at most 6.")).to_be_visible()
        person.type("Prompt", "an {otter|elk")
        expect(person.page.get_by_text("Line 1: a brace isn't closed")).to_be_visible()
        person.go("Gallery")
        expect(person.tiles).to_have_count(3)
        assert {tile.get_attribute("alt") for tile in person.tiles.locator("img").all()} == {
            "a red fox",
            "a blue fox",
            "an owl",
        }


def test_the_gallery_tells_of_what_is_on_its_way(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.sign_up("impatient")
        person.type("Prompt", "a fox")
        person.page.get_by_text("More options", exact=True).click()
        person.field("Images").fill("4")
        person.field("Images").press("Enter")
        person.generate()
        person.go("Gallery")
        # The first ones show themselves, for nothing is looked at yet; the others wait for a click.
        expect(person.tiles.first).to_be_visible()
        more = person.page.get_by_role("button", name=re.compile("^Show . new"))
        if person.tiles.count() < 4:
            more.click()
        expect(person.tiles).to_have_count(4)


def test_a_changed_password_is_confirmed(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.sign_up("careful", path="/account")
        person.field("Current password").fill(PASSWORD)
        for label in ("New password (10 characters or more)", "Repeat new password"):
            person.field(label).fill(f"{PASSWORD} again")
        person.page.get_by_role("button", name="Change password").click()
        expect(person.page.get_by_text("Your password has been changed.")).to_be_visible()
        person.expect_signed_in("careful")


def test_a_token_is_shown_once_and_the_trail_says_what_was_done(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.sign_up("chief")
        person.open("/account")
        person.type("Token name", "=1+1 <b>script</b>")
        person.choose("Valid", "until I revoke it")
        person.page.get_by_role("button", name="Make a token").dblclick()
        expect(person.page.get_by_text("Copy your new token now")).to_be_visible()
        token = person.page.get_by_text(re.compile("^atl_")).inner_text().strip()
        person.page.get_by_role("button", name="I have copied it").click()
        expect(person.page.get_by_text(token)).to_have_count(0)
        with closing(Database(f"sqlite:///{app.data_dir / 'atelier.db'}")) as database:
            found = Tokens(database).signed_in(token)
        assert found is not None
        assert (found.username, found.scopes) == ("chief", {Scope.READ})
        person.page.get_by_role("link", name="Open the audit trail").click()
        expect(person.page.get_by_role("row").filter(has_text="=1+1 <b>script</b>")).to_have_count(2)
        with person.page.expect_download() as saving:
            person.page.get_by_role("link", name="Download as CSV").click()
        saved = saving.value.path().read_text("utf-8-sig")
        assert '"\'=1+1 <b>script</b>","may read; until it is revoked","127.0.0.1"' in saved
        assert token not in saved


def test_an_ended_sign_in_says_so(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as here:
        here.sign_up("in-two-places", path="/account")
        with Visitor(browser, app.base_url) as there:
            there.open("/account")
            there.sign_in("in-two-places")
            there.expect_signed_in("in-two-places")
            here.page.get_by_role("button", name="Sign out everywhere").click()
            here.expect_sign_in()
            there.go("Gallery")
            there.expect_sign_in()
            expect(there.page.get_by_text("Your session has ended.")).to_be_visible()


def test_a_picture_whose_file_is_gone_says_so(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app:
        with Visitor(browser, app.base_url) as person:
            person.sign_up("unlucky-owner")
            person.describe(name="Ember")
            person.generate()
            person.finished()
        for kind in ("images", "thumbnails"):
            shutil.rmtree(app.data_dir / "files" / kind)
        with Visitor(browser, app.base_url, fresh=True) as later:
            later.open("/gallery")
            later.sign_in("unlucky-owner")
            expect(later.tiles.first).to_contain_text("This picture can't be shown.")
            dialog = later.open_tile()
            expect(dialog.get_by_text("This image's file is missing.")).to_be_visible()
            dialog.get_by_text(HELP).click()
            expect(dialog.get_by_text("Ask your administrator to restore it")).to_be_visible()


# Whatever can be scrolled: the page, a dialog, and what a button opens.
SCROLLED = '[data-testid="stMain"], [role="dialog"], [data-testid="stPopoverBody"]'


def test_a_phone_has_no_sideways_scroll(browser: Browser, tmp_path: Path) -> None:
    wide: list[str] = []
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as admin:
        admin.sign_up(ADMIN)
        with Visitor(browser, app.base_url, width=390, height=844) as person:

            def look(name: str) -> None:
                person.settle()
                areas = person.page.locator(SCROLLED)
                assert areas.count()
                sizes = areas.evaluate_all("all => all.map((one) => [one.scrollWidth, one.clientWidth])")
                wide.extend(f"{name}: {inner} > {outer}" for inner, outer in sizes if inner > outer)

            tour(person, "phone", look)
    assert wide == []
