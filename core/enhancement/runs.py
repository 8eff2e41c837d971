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
from typing import Any

import structlog

from core import errors
from core.common.clock import utc_now
from core.common.ids import new_id
from core.database.models import CachedEnhancement, UsageKind
from core.enhancement.cache import Takes, as_enhanced
from core.enhancement.drafts import Drafts
from core.enhancement.enhancer import OnFailure, log_failure
from core.enhancement.single_flight import Flight, Waiter
from core.prompts.request import PromptRequest
from core.provider import pricing
from core.provider.chat import EnhancedPrompt
from core.provider.client import ServiceClient
from core.provider.payloads import user_tag
from core.usage.budgets import Budgets
from core.usage.usage_log import Call, Outcome, UsageLog

log = structlog.get_logger(__name__)


WORKERS = 16
# Of one user, by a program.
ASKED_AT_ONCE = 4
# What is answered at once is there before the second click of a double click.
SECOND_CLICK = timedelta(seconds=1)


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
    result: EnhancedPrompt | None = None
    error: errors.ImageError | None = None

    @property
    def is_live(self) -> bool:
        return self.result is None and self.error is None


class Enhancements:
    """At most one enhancement a user at a time; the last one stays, so that every tab may see it end.

    What is asked for while the same request of the same user is under way, here or by a program, waits for
    that one's text. Each call is written down before it leaves, as far as there is anything to pay.
    """

    def __init__(
        self,
        client: ServiceClient,
        drafts: Drafts,
        usage: UsageLog,
        takes: Takes,
        budgets: Budgets,
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
        self._budgets = budgets
        self._model = model
        self._offline = offline
        self._secret = secret
        self._clock = clock
        self._on_failure = on_failure
        self._by_user: dict[str, EnhancementRun] = {}
        self._guard = threading.Lock()
        self._flights: dict[str, Flight[EnhancedPrompt]] = {}
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
        text: Future[EnhancedPrompt] = Future()
        text.add_done_callback(partial(self._shown, user_id))
        waiter = Waiter[EnhancedPrompt](partial(self._grow, user_id), text, lambda enhanced: enhanced)
        try:
            self._wait(user_id, request, waiter, another=another)
        except errors.AppStopping:
            text.cancel()

    def ask(self, user_id: str, request: PromptRequest, on_piece: Callable[[str], None]) -> Future[str]:
        """Enhance for whoever waits for the text itself: no page is told, and no draft is touched.

        `on_piece` is given what arrives, in a thread of ours. What was asked for within a day is answered
        with the text of then. Whoever gives up cancels the future; a call that has left is let finish, and
        kept. Raises RequestRateExceeded for more than ASKED_AT_ONCE of one user at once, and AppStopping.
        """
        text: Future[str] = Future()
        with self._guard:
            if self._asked_by[user_id] >= ASKED_AT_ONCE:
                raise errors.RequestRateExceeded(
                    "Too many enhancements at once.",
                    suggestions=("Wait until one of them has ended.",),
                    retry_after=1,
                )
            self._asked_by[user_id] += 1
        text.add_done_callback(partial(self._answered, user_id))
        try:
            self._wait(
                user_id, request, Waiter[EnhancedPrompt](on_piece, text, lambda enhanced: enhanced.text)
            )
        except errors.AppStopping:
            text.cancel()
            raise
        return text

    def _wait(
        self, user_id: str, request: PromptRequest, waiter: Waiter[EnhancedPrompt], *, another: bool = False
    ) -> None:
        """Let `waiter` have the text of the call that is under way for this, or else of a new one.

        Raises AppStopping.
        """
        key = new_id() if another else self._takes.key(user_id, self._model, request)
        with self._guard:
            under_way = self._flights.get(key)
            if under_way and under_way.join(waiter):
                return
            flight = self._flights[key] = Flight(waiter)
            try:
                future = self._submit(self._fly, user_id, request, flight, another)
            except errors.AppStopping:
                del self._flights[key]
                raise
        future.add_done_callback(partial(self._landed, key, flight))

    def _submit(self, work: Callable[..., Any], *args: Any) -> Future[Any]:
        """Have it done by the pool; the guard is held. Raises AppStopping once nothing is begun any more."""
        try:
            future = self._pool.submit(work, *args)
        except RuntimeError as error:
            raise errors.AppStopping from error
        self._futures.add(future)
        return future

    def _answered(self, user_id: str, _text: Future[str]) -> None:
        with self._guard:
            self._asked_by[user_id] -= 1

    def _landed(self, key: str, flight: Flight[EnhancedPrompt], future: Future[Any]) -> None:
        with self._guard:
            self._futures.discard(future)
            # Another one may have taken its place.
            if self._flights.get(key) is flight:
                del self._flights[key]
        if future.cancelled():
            flight.abandon()

    def kept(self, user_id: str, request: PromptRequest) -> str | None:
        """What this user got for the same request within a day."""
        take = self._kept(user_id, request)
        return take.text if take else None

    def _fly(
        self, user_id: str, request: PromptRequest, flight: Flight[EnhancedPrompt], another: bool
    ) -> None:
        """Get the text for all who wait for it, in a thread of ours; the first of them pays, if anybody."""
        if not flight.begin():
            return
        try:
            enhanced = self._text(user_id, request, flight.tell, another=another)
        except errors.ImageError as error:
            flight.fail(error)
        except Exception as error:
            # A fault of ours must not leave anybody waiting for ever.
            log.exception("enhancement broke off")
            flight.fail(errors.ImagePromptError(details=repr(error)))
        else:
            for _ in range(flight.land(enhanced) - 1):
                self._saved(user_id, enhanced.price_micros)

    def _text(
        self, user_id: str, request: PromptRequest, on_piece: Callable[[str], None], *, another: bool
    ) -> EnhancedPrompt:
        """What was asked for within a day, or else a bought one. Raises what `_bought` does."""
        if take := None if another else self._kept(user_id, request):
            self._saved(user_id, take.price_micros)
            return as_enhanced(take)
        return self._bought(user_id, request, on_piece)

    def _bought(
        self, user_id: str, request: PromptRequest, on_piece: Callable[[str], None]
    ) -> EnhancedPrompt:
        """Ask the service, keep what it writes, and record the call.

        Raises PromptFlagged, BudgetSpent, StorageError or DatabaseError before anything is paid, and the
        client's errors.
        """
        self._client.moderation.screen((request.to_message(),))
        begun, call = time.monotonic(), self._call(user_id, request)
        attempt = self._begin(call)
        try:
            stream = self._client.chat.enhance(request, user_tag=user_tag(user_id, self._secret))
            for piece in stream:
                on_piece(piece)
        except errors.ImageError as error:
            self._record_failure(attempt, replace(call, seconds=time.monotonic() - begun), error)
            raise
        except Exception as error:
            log.exception("enhancement broke off")
            failure = errors.ImagePromptError(details=repr(error))
            failure.charged = None
            self._record_failure(attempt, replace(call, seconds=time.monotonic() - begun), failure)
            raise failure from error
        self._keep(user_id, request, stream.result)
        self._record_success(attempt, call, stream.result)
        return stream.result

    def _begin(self, call: Call) -> str | None:
        """Write a call down before it leaves; None where nothing was written.

        Where no budget holds, a disk without room or a busy database keeps nobody from a text. Raises
        BudgetSpent; where one holds, StorageError or DatabaseError too.
        """
        if self._offline:
            return None
        try:
            return self._budgets.begin_text_call(self._usage, call)
        except (errors.StorageError, errors.DatabaseError) as error:
            if self._budgets.has_limits(call.user_id):
                raise
            log.error("a call could not be written down before it left", code=error.code)
            return None

    def is_free(self, user_id: str, request: PromptRequest) -> bool:
        """Whether a text of the last day answers this, or the one that is under way, which costs nothing."""
        under_way = self._takes.key(user_id, self._model, request) in self._flights
        return under_way or self._kept(user_id, request) is not None

    def current(self, user_id: str) -> EnhancementRun | None:
        """The enhancement under way, or the last one that ended in this process."""
        return self._by_user.get(user_id)

    def close(self, *, grace_seconds: float = 0) -> bool:
        """Begin no more and let running calls finish within the grace period; whether they all have."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        return not wait(list(self._futures), timeout=grace_seconds).not_done

    def _kept(self, user_id: str, request: PromptRequest) -> CachedEnhancement | None:
        """The text of before; where it can't be read, the service is asked."""
        return log_failure(
            "an earlier enhancement could not be read",
            lambda: self._takes.find(user_id, self._model, request),
        )

    def _answer(self, user_id: str, take: CachedEnhancement) -> None:
        enhanced = as_enhanced(take)
        self._put(user_id, enhanced)
        self._set(user_id, text=enhanced.text, result=enhanced, kept_at=take.created_at)
        self._saved(user_id, take.price_micros)

    def _saved(self, user_id: str, price_micros: int | None) -> None:
        call = replace(self._call(user_id), outcome=Outcome.SAVED, price_micros=0)
        self._record(None, replace(call, saved_micros=price_micros))

    def _call(self, user_id: str, request: PromptRequest | None = None) -> Call:
        """A call that has not ended yet; that of a `request` with what it reserves."""
        most = pricing.likely_most_text(self._model, request) if request and not self._offline else None
        return Call(
            user_id=user_id, kind=UsageKind.ENHANCE, model=self._model, offline=self._offline,
            started_at=self._clock(), seconds=0.0, outcome=Outcome.FAILED, reserved_micros=most,
        )  # fmt: skip

    def _grow(self, user_id: str, piece: str) -> None:
        self._set(user_id, text=self._by_user[user_id].text + piece)

    def _shown(self, user_id: str, text: Future[EnhancedPrompt]) -> None:
        """The end of what a page waits for."""
        error = errors.AppStopping() if text.cancelled() else text.exception()
        if isinstance(error, errors.ImageError):
            self._set(user_id, error=error)
            return
        enhanced = text.result()
        self._put(user_id, enhanced)
        self._set(user_id, text=enhanced.text, result=enhanced)

    def _record_success(self, attempt: str | None, call: Call, enhanced: EnhancedPrompt) -> None:
        self._record(
            attempt,
            replace(
                call,
                outcome=Outcome.OK,
                model=enhanced.model,
                seconds=enhanced.seconds,
                input_tokens=enhanced.usage.input_tokens,
                output_tokens=enhanced.usage.output_tokens,
                price_micros=enhanced.price_micros,
                request_id=enhanced.request_id,
            ),
        )

    def _put(self, user_id: str, enhanced: EnhancedPrompt) -> None:
        """Put the text into the draft; where that fails, the page still gets what was paid for."""
        run = self._by_user[user_id]
        log_failure(
            "an enhancement could not be stored",
            lambda: self._drafts.enhanced(user_id, enhanced.text, run.draft_id, run.request),
        )

    def _keep(self, user_id: str, request: PromptRequest, enhanced: EnhancedPrompt) -> None:
        """Keep a whole text to answer again; where that fails, it is asked for and paid again."""
        log_failure("an enhancement could not be kept", lambda: self._takes.keep(user_id, request, enhanced))

    def _record_failure(self, attempt: str | None, call: Call, error: errors.ImageError) -> None:
        log.warning(
            "enhancement failed", code=error.code, details=error.details, service_request_id=error.request_id
        )
        self._on_failure(error)
        self._record(
            attempt,
            replace(
                call,
                error_code=error.code,
                request_id=error.request_id,
                input_tokens=error.input_tokens,
                output_tokens=error.output_tokens,
                price_micros=error.price_micros,
                # What may have been charged counts as much as it may have cost.
                reserved_micros=None if error.charged is False else call.reserved_micros,
            ),
        )

    def _record(self, attempt: str | None, call: Call) -> None:
        """Nobody loses a text because of it: one that can't be written is told to the log alone."""
        if attempt:
            log_failure("a call's end could not be recorded", lambda: self._usage.end(attempt, call))
        else:
            log_failure("a call could not be recorded", lambda: self._usage.record_now(call))

    def _set(
        self,
        user_id: str,
        *,
        text: str | None = None,
        result: EnhancedPrompt | None = None,
        error: errors.ImageError | None = None,
        kept_at: datetime | None = None,
    ) -> None:
        before = self._by_user[user_id]
        text = before.text if text is None else text
        self._by_user[user_id] = replace(before, text=text, result=result, error=error, kept_at=kept_at)
