"""The dispatcher: claims queued jobs as soon as they may start, and runs each job in its own thread."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from core.database.models import Job
from core.errors import ImageError

# The longest wait before the queue is read again. Other processes submit jobs, and retries become due.
POLL_SECONDS = 1.0
log = structlog.get_logger(__name__)


class Dispatcher:
    """Calls `claim` to get the next job, and `run` to run the job in a thread of its own.

    At most `max_running` jobs run at once. `run` may call its second argument, a function, so that its job
    counts no longer as running. `wake` makes the dispatcher claim at once. The threads are daemon
    threads, so that a call which outlasts the grace period of `stop` doesn't keep the process alive.
    """

    def __init__(
        self,
        claim: Callable[[], Job | None],
        run: Callable[[Job, Callable[[], None]], None],
        *,
        max_running: int,
    ) -> None:
        self._claim = claim
        self._run = run
        self._max_running = max_running
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
        """Claim no more jobs, and wait at most `grace_seconds` for the running jobs.

        Returns True if all running jobs ended in that time.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        ends = time.monotonic() + grace_seconds
        if self._thread:
            # If the system can't start a thread for a job, the dispatcher's own thread runs the job.
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
            self._start_job(job)

    def _start_job(self, job: Job) -> None:
        try:
            threading.Thread(target=self._run_job, args=(job,), name=f"job {job.id}", daemon=True).start()
        except RuntimeError:
            # The system can't start another thread. Run the job in this one.
            log.exception("job_thread_not_started", job_id=job.id)
            self._run_job(job)

    def _wait(self) -> bool:
        """Wait until there may be a job to claim and fewer than `max_running` jobs run.

        Returns False if the dispatcher is stopping.
        """
        with self._changed:
            if not self._woken:
                self._changed.wait(POLL_SECONDS)
            self._changed.wait_for(lambda: self._stopping or self._running < self._max_running)
            self._woken = False
            return not self._stopping

    def _next(self) -> Job | None:
        try:
            return self._claim()
        except ImageError as error:
            log.error("queue_unreadable", code=error.code, details=error.details)
        except Exception:
            # The dispatcher must continue after any error, because jobs are waiting.
            log.exception("queue_unreadable")
        return None

    def _run_job(self, job: Job) -> None:
        released = False

        def release() -> None:
            nonlocal released
            with self._changed:
                if not released:
                    self._running -= 1
                    self._woken = released = True
                    self._changed.notify_all()

        try:
            self._run(job, release)
        except Exception:
            log.exception("job_left_running", job_id=job.id)
        finally:
            release()
