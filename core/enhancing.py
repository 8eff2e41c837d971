"""Enhancements in the background: a page watches one arrive, and the draft gets it even without a page."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from core import errors
from core.client import Enhanced, ImageClient
from core.drafts import Drafts
from core.models import UsageKind, utc_now
from core.prompts import PromptRequest
from core.usage import Call, Outcome, UsageLog, user_tag

WORKERS = 16
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EnhancementRun:
    """One enhancement as far as it has come. `result` or `error` is there when it has ended."""

    text: str = ""
    result: Enhanced | None = None
    error: errors.ImageError | None = None

    @property
    def is_live(self) -> bool:
        return self.result is None and self.error is None


class Enhancements:
    """At most one enhancement a user at a time; the last one stays until it is taken."""

    def __init__(
        self,
        client: ImageClient,
        drafts: Drafts,
        usage: UsageLog,
        *,
        model: str,
        offline: bool,
        secret: bytes,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self._client = client
        self._drafts = drafts
        self._usage = usage
        self._model = model
        self._offline = offline
        self._secret = secret
        self._clock = clock
        self._by_user: dict[str, EnhancementRun] = {}
        self._guard = threading.Lock()
        self._pool = ThreadPoolExecutor(WORKERS, thread_name_prefix="enhance")

    def start(self, user_id: str, request: PromptRequest) -> None:
        """Begin, unless one is under way already: a double click pays once."""
        with self._guard:
            current = self._by_user.get(user_id)
            if current and current.is_live:
                return
            self._by_user[user_id] = EnhancementRun()
        self._pool.submit(self._run, user_id, request)

    def current(self, user_id: str) -> EnhancementRun | None:
        return self._by_user.get(user_id)

    def take(self, user_id: str) -> EnhancementRun | None:
        """The ended enhancement, once; None while there is none or it still runs."""
        with self._guard:
            current = self._by_user.get(user_id)
            if current is None or current.is_live:
                return None
            return self._by_user.pop(user_id)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _run(self, user_id: str, request: PromptRequest) -> None:
        started, begun = self._clock(), time.monotonic()
        call = Call(
            user_id=user_id, kind=UsageKind.ENHANCE, model=self._model, offline=self._offline,
            started_at=started, seconds=0.0, outcome=Outcome.FAILED,
        )  # fmt: skip
        try:
            enhanced = self._stream(user_id, request)
            self._keep(user_id, enhanced)
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
            self._set(user_id, result=enhanced)
        except errors.ImageError as error:
            self._failed(user_id, replace(call, seconds=time.monotonic() - begun), error)
        except Exception as error:
            # A fault of ours must not leave the page waiting for ever.
            log.exception("enhancement broke off")
            failure = errors.ImagePromptError(details=repr(error))
            self._failed(user_id, replace(call, seconds=time.monotonic() - begun), failure)

    def _stream(self, user_id: str, request: PromptRequest) -> Enhanced:
        stream = self._client.enhance(request, user_tag=user_tag(user_id, self._secret))
        text = ""
        for piece in stream:
            text += piece
            self._set(user_id, text=text)
        return stream.result

    def _keep(self, user_id: str, enhanced: Enhanced) -> None:
        """Put the text into the draft; where that fails, the page still gets what was paid for."""
        try:
            self._drafts.enhanced(user_id, enhanced.text)
        except errors.ImageError as error:
            log.error("an enhancement could not be stored", code=error.code, details=error.details)

    def _failed(self, user_id: str, call: Call, error: errors.ImageError) -> None:
        log.warning("enhancement failed", code=error.code, details=error.details, request_id=error.request_id)
        self._record(replace(call, error_code=error.code, request_id=error.request_id))
        self._set(user_id, error=error)

    def _record(self, call: Call) -> None:
        try:
            self._usage.record_now(call)
        except errors.ImageError as error:
            log.error("a call could not be recorded", code=error.code, details=error.details)

    def _set(
        self,
        user_id: str,
        *,
        text: str | None = None,
        result: Enhanced | None = None,
        error: errors.ImageError | None = None,
    ) -> None:
        before = self._by_user[user_id]
        self._by_user[user_id] = EnhancementRun(
            text=result.text if result else before.text if text is None else text, result=result, error=error
        )
