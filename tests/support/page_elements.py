"""Helpers for pages in Streamlit's AppTest: find elements, sign users in, store images to show."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.common.ids import new_id
from core.images.image_files import verify_image
from core.prompts.recipe import Recipe
from core.studio import Studio
from tests.support.images import plain_png
from tests.support.sign_in import ticket_of

# Opens a page as a user: `open_page(username, file)`; username None is a visitor, file None is Create.
OpenPage = Callable[..., AppTest]


WITH_BUDGETS = pytest.mark.parametrize(
    "settings",
    [pytest.param({"budget_day_images": "2", "budget_month_usd": "5"}, id="offline")],
    indirect=True,
)


def labels(elements: object) -> list[str]:
    return [element.label for element in elements]  # type: ignore[attr-defined]


def find(elements: Iterable[Any], label: str) -> Any:
    """The only element with this label."""
    [element] = [element for element in elements if element.label == label]
    return element


def choices(test: AppTest, label: str) -> list[str]:
    """The options of a select box."""
    [box] = [box for box in test.selectbox if box.label == label]
    return list(box.options)


def captions(test: AppTest) -> list[str]:
    return [caption.value for caption in test.caption]


def metrics(test: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in test.metric}


def admin_of(studio: Studio) -> object:
    """The signed-in administrator, whose name is "chief"."""
    token = studio.sessions.redeem_ticket(ticket_of(studio, "chief"))
    return studio.sessions.authenticate(token)


def user_id_of(studio: Studio, name: str) -> str:
    [user_id] = [user.user_id for user in studio.users.list(admin_of(studio)) if user.username == name]
    return user_id


def store_images(studio: Studio, name: str, count: int) -> str:
    """Store `count` images for the user `name`, and return the user's id."""
    owner, data = user_id_of(studio, name), plain_png()
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
                info=verify_image(data),
                file_key=key,
                index=0,
                file_bytes=len(data),
            )
    return owner


def open_gallery(open_page: OpenPage, studio: Studio, count: int) -> tuple[AppTest, str]:
    """Open the gallery of the administrator with `count` images; returns the page and the user's id."""
    open_page("chief")
    owner = store_images(studio, "chief", count)
    return open_page("chief", "gallery.py"), owner


def open_dialog(test: AppTest, image_id: str) -> AppTest:
    """Open an image over the gallery by its link."""
    test.query_params["image"] = image_id
    test.run()
    assert not test.exception
    return test


def create_token(open_page: OpenPage, name: str) -> AppTest:
    """Create an API token on the account page, as "ada"."""
    test = open_page("ada", "account.py")
    find(test.text_input, "Token name").set_value(name)
    find(test.checkbox, "Generate and change images (this may cost money)").set_value(True)
    find(test.selectbox, "Expires").set_value(0)
    find(test.button, "Create token").click().run()
    assert not test.exception
    return test
