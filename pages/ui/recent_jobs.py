"""The user's recent jobs, read from the database once each time a page is drawn."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.accounts.identity import SignedIn
from core.generation.views import JobView
from pages.ui.session import studio

# The user's id and jobs while a whole page is drawn. None when Streamlit reruns only a fragment of a page.
_read_for_run: ContextVar[tuple[str, tuple[JobView, ...]] | None] = ContextVar("_read_for_run", default=None)


@contextmanager
def read_jobs_once(user: SignedIn) -> Iterator[None]:
    """Read the user's recent jobs from the database. `recent_jobs` returns them until the block ends."""
    before = _read_for_run.set((user.user_id, studio().jobs.recent(user.user_id)))
    try:
        yield
    finally:
        _read_for_run.reset(before)


def recent_jobs(user: SignedIn) -> tuple[JobView, ...]:
    """Return the user's jobs that are queued or running, and the jobs that ended recently.

    The jobs of the newest batch come first. The jobs are read from the database, unless `read_jobs_once` has
    read them.
    """
    owner_id, jobs = _read_for_run.get() or ("", ())
    return jobs if owner_id == user.user_id else studio().jobs.recent(user.user_id)
