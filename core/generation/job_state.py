"""State changes of jobs: ending a job, with the error if it failed, and cancelling jobs."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, case, update
from sqlmodel import Session, col

from core import errors
from core.database.models import LIVE_STATES, Job, JobState
from core.errors.stored import StoredError


def same_call(job: Job) -> tuple[ColumnElement[bool], ...]:
    """Return SQL conditions that match the job's row unless a new call has started since `job` was read."""
    return col(Job.id) == job.id, col(Job.attempts) == job.attempts


def end_job(
    session: Session, job: Job, state: JobState, error: errors.ImageError | None, *, now: datetime
) -> bool:
    """End a running job. Returns False if it has already ended, or if another call of the job is running."""
    return _end(session, state, error, now, *same_call(job), col(Job.state) == JobState.RUNNING)


def end_with_answer(session: Session, job: Job, error: errors.ImageError | None, *, now: datetime) -> bool:
    """End a job with the response to its call, even if the job has already ended with an unknown outcome.

    `error` is the reason why the response has no usable image, None if it has one. Returns False if the job
    is already DONE, if it has already FAILED and `error` is given, or if a new call of the job has started.
    """
    state = JobState.FAILED if error else JobState.DONE
    return _end(session, state, error, now, *same_call(job), col(Job.state).not_in((JobState.DONE, state)))


def cancel_live_jobs(session: Session, owner_id: str, now: datetime, *conditions: ColumnElement[bool]) -> int:
    """Cancel the user's queued and running jobs. Return the number of jobs that were still queued.

    `conditions` restrict the jobs to cancel. A queued job ends, which also ends its budget reservation. A
    running call can't be stopped: it finishes, but the job isn't called again.
    """
    live = (col(Job.owner_id) == owner_id, col(Job.state).in_(LIVE_STATES), *conditions)
    queued = col(Job.state) == JobState.QUEUED
    # Use one statement for queued and running jobs. A job that starts between two statements would be missed.
    cancel = (
        update(Job)
        .where(*live)
        .values(
            state=case((queued, JobState.CANCELLED), else_=col(Job.state)),
            finished_at=case((queued, now), else_=col(Job.finished_at)),
            due_at=None,
            cancel_asked=True,
        )
    )
    states = session.execute(cancel.returning(col(Job.state))).scalars()
    return sum(state == JobState.CANCELLED for state in states)


def _end(
    session: Session,
    state: JobState,
    error: errors.ImageError | None,
    now: datetime,
    *conditions: ColumnElement[bool],
) -> bool:
    stored = asdict(StoredError.of(error)) if error else None
    end = update(Job).where(*conditions).values(state=state, finished_at=now, due_at=None, error=stored)
    return row_count(session.execute(end)) == 1


def row_count(result: Any) -> int:
    """Return the number of rows that a statement has changed."""
    return int(result.rowcount)
