"""What is being made, on every page: how much runs and waits, what failed, and a word when it has ended."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.database.models import JobState
from core.generation.views import ENDED_WITHOUT_IMAGE, JobView
from pages.ui.formatting import describe_job_state, escape_markdown, format_image_count, shorten
from pages.ui.polling import stop_polling
from pages.ui.session import rerun_if_signed_out, studio

WATCH_SECONDS = 2.0
LIVE_KEY = "_activity_live"
_LISTED = 12
# What is finished and what has failed.
_TOASTS = 2


def job_status(user: SignedIn, *, tell: bool) -> None:
    """The panel, while anything is being made; `tell` what ends, where the page doesn't show it."""
    jobs = studio().jobs.recent(user.user_id)
    if any(job.is_live for job in jobs):
        st.fragment(run_every=WATCH_SECONDS)(_panel)(user, tell)
        _keep_places()
    else:
        _tell(jobs, tell)


def _keep_places() -> None:
    """Toasts are drawn where dialogs are: without a place of their own, later ones close an open image."""
    for _ in range(_TOASTS):
        st.html("<style></style>")


def mark_seen(jobs: Sequence[JobView]) -> None:
    """These were shown: only what ends from now on is told."""
    st.session_state[LIVE_KEY] = frozenset(job.id for job in jobs if job.is_live)


def _panel(user: SignedIn, tell: bool) -> None:
    rerun_if_signed_out(user)
    jobs = studio().jobs.recent(user.user_id)
    _tell(jobs, tell)
    live = [job for job in jobs if job.is_live]
    if not live:
        # In the panel's place: a run that the next poll cuts short leaves what it hasn't drawn as it was.
        st.empty()
        stop_polling()
        return
    counts = studio().jobs.counts(user.user_id)
    with st.popover(_summary(counts), icon=":material/brush:", type="tertiary", key="activity"):
        batch = [job for job in jobs if job.batch_id in {one.batch_id for one in live}]
        ended, still = len(batch) - len(live), sum(counts.values())
        st.progress(ended / (ended + still or 1), f"{ended} of {format_image_count(ended + still)} finished")
        if failed := [job for job in batch if job.state in ENDED_WITHOUT_IMAGE]:
            st.caption(
                f":material/error: {format_image_count(len(failed))} couldn't be made: {_title(failed[0])}"
            )
        for job in live[:_LISTED]:
            st.caption(f"**{_title(job)}** · {escape_markdown(describe_job_state(job, utc_now()))}")
        if still > _LISTED:
            st.caption(f"and {still - _LISTED:,} more")
        st.page_link("create.py", label="Show them", icon=":material/visibility:")


def _summary(counts: dict[JobState, int]) -> str:
    words = {"painting": counts.get(JobState.RUNNING, 0), "waiting": counts.get(JobState.QUEUED, 0)}
    # Between two readings the last one may have ended.
    return " · ".join(f"{count:,} {word}" for word, count in words.items() if count) or "finished"


def _tell(jobs: Sequence[JobView], tell: bool) -> None:
    """Say what has ended since this tab last looked."""
    before: frozenset[str] = st.session_state.get(LIVE_KEY, frozenset())
    ended = [job for job in jobs if job.id in before and not job.is_live]
    if tell and ended:
        _toast(ended)
    # Not before: a run that is cut short at a toast must say it the next time.
    mark_seen(jobs)


def _toast(ended: Sequence[JobView]) -> None:
    failed = [job for job in ended if job.state in ENDED_WITHOUT_IMAGE]
    if made := len(ended) - len(failed):
        names = _title(next(job for job in ended if job not in failed))
        st.toast(f"{names} is finished." if made == 1 else f"{format_image_count(made)} are finished.")
    if failed:
        st.toast(f"{_title(failed[0])} couldn't be made: see Create.", icon=":material/error:")


def _title(job: JobView) -> str:
    return escape_markdown(shorten(job.recipe.name or job.recipe.prompt, 40))
