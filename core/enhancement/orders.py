"""Orders for an enhancement: checked for what can be sent and paid, then given to the enhancer."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from http import HTTPStatus

import structlog

from core import errors
from core.accounts.identity import SignedIn
from core.common.clock import utc_now
from core.database.models import IdempotentResponse
from core.enhancement.drafts import DraftState
from core.enhancement.runs import Enhancements
from core.errors.stored import StoredError
from core.prompts.request import PromptRequest
from core.prompts.styles import find_style
from core.prompts.validation import check_prompt_texts
from core.provider import capabilities, catalogue
from core.settings import Settings
from core.usage.idempotency import IdempotencyStore, IdempotentRequest

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhancementOrders:
    """Orders an enhancement for a user's draft, or for a program that waits for the text itself."""

    settings: Settings
    enhancements: Enhancements
    idempotency: IdempotencyStore
    clock: Callable[[], datetime] = utc_now

    def enhance_draft(self, user: SignedIn, draft: DraftState) -> None:
        """Start enhancing the user's draft in the background.

        A draft that has been enhanced already gets a rewrite. Any other request that was made within a day is
        answered from the cache, free of charge. Raises TextRejected, PromptEmpty, ModelRetired, BudgetSpent
        or AppStopping.
        """
        request = draft.request()
        self._check(request)
        self.enhancements.start(user.user_id, request, draft.id, rewrite=draft.is_enhanced)

    def enhance_request(
        self,
        user: SignedIn,
        request: PromptRequest,
        on_chunk: Callable[[str], None],
        *,
        idempotency: IdempotentRequest | None = None,
    ) -> Future[str]:
        """Start an enhancement for a program and return the future text; the user's draft stays as it is.

        `on_chunk` receives the text as it arrives, in another thread. With a key, `idempotency`, a
        repeated request gets the first one's answer. Raises TextRejected, PromptEmpty, InvalidParameter,
        ModelRetired, BudgetSpent or RequestRateExceeded. With a key it also raises IdempotencyKeyReused,
        IdempotencyKeyBusy while the first request is still being answered, OutcomeUnknown if the first
        request's process stopped before it had an answer, or the error that the first request ended with.
        """
        if idempotency and (earlier := self.idempotency.find(idempotency)):
            return self._earlier_text(user, request, idempotency, earlier)
        self._check(request)
        if request.style and find_style(request.style) is None:
            tips = ("Choose another style, or none.",)
            raise errors.InvalidParameter("There is no such style.", suggestions=tips, field="style")
        if idempotency and (earlier := self.idempotency.claim(idempotency)):
            return self._earlier_text(user, request, idempotency, earlier)
        try:
            future = self.enhancements.submit(user.user_id, request, on_chunk)
        except errors.ImageError:
            if idempotency:
                self.idempotency.release(idempotency)
            raise
        if idempotency:
            future.add_done_callback(lambda ended: self._keep_outcome(idempotency, ended))
        return future

    def _earlier_text(
        self,
        user: SignedIn,
        request: PromptRequest,
        idempotency: IdempotentRequest,
        earlier: IdempotentResponse,
    ) -> Future[str]:
        """The text that an earlier request with the same idempotency key was answered with."""
        if earlier.status is None and self.clock() - earlier.created_at < self._longest_call:
            raise errors.IdempotencyKeyBusy(retry_after=1)
        body = earlier.body or {}
        if earlier.status not in (None, HTTPStatus.OK):
            raise StoredError.from_json(body).to_error()
        text = body.get("text") or self.enhancements.cached_text(user.user_id, request)
        if text is None:
            raise errors.OutcomeUnknown(details="the app was stopped while the call was in flight")
        done: Future[str] = Future()
        done.set_result(text)
        return done

    @property
    def _longest_call(self) -> timedelta:
        """After this time without an answer, the process that sent the call counts as stopped."""
        return timedelta(seconds=2 * (self.settings.connect_timeout + self.settings.text_timeout))

    def _keep_outcome(self, idempotency: IdempotentRequest, ended: Future[str]) -> None:
        """Store the text or the error under the idempotency key.

        A cancelled request and a failure that cost nothing free the key instead: a retry is a new call.
        """
        error = None if ended.cancelled() else ended.exception()
        try:
            if ended.cancelled() or (isinstance(error, errors.ImageError) and error.charged is False):
                self.idempotency.release(idempotency)
            elif isinstance(error, errors.ImageError):
                self.idempotency.store_response(idempotency, error.status, asdict(StoredError.of(error)))
            elif error is None:
                self.idempotency.store_response(idempotency, HTTPStatus.OK, {"text": ended.result()})
        except errors.ImageError as fault:
            log.error("idempotent_answer_not_stored", code=fault.code, details=fault.details)

    def _check(self, request: PromptRequest) -> None:
        """Refuse a request that can't be sent."""
        check_prompt_texts(
            name=request.name,
            traits=request.traits,
            base_prompt=request.base_prompt,
            guidance=request.guidance,
        )
        if catalogue.is_official(self.settings):
            capabilities.check_text_model(self.settings.default_text_model, today=self.clock().date())
        if request.empty:
            raise errors.PromptEmpty(field="base_prompt")
