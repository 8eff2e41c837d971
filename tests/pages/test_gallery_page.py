"""The Gallery page, without a browser."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import parse_qsl

import pytest

from core import errors
from core.common.clock import utc_now
from core.images.gallery_queries import PAGE_SIZE, Filters
from core.studio import Studio
from pages.ui.formatting import escape_markdown
from pages.ui.gallery.state import STATE_KEY as GALLERY_STATE
from tests.support.page_elements import OpenPage, admin_of, captions, find, labels, open_dialog, open_gallery


def test_the_gallery_shows_the_number_of_images(open_page: OpenPage, studio: Studio) -> None:
    test, _ = open_gallery(open_page, studio, PAGE_SIZE + 1)
    assert f"{PAGE_SIZE + 1} images" in captions(test)
    find(test.toggle, "Trash").set_value(True).run()
    assert not any("image" in words for words in captions(test))


def test_a_search_that_fills_a_page_is_not_counted(open_page: OpenPage, studio: Studio) -> None:
    test, _ = open_gallery(open_page, studio, PAGE_SIZE + 1)
    find(test.text_input, "Search").set_value("fox").run()
    assert not any("image" in words for words in captions(test))


def test_filters_survive_a_change_of_page(open_page: OpenPage, studio: Studio) -> None:
    test, _ = open_gallery(open_page, studio, 1)
    find(test.text_input, "Search").set_value("fox").run()
    find(test.selectbox, "Style").set_value("ink").run()
    find(test.toggle, "Favourites").set_value(True).run()
    test.switch_page("account.py").run()
    test.switch_page("gallery.py").run()
    assert find(test.text_input, "Search").value == "fox"
    assert find(test.selectbox, "Style").value == "ink"
    assert find(test.toggle, "Favourites").value


def test_the_address_names_filters_page_and_image(open_page: OpenPage, studio: Studio) -> None:
    test, owner = open_gallery(open_page, studio, PAGE_SIZE + 1)
    find(test.button, "Older").click().run()
    assert test.query_params == {"page": studio.gallery.page(owner).next}
    find(test.text_input, "Search").set_value("fox").run()
    find(test.toggle, "Trash").set_value(True).run()
    assert test.query_params == {"search": "fox", "trash": "yes"}
    again = open_page("chief")
    again.query_params.update({"search": "owl", "style": "ink", "favourites": "yes"})
    again.switch_page("gallery.py").run()
    assert find(again.text_input, "Search").value == "owl"
    assert find(again.selectbox, "Style").value == "ink"
    assert find(again.toggle, "Favourites").value


@pytest.mark.parametrize("address", ["page=nonsense", "style=%3Cb%3E", "search=" + "x" * 3_000, "image=%00"])
def test_a_strange_address_breaks_nothing(open_page: OpenPage, studio: Studio, address: str) -> None:
    test, _ = open_gallery(open_page, studio, 1)
    for name, value in parse_qsl(address):
        test.query_params[name] = value
    test.run()
    assert not test.exception
    assert not find(test.toggle, "Trash").value


def test_a_click_is_kept_when_the_address_is_still_the_one_before(
    open_page: OpenPage, studio: Studio
) -> None:
    """A browser sends the address that it shows, which lags behind two quick clicks."""
    test, _ = open_gallery(open_page, studio, 1)
    find(test.text_input, "Search").set_value("fox").run()
    test.query_params.clear()
    find(test.toggle, "Favourites").set_value(True).run()
    assert find(test.text_input, "Search").value == "fox"
    assert test.query_params == {"search": "fox", "favourites": "yes"}


def test_when_the_last_page_is_emptied_the_first_is_shown(open_page: OpenPage, studio: Studio) -> None:
    test, owner = open_gallery(open_page, studio, PAGE_SIZE + 1)
    first = studio.gallery.page(owner)
    [last] = studio.gallery.page(owner, after=first.next).images
    next(button for button in test.button if button.label == "Older").click().run()
    assert "Newer" in labels(test.button)
    studio.gallery.trash(owner, last.id)
    test.run()
    assert "Nothing matches" not in [text.value for text in test.header]
    assert f"{PAGE_SIZE} images" in captions(test)


@pytest.mark.parametrize("leave", ["filter", "page"])
def test_undo_is_offered_until_filters_or_page_change(
    open_page: OpenPage, studio: Studio, leave: str
) -> None:
    test, owner = open_gallery(open_page, studio, 2)
    image = studio.gallery.page(owner).images[0]
    studio.gallery.trash(owner, image.id)
    test.session_state[GALLERY_STATE].trashed_id = image.id
    test.run()
    assert "Undo" in labels(test.button)
    if leave == "filter":
        find(test.toggle, "Favourites").set_value(True).run()
    else:
        test.switch_page("account.py").run()
        test.switch_page("gallery.py").run()
    assert "Undo" not in labels(test.button)
    assert studio.gallery.count(owner, Filters(trash=True)) == 1


def test_undo_restores_the_image(open_page: OpenPage, studio: Studio) -> None:
    test, owner = open_gallery(open_page, studio, 1)
    image = studio.gallery.page(owner).images[0]
    studio.gallery.trash(owner, image.id)
    test.session_state[GALLERY_STATE].trashed_id = image.id
    test.run()
    next(button for button in test.button if button.label == "Undo").click().run()
    assert "Undo" not in labels(test.button)
    assert studio.gallery.count(owner) == 1


def test_a_failed_click_shows_a_panel_above_the_page(open_page: OpenPage, studio: Studio) -> None:
    test, owner = open_gallery(open_page, studio, 2)
    image = studio.gallery.page(owner).images[0]
    studio.gallery.trash(owner, image.id)
    test.session_state[GALLERY_STATE].trashed_id = image.id
    test.run()
    assert sum(studio.gallery.purge(utc_now() + timedelta(days=100))) == 1
    find(test.button, "Undo").click().run()
    assert [error.value for error in test.error] == [f"**{escape_markdown(errors.ImageNotFound.message)}**"]
    assert any(errors.ImageNotFound.code in words for words in captions(test))
    assert "1 image" in captions(test)
    find(test.toggle, "Favourites").set_value(True).run()
    assert not test.error


def test_a_share_link_is_shown_once_and_can_be_stopped(
    open_page: OpenPage, studio: Studio, address: str
) -> None:
    test, owner = open_gallery(open_page, studio, 1)
    image = studio.gallery.page(owner).images[0]
    open_dialog(test, image.id)
    find(test.button, "Create a link").click().run()
    open_dialog(test, image.id)
    [link] = [code.value for code in test.code if "share=" in code.value]
    shared, _, token = link.partition("?share=")
    assert shared == f"{address}/api/images/{image.id}"
    assert studio.share_links.shared_image(token, image.id)
    [share] = studio.share_links.list(admin_of(studio), image.id)
    assert share.expires_at - share.created_at == timedelta(days=7)
    again = open_dialog(open_page("chief", "gallery.py"), image.id)
    assert not any("share=" in code.value for code in again.code)
    find(again.button, "Stop sharing").click().run()
    assert studio.share_links.shared_image(token, image.id) is None
    assert "Stop sharing" not in labels(open_dialog(again, image.id).button)


@pytest.mark.usefixtures("address")
def test_a_share_link_expires_when_chosen(open_page: OpenPage, studio: Studio) -> None:
    test, owner = open_gallery(open_page, studio, 1)
    image = studio.gallery.page(owner).images[0]
    open_dialog(test, image.id)
    [life] = [group for group in test.segmented_control if group.label == "Expires in"]
    assert life.options == ["1 day", "7 days", "30 days"]
    life.set_value(timedelta(days=30))
    find(test.button, "Create a link").click().run()
    [share] = studio.share_links.list(admin_of(studio), image.id)
    assert share.expires_at - share.created_at == timedelta(days=30)


@pytest.mark.usefixtures("address")
def test_an_image_trashed_meanwhile_is_not_shared(open_page: OpenPage, studio: Studio) -> None:
    test, owner = open_gallery(open_page, studio, 1)
    image = studio.gallery.page(owner).images[0]
    open_dialog(test, image.id)
    studio.gallery.trash(owner, image.id)
    find(test.button, "Create a link").click().run()
    assert not test.exception
    assert studio.share_links.list(admin_of(studio), image.id) == ()
