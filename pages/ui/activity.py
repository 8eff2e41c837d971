"""The progress of a user's jobs, shown on every page. A job generates one image.

While any job is queued or running, a panel shows the progress. When jobs end, a toast reports it. A toast is
a short message in a corner of the page.
"""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.database.models import JobState
from core.generation.views import ENDED_WITHOUT_IMAGE, JobView
from pages.ui.formatting import describe_job_state, escape_markdown, format_image_count, shorten
from pages.ui.polling import stop_polling
from pages.ui.recent_jobs import recent_jobs
from pages.ui.session import rerun_if_signed_out, studio

POLL_SECONDS = 2.0
LIVE_KEY = "_activity_live"
_MAX_LISTED = 12
# One toast for the finished jobs, and one for the failed jobs.
_MAX_TOASTS = 2


def job_status(user: SignedIn, *, with_toasts: bool) -> None:
    """Draw the panel with the jobs' progress if any of the user's jobs is queued or running.

    If `with_toasts` is True, show a toast when jobs end. The Create page needs no toasts, because it shows
    each job.
    """
    jobs = recent_jobs(user)
    if any(job.is_live for job in jobs):
        st.fragment(run_every=POLL_SECONDS)(_panel)(user, with_toasts)
        _reserve_toast_elements()
    else:
        _report_ended(jobs, with_toasts)


def _reserve_toast_elements() -> None:
    """Add empty elements that reserve positions for the toasts in Streamlit's list of elements.

    Streamlit keeps toasts and dialogs in one list. Without the reserved positions, a new toast would shift an
    open dialog, and the dialog would close.
    """
    for _ in range(_MAX_TOASTS):
        st.html("<style></style>")


def mark_seen(jobs: Sequence[JobView]) -> None:
    """Remember in this browser tab which of `jobs` are queued or running.

    `_report_ended` compares the jobs with these later, and reports the jobs that have ended.
    """
    st.session_state[LIVE_KEY] = frozenset(job.id for job in jobs if job.is_live)


def _panel(user: SignedIn, with_toasts: bool) -> None:
    rerun_if_signed_out(user)
    jobs = recent_jobs(user)
    _report_ended(jobs, with_toasts)
    live = [job for job in jobs if job.is_live]
    if not live:
        # Replace the panel explicitly. If another poll interrupts this, Streamlit keeps the old elements.
        st.empty()
        stop_polling()
        return
    counts = studio().jobs.counts(user.user_id)
    with st.popover(_summary(counts), icon=":material/brush:", type="tertiary", key="activity"):
        _progress(jobs, live, sum(counts.values()))


def _progress(jobs: Sequence[JobView], live: Sequence[JobView], live_count: int) -> None:
    """Draw the progress of the batches whose jobs are in `live`: jobs that are queued or running.

    `jobs` are the user's recent jobs. `live_count` is the number of all jobs of the user that are queued or
    running. It may be larger than the length of `live`, because `jobs` is a limited list.
    """
    batch = [job for job in jobs if job.batch_id in {one.batch_id for one in live}]
    ended = len(batch) - len(live)
    total = ended + live_count
    st.progress(ended / (total or 1), f"{ended} of {format_image_count(total)} finished")
    if failed := [job for job in batch if job.state in ENDED_WITHOUT_IMAGE]:
        st.caption(f":material/error: {format_image_count(len(failed))} failed: {_title(failed[0])}")
    for job in live[:_MAX_LISTED]:
        st.caption(f"**{_title(job)}** · {escape_markdown(describe_job_state(job, utc_now()))}")
    if live_count > _MAX_LISTED:
        st.caption(f"and {live_count - _MAX_LISTED:,} more")
    st.page_link("create.py", label="Show on Create", icon=":material/visibility:")


def _summary(counts: dict[JobState, int]) -> str:
    labelled = {"generating": counts.get(JobState.RUNNING, 0), "waiting": counts.get(JobState.QUEUED, 0)}
    # Both counts may be 0, because the last job may have ended since the jobs were read.
    return " · ".join(f"{count:,} {label}" for label, count in labelled.items() if count) or "finished"


def _report_ended(jobs: Sequence[JobView], with_toasts: bool) -> None:
    """Report the jobs that have ended since `mark_seen` was last called in this browser tab.

    If `with_toasts` is True, show a toast for the finished jobs and one for the failed jobs.
    """
    before: frozenset[str] = st.session_state.get(LIVE_KEY, frozenset())
    ended = [job for job in jobs if job.id in before and not job.is_live]
    if with_toasts and ended:
        _toast(ended)
    # Call `mark_seen` after the toasts. If Streamlit interrupts this function at a toast, the next call shows
    # the toast.
    mark_seen(jobs)


def _toast(ended: Sequence[JobView]) -> None:
    failed = [job for job in ended if job.state in ENDED_WITHOUT_IMAGE]
    if finished := len(ended) - len(failed):
        title = _title(next(job for job in ended if job not in failed))
        st.toast(
            f"{title} is finished." if finished == 1 else f"{format_image_count(finished)} are finished."
        )
    if failed:
        st.toast(f"{_title(failed[0])} failed. Create shows why.", icon=":material/error:")


def _title(job: JobView) -> str:
    return escape_markdown(shorten(job.recipe.name or job.recipe.prompt, 40))
