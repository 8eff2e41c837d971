"""Takes jobs from the queue as places become free, each to a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from core.database.models import Job
from core.errors import ImageError

# Jobs that other processes submitted, and those that wait for their next try, are found this soon.
POLL_SECONDS = 1.0
log = structlog.get_logger(__name__)


class Dispatcher:
    """Calls `run` with each job that `claim` gives; at most `places` at the same time.

    `wake` says that there may be something to claim. Threads are daemons: a call that outlasts the grace
    period of `stop` doesn't keep the process from ending.
    """

    def __init__(self, claim: Callable[[], Job | None], run: Callable[[Job], None], *, places: int) -> None:
        self._claim = claim
        self._run = run
        self._places = places
        self._running = 0
        self._stopping = False
        self._woken = True
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._stopping, self._woken = False, True
        self._thread = threading.Thread(target=self._dispatch, name="dispatcher", daemon=True)
        self._thread.start()

    def wake(self) -> None:
        with self._changed:
            self._woken = True
            self._changed.notify_all()

    def stop(self, grace_seconds: float) -> bool:
        """Take no new job and wait for the running ones; whether all have ended within the grace period."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        ends = time.monotonic() + grace_seconds
        if self._thread:
            # It may be at work itself, where no thread could be given.
            self._thread.join(grace_seconds)
        with self._changed:
            return self._changed.wait_for(lambda: not self._running, max(0.0, ends - time.monotonic()))

    def _dispatch(self) -> None:
        while self._wait():
            job = self._next()
            if job is None:
                continue
            with self._changed:
                self._running += 1
                self._woken = True
            self._begin(job)

    def _begin(self, job: Job) -> None:
        try:
            threading.Thread(target=self._work, args=(job,), name=f"job {job.id}", daemon=True).start()
        except RuntimeError:
            # The system has no thread to give now: better one after the other than none.
            log.exception("a job has no thread of its own", job_id=job.id)
            self._work(job)

    def _wait(self) -> bool:
        """Wait for a free place and a reason to look; False at the end."""
        with self._changed:
            if not self._woken:
                self._changed.wait(POLL_SECONDS)
            self._changed.wait_for(lambda: self._stopping or self._running < self._places)
            self._woken = False
            return not self._stopping

    def _next(self) -> Job | None:
        try:
            return self._claim()
        except ImageError as error:
            log.error("the queue can't be read", code=error.code, details=error.details)
        except Exception:
            # Whatever is wrong now, jobs that wait must be looked for again.
            log.exception("the queue can't be read")
        return None

    def _work(self, job: Job) -> None:
        try:
            self._run(job)
        except Exception:
            log.exception("a job was left", job_id=job.id)
        finally:
            with self._changed:
                self._running -= 1
                self._woken = True
                self._changed.notify_all()
