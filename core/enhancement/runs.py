"""Background enhancements, started by the Create page or an API client.

An enhancement that the Create page has started is called a run. The page shows the state of the run, and the
text is stored in the user's draft. An API client waits for the text instead.
"""

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
# The limit on each user's unfinished `submit` requests.
MAX_CONCURRENT_PER_USER = 4
# A run with a cached text ends before the second click of a double click, which must not start a new run.
DOUBLE_CLICK = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class EnhancementRun:
    """The state of one enhancement that the Create page has started.

    The run has ended if `result` or `error` is set.

    - `draft_id`: the id of the draft whose prompt is to be replaced with the text.
    - `text`: the part of the text that has arrived. If the run failed, the part that can be used as a draft.
    - `cached_at`: the time at which a cached text was stored, or None if the text isn't from the cache.
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
    """The result of a call that several requests share.

    `cached_at` is the time at which a cached text was stored, or None if the text isn't from the cache.
    """

    enhanced: EnhancedPrompt
    cached_at: datetime | None = None


class Enhancements:
    """Runs enhancements in background threads.

    A user has at most one unfinished run, started by the Create page, and MAX_CONCURRENT_PER_USER unfinished
    API requests. The last run of each user is kept in memory, so that every browser tab can show how it
    ended. Identical concurrent requests of one user share one call. The first of these requests looks in the
    cache, and the other requests wait for the same result.
    """

    def __init__(
        self, enhancer: Enhancer, drafts: Drafts, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self._enhancer = enhancer
        self._drafts = drafts
        self._clock = clock
        # Re-entrant: `close` holds it while cancelled calls end, and their callbacks take it again.
        self._lock = threading.RLock()
        self._runs: dict[str, EnhancementRun] = {}
        self._submitted: Counter[str] = Counter()
        self._calls = SingleFlight[CallResult]()
        self._futures: set[Future[Any]] = set()
        self._pool = ThreadPoolExecutor(WORKER_THREADS, thread_name_prefix="enhance")

    def start(self, user_id: str, request: PromptRequest, draft_id: str, *, rewrite: bool = False) -> None:
        """Start a run for the user. If the user has an unfinished run, do nothing.

        A double click therefore pays once. If the text is cached, the run ends at once. With `rewrite`, the
        cache isn't used and a new text is paid for. Raises BudgetSpent or AppStopping. In that case,
        `current` still returns the previous run.
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

    def submit(
        self, user_id: str, request: PromptRequest, on_chunk: Callable[[str], None]
    ) -> Future[EnhancedPrompt]:
        """Start an enhancement for an API client and return a future of the prompt. No draft is changed.

        `on_chunk` gets each piece of the text, in a worker thread. The future can be cancelled until the call
        starts. A call that has started always finishes, and its text is cached. Raises RequestRateExceeded if
        the user already has MAX_CONCURRENT_PER_USER unfinished requests, and BudgetSpent or AppStopping.
        """
        with self._lock:
            if self._submitted[user_id] >= MAX_CONCURRENT_PER_USER:
                raise errors.RequestRateExceeded(
                    "Too many enhancements at once.",
                    suggestions=("Wait until one of them has ended.",),
                    retry_after=1,
                )
            self._submitted[user_id] += 1
        future: Future[EnhancedPrompt] = Future()
        future.add_done_callback(partial(self._count_down, user_id))
        waiter = Waiter[CallResult](on_chunk, future, lambda result: result.enhanced)
        self._join_or_call(user_id, request, waiter)
        return future

    def current(self, user_id: str) -> EnhancementRun | None:
        """Return the user's unfinished run, or else the last run that ended in this process.

        Returns None if the user has started no run in this process.
        """
        return self._runs.get(user_id)

    def find_cached(self, user_id: str, request: PromptRequest) -> EnhancedPrompt | None:
        cached = self._enhancer.find_cached(user_id, request)
        return as_enhanced(cached) if cached else None

    def close(self, *, grace_seconds: float = 0) -> bool:
        """Start no more calls, and wait at most `grace_seconds` for the running calls.

        Returns True if all running calls ended in that time.
        """
        with self._lock:  # before the pool's own lock, in the order in which `_submit_to_pool` takes them
            self._pool.shutdown(wait=False, cancel_futures=True)
            running = list(self._futures)
        return not wait(running, timeout=grace_seconds).not_done

    def _join_or_call(
        self, user_id: str, request: PromptRequest, waiter: Waiter[CallResult], *, rewrite: bool = False
    ) -> None:
        """Let `waiter` wait for the running call for the same request. If there is none, get the text.

        The text comes from the cache or, if it isn't cached or `rewrite` is set, from a new call to the
        service. Raises BudgetSpent or AppStopping. Requests that wait for the same text get the same error.
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
        """Make the call in a worker thread, and return the future of that thread's work.

        Raises AppStopping after `close`.
        """
        with self._lock:
            try:
                worker = self._pool.submit(self._make_call, user_id, request, call)
            except RuntimeError as error:
                raise errors.AppStopping from error
            self._futures.add(worker)
        return worker

    def _make_call(self, user_id: str, request: PromptRequest, call: SharedCall[CallResult]) -> None:
        """Call the service, and pass the text or the error to all requests that share `call`.

        This method runs in a worker thread.
        """
        if not call.start():
            return
        try:
            enhanced = self._enhancer.enhance(user_id, request, call.send)
        except errors.ImageError as error:
            call.fail(error)
        except Exception as error:
            # The waiters must also receive an unexpected error, or they would wait for ever.
            log.exception("enhancement_crashed")
            call.fail(errors.ImagePromptError(details=errors.exception_text(error)))
        else:
            self._finish(user_id, call, CallResult(enhanced))

    def _finish(self, user_id: str, call: SharedCall[CallResult], result: CallResult) -> None:
        """Give the text to all requests that share `call`. Record each request that got it free of charge.

        If the text came from the cache, all of these requests are free. Otherwise, one of them has paid for
        the call.
        """
        waiters = call.finish(result)
        for _ in range(waiters if result.cached_at else waiters - 1):
            self._enhancer.record_reuse(user_id, result.enhanced.price_micros)

    def _call_ended(self, key: str, call: SharedCall[CallResult], worker: Future[None]) -> None:
        self._calls.remove(key, call)
        with self._lock:
            self._futures.discard(worker)
        if worker.cancelled():
            call.cancel()

    def _count_down(self, user_id: str, _future: Future[EnhancedPrompt]) -> None:
        with self._lock:
            self._submitted[user_id] -= 1

    def _append(self, user_id: str, chunk: str) -> None:
        self._update(user_id, text=self._runs[user_id].text + chunk)

    def _end_run(self, user_id: str, future: Future[CallResult]) -> None:
        error = errors.AppStopping() if future.cancelled() else future.exception()
        run = self._runs[user_id]
        if error:
            known = (
                error
                if isinstance(error, errors.ImageError)
                else errors.ImagePromptError(details=errors.exception_text(error))
            )
            if text := known.unfinished_text:
                self._update_draft(lambda: self._drafts.add_unfinished(user_id, text, run.draft_id))
            self._update(user_id, text=text, error=known)
            return
        result = future.result()
        text = result.enhanced.text
        self._update_draft(lambda: self._drafts.add_enhancement(user_id, text, run.draft_id, run.request))
        self._update(user_id, text=text, result=result.enhanced, cached_at=result.cached_at)

    def _update_draft(self, store: Callable[[], None]) -> None:
        """Call `store`, which changes the stored draft. If that fails, the error is only logged.

        The page still gets the text, because the run has it.
        """
        log_failure("draft_not_updated", store)

    def _update(self, user_id: str, **changes: Any) -> None:
        self._runs[user_id] = replace(self._runs[user_id], **changes)

    def _restore(self, user_id: str, last: EnhancementRun | None) -> None:
        with self._lock:
            if last:
                self._runs[user_id] = last
            else:
                del self._runs[user_id]
