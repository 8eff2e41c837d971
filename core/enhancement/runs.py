"""Background enhancements: a page watches its run, a program waits for the text, and the draft is updated."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import structlog

from core import errors
from core.common.clock import utc_now
from core.common.ids import new_id
from core.enhancement.cache import as_enhanced
from core.enhancement.drafts import Drafts
from core.enhancement.enhancer import Enhancer, log_failure
from core.enhancement.single_flight import SharedCall, SingleFlight, Waiter
from core.prompts.request import PromptRequest
from core.provider.chat import EnhancedPrompt

log = structlog.get_logger(__name__)


WORKER_THREADS = 16
# The limit of concurrent `submit` calls per user.
MAX_CONCURRENT_PER_USER = 4
# A cached text ends its run before the second click of a double click, which must not start another run.
DOUBLE_CLICK = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class EnhancementRun:
    """The state of one enhancement that a page started. It has ended once it has a `result` or an `error`.

    `draft_id` is the draft that it was started for: only that draft's prompt is replaced by the text.
    `cached_at` is when the text was written, if it came from the cache.
    """

    id: str
    draft_id: str
    request: PromptRequest
    started_at: datetime
    cached_at: datetime | None = None
    text: str = ""
    result: EnhancedPrompt | None = None
    error: errors.ImageError | None = None

    @property
    def is_live(self) -> bool:
        return self.result is None and self.error is None


@dataclass(frozen=True, slots=True)
class CallResult:
    """The result of a shared call. `cached_at` is when the text was written, if it came from the cache."""

    enhanced: EnhancedPrompt
    cached_at: datetime | None = None


class Enhancements:
    """At most one run per user. The last run is remembered, so that every tab sees how it ended.

    Identical requests of one user at the same time, from pages and programs, share one call. The thread that
    registers the call reads the cache, once; the requests that join it don't.
    """

    def __init__(
        self, enhancer: Enhancer, drafts: Drafts, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._enhancer = enhancer
        self._drafts = drafts
        self._clock = clock
        self._lock = threading.Lock()
        self._runs: dict[str, EnhancementRun] = {}
        self._submitted: Counter[str] = Counter()
        self._calls = SingleFlight[CallResult]()
        self._futures: set[Future[Any]] = set()
        self._pool = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="enhance")

    def start(self, user_id: str, request: PromptRequest, draft_id: str, *, rewrite: bool = False) -> None:
        """Start the user's run, unless one is live: a double click pays once.

        A cached text ends the run at once. `rewrite` skips the cache and always pays for a new text. Raises
        BudgetSpent or AppStopping; then the user's last run stays as it was.
        """
        with self._lock:
            now, last = self._clock(), self._runs.get(user_id)
            if last and (last.is_live or (last.cached_at and now - last.started_at < DOUBLE_CLICK)):
                return
            self._runs[user_id] = EnhancementRun(new_id(), draft_id, request, now)
        future: Future[CallResult] = Future()
        waiter = Waiter[CallResult](partial(self._append, user_id), future, lambda result: result)
        try:
            self._join_or_call(user_id, request, waiter, rewrite=rewrite)
        except Exception:
            self._restore(user_id, last)
            raise
        future.add_done_callback(partial(self._end_run, user_id))

    def submit(self, user_id: str, request: PromptRequest, on_chunk: Callable[[str], None]) -> Future[str]:
        """Enhance for a program, which waits for the text itself: no run, and no draft is changed.

        `on_chunk` is called in a worker thread. Cancelling the future works until the call starts; a started
        call always finishes, and its text is cached. Raises RequestRateExceeded when the user has
        MAX_CONCURRENT_PER_USER of these already, BudgetSpent or AppStopping.
        """
        with self._lock:
            if self._submitted[user_id] >= MAX_CONCURRENT_PER_USER:
                raise errors.RequestRateExceeded(
                    "Too many enhancements at once.",
                    suggestions=("Wait until one of them has ended.",),
                    retry_after=1,
                )
            self._submitted[user_id] += 1
        future: Future[str] = Future()
        future.add_done_callback(partial(self._count_down, user_id))
        waiter = Waiter[CallResult](on_chunk, future, lambda result: result.enhanced.text)
        self._join_or_call(user_id, request, waiter)
        return future

    def current(self, user_id: str) -> EnhancementRun | None:
        """The user's live run, or the last one that ended in this process."""
        return self._runs.get(user_id)

    def cached_text(self, user_id: str, request: PromptRequest) -> str | None:
        cached = self._enhancer.find_cached(user_id, request)
        return cached.text if cached else None

    def close(self, *, grace_seconds: float = 0) -> bool:
        """Start no more calls and wait for the running ones; returns whether all ended in time."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not wait(list(self._futures), timeout=grace_seconds).not_done

    def _join_or_call(
        self, user_id: str, request: PromptRequest, waiter: Waiter[CallResult], *, rewrite: bool = False
    ) -> None:
        """Join the call under way for this request, else answer from the cache, else call the service.

        Raises BudgetSpent or AppStopping, which also fail the waiters that have joined meanwhile.
        """
        key = new_id() if rewrite else self._enhancer.key(user_id, request)
        call = self._calls.join(key, waiter)
        if call is None:
            return
        try:
            cached = None if rewrite else self._enhancer.find_cached(user_id, request)
            if cached:
                self._finish(user_id, call, CallResult(as_enhanced(cached), cached.created_at))
                self._calls.remove(key, call)
                return
            self._enhancer.check_budget(user_id, request)
            worker = self._submit_to_pool(user_id, request, call)
        except Exception as error:
            self._calls.remove(key, call)
            call.fail(error)
            raise
        worker.add_done_callback(partial(self._call_ended, key, call))

    def _submit_to_pool(
        self, user_id: str, request: PromptRequest, call: SharedCall[CallResult]
    ) -> Future[None]:
        """Raises AppStopping after `close`."""
        with self._lock:
            try:
                worker = self._pool.submit(self._make_call, user_id, request, call)
            except RuntimeError as error:
                raise errors.AppStopping from error
            self._futures.add(worker)
        return worker

    def _make_call(self, user_id: str, request: PromptRequest, call: SharedCall[CallResult]) -> None:
        """Call the service for all waiters, in a worker thread."""
        if not call.start():
            return
        try:
            enhanced = self._enhancer.enhance(user_id, request, call.send)
        except errors.ImageError as error:
            call.fail(error)
        except Exception as error:
            # An unexpected error, too, must end the wait.
            log.exception("enhancement_crashed")
            call.fail(errors.ImagePromptError(details=repr(error)))
        else:
            self._finish(user_id, call, CallResult(enhanced))

    def _finish(self, user_id: str, call: SharedCall[CallResult], result: CallResult) -> None:
        """Give all waiters the text. One of them paid for it, unless it was cached; the others reused it."""
        waiters = call.finish(result)
        for _ in range(waiters if result.cached_at else waiters - 1):
            self._enhancer.record_reuse(user_id, result.enhanced.price_micros)

    def _call_ended(self, key: str, call: SharedCall[CallResult], worker: Future[None]) -> None:
        self._calls.remove(key, call)
        with self._lock:
            self._futures.discard(worker)
        if worker.cancelled():
            call.cancel()

    def _count_down(self, user_id: str, _future: Future[str]) -> None:
        with self._lock:
            self._submitted[user_id] -= 1

    def _append(self, user_id: str, chunk: str) -> None:
        self._update(user_id, text=self._runs[user_id].text + chunk)

    def _end_run(self, user_id: str, future: Future[CallResult]) -> None:
        error = errors.AppStopping() if future.cancelled() else future.exception()
        if error:
            known = isinstance(error, errors.ImageError)
            self._update(user_id, error=error if known else errors.ImagePromptError(details=repr(error)))
            return
        result = future.result()
        self._update_draft(user_id, result.enhanced.text)
        self._update(user_id, text=result.enhanced.text, result=result.enhanced, cached_at=result.cached_at)

    def _update_draft(self, user_id: str, text: str) -> None:
        """Put the text into the stored draft. If that fails, the page still gets the paid text."""
        run = self._runs[user_id]
        log_failure(
            "draft_not_updated",
            lambda: self._drafts.add_enhancement(user_id, text, run.draft_id, run.request),
        )

    def _update(self, user_id: str, **changes: Any) -> None:
        self._runs[user_id] = replace(self._runs[user_id], **changes)

    def _restore(self, user_id: str, last: EnhancementRun | None) -> None:
        with self._lock:
            if last:
                self._runs[user_id] = last
            else:
                del self._runs[user_id]
