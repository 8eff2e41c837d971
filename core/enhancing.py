"""Enhancements in the background: a page watches one arrive, and the draft gets it even without a page."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

import structlog

from core import errors
from core.client import Enhanced, ImageClient
from core.drafts import Drafts
from core.models import Take, UsageKind, new_id, utc_now
from core.prompts import PromptRequest
from core.takes import Takes, as_enhanced
from core.usage import Call, Outcome, UsageLog, user_tag

WORKERS = 16
# Of one user, by a program; each may go beyond a budget by its own price.
ASKED_AT_ONCE = 4
# What is answered at once is there before the second click of a double click.
SECOND_CLICK = timedelta(seconds=1)
T = TypeVar("T")
OnFailure = Callable[[errors.ImageError], None]
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EnhancementRun:
    """One enhancement as far as it has come. `result` or `error` is there when it has ended.

    `draft_id` names the draft it was asked for: its text replaces the prompt of that one alone. `kept_at` is
    when its text was written, if that answered the same request before.
    """

    id: str
    draft_id: str
    request: PromptRequest
    begun_at: datetime
    kept_at: datetime | None = None
    text: str = ""
    result: Enhanced | None = None
    error: errors.ImageError | None = None

    @property
    def is_live(self) -> bool:
        return self.result is None and self.error is None


class Enhancements:
    """At most one enhancement a user at a time; the last one stays, so that every tab may see it end."""

    def __init__(
        self,
        client: ImageClient,
        drafts: Drafts,
        usage: UsageLog,
        takes: Takes,
        *,
        model: str,
        offline: bool,
        secret: bytes,
        clock: Callable[[], datetime] = utc_now,
        on_failure: OnFailure = lambda _error: None,
    ) -> None:
        self._client = client
        self._drafts = drafts
        self._usage = usage
        self._takes = takes
        self._model = model
        self._offline = offline
        self._secret = secret
        self._clock = clock
        self._on_failure = on_failure
        self._by_user: dict[str, EnhancementRun] = {}
        self._guard = threading.Lock()
        self._futures: set[Future[Any]] = set()
        self._asked_by: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="enhance")

    def start(self, user_id: str, request: PromptRequest, draft_id: str, *, another: bool = False) -> None:
        """Begin, unless one is under way already: a double click pays once.

        What was asked for within a day is answered at once with the text of then, unless it is to be
        `another` one.
        """
        with self._guard:
            now, current = self._clock(), self._by_user.get(user_id)
            if current and (current.is_live or (current.kept_at and now - current.begun_at < SECOND_CLICK)):
                return
            self._by_user[user_id] = EnhancementRun(new_id(), draft_id, request, now)
        take = None if another else self._kept(user_id, request)
        if take:
            self._answer(user_id, take)
            return
        try:
            with self._guard:
                future = self._submit(self._run, user_id, request)
        except errors.AppStopping as error:
            self._set(user_id, error=error)
            return
        future.add_done_callback(self._futures.discard)

    def ask(self, user_id: str, request: PromptRequest, on_piece: Callable[[str], None]) -> Future[str]:
        """Enhance for whoever waits for the text itself: no page is told, and no draft is touched.

        `on_piece` is given what arrives, in a thread of ours. What was asked for within a day is answered
        with the text of then. Whoever gives up cancels the future; a call that has left is let finish, and
        kept. Raises RateExceeded for more than ASKED_AT_ONCE of one user at once, and AppStopping.
        """
        with self._guard:
            if self._asked_by[user_id] >= ASKED_AT_ONCE:
                raise errors.RateExceeded(
                    "Too many enhancements at once.",
                    suggestions=("Wait until one of them has ended.",),
                    retry_after=1,
                )
            future = self._submit(self._asked, user_id, request, on_piece)
            self._asked_by[user_id] += 1
        future.add_done_callback(partial(self._answered, user_id))
        return future

    def _submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have it done by the pool; the guard is held. Raises AppStopping once nothing is begun any more."""
        try:
            future = self._pool.submit(work, *args)
        except RuntimeError as error:
            raise errors.AppStopping from error
        self._futures.add(future)
        return future

    def _answered(self, user_id: str, future: Future[str]) -> None:
        with self._guard:
            self._asked_by[user_id] -= 1
            self._futures.discard(future)

    def kept(self, user_id: str, request: PromptRequest) -> str | None:
        """What this user got for the same request within a day."""
        take = self._kept(user_id, request)
        return take.text if take else None

    def _asked(self, user_id: str, request: PromptRequest, on_piece: Callable[[str], None]) -> str:
        if take := self._kept(user_id, request):
            self._saved(user_id, take)
            return take.text
        begun, call = time.monotonic(), self._call(user_id)
        try:
            stream = self._client.enhance(request, user_tag=user_tag(user_id, self._secret))
            for piece in stream:
                on_piece(piece)
        except errors.ImageError as error:
            self._record_failure(replace(call, seconds=time.monotonic() - begun), error)
            raise
        except Exception as error:
            log.exception("enhancement broke off")
            failure = errors.ImagePromptError(details=repr(error))
            self._record_failure(replace(call, seconds=time.monotonic() - begun), failure)
            raise failure from error
        self._keep(user_id, request, stream.result)
        self._record_success(call, stream.result)
        return stream.result.text

    def is_kept(self, user_id: str, request: PromptRequest) -> bool:
        """Whether a text of the last day answers this, which costs nothing."""
        return self._kept(user_id, request) is not None

    def current(self, user_id: str) -> EnhancementRun | None:
        """The enhancement under way, or the last one that ended in this process."""
        return self._by_user.get(user_id)

    def close(self, *, grace_seconds: float = 0) -> bool:
        """Begin no more and let running calls finish within the grace period; whether they all have."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not wait(list(self._futures), timeout=grace_seconds).not_done

    def _kept(self, user_id: str, request: PromptRequest) -> Take | None:
        """The text of before; where it can't be read, the service is asked."""
        return _attempt(
            "an earlier enhancement could not be read",
            lambda: self._takes.find(user_id, self._model, request),
        )

    def _answer(self, user_id: str, take: Take) -> None:
        enhanced = as_enhanced(take)
        self._put(user_id, enhanced)
        self._set(user_id, text=enhanced.text, result=enhanced, kept_at=take.created_at)
        self._saved(user_id, take)

    def _saved(self, user_id: str, take: Take) -> None:
        call = replace(self._call(user_id), outcome=Outcome.SAVED, price_micros=0)
        self._record(replace(call, saved_micros=take.price_micros))

    def _call(self, user_id: str) -> Call:
        return Call(
            user_id=user_id, kind=UsageKind.ENHANCE, model=self._model, offline=self._offline,
            started_at=self._clock(), seconds=0.0, outcome=Outcome.FAILED,
        )  # fmt: skip

    def _run(self, user_id: str, request: PromptRequest) -> None:
        begun, call = time.monotonic(), self._call(user_id)
        try:
            enhanced = self._stream(user_id, request)
        except errors.ImageError as error:
            self._failed(user_id, replace(call, seconds=time.monotonic() - begun), error)
        except Exception as error:
            # A fault of ours must not leave the page waiting for ever.
            log.exception("enhancement broke off")
            failure = errors.ImagePromptError(details=repr(error))
            self._failed(user_id, replace(call, seconds=time.monotonic() - begun), failure)
        else:
            self._finished(user_id, call, enhanced)

    def _stream(self, user_id: str, request: PromptRequest) -> Enhanced:
        stream = self._client.enhance(request, user_tag=user_tag(user_id, self._secret))
        text = ""
        for piece in stream:
            text += piece
            self._set(user_id, text=text)
        return stream.result

    def _finished(self, user_id: str, call: Call, enhanced: Enhanced) -> None:
        self._put(user_id, enhanced)
        self._keep(user_id, self._by_user[user_id].request, enhanced)
        self._set(user_id, text=enhanced.text, result=enhanced)
        self._record_success(call, enhanced)

    def _record_success(self, call: Call, enhanced: Enhanced) -> None:
        self._record(
            replace(
                call,
                outcome=Outcome.OK,
                model=enhanced.model,
                seconds=enhanced.seconds,
                input_tokens=enhanced.usage.input_tokens,
                output_tokens=enhanced.usage.output_tokens,
                price_micros=enhanced.price_micros,
                request_id=enhanced.request_id,
            )
        )

    def _put(self, user_id: str, enhanced: Enhanced) -> None:
        """Put the text into the draft; where that fails, the page still gets what was paid for."""
        run = self._by_user[user_id]
        _attempt(
            "an enhancement could not be stored",
            lambda: self._drafts.enhanced(user_id, enhanced.text, run.draft_id, run.request),
        )

    def _keep(self, user_id: str, request: PromptRequest, enhanced: Enhanced) -> None:
        """Keep a whole text to answer again; where that fails, it is asked for and paid again."""
        _attempt("an enhancement could not be kept", lambda: self._takes.keep(user_id, request, enhanced))

    def _failed(self, user_id: str, call: Call, error: errors.ImageError) -> None:
        self._set(user_id, error=error)
        self._record_failure(call, error)

    def _record_failure(self, call: Call, error: errors.ImageError) -> None:
        log.warning(
            "enhancement failed", code=error.code, details=error.details, service_request_id=error.request_id
        )
        self._on_failure(error)
        self._record(replace(call, error_code=error.code, request_id=error.request_id))

    def _record(self, call: Call) -> None:
        """The page has its text by now; a record that can't be written is told to the log alone."""
        _attempt("a call could not be recorded", lambda: self._usage.record_now(call))

    def _set(
        self,
        user_id: str,
        *,
        text: str | None = None,
        result: Enhanced | None = None,
        error: errors.ImageError | None = None,
        kept_at: datetime | None = None,
    ) -> None:
        before = self._by_user[user_id]
        text = before.text if text is None else text
        self._by_user[user_id] = replace(before, text=text, result=result, error=error, kept_at=kept_at)


def _attempt(failure: str, action: Callable[[], T]) -> T | None:
    """What `action` gives; a text that was paid for is shown whatever becomes of what is done beside it."""
    try:
        return action()
    except Exception as error:
        log.error(failure, error=repr(error))
        return None
