"""How a job's row says that a call has ended, and why."""

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
    """That the row still stands for the call that `job` was claimed for: no other process has gone on."""
    return col(Job.id) == job.id, col(Job.attempts) == job.attempts


def end_job(
    session: Session, job: Job, state: JobState, error: errors.ImageError | None, *, now: datetime
) -> bool:
    """End a running job; False when it has ended already, or another call of it is under way."""
    return _end(session, state, error, now, *same_call(job), col(Job.state) == JobState.RUNNING)


def end_with_answer(session: Session, job: Job, error: errors.ImageError | None, *, now: datetime) -> bool:
    """End a job by what its call brought, also when it had been given up; False when it has ended so already.

    `error` is why what came is no image.
    """
    state = JobState.FAILED if error else JobState.DONE
    return _end(session, state, error, now, *same_call(job), col(Job.state).not_in((JobState.DONE, state)))


def cancel_live(session: Session, owner_id: str, now: datetime, *conditions: ColumnElement[bool]) -> int:
    """Take back a user's jobs, or those of `conditions`; how many of them hadn't been begun.

    What their budgets had set aside for those comes back with that. The others' calls are let finish, and
    are their last ones.
    """
    live = (col(Job.owner_id) == owner_id, col(Job.state).in_(LIVE_STATES), *conditions)
    queued = col(Job.state) == JobState.QUEUED
    # One statement: between two of them a job could go from one state to the other, and be in neither.
    taken = (
        update(Job)
        .where(*live)
        .values(
            state=case((queued, JobState.CANCELLED), else_=col(Job.state)),
            finished_at=case((queued, now), else_=col(Job.finished_at)),
            due_at=None,
            cancel_asked=True,
        )
    )
    states = session.execute(taken.returning(col(Job.state))).scalars()
    return sum(state == JobState.CANCELLED for state in states)


def _end(
    session: Session,
    state: JobState,
    error: errors.ImageError | None,
    now: datetime,
    *conditions: ColumnElement[bool],
) -> bool:
    stored = asdict(StoredError.of(error)) if error else None
    ended = update(Job).where(*conditions).values(state=state, finished_at=now, due_at=None, error=stored)
    return rows_of(session.execute(ended)) == 1


def rows_of(result: Any) -> int:
    """How many rows a statement changed."""
    return int(result.rowcount)
