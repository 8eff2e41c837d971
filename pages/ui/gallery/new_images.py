"""A button on the Gallery page that adds the images finished since the page was drawn."""

from __future__ import annotations

import streamlit as st

from core.accounts.identity import SignedIn
from pages.ui.polling import stop_polling
from pages.ui.recent_jobs import recent_jobs
from pages.ui.session import rerun_if_signed_out

POLL_SECONDS = 2.0


def new_images_button(user: SignedIn, *, is_empty: bool) -> None:
    """Check regularly whether the user's jobs have finished, and draw a button that shows their images.

    The page isn't redrawn without a click, because that would close an open image and move the other images.
    If the gallery `is_empty`, the page is redrawn as soon as the first image is finished.
    """
    if job_ids := live_job_ids(user):
        st.fragment(run_every=POLL_SECONDS)(_poll)(user, job_ids, is_empty)


def live_job_ids(user: SignedIn) -> frozenset[str]:
    return frozenset(job.id for job in recent_jobs(user) if job.is_live)


def _poll(user: SignedIn, job_ids: frozenset[str], is_empty: bool) -> None:
    rerun_if_signed_out(user)
    jobs = [job for job in recent_jobs(user) if job.id in job_ids]
    if not any(job.is_live for job in jobs):
        stop_polling()
    count = sum(len(job.image_ids) for job in jobs)
    if count and is_empty:
        st.rerun()
    label = "Show 1 new image" if count == 1 else f"Show {count:,} new images"
    if count and st.button(label, icon=":material/refresh:"):
        st.rerun()
