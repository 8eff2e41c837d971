"""The paid call of an enhancement: reserve its price, call the service, cache the text, record the cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import TypeVar

import structlog

from core import errors
from core.common.clock import utc_now
from core.database.models import CachedEnhancement, UsageKind
from core.enhancement.cache import EnhancementCache
from core.prompts.request import PromptRequest
from core.provider import pricing
from core.provider.chat import EnhancedPrompt
from core.provider.client import ServiceClient
from core.provider.payloads import user_tag
from core.usage.budgets import Budgets
from core.usage.usage_log import Call, Outcome, UsageLog

T = TypeVar("T")
OnFailure = Callable[[errors.ImageError], None]
log = structlog.get_logger(__name__)


class Enhancer:
    """Enhances prompts with one text model. Each paid call is in the usage log before it is sent.

    The offline engine stands in for the service if there is no key. Its calls are free: they reserve no money
    and are recorded when they have ended.
    """

    def __init__(
        self,
        client: ServiceClient,
        usage: UsageLog,
        cache: EnhancementCache,
        budgets: Budgets,
        *,
        model: str,
        offline: bool,
        secret: bytes,
        clock: Callable[[], datetime] = utc_now,
        on_failure: OnFailure = lambda _error: None,
    ) -> None:
        self._client = client
        self._usage = usage
        self._cache = cache
        self._budgets = budgets
        self._model = model
        self._offline = offline
        self._secret = secret
        self._clock = clock
        self._on_failure = on_failure

    def key(self, user_id: str, request: PromptRequest) -> str:
        """Return a key for this request. Identical requests of one user have the same key."""
        return self._cache.key(user_id, self._model, request)

    def find_cached(self, user_id: str, request: PromptRequest) -> CachedEnhancement | None:
        """Return the cached entry for this request, or None if there is none or the cache can't be read."""
        return log_failure(
            "enhancement_cache_unreadable", lambda: self._cache.find(user_id, self._model, request)
        )

    def check_budget(self, user_id: str, request: PromptRequest) -> None:
        """Raise BudgetSpent if the user's budgets don't cover a call for `request`."""
        if not self._offline:
            self._budgets.check_enhancement(user_id, pricing.max_text_price(self._model, request))

    def enhance(
        self, user_id: str, request: PromptRequest, on_chunk: Callable[[str], None]
    ) -> EnhancedPrompt:
        """Call the service and return the enhanced prompt. `on_chunk` gets each piece of the text.

        When the call has ended, the text is cached and the call is recorded in the usage log. Raises
        PromptFlagged, BudgetSpent, StorageError or DatabaseError before anything is paid, and the errors of
        `ChatClient.enhance`.
        """
        self._client.text_moderation.screen((request.to_message(),))
        started, call = time.monotonic(), self._new_call(user_id, request)
        call_id = self._reserve(call)
        try:
            stream = self._client.chat.enhance(request, user_tag=user_tag(user_id, self._secret))
            for chunk in stream:
                on_chunk(chunk)
        except errors.ImageError as error:
            if self._offline:
                error.of_free_call()
            self._record_failure(call_id, replace(call, seconds=time.monotonic() - started), error)
            raise
        except Exception as error:
            log.exception("enhancement_crashed")
            failure = errors.ImagePromptError(details=errors.exception_text(error))
            failure.charged = False if self._offline else None
            self._record_failure(call_id, replace(call, seconds=time.monotonic() - started), failure)
            raise failure from error
        self._store(user_id, request, stream.result)
        self._record_success(call_id, call, stream.result)
        return stream.result

    def record_reuse(self, user_id: str, price_micros: int | None) -> None:
        """Record in the usage log that an enhanced prompt was reused free of charge.

        `price_micros` is the price of the original call in micro-USD, or None if unknown.
        """
        call = replace(self._new_call(user_id), outcome=Outcome.SAVED, price_micros=0)
        self._record(None, replace(call, saved_micros=price_micros))

    def _new_call(self, user_id: str, request: PromptRequest | None = None) -> Call:
        """Return a usage log entry for a call that has not been sent yet.

        If `request` is given, the entry reserves the most that the call is likely to cost.
        """
        reserved = pricing.max_text_price(self._model, request) if request and not self._offline else None
        return Call(
            user_id=user_id, kind=UsageKind.ENHANCE, model=self._model, offline=self._offline,
            started_at=self._clock(), seconds=0.0, outcome=Outcome.FAILED, reserved_micros=reserved,
        )  # fmt: skip

    def _reserve(self, call: Call) -> str | None:
        """Write the call to the usage log before it is sent, and return the id of its row.

        Returns None for the offline engine, which reserves nothing. Raises BudgetSpent if the budgets don't
        cover the call. If the usage log can't be written, the result depends on the user: a user with budgets
        gets StorageError or DatabaseError. For a user without budgets, the error is logged and None is
        returned, so that the call can be sent.
        """
        if self._offline:
            return None
        try:
            return self._budgets.begin_text_call(self._usage, call)
        except (errors.StorageError, errors.DatabaseError) as error:
            if self._budgets.has_limits(call.user_id):
                raise
            log.error("usage_reservation_failed", code=error.code)
            return None

    def _store(self, user_id: str, request: PromptRequest, enhanced: EnhancedPrompt) -> None:
        """Cache the text. If that fails, the error is only logged.

        The same request then has to be paid for again.
        """
        log_failure("enhancement_not_cached", lambda: self._cache.store(user_id, request, enhanced))

    def _record_success(self, call_id: str | None, call: Call, enhanced: EnhancedPrompt) -> None:
        self._record(
            call_id,
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

    def _record_failure(self, call_id: str | None, call: Call, error: errors.ImageError) -> None:
        log.warning(
            "enhancement_failed", code=error.code, details=error.details, service_request_id=error.request_id
        )
        self._on_failure(error)
        self._record(
            call_id,
            replace(
                call,
                error_code=error.code,
                request_id=error.request_id,
                input_tokens=error.input_tokens,
                output_tokens=error.output_tokens,
                price_micros=error.price_micros,
                # A call that may have been charged keeps its reservation, which is the most it may have cost.
                reserved_micros=None if error.charged is False else call.reserved_micros,
            ),
        )

    def _record(self, call_id: str | None, call: Call) -> None:
        """Write a call that has ended to the usage log. If that fails, the error is only logged.

        `call_id` is the id that `_reserve` has returned. With None, a new row is added.
        """
        if call_id:
            log_failure("usage_not_recorded", lambda: self._usage.end(call_id, call))
        else:
            log_failure("usage_not_recorded", lambda: self._usage.record_now(call))


def log_failure(event: str, action: Callable[[], T]) -> T | None:
    """Return the result of `action`. If `action` raises an exception, log `event` and return None.

    This is used after a paid call, so that the paid text isn't lost if something can't be stored.
    """
    try:
        return action()
    except Exception as error:
        log.error(event, error=repr(error))
        return None
