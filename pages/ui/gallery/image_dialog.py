"""The dialog that shows one image in full size, its prompts and details, and buttons for what can be done."""

from __future__ import annotations

from functools import partial

import streamlit as st

from core.accounts.identity import SignedIn
from core.database.models import Image
from core.errors import ImageError
from core.images.downloads import holds_prompt
from core.prompts.styles import find_style
from core.provider.catalogue import image_model, quality_label
from pages.ui.create.state import reset_create_state
from pages.ui.error_panel import catch_failure, failure_panel, show_failure, show_kept_failure
from pages.ui.formatting import escape_markdown, format_duration, format_price, image_alt_text, local_time
from pages.ui.gallery.address import write_address
from pages.ui.gallery.edit_panel import edit_panel, source_image
from pages.ui.gallery.share_panel import share_panel
from pages.ui.gallery.state import GalleryState
from pages.ui.links import image_url
from pages.ui.session import as_user, rerun_if_signed_out, studio
from pages.ui.toasts import queue_toast


def image_dialog(user: SignedIn, state: GalleryState, image_id: str) -> None:
    """Open a dialog that shows the image.

    If the user's gallery has no such image, show an error on the page and open no dialog.
    """
    with catch_failure(partial(_not_opened, state)):
        title = escape_markdown(studio().gallery.get(user.user_id, image_id).name) or "Untitled image"
        st.dialog(title, width="large", on_dismiss=state.close_image)(_body)(user, state, image_id)


def _not_opened(state: GalleryState, failure: ImageError) -> None:
    state.image_id = None
    write_address(state)
    show_failure(failure, key="open")


def _body(user: SignedIn, state: GalleryState, image_id: str) -> None:
    rerun_if_signed_out(user)
    show_kept_failure()
    image = studio().gallery.get(user.user_id, image_id)
    left, right = st.columns([3, 2], gap="medium")
    with left:
        _full_image(user, image)
    with right:
        _actions(user, state, image)
        source_image(user, state, image)
        if not image.trashed_at:
            edit_panel(user, state, image)
        st.caption("Prompt")
        _text_block(image.prompt)
        st.table(_details(image), border="horizontal")
        for label, text in _other_prompts(image):
            with st.expander(label):
                _text_block(text)


def _full_image(user: SignedIn, image: Image) -> None:
    """Show the image in full size. If its file is missing or damaged, show the error in its place.

    Without this check, the browser would show only a broken icon.
    """
    with failure_panel("image"):
        studio().gallery.check_file(user.user_id, image.id)
        st.image(image_url(image.id), alt=image_alt_text(image.name, image.prompt), width="stretch")


def _other_prompts(image: Image) -> list[tuple[str, str]]:
    """Return the label and the text of each other prompt stored with the image, such as the base prompt.

    Empty prompts are left out.
    """
    texts = (
        ("Base prompt", image.base_prompt),
        ("Enhanced prompt", image.enhanced_prompt),
        ("Prompt sent to the model", image.sent_prompt),
        ("Prompt as revised by the service", image.revised_prompt),
    )
    return [(label, text) for label, text in texts if text]


def _text_block(text: str) -> None:
    """Show a text that the user can read or copy. Line breaks are kept, and Markdown isn't interpreted."""
    st.code(text or "No prompt", language=None, wrap_lines=True)


def _details(image: Image) -> dict[str, str]:
    style = find_style(image.style)
    engine = "Offline engine, not an image model" if image.offline else "Image service"
    details = {
        "Name": escape_markdown(image.name),
        "Traits": escape_markdown(", ".join(image.traits)),
        "Style": style.label if style else escape_markdown(image.style) or "None",
        "Model": escape_markdown(image_model(image.model).label),
        "Engine": engine,
        "Size": _size(image),
        "Quality": escape_markdown(quality_label(image.quality)),
        "Price": format_price(image.price_micros, about=False),
        "Time taken": format_duration(image.seconds),
        "Created": local_time(image.created_at),
    }
    return {label: detail for label, detail in details.items() if detail}


def _size(image: Image) -> str:
    actual = f"{image.width} × {image.height}"
    requested = image.size.replace("x", " × ")
    return actual if requested == actual else f"{actual} (requested: {requested})"


def _actions(user: SignedIn, state: GalleryState, image: Image) -> None:
    with st.container(horizontal=True, key="image-actions"):
        if image.trashed_at:
            if st.button("Restore", icon=":material/restore_from_trash:", type="primary"):
                _restore(user, state, image)
            return
        _download(image)
        if st.button("Reuse prompt", icon=":material/replay:"):
            with failure_panel("reuse"):
                studio().reuse.image(user, image.id)
                reset_create_state()
                st.switch_page("create.py")
        label = "Remove from favourites" if image.favourite else "Favourite"
        st.button(
            label,
            icon=":material/star:",
            type="primary" if image.favourite else "secondary",
            key="favourite",
            on_click=as_user(user, _toggle_favourite),
            args=(image,),
        )
        share_panel(user, state, image)
        _delete(user, state, image)


def _restore(user: SignedIn, state: GalleryState, image: Image) -> None:
    with failure_panel("restore"):
        studio().gallery.restore(user.user_id, image.id)
        state.trashed_id = None
        state.close_image()
        queue_toast("The image is back in your gallery.")
        st.rerun()


def _download(image: Image) -> None:
    with st.popover("Download", icon=":material/download:"):
        plain = studio().urls.download(image.id, with_prompt=False)
        if not holds_prompt(image.mime):
            st.link_button("Download the file", plain, width="stretch")
            return
        st.link_button("With the prompt", studio().urls.download(image.id, with_prompt=True), width="stretch")
        st.link_button("Without the prompt", plain, width="stretch")
        st.caption("The image is the same. “With the prompt” also saves the prompt inside the file.")


def _delete(user: SignedIn, state: GalleryState, image: Image) -> None:
    with st.popover("Delete", icon=":material/delete:"):
        days = studio().settings.trash_days
        st.markdown(f"Move this image to the trash? You can restore it for {days} days.")
        if st.button("Delete it", type="primary"):
            with failure_panel("delete"):
                studio().gallery.trash(user.user_id, image.id)
                state.trashed_id = image.id
                state.close_image()
                st.rerun()


def _toggle_favourite(user: SignedIn, image: Image) -> None:
    studio().gallery.change(user.user_id, image.id, favourite=not image.favourite)
