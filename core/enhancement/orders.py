"""Enhancement requests: check that a request can be sent, then start the enhancement."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

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
from core.provider import capabilities
from core.provider.chat import MAX_TIMEOUTS, EnhancedPrompt
from core.responses.parsing import TokenCount
from core.settings import Settings
from core.usage.idempotency import IdempotencyStore, IdempotentRequest

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnhancementOrders:
    """Checks requests for enhancements, and starts the enhancements.

    The Create page enhances the user's draft in the background. An API client waits for the text.
    """

    settings: Settings
    enhancements: Enhancements
    idempotency: IdempotencyStore
    clock: Callable[[], datetime] = utc_now

    def enhance_draft(self, user: SignedIn, draft: DraftState) -> None:
        """Start enhancing the user's draft in the background.

        If the description was enhanced and has not changed since, the user wants another text: the service is
        called and paid. Any other description that was enhanced within a day gets the cached text, free of
        charge. Raises TextRejected, PromptEmpty, ModelRetired, BudgetSpent or AppStopping.
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
    ) -> Future[EnhancedPrompt]:
        """Start an enhancement for an API client and return a future of the prompt. No draft is changed.

        `on_chunk` gets each piece of the text as it arrives, in another thread. If `idempotency` is given, a
        repeated request with the same key gets the response to the first request. Raises TextRejected,
        PromptEmpty, InvalidParameter, ModelRetired, BudgetSpent, RequestRateExceeded or AppStopping.

        With `idempotency`, there are more errors. Raises IdempotencyKeyReused if the key was used for a
        different request, and IdempotencyKeyBusy while the first request is still being processed. Raises
        OutcomeUnknown if the process of the first request stopped before the text was stored. If the first
        request failed, its error is raised again.
        """
        if idempotency and (earlier := self.idempotency.find(idempotency)):
            return self._earlier_prompt(user, request, idempotency, earlier)
        self._check(request)
        if request.style and find_style(request.style) is None:
            tips = ("Choose another style, or none.",)
            raise errors.InvalidParameter("There is no such style.", suggestions=tips, field="style")
        if idempotency and (earlier := self.idempotency.claim(idempotency)):
            return self._earlier_prompt(user, request, idempotency, earlier)
        try:
            future = self.enhancements.submit(user.user_id, request, on_chunk)
        except errors.ImageError:
            if idempotency:
                self.idempotency.release(idempotency)
            raise
        if idempotency:
            future.add_done_callback(lambda ended: self._keep_outcome(idempotency, ended))
        return future

    def _earlier_prompt(
        self,
        user: SignedIn,
        request: PromptRequest,
        idempotency: IdempotentRequest,
        earlier: IdempotentResponse,
    ) -> Future[EnhancedPrompt]:
        """Return a finished future of the prompt that an earlier request with the same idempotency key got.

        Raises the errors of `enhance_request` for a repeated request. `earlier` is the stored row of that
        request.
        """
        if earlier.status is None and self.clock() - earlier.created_at < self._longest_call:
            raise errors.IdempotencyKeyBusy(retry_after=1)
        body = earlier.body or {}
        if earlier.status not in (None, HTTPStatus.OK):
            raise StoredError.from_json(body).to_error()
        prompt = self._stored_prompt(body) or self.enhancements.find_cached(user.user_id, request)
        if prompt is None:
            unknown = errors.OutcomeUnknown(details="the app was stopped while the call was in flight")
            raise unknown.of_free_call() if self.settings.text_service.offline else unknown
        done: Future[EnhancedPrompt] = Future()
        done.set_result(prompt)
        return done

    def _stored_prompt(self, body: dict[str, Any]) -> EnhancedPrompt | None:
        """Return the prompt in `body`, which `_keep_outcome` stored, or None if `body` has none."""
        if not body.get("text"):
            return None
        # Rows of earlier releases have the text alone.
        error = StoredError.from_json(body["error"]).to_error() if body.get("error") else None
        return EnhancedPrompt(
            text=body["text"],
            added_back=tuple(body.get("added_back", ())),
            usage=TokenCount(),
            request_id=None,
            model=self.settings.default_text_model,
            price_micros=None,
            seconds=0.0,
            error=error,
        )

    @property
    def _longest_call(self) -> timedelta:
        """The time after which the process that sent a call counts as stopped, if no response was stored."""
        longest = self.settings.connect_timeout + (MAX_TIMEOUTS + 1) * self.settings.text_timeout
        return timedelta(seconds=longest)

    def _keep_outcome(self, idempotency: IdempotentRequest, ended: Future[EnhancedPrompt]) -> None:
        """Store the text or the error of an ended request under its idempotency key.

        If the request was cancelled or failed free of charge, make the key available again instead. If the
        client then repeats the request, a new call is made.
        """
        error = None if ended.cancelled() else ended.exception()
        try:
            if ended.cancelled() or (isinstance(error, errors.ImageError) and error.charged is False):
                self.idempotency.release(idempotency)
            elif isinstance(error, errors.ImageError):
                self.idempotency.store_response(idempotency, error.status, asdict(StoredError.of(error)))
            elif error is None:
                prompt = ended.result()
                beside = asdict(StoredError.of(prompt.error)) if prompt.error else None
                body = {"text": prompt.text, "added_back": prompt.added_back, "error": beside}
                self.idempotency.store_response(idempotency, HTTPStatus.OK, body)
        except errors.ImageError as fault:
            log.error("idempotent_response_not_stored", code=fault.code, details=fault.details)

    def _check(self, request: PromptRequest) -> None:
        """Raise an error if the request can't be sent: TextRejected, ModelRetired or PromptEmpty."""
        check_prompt_texts(
            name=request.name,
            traits=request.traits,
            base_prompt=request.base_prompt,
            guidance=request.guidance,
        )
        if self.settings.text_service.is_official:
            capabilities.check_text_model(self.settings.default_text_model, today=self.clock().date())
        if request.empty:
            raise errors.PromptEmpty(field="base_prompt")
