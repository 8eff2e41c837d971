"""A share link is a page in a browser, and the image alone for programs and inside that page."""

from __future__ import annotations

import re
from html import unescape
from io import BytesIO

import pytest
from PIL import Image as PillowImage
from PIL.PngImagePlugin import PngInfo
from starlette.testclient import TestClient

from core.database.models import User
from core.images.share_links import LIFETIMES
from core.studio import Studio
from core.web.error_responses import STYLE
from core.web.security_headers import hash_source
from tests.support.api_clients import ASKED, GENERATE, Person, client_of, error_of
from tests.support.gallery import Keeper
from tests.support.generation import ON_SQLITE

pytestmark = ON_SQLITE
HOSTILE = '<script>alert("x")</script> & "Ada"'
IMAGE_ACCEPT = "image/avif,image/webp,image/png,*/*;q=0.8"


@pytest.fixture
def image_id(owner: Person) -> str:
    made = owner.client.post(GENERATE, json=ASKED).json()["id"]
    owner.client.patch(f"/api/images/{made}", json={"name": HOSTILE})
    return str(made)


@pytest.fixture
def link(studio: Studio, owner: Person, image_id: str) -> str:
    token = studio.share_links.create(owner.user, image_id, LIFETIMES[0])
    return f"/api/images/{image_id}?share={token}"


@pytest.fixture
def visitor(studio: Studio) -> TestClient:
    """A browser of somebody without an account."""
    return client_of(studio, Accept="text/html,application/xhtml+xml,*/*;q=0.8")


def test_a_link_is_a_page_with_the_image_its_title_and_who_shared_it(
    visitor: TestClient, owner: Person, link: str
) -> None:
    page = visitor.get(link)
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<script" not in page.text
    assert f"{HOSTILE} · Atelier" in unescape(page.text)
    assert f"Shared by <bdi>{owner.user.display_name}</bdi>" in page.text
    assert ASKED["prompt"] not in page.text
    [source] = re.findall('<img src="([^"]+)"', page.text)
    assert unescape(source) == link
    image = visitor.get(link, headers={"Accept": IMAGE_ACCEPT})
    assert (image.status_code, image.headers["content-type"]) == (200, "image/png")
    [alone] = re.findall('<a href="([^"]+)"><img', page.text)
    assert visitor.get(unescape(alone)).content == image.content


def test_a_link_shows_no_prompt_that_the_service_has_written_into_the_image(
    studio: Studio, visitor: TestClient, owner: Person
) -> None:
    texts = PngInfo()
    for keyword in ("parameters", "prompt", "workflow", "Comment"):
        texts.add_text(keyword, f"{keyword}: a secret wombat")
    file = BytesIO()
    PillowImage.new("RGB", (8, 8)).save(file, "PNG", pnginfo=texts)
    with studio.database.read() as session:
        user = session.get_one(User, owner.user.user_id)
    keeper = Keeper(studio.gallery, studio.database, studio.storage)
    image_id = keeper.keep(user, data=file.getvalue()).id
    link = f"/api/images/{image_id}?share={studio.share_links.create(owner.user, image_id, LIFETIMES[0])}"
    shown = visitor.get(link, headers={"Accept": IMAGE_ACCEPT})
    assert PillowImage.open(BytesIO(shown.content)).info == {}
    head = visitor.head(link, headers={"Accept": IMAGE_ACCEPT})
    assert head.headers["content-length"] == str(len(shown.content))
    original = owner.client.get(f"/api/images/{image_id}")
    assert original.content == file.getvalue()
    assert original.headers["etag"] != shown.headers["etag"]


def test_the_page_may_load_its_image_and_its_style_and_nothing_else(visitor: TestClient, link: str) -> None:
    policy = visitor.get(link).headers["content-security-policy"]
    allowed = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert allowed.pop("style-src") == hash_source(STYLE)
    assert allowed.pop("img-src") == "'self'"
    assert set(allowed.values()) == {"'none'"}


@pytest.mark.parametrize("change", ["wrong", "cut", "ended", "trashed", "another image"])
def test_a_wrong_or_ended_link_is_a_page_too(
    studio: Studio, visitor: TestClient, owner: Person, image_id: str, link: str, change: str
) -> None:
    if change == "ended":
        [share] = studio.share_links.list(owner.user, image_id)
        studio.share_links.revoke(owner.user, share.id)
    if change == "trashed":
        studio.gallery.trash(owner.user.user_id, image_id)
    changes = {
        "wrong": link.partition("=")[0] + "=made-up",
        "cut": link.partition("=")[0] + "=",
        "another image": link.replace(image_id, "0" * 32),
    }
    page = visitor.get(changes.get(change, link))
    assert (page.status_code, page.headers["cache-control"]) == (404, "private, no-store")
    assert "<h1>This link shows no image</h1>" in page.text
    # The owner, too, sees that the link has ended.
    assert owner.client.get(changes.get(change, link), headers={"Accept": "text/html"}).text == page.text
    program = client_of(studio).get(changes.get(change, link))
    assert (program.status_code, error_of(program)["code"]) == (404, "IMG-FIND-001")


def test_an_image_whose_file_is_gone_is_a_page_that_says_so(
    studio: Studio, visitor: TestClient, image_id: str, owner: Person, link: str
) -> None:
    studio.storage.delete(studio.gallery.get(owner.user.user_id, image_id).file_key)
    page = visitor.get(link)
    assert (page.status_code, "This image's file is missing." in unescape(page.text)) == (500, True)


def test_an_address_without_a_link_stays_an_image(owner: Person, image_id: str) -> None:
    response = owner.client.get(f"/api/images/{image_id}", headers={"Accept": "text/html"})
    assert response.headers["content-type"] == "image/png"
