"""The main job in a real browser on the offline engine: describe, enhance, generate, and find the image."""

from __future__ import annotations

import io
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, expect

from core.settings import load_settings
from core.storage.s3 import open_s3
from pages.ui.error_panel import HELP
from tests.support.app_process import AppProcess
from tests.support.browser_user import FOX, Visitor
from tests.support.servers import PostgresServer, S3Server
from tests.support.waiting import until


def test_the_main_job_as_a_new_user(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.sign_up("main-job")
        do_the_main_job(person)


def test_the_main_job_on_postgresql_and_a_bucket(
    browser: Browser, tmp_path: Path, postgres: PostgresServer, s3: S3Server, bucket_name: str
) -> None:
    place = f"{bucket_name}/atelier"
    with (
        postgres.fresh() as url,
        AppProcess(tmp_path, env={"DATABASE_URL": url, **s3.environment(place)}) as app,
    ):
        with Visitor(browser, app.base_url) as person:
            person.enter(app.ticket("main-job"))
            do_the_main_job(person)
        kept = open_s3(load_settings(**s3.settings(place)))
        assert len(kept.list("images")) == 1
        assert [path.name for path in app.data_dir.iterdir()] == ["spool"]
        app.restart()
        kept.delete(*kept.list("thumbnails"))  # so that the app has to read the image itself
        with Visitor(browser, app.base_url, fresh=True) as later:
            later.enter(app.ticket("main-job"), "/gallery")
            expect(later.tiles).to_have_count(1)
            image = later.tiles.first.get_by_role("img")
            until(lambda: image.evaluate("image => image.naturalWidth"))


def do_the_main_job(person: Visitor) -> None:
    """Describe, enhance, edit, generate, and find the image in the gallery."""
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
    image = person.tiles.first.get_by_role("img")
    expect(image).to_have_attribute("alt", re.compile("^Juniper: "))
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
        person.enter(app.ticket("collector"))
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
        expect(person.tiles).to_have_count(1)
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


def test_a_download_contains_the_image_with_or_without_the_prompt(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("keepsake"))
        person.describe(name="Pebble")
        person.generate()
        person.finished()
        person.go("Gallery")
        person.open_tile()
        images = []
        for label in ("With the prompt", "Without the prompt"):
            person.page.get_by_role("button", name="Download").click()
            with person.page.expect_download() as download:
                person.page.get_by_role("link", name=label).click()
            assert download.value.suggested_filename.startswith("Pebble")
            images.append(Image.open(io.BytesIO(Path(download.value.path()).read_bytes())))
            person.page.keyboard.press("Escape")
        with_prompt, without = images
        assert with_prompt.format == without.format == "PNG"
        assert with_prompt.tobytes() == without.tobytes()
        assert "Pebble" in with_prompt.info["prompt"]
        assert "prompt" not in without.info
        assert "offline engine" in without.info["Source"]


def test_a_restart_keeps_the_session_the_draft_and_the_image(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("keeper"))
        person.describe(name="Ember", base_prompt="a lighthouse at night")
        person.generate()
        person.finished()
        app.restart()
        person.open()
        person.expect_signed_in("keeper")
        expect(person.field("Base prompt")).to_have_value("a lighthouse at night")
        person.go("Gallery")
        expect(person.tiles).to_have_count(1)


def test_text_from_users_is_shown_literally(browser: Browser, app: AppProcess) -> None:
    hostile = '<img src=x onerror="window.ran=1"> **bold** [link](http://outside.invalid/) :red[x] $x$'
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("hostile"))
        person.describe(name=hostile, base_prompt=hostile)
        person.type("Prompt", hostile)
        person.generate()
        person.finished()
        person.go("Gallery")
        expect(person.tiles.first).to_contain_text(hostile)
        dialog = person.open_tile()
        expect(dialog.get_by_text(hostile).first).to_be_visible()
        assert person.page.evaluate("window.ran") is None


def test_a_broken_database_is_a_panel_and_not_a_traceback(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app, Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("unharmed"))
        person.go("Gallery")
        expect(person.page.get_by_text("Your gallery is empty")).to_be_visible()
        with closing(sqlite3.connect(app.data_dir / "atelier.db")) as database:
            database.execute("ALTER TABLE images RENAME TO elsewhere")
        person.page.reload()
        expect(person.page.get_by_text("The database can't be used right now.")).to_be_visible()
        person.page.get_by_text(HELP).click()
        expect(person.page.get_by_text("Code IMG-DATA-001")).to_be_visible()
        assert "Traceback" not in person.page.inner_text("body")


def test_the_gallery_offers_new_images_as_they_finish(browser: Browser, app: AppProcess) -> None:
    with Visitor(browser, app.base_url) as person:
        person.enter(app.ticket("impatient"))
        person.type("Prompt", "a fox")
        person.page.get_by_text("More options", exact=True).click()
        person.field("Images").fill("4")
        person.field("Images").press("Enter")
        # Wait until the button shows the new number of images.
        expect(person.page.get_by_role("button", name=re.compile("^Generate 4 images"))).to_be_visible()
        person.generate()
        person.go("Gallery")
        # An empty gallery shows the first images by itself; the others wait for a click.
        expect(person.tiles.first).to_be_visible()
        more = person.page.get_by_role("button", name=re.compile("^Show . new"))
        if person.tiles.count() < 4:
            more.click()
        expect(person.tiles).to_have_count(4)


def test_an_image_whose_file_is_missing_says_so(browser: Browser, tmp_path: Path) -> None:
    with AppProcess(tmp_path) as app:
        with Visitor(browser, app.base_url) as person:
            person.enter(app.ticket("unlucky-owner"))
            person.describe(name="Ember")
            person.generate()
            person.finished()
        for kind in ("images", "thumbnails"):
            shutil.rmtree(app.data_dir / "files" / kind)
        with Visitor(browser, app.base_url, fresh=True) as later:
            later.open("/gallery")
            later.sign_in("unlucky-owner")
            expect(later.tiles.first).to_contain_text("This image can't be shown.")
            dialog = later.open_tile()
            expect(dialog.get_by_text("This image's file is missing.")).to_be_visible()
            dialog.get_by_text(HELP).click()
            expect(dialog.get_by_text("Restore it from a backup.")).to_be_visible()
