"""Cards of the user's latest images on the Create page. An image is waiting, being generated or finished."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.database.models import JobState
from core.errors.stored import StoredError
from core.generation.views import ENDED_WITHOUT_IMAGE, JobView
from pages.ui.activity import mark_seen
from pages.ui.create.failed_jobs import failed_jobs
from pages.ui.create.state import CreateState
from pages.ui.error_panel import show_failure
from pages.ui.formatting import (
    describe_job_state,
    escape_markdown,
    format_image_count,
    image_alt_text,
    shorten,
)
from pages.ui.links import OPEN_PARAM, partial_url, thumbnail_url
from pages.ui.recent_jobs import recent_jobs
from pages.ui.session import as_user, rerun_if_signed_out, studio
from pages.ui.toasts import queue_toast, show_queued_toasts

POLL_SECONDS = 1.0
COLUMNS = 3
# The button "Clear" removes jobs in these states from the page. A failed job may have been charged, so each
# group of failed jobs has a button of its own.
CLEARED_STATES = (JobState.DONE, JobState.CANCELLED)
# Only the next few waiting images have a card, because a large batch has many.
_MAX_WAITING_CARDS = 3


def job_cards(user: SignedIn, state: CreateState) -> None:
    """Draw the cards. While an image is waiting or being generated, redraw them once a second."""
    live = any(job.is_live for job in recent_jobs(user))
    st.fragment(run_every=POLL_SECONDS if live else None)(_cards)(user, state, live)


def _cards(user: SignedIn, state: CreateState, polling: bool) -> None:
    rerun_if_signed_out(user)
    jobs = recent_jobs(user)
    mark_seen(jobs)
    show_queued_toasts()
    if polling != any(job.is_live for job in jobs):
        st.rerun()
    if state.jobs_failure:
        show_failure(state.jobs_failure, key="jobs")
    if not jobs:
        return
    _header(user, state, jobs)
    # What was ordered last comes first: an older failure doesn't push it down.
    last = max(jobs, key=lambda job: job.created_at).batch_id
    just_failed = any(job.batch_id == last and job.state in ENDED_WITHOUT_IMAGE for job in jobs)
    if just_failed:
        failed_jobs(user, state, jobs)
    _waiting_count(user, state)
    shown, varied = _jobs_with_card(jobs), _batches_with_many_prompts(jobs)
    for start in range(0, len(shown), COLUMNS):
        for column, job in zip(st.columns(COLUMNS), shown[start : start + COLUMNS], strict=False):
            with column:
                _card(user, state, job, with_prompt=job.batch_id in varied)
    if not just_failed:
        failed_jobs(user, state, jobs)


def _header(user: SignedIn, state: CreateState, jobs: Sequence[JobView]) -> None:
    with st.container(horizontal=True, horizontal_alignment="distribute", vertical_alignment="center"):
        st.header("Latest images", anchor=False)
        if any(job.state in CLEARED_STATES for job in jobs):
            st.button(
                "Clear",
                key="clear-jobs",
                type="tertiary",
                help="Removes finished images from this list. They stay in your gallery.",
                on_click=as_user(user, _clear, on_failure=state.keep_jobs_failure),
                args=(state, jobs),
            )


def _waiting_count(user: SignedIn, state: CreateState) -> None:
    """Show the number of waiting images, with a button that cancels them all.

    Shows nothing if the waiting images are so few that each has a card.
    """
    if (count := studio().jobs.counts(user.user_id).get(JobState.QUEUED, 0)) <= _MAX_WAITING_CARDS:
        return
    with st.container(
        horizontal=True, horizontal_alignment="distribute", vertical_alignment="center", key="waiting"
    ):
        st.caption(f"{format_image_count(count)} waiting. The next {_MAX_WAITING_CARDS} are shown here.")
        st.button(
            f"Cancel all {count:,}",
            key="cancel-waiting",
            on_click=as_user(user, _cancel_waiting, on_failure=state.keep_jobs_failure),
            args=(state,),
        )


def _jobs_with_card(jobs: Sequence[JobView]) -> list[JobView]:
    """Return those of `jobs` that get a card. The jobs that ended without an image get none.

    Of the waiting jobs, only the first few get a card.
    """
    waiting = sorted(
        (job for job in jobs if job.state is JobState.QUEUED), key=lambda job: (job.created_at, job.position)
    )
    hidden = {job.id for job in waiting[_MAX_WAITING_CARDS:]}
    return [job for job in jobs if job.state not in ENDED_WITHOUT_IMAGE and job.id not in hidden]


def _batches_with_many_prompts(jobs: Sequence[JobView]) -> set[str]:
    """Return the ids of the batches whose jobs have more than one prompt.

    On the cards of these batches, each image's prompt is shown.
    """
    prompts: dict[str, set[str]] = {}
    for job in jobs:
        prompts.setdefault(job.batch_id, set()).add(job.recipe.prompt)
    return {batch_id for batch_id, different in prompts.items() if len(different) > 1}


def _card(user: SignedIn, state: CreateState, job: JobView, *, with_prompt: bool) -> None:
    with st.container(border=True, key=f"job-{job.id}"):
        _card_image(job)
        if with_prompt:
            st.caption(escape_markdown(shorten(job.recipe.prompt, 80)))
        st.caption(escape_markdown(describe_job_state(job, utc_now())))
        if job.error:
            st.caption(escape_markdown(_error_text(job.error, is_live=job.is_live)))
        if job.state is JobState.QUEUED:
            st.button(
                "Cancel",
                key=f"cancel-{job.id}",
                on_click=as_user(user, _cancel, on_failure=state.keep_jobs_failure),
                args=(state, job.id),
            )
        for image_id in job.image_ids:
            if st.button("Open", key=f"open-{image_id}", icon=":material/open_in_full:", type="tertiary"):
                st.switch_page("gallery.py", query_params={OPEN_PARAM: image_id})


def _error_text(error: StoredError, *, is_live: bool) -> str:
    """Return the text about the last failure of a live job, or about the error that came with an image."""
    if is_live:
        return error.message
    return f"With this image came an error: {error.message} {shorten(error.details, 160)}"


def _card_image(job: JobView) -> None:
    """Show the job's finished images, or its latest preview, or a grey placeholder while there is none."""
    alt = image_alt_text(job.recipe.name, job.recipe.prompt)
    for image_id in job.image_ids:
        st.image(thumbnail_url(image_id), alt=alt, width="stretch")
    if job.is_live and job.partials:
        preview = partial_url(job.id, job.partials - 1, job.attempts)
        st.image(preview, alt=f"Preview of {alt}", width="stretch")
    elif job.is_live:
        st.skeleton(height=180)


def _cancel(user: SignedIn, state: CreateState, job_id: str) -> None:
    state.jobs_failure = None
    if studio().jobs.cancel(user.user_id, job_id) == JobState.RUNNING:
        queue_toast(
            "This image is already generating. If it finishes, it is saved in your gallery. "
            "If it fails, it isn't tried again."
        )


def _cancel_waiting(user: SignedIn, state: CreateState) -> None:
    state.jobs_failure = None
    cancelled = studio().jobs.cancel_waiting(user.user_id)
    running = studio().jobs.counts(user.user_id).get(JobState.RUNNING, 0)
    rest = (
        f" {format_image_count(running)} already generating: what finishes is saved in your gallery."
        if running
        else ""
    )
    queue_toast(f"{format_image_count(cancelled)} cancelled. This cost nothing.{rest}")


def _clear(user: SignedIn, state: CreateState, jobs: Sequence[JobView]) -> None:
    state.jobs_failure = None
    studio().jobs.dismiss(user.user_id, *(job.id for job in jobs if job.state in CLEARED_STATES))
