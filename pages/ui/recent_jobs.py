"""The user's recent jobs, read from the database once for each run of a page."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from core.accounts.identity import SignedIn
from core.generation.views import JobView
from pages.ui.session import studio

# The owner's id and jobs while a whole page is drawn; a fragment that reruns alone finds None.
_read_for_run: ContextVar[tuple[str, tuple[JobView, ...]] | None] = ContextVar("_read_for_run", default=None)


@contextmanager
def read_jobs_once(user: SignedIn) -> Iterator[None]:
    """Read the jobs now; until the end, `recent_jobs` returns them to everything that the page draws."""
    before = _read_for_run.set((user.user_id, studio().jobs.recent(user.user_id)))
    try:
        yield
    finally:
        _read_for_run.reset(before)


def recent_jobs(user: SignedIn) -> tuple[JobView, ...]:
    """The user's live jobs, and those that ended lately; newest batch first."""
    owner_id, jobs = _read_for_run.get() or ("", ())
    return jobs if owner_id == user.user_id else studio().jobs.recent(user.user_id)
