"""One image, full size, with all that it was made from and what can be done with it."""

from __future__ import annotations

import streamlit as st

from core.accounts.identity import SignedIn
from core.database.models import Image
from core.prompts.styles import find_style
from core.provider.catalogue import image_model, quality_label
from core.web.urls import download_url
from pages.ui.create.draft_form import drop_create_state
from pages.ui.error_panel import failure_panel, show_kept_failure
from pages.ui.formatting import (
    escape_markdown,
    format_duration,
    format_price,
    image_alt_text,
    local_time,
)
from pages.ui.gallery.edit_panel import made_from, remake_panel
from pages.ui.gallery.share_panel import share_panel
from pages.ui.links import image_url
from pages.ui.session import as_user, rerun_if_signed_out, studio
from pages.ui.toasts import queue_toast

TRASHED_KEY = "trashed-image"


def image_dialog(user: SignedIn, image_id: str) -> None:
    """Open the image over the page; an image that isn't this person's is not there."""
    with failure_panel("open"):
        title = escape_markdown(studio().gallery.get(user.user_id, image_id).name) or "Untitled image"
        st.dialog(title, width="large", on_dismiss="rerun")(_body)(user, image_id)


def _body(user: SignedIn, image_id: str) -> None:
    rerun_if_signed_out(user)
    show_kept_failure()
    image = studio().gallery.get(user.user_id, image_id)
    picture, words = st.columns([3, 2], gap="medium")
    with picture:
        _picture(user, image)
    with words:
        _actions(user, image)
        made_from(user, image)
        if not image.trashed_at:
            remake_panel(user, image)
        st.caption("Prompt")
        _words(image.prompt)
        st.table(_facts(image), border="horizontal")
        for label, text in _other_words(image):
            with st.expander(label):
                _words(text)


def _picture(user: SignedIn, image: Image) -> None:
    """The picture, or why it can't be shown: a browser would only draw a torn sheet."""
    with failure_panel("picture"):
        studio().gallery.check(user.user_id, image.id)
        st.image(image_url(image.id), alt=image_alt_text(image.name, image.prompt), width="stretch")


def _other_words(image: Image) -> list[tuple[str, str]]:
    """The other words it was made from, those that there are."""
    texts = (
        ("Base prompt", image.base_prompt),
        ("Enhanced prompt", image.enhanced_prompt),
        ("Prompt sent to the model", image.sent_prompt),
        ("Prompt as revised by the service", image.revised_prompt),
    )
    return [(label, text) for label, text in texts if text]


def _words(text: str) -> None:
    """Words to read or to copy, in their lines and never as Markdown."""
    st.code(text or "No words", language=None, wrap_lines=True)


def _facts(image: Image) -> dict[str, str]:
    style = find_style(image.style)
    engine = "Offline engine, not an image model" if image.offline else "Image service"
    facts = {
        "Name": escape_markdown(image.name),
        "Traits": escape_markdown(", ".join(image.traits)),
        "Style": style.label if style else escape_markdown(image.style) or "None",
        "Model": escape_markdown(image_model(image.model).label),
        "Engine": engine,
        "Size": _size(image),
        "Quality": escape_markdown(quality_label(image.quality)),
        "Price": format_price(image.price_micros, about=False),
        "Time taken": format_duration(image.seconds),
        "Made": local_time(image.created_at),
    }
    return {label: fact for label, fact in facts.items() if fact}


def _size(image: Image) -> str:
    got = f"{image.width} × {image.height}"
    asked = image.size.replace("x", " × ")
    return got if asked == got else f"{got} (asked for {asked})"


def _actions(user: SignedIn, image: Image) -> None:
    with st.container(horizontal=True, key="image-actions"):
        if image.trashed_at:
            if st.button("Restore", icon=":material/restore_from_trash:", type="primary"):
                _restore(user, image)
            return
        _download(image)
        if st.button("Reuse prompt", icon=":material/replay:"):
            with failure_panel("reuse"):
                studio().reuse(user, image.id)
                drop_create_state()
                st.switch_page("create.py")
        label = "Remove from favourites" if image.favourite else "Favourite"
        st.button(
            label,
            icon=":material/star:",
            type="primary" if image.favourite else "secondary",
            key="favourite",
            on_click=as_user(user, _favourite),
            args=(image,),
        )
        share_panel(user, image)
        _delete(user, image)


def _restore(user: SignedIn, image: Image) -> None:
    with failure_panel("restore"):
        studio().gallery.restore(user.user_id, image.id)
        st.session_state.pop(TRASHED_KEY, None)
        queue_toast("The image is back in your gallery.")
        st.rerun()


def _download(image: Image) -> None:
    with st.popover("Download", icon=":material/download:"):
        st.link_button("With the prompt", download_url(image.id, with_prompt=True), width="stretch")
        st.link_button("Without the prompt", download_url(image.id, with_prompt=False), width="stretch")
        st.caption("The picture is the same; the prompt can travel in the file's metadata.")


def _delete(user: SignedIn, image: Image) -> None:
    with st.popover("Delete", icon=":material/delete:"):
        days = studio().settings.trash_days
        st.markdown(f"Move this image to the trash? You can restore it for {days} days.")
        if st.button("Delete it", type="primary"):
            with failure_panel("delete"):
                studio().gallery.trash(user.user_id, image.id)
                st.session_state[TRASHED_KEY] = image.id
                st.rerun()


def _favourite(user: SignedIn, image: Image) -> None:
    studio().gallery.change(user.user_id, image.id, favourite=not image.favourite)
