"""State changes of a job's row: the end of a call, with its reason, and cancelling."""

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
    """Conditions for the job's row as long as no other call of the job was started since `job` was read."""
    return col(Job.id) == job.id, col(Job.attempts) == job.attempts


def end_job(
    session: Session, job: Job, state: JobState, error: errors.ImageError | None, *, now: datetime
) -> bool:
    """End a running job. False if it has ended already, or another call of it is running."""
    return _end(session, state, error, now, *same_call(job), col(Job.state) == JobState.RUNNING)


def end_with_answer(session: Session, job: Job, error: errors.ImageError | None, *, now: datetime) -> bool:
    """End a job with the answer of its call, even after it was given up. False if it ended so already.

    `error` is the reason why the answer has no usable image, None if it has one.
    """
    state = JobState.FAILED if error else JobState.DONE
    return _end(session, state, error, now, *same_call(job), col(Job.state).not_in((JobState.DONE, state)))


def cancel_live_jobs(session: Session, owner_id: str, now: datetime, *conditions: ColumnElement[bool]) -> int:
    """Cancel a user's live jobs, or those of `conditions`; returns how many were still queued.

    A queued job ends, and its budget reservation with it. A running call can't be taken back: it finishes,
    and the job isn't called again.
    """
    live = (col(Job.owner_id) == owner_id, col(Job.state).in_(LIVE_STATES), *conditions)
    queued = col(Job.state) == JobState.QUEUED
    # One statement: between two, a job could change from one state to the other and be missed by both.
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
    """The number of rows that a statement changed."""
    return int(result.rowcount)
