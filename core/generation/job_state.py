"""State changes of jobs: end a job, with an error if it failed, and cancel jobs."""

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
    """Return SQL conditions for the row of `job`.

    The conditions no longer match if a new call of the job has started since `job` was read.
    """
    return col(Job.id) == job.id, col(Job.attempts) == job.attempts


def end_job(
    session: Session, job: Job, state: JobState, error: errors.ImageError | None, *, now: datetime
) -> bool:
    """End a running job: set its state to `state`, and store `error` in its row.

    Returns False and changes nothing if the job has already ended, or if a new call of the job has started
    since `job` was read.
    """
    return _end(session, state, error, now, *same_call(job), col(Job.state) == JobState.RUNNING)


def end_with_images(
    session: Session, job: Job, error: errors.ImageError | None, *, usable: bool, now: datetime
) -> bool:
    """End a job whose response has arrived: as DONE if it has a `usable` image, otherwise as FAILED.

    `error` says why an image of the response isn't usable, or what the service reported beside its images. A
    job that has already ended without an image is changed too, because a response can arrive late. Returns
    False and changes nothing if the job is already DONE or in the new state, or if a new call of the job has
    started since `job` was read.
    """
    state = JobState.DONE if usable else JobState.FAILED
    return _end(session, state, error, now, *same_call(job), col(Job.state).not_in((JobState.DONE, state)))


def cancel_live_jobs(session: Session, owner_id: str, now: datetime, *conditions: ColumnElement[bool]) -> int:
    """Cancel the user's queued and running jobs. Return the number of jobs that were still queued.

    SQL `conditions` restrict the jobs to cancel. A queued job ends, which also ends its budget reservation.
    The call of a running job can't be stopped. The call finishes, but no further attempt is made.
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
    """Return the number of rows that an SQL statement has changed."""
    return int(result.rowcount)
