"""Enhances prompts: reads an enhanced prompt from a text model as a stream and checks that it is complete."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass

from core.common.text import limit_combining_marks
from core.errors import (
    BadResponse,
    ContentFiltered,
    EnhancementRefused,
    EnhancementTooLong,
    EnhancementTruncated,
    ImagePromptError,
    PromptEmpty,
    WebPageReceived,
)
from core.prompts.extraction import append_facts, extract_prompt, missing_facts
from core.prompts.request import PromptRequest
from core.provider.catalogue import MAX_PROMPT_LENGTH
from core.provider.connection import Connection, ResponseStream
from core.provider.payloads import Call, chat_call
from core.provider.pricing import TokenCount, text_price
from core.provider.responses import ChatResponse, cost_on_error
from core.settings import Settings

# In characters: the longest text, including reasoning, that 16,000 output tokens can hold.
_MAX_RESPONSE_LENGTH = 100_000
_NOT_A_PROMPT = "The service answered with something that isn't a prompt."


@dataclass(frozen=True, slots=True)
class EnhancedPrompt:
    """The result of an enhancement.

    `text` is the enhanced prompt. `added_back` lists the facts (the name and the traits) that the text model
    had left out and that were appended to `text`. `price_micros` is in micro-USD, or None if the price is
    unknown. `seconds` is how long the call took.
    """

    text: str
    added_back: tuple[str, ...]
    usage: TokenCount
    request_id: str | None
    model: str
    price_micros: int | None
    seconds: float


class EnhancementStream:
    """An iterator over the text of one enhancement, in the chunks that the service sends.

    After the last chunk, `result` holds the enhanced prompt. The iterator raises the errors that are listed
    in `ChatClient.enhance`.
    """

    def __init__(self, chunks: Generator[str, None, EnhancedPrompt]) -> None:
        self._chunks = chunks
        self._result: EnhancedPrompt | None = None

    def __iter__(self) -> EnhancementStream:
        return self

    def __next__(self) -> str:
        try:
            return next(self._chunks)
        except StopIteration as stop:
            self._result = stop.value or self._result
            raise StopIteration from None

    @property
    def result(self) -> EnhancedPrompt:
        """The finished enhancement. Raises RuntimeError before the iterator has ended."""
        if self._result is None:
            raise RuntimeError("the enhancement isn't finished")
        return self._result


class ChatClient:
    """Enhances prompts with the text model that `settings` select."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection = connection
        self._settings = settings

    def enhance(self, request: PromptRequest, *, user_tag: str) -> EnhancementStream:
        """Return a stream of the enhancement of `request`. Reading the first chunk sends the call.

        `user_tag` is the user's pseudonym from `payloads.user_tag`. Raises PromptEmpty at once if `request`
        is empty. Reading the stream raises EnhancementRefused, EnhancementTruncated, EnhancementTooLong,
        PromptBlocked, ImagePromptError, or any error that `translate_error` returns.
        """
        if request.empty:
            raise PromptEmpty
        return EnhancementStream(self._stream(request, chat_call(request, self._settings, user_tag)))

    def _stream(self, request: PromptRequest, call: Call) -> Generator[str, None, EnhancedPrompt]:
        connection, model = self._connection, self._settings.default_text_model
        started = connection.clock()
        stream = connection.open_with_retries(call, connection.deadline(self._settings.text_timeout))
        response = ChatResponse()
        with cost_on_error(response, lambda usage: text_price(model, usage)):
            request_id = connection.request_id(stream)
            yield from self._chunks(stream, response, request_id)
            text = self._finished_text(response, request_id)
            missing = missing_facts(text, request)
            return EnhancedPrompt(
                text=append_facts(text, missing),
                added_back=missing,
                usage=response.usage,
                request_id=request_id,
                model=model,
                price_micros=text_price(model, response.usage),
                seconds=connection.clock() - started,
            )

    def _chunks(
        self, stream: ResponseStream, response: ChatResponse, request_id: str | None
    ) -> Iterator[str]:
        """Yield the text of each chunk as it arrives, and add the chunk to `response`.

        Raises EnhancementTooLong if the response exceeds _MAX_RESPONSE_LENGTH.
        """
        connection = self._connection
        try:
            with connection.reading(stream, paid=False):
                for event in connection.events(stream, paid=False):
                    chunk = response.add_chunk(event)
                    _check_length(response.length, _MAX_RESPONSE_LENGTH, request_id)
                    if chunk:
                        yield chunk
        except BadResponse as error:
            if not isinstance(error, WebPageReceived):
                error.message = _NOT_A_PROMPT
            raise

    def _finished_text(self, response: ChatResponse, request_id: str | None) -> str:
        """Return the enhanced prompt in `response`.

        Raises an ImageError if the model refused, or if the prompt is incomplete, empty or too long.
        """
        self._check_finished(response, request_id)
        text = extract_prompt(response.text)
        if not text:
            error = ImagePromptError(details="empty answer", request_id=request_id)
            error.charged = True
            raise error
        _check_length(len(text), MAX_PROMPT_LENGTH, request_id)
        # `check_prompt_texts` rejects prompts with too many combining marks on one letter.
        return limit_combining_marks(text)

    def _check_finished(self, response: ChatResponse, request_id: str | None) -> None:
        if response.refusal:
            details = self._connection.redact(response.refusal)
            raise EnhancementRefused(details=details, request_id=request_id)
        if response.finish_reason == "content_filter":
            filtered = ContentFiltered(details="finish_reason content_filter", request_id=request_id)
            filtered.charged = None
            raise filtered
        if response.finish_reason == "length":
            raise EnhancementTooLong(details="finish_reason length", request_id=request_id)
        if response.finish_reason is None:
            raise EnhancementTruncated(
                details="the answer ended without a finish_reason", request_id=request_id
            )


def _check_length(length: int, limit: int, request_id: str | None) -> None:
    if length > limit:
        raise EnhancementTooLong(details=f"more than {limit:,} characters", request_id=request_id)
