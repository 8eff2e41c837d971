"""The places of the images being made: queued, partial pictures, finished, or what went wrong."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.database.models import JobState
from core.generation.views import ENDED_WITHOUT_IMAGE, JobView
from pages.ui.activity import mark_seen
from pages.ui.create.draft_form import drop_create_state
from pages.ui.error_panel import catch_failure, show_failure
from pages.ui.formatting import (
    STATE_LABELS,
    describe_job_state,
    escape_markdown,
    format_image_count,
    format_price,
    image_alt_text,
    shorten,
)
from pages.ui.links import OPEN_PARAM, partial_url, thumbnail_url
from pages.ui.session import as_user, rerun_if_signed_out, studio
from pages.ui.toasts import queue_toast, show_queued_toasts

POLL_SECONDS = 1.0
COLUMNS = 3
REFUSED_KEY = "_refused-job"
# What failed, or may have been paid, is let go by its own button.
CLEARED = (JobState.DONE, JobState.CANCELLED)
# Of a large batch, what waits longer is a number.
_WAITING_SHOWN = 3
_SETBACKS_OPEN = 2


def job_cards(user: SignedIn) -> None:
    """Polls once a second while something is being made, and not at all otherwise."""
    live = any(job.is_live for job in studio().jobs.recent(user.user_id))
    st.fragment(run_every=POLL_SECONDS if live else None)(_cards)(user, live)


def _cards(user: SignedIn, polling: bool) -> None:
    rerun_if_signed_out(user)
    jobs = studio().jobs.recent(user.user_id)
    mark_seen(jobs)
    show_queued_toasts()
    if polling != any(job.is_live for job in jobs):
        st.rerun()
    if refusal := st.session_state.get(REFUSED_KEY):
        show_failure(refusal, key="jobs")
    if not jobs:
        return
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.subheader("Latest images", anchor=False)
        if any(job.state in CLEARED for job in jobs):
            st.button(
                "Clear",
                key="clear-jobs",
                type="tertiary",
                help="They stay in your gallery.",
                on_click=as_user(user, _clear, keep=_refused),
                args=(jobs,),
            )
    _failures(user, _setbacks(jobs))
    _waiting(user)
    shown, varied = _shown(jobs), _varied(jobs)
    for start in range(0, len(shown), COLUMNS):
        for column, job in zip(st.columns(COLUMNS), shown[start : start + COLUMNS], strict=False):
            with column:
                _card(user, job, titled=job.batch_id in varied)


def _waiting(user: SignedIn) -> None:
    """One line for all that wait, where their cards are too many."""
    if (count := studio().jobs.counts(user.user_id).get(JobState.QUEUED, 0)) <= _WAITING_SHOWN:
        return
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="waiting"
    ):
        st.caption(f"{format_image_count(count)} waiting; the next {_WAITING_SHOWN} are shown.")
        st.button(
            f"Cancel all {count:,}",
            key="cancel-waiting",
            on_click=as_user(user, _cancel_waiting, keep=_refused),
        )


def _shown(jobs: Sequence[JobView]) -> list[JobView]:
    """Jobs that have a card: all but what failed, and what waits behind others."""
    waiting = sorted(
        (job for job in jobs if job.state is JobState.QUEUED), key=lambda job: (job.created_at, job.position)
    )
    hidden = {job.id for job in waiting[_WAITING_SHOWN:]}
    return [job for job in jobs if job.state not in ENDED_WITHOUT_IMAGE and job.id not in hidden]


def _varied(jobs: Sequence[JobView]) -> set[str]:
    """The batches of many prompts: their pictures are told apart by them."""
    prompts: dict[str, set[str]] = {}
    for job in jobs:
        prompts.setdefault(job.batch_id, set()).add(job.recipe.prompt)
    return {batch_id for batch_id, different in prompts.items() if len(different) > 1}


def _card(user: SignedIn, job: JobView, *, titled: bool) -> None:
    with st.container(border=True, key=f"job-{job.id}"):
        alt = image_alt_text(job.recipe.name, job.recipe.prompt)
        for image_id in job.image_ids:
            st.image(thumbnail_url(image_id), alt=alt, width="stretch")
        if job.is_live and job.partials:
            st.image(
                partial_url(job.id, job.partials - 1, job.attempts), alt=f"Preview of {alt}", width="stretch"
            )
        elif job.is_live:
            st.skeleton(height=180)
        if titled:
            st.caption(escape_markdown(shorten(job.recipe.prompt, 80)))
        st.caption(escape_markdown(describe_job_state(job, utc_now())))
        if job.is_live and job.error:
            st.caption(escape_markdown(job.error.message))
        if job.state is JobState.QUEUED:
            st.button(
                "Cancel",
                key=f"cancel-{job.id}",
                on_click=as_user(user, _cancel, keep=_refused),
                args=(job.id,),
            )
        for image_id in job.image_ids:
            if st.button("Open", key=f"open-{image_id}", icon=":material/open_in_full:", type="tertiary"):
                st.switch_page("gallery.py", query_params={OPEN_PARAM: image_id})


def _setbacks(jobs: Sequence[JobView]) -> list[list[JobView]]:
    """Jobs that ended without an image, those of one batch and one reason together.

    First those that may have been paid.
    """
    groups: dict[tuple[str, str, str], list[JobView]] = {}
    for job in jobs:
        if job.state in ENDED_WITHOUT_IMAGE:
            reason = job.error.code if job.error else ""
            groups.setdefault((job.batch_id, job.state, reason), []).append(job)
    return sorted(groups.values(), key=lambda group: group[0].state is not JobState.UNKNOWN)


def _failures(user: SignedIn, groups: list[list[JobView]]) -> None:
    """What brought no image. Only the first ones are open: pictures must not stand below a long list."""
    for group in groups[:_SETBACKS_OPEN]:
        _setback(user, group)
    if rest := groups[_SETBACKS_OPEN:]:
        with st.expander(f"{format_image_count(sum(map(len, rest)))} more not made", icon=":material/error:"):
            ids = tuple(job.id for group in rest for job in group)
            st.button("Let them all go", key="dismiss-rest", on_click=as_user(user, _dismiss), args=(ids,))
            for group in rest:
                _setback(user, group)


def _setback(user: SignedIn, group: list[JobView]) -> None:
    first = group[0]
    ids = tuple(job.id for job in group)
    with st.container(border=True, key=f"setback-{first.id}"):
        title = escape_markdown(shorten(first.recipe.name or first.recipe.prompt, 60))
        st.markdown(f"**{title}** · {format_image_count(len(group))} · {STATE_LABELS[first.state].lower()}")
        if first.recipe.name and (prompts := dict.fromkeys(job.recipe.prompt for job in group)):
            st.caption(escape_markdown(shorten(" · ".join(prompts), 160)))
        if first.error:
            show_failure(first.error, key=first.id)
        with st.container(horizontal=True):
            st.button(
                _again_words(group),
                key=f"retry-{first.id}",
                on_click=as_user(user, _retry, keep=_refused),
                args=(ids,),
            )
            # A draft has no place for the pictures that an edit is made from.
            if not first.recipe.input_count and st.button(
                "Edit prompt", key=f"edit-{first.id}", icon=":material/edit:"
            ):
                _edit(user, first.id)
            st.button(
                "Let it go",
                key=f"dismiss-{first.id}",
                type="tertiary",
                on_click=as_user(user, _dismiss, keep=_refused),
                args=(ids,),
            )


def _again_words(group: Sequence[JobView]) -> str:
    price = format_price(studio().price([job.recipe for job in group]))
    count = f" · {format_image_count(len(group))}" if len(group) > 1 else ""
    return f"Try again{count} · {escape_markdown(price)}"


def _cancel(user: SignedIn, job_id: str) -> None:
    _begin()
    if studio().jobs.cancel(user.user_id, job_id) == JobState.RUNNING:
        queue_toast("It has already started: if its picture comes, it is kept. It isn't tried again.")


def _cancel_waiting(user: SignedIn) -> None:
    _begin()
    taken = studio().jobs.cancel_waiting(user.user_id)
    running = studio().jobs.counts(user.user_id).get(JobState.RUNNING, 0)
    rest = f" {format_image_count(running)} already being made will be kept if they come." if running else ""
    queue_toast(f"{format_image_count(taken)} cancelled, free of charge.{rest}")


def _begin() -> None:
    """What the last click was refused is no longer of interest."""
    st.session_state.pop(REFUSED_KEY, None)


def _retry(user: SignedIn, job_ids: tuple[str, ...]) -> None:
    _begin()
    studio().retry(user, *job_ids)


def _refused(error: errors.ImageError) -> None:
    st.session_state[REFUSED_KEY] = error


def _edit(user: SignedIn, job_id: str) -> None:
    """Take up what was asked for in the draft, so that it can be changed first."""
    with catch_failure(_refused):
        studio().rework(user, job_id)
        drop_create_state()
        st.rerun()
    st.rerun(scope="fragment")


def _dismiss(user: SignedIn, job_ids: tuple[str, ...]) -> None:
    _begin()
    studio().jobs.dismiss(user.user_id, *job_ids)


def _clear(user: SignedIn, jobs: Sequence[JobView]) -> None:
    _dismiss(user, tuple(job.id for job in jobs if job.state in CLEARED))
