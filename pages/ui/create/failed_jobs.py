"""The jobs that ended without an image: the reasons, and buttons to try again, edit or dismiss them."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.accounts.identity import SignedIn
from core.database.models import JobState
from core.generation.views import ENDED_WITHOUT_IMAGE, JobView
from pages.ui.create.state import CreateState, reset_create_state
from pages.ui.echo import check_shown, show_and_echo
from pages.ui.error_panel import catch_failure, show_failure
from pages.ui.formatting import STATE_LABELS, escape_markdown, format_image_count, format_price, shorten
from pages.ui.session import as_user, studio

# Further groups are hidden in an expander, so that the images below stay visible.
_MAX_OPEN_GROUPS = 2


def failed_jobs(user: SignedIn, state: CreateState, jobs: Sequence[JobView]) -> None:
    groups = _groups(jobs)
    for group in groups[:_MAX_OPEN_GROUPS]:
        _group_box(user, state, group)
    if rest := groups[_MAX_OPEN_GROUPS:]:
        hidden = [job for group in rest for job in group]
        with st.expander(_hidden_label(hidden), icon=":material/error:"):
            st.button(
                "Dismiss all",
                key="dismiss-rest",
                on_click=as_user(user, _dismiss, on_failure=state.keep_jobs_failure),
                args=(state, tuple(job.id for job in hidden)),
            )
            for group in rest:
                _group_box(user, state, group)


def _groups(jobs: Sequence[JobView]) -> list[list[JobView]]:
    """Return those of `jobs` that ended without an image, grouped by batch, state and error code.

    Groups whose outcome is unknown come first, because their jobs may have been charged.
    """
    groups: dict[tuple[str, str, str], list[JobView]] = {}
    for job in jobs:
        if job.state in ENDED_WITHOUT_IMAGE:
            code = job.error.code if job.error else ""
            groups.setdefault((job.batch_id, job.state, code), []).append(job)
    return sorted(groups.values(), key=lambda group: group[0].state is not JobState.UNKNOWN)


def _hidden_label(jobs: Sequence[JobView]) -> str:
    cancelled = [job.state is JobState.CANCELLED for job in jobs]
    ended = "cancelled" if all(cancelled) else "failed or cancelled" if any(cancelled) else "failed"
    count = len(jobs)
    return f"{count:,} more {'image' if count == 1 else 'images'} {ended}"


def _group_box(user: SignedIn, state: CreateState, group: Sequence[JobView]) -> None:
    first = group[0]
    with st.container(border=True, key=f"failed-{first.id}"):
        title = escape_markdown(shorten(first.recipe.name or first.recipe.prompt, 60))
        st.markdown(f"**{title}** · {format_image_count(len(group))} · {STATE_LABELS[first.state].lower()}")
        if first.recipe.name and (prompts := dict.fromkeys(job.recipe.prompt for job in group)):
            st.caption(escape_markdown(shorten(" · ".join(prompts), 160)))
        if first.error:
            show_failure(first.error, key=first.id)
        _buttons(user, state, group)


def _buttons(user: SignedIn, state: CreateState, group: Sequence[JobView]) -> None:
    first, ids = group[0], tuple(job.id for job in group)
    show_and_echo(_retry_key(group), _retry_label(group))
    with st.container(horizontal=True):
        st.button(
            _retry_label(group),
            key=_retry_key(group),
            on_click=as_user(user, _retry, on_failure=state.keep_jobs_failure),
            args=(state, group),
        )
        # The draft has no field for the source images of an edit.
        if not first.recipe.input_count and st.button(
            "Edit prompt", key=f"edit-{first.id}", icon=":material/edit:"
        ):
            _edit(user, state, first.id)
        st.button(
            "Dismiss",
            key=f"dismiss-{first.id}",
            type="tertiary",
            on_click=as_user(user, _dismiss, on_failure=state.keep_jobs_failure),
            args=(state, ids),
        )


def _retry_key(group: Sequence[JobView]) -> str:
    return f"retry-{group[0].id}"


def _retry_label(group: Sequence[JobView]) -> str:
    recipes, quotes = [job.recipe for job in group], studio().quotes
    price = format_price(quotes.price(recipes), limit=quotes.price_limit(recipes))
    count = f" · {format_image_count(len(group))}" if len(group) > 1 else ""
    return f"Try again{count} · {escape_markdown(price)}"


def _retry(user: SignedIn, state: CreateState, group: Sequence[JobView]) -> None:
    state.jobs_failure = None
    check_shown(_retry_key(group), _retry_label(group))
    studio().orders.retry(user, *(job.id for job in group))


def _edit(user: SignedIn, state: CreateState, job_id: str) -> None:
    """Copy the job's prompt and options into the draft, where the user can edit them. Redraw the page."""
    with catch_failure(state.keep_jobs_failure):
        studio().reuse.job(user, job_id)
        reset_create_state()
        st.rerun()
    st.rerun(scope="fragment")


def _dismiss(user: SignedIn, state: CreateState, job_ids: tuple[str, ...]) -> None:
    state.jobs_failure = None
    studio().jobs.dismiss(user.user_id, *job_ids)
