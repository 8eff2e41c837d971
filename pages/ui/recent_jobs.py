"""The user's recent jobs, read from the database once for each run of a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.accounts.identity import SignedIn
from core.generation.views import JobView
from pages.ui.session import studio

# The user's id and jobs while a whole page is drawn. It is None when Streamlit reruns a fragment alone.
_read_for_run: ContextVar[tuple[str, tuple[JobView, ...]] | None] = ContextVar("_read_for_run", default=None)


@contextmanager
def read_jobs_once(user: SignedIn) -> Iterator[None]:
    """Read the user's jobs now. Until the block ends, `recent_jobs` returns them without a new query."""
    before = _read_for_run.set((user.user_id, studio().jobs.recent(user.user_id)))
    try:
        yield
    finally:
        _read_for_run.reset(before)


def recent_jobs(user: SignedIn) -> tuple[JobView, ...]:
    """Return the user's live jobs and those that ended recently. The newest batch is first."""
    owner_id, jobs = _read_for_run.get() or ("", ())
    return jobs if owner_id == user.user_id else studio().jobs.recent(user.user_id)
