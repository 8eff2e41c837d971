"""Enhances prompts: reads an enhanced prompt from a text model as a stream and checks that it is complete."""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import httpx2
import structlog

from core.common.text import limit_combining_marks
from core.errors import (
    BadResponse,
    ContentFiltered,
    EnhancementRefused,
    EnhancementTooLong,
    EnhancementTruncated,
    ImageError,
    ImagePromptError,
    PromptBlocked,
    PromptEmpty,
    WebPageReceived,
)
from core.prompts.extraction import extract_prompt
from core.prompts.facts import append_facts, missing_facts
from core.prompts.reasoning import ReasoningFilter
from core.prompts.refusals import is_refusal
from core.prompts.request import PromptRequest
from core.provider.catalogue import MAX_PROMPT_LENGTH
from core.provider.connection import Connection, ResponseStream
from core.provider.payloads import Call, chat_call
from core.provider.pricing import text_price
from core.responses.events import JsonObject, read_events
from core.responses.limits import extend_deadline, recorded_bytes
from core.responses.parsing import ChatResponse, TokenCount, as_object, cost_on_error
from core.settings import Settings

log = structlog.get_logger(__name__)

# In characters: the longest text, including reasoning, that 16,000 output tokens stand for.
_MAX_RESPONSE_LENGTH = 100_000
# A whole enhancement may take this many times TEXT_TIMEOUT, which limits the time from word to word.
MAX_TIMEOUTS = 10
# The values of `finish_reason` in the services' dialects, in lower case. Only _END_REASONS say that the text
# is whole. Without a value, the end of the stream or of the JSON object says so.
_END_REASONS = frozenset({
    "stop", "end_turn", "end_of_turn", "eos", "eos_token", "eos_found", "stop_sequence", "stop_token",
    "stop_string", "stop_str", "end", "end_of_text", "done", "complete", "completed", "finish", "finished",
    "success", "normal",
})  # fmt: skip
_LENGTH_REASONS = frozenset({
    "length", "max_length", "max_tokens", "max_token", "max_output_tokens", "max_completion_tokens",
    "model_length", "token_limit", "limit", "length_limit", "context_length", "model_context_window_exceeded",
})  # fmt: skip
_FILTER_REASONS = frozenset({
    "content_filter", "content_filtered", "filtered", "safety", "image_safety", "blocklist", "blocked",
    "spii", "prohibited_content", "recitation", "sensitive", "guardrail_intervened", "error_toxic",
    "moderation",
})  # fmt: skip
_NO_REASONS = ("", "null", "none", "nil", "unspecified")
# The mark at the end of a stream. It is searched for in the last bytes of the body.
_END_MARK, _END_MARK_BYTES = re.compile(rb"^(?:data:)?[ \t]*\[DONE\]", re.MULTILINE), 4_096
_NOT_A_PROMPT = "The service answered with something that isn't a prompt."


@dataclass(frozen=True, slots=True)
class EnhancedPrompt:
    """The result of an enhancement.

    `text` is the enhanced prompt. `added_back` lists the facts (the name and the traits) that the text model
    had left out and that were appended to `text`. `price_micros` is in micro-USD, or None if the price is
    unknown. `seconds` is how long the call took. `error` is the error that the service reported beside the
    text, or None.
    """

    text: str
    added_back: tuple[str, ...]
    usage: TokenCount
    request_id: str | None
    model: str
    price_micros: int | None
    seconds: float
    error: ImageError | None = None


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
        PromptBlocked, ImagePromptError, or any error that `translate_error` returns. If the text was cut off,
        `unfinished_text` of the error is the part that had arrived.

        The first word must arrive within TEXT_TIMEOUT, and each further word within the same time after the
        last one. The whole text must arrive within MAX_TIMEOUTS times TEXT_TIMEOUT.
        """
        if request.empty:
            raise PromptEmpty
        return EnhancementStream(self._stream(request, chat_call(request, self._settings, user_tag)))

    def _stream(self, request: PromptRequest, call: Call) -> Generator[str, None, EnhancedPrompt]:
        connection, model = self._connection, self._settings.default_text_model
        started = connection.clock()
        stream = connection.open_with_retries(call, connection.deadline(self._settings.text_timeout))
        response = ChatResponse()
        with cost_on_error(response, lambda usage: text_price(model, usage)), _keep_unfinished(response):
            request_id = connection.request_id(stream.response)
            ended = yield from self._chunks(stream, response, request_id)
            text = self._finished_text(response, request, request_id, ended=ended)
            missing = missing_facts(text, request)
            return EnhancedPrompt(
                text=append_facts(text, missing),
                added_back=missing,
                usage=response.usage,
                request_id=request_id,
                model=model,
                price_micros=text_price(model, response.usage),
                seconds=connection.clock() - started,
                error=response.error,
            )

    def _chunks(
        self, stream: ResponseStream, response: ChatResponse, request_id: str | None
    ) -> Generator[str, None, bool]:
        """Yield the text of each chunk as it arrives, without reasoning, and add the chunk to `response`.

        Returns whether the service marked the end of the response, apart from its `finish_reason`. Raises
        EnhancementTooLong if the response exceeds _MAX_RESPONSE_LENGTH. Raises the error that the service
        reported, unless the whole text came beside it.
        """
        connection, limit = self._connection, self._settings.text_timeout
        last = connection.deadline(limit * MAX_TIMEOUTS)
        visible, is_completion = ReasoningFilter(), False
        with _whole_text_kept(response), connection.reading(stream, paid=False):
            for event in read_events(stream.response, images=False):
                reported = connection.reported_error(event, stream.response, paid=False)
                response.error = response.error or reported
                chunk = response.add_chunk(event.body)
                is_completion = is_completion or "message" in _first_choice(event.body)
                _check_length(response.length, _MAX_RESPONSE_LENGTH, request_id)
                if _has_words(event.body):
                    extend_deadline(stream.response, connection.deadline(limit), last)
                if shown := visible.feed(chunk):
                    yield shown
        if response.error:
            if _reason(response) not in _END_REASONS or not response.text:
                raise response.error
            log.warning("error_beside_text", code=response.error.code, details=response.error.details)
        if shown := visible.finish():
            yield shown
        return is_completion or _has_end_mark(stream.response)

    def _finished_text(
        self, response: ChatResponse, request: PromptRequest, request_id: str | None, *, ended: bool
    ) -> str:
        """Return the enhanced prompt in `response`.

        `ended` says whether the service marked the end of the response. Raises an ImageError if the model
        refused, or if the prompt is incomplete, empty or too long.
        """
        self._check_finished(response, request_id, ended=ended)
        text = extract_prompt(response.text)
        if not text:
            raise _no_prompt(response, request_id)
        if is_refusal(text, (request.base_prompt, request.guidance, request.name, *request.traits)):
            raise EnhancementRefused(details=self._connection.redact(text), request_id=request_id)
        _check_length(len(text), MAX_PROMPT_LENGTH, request_id)
        # `check_prompt_texts` rejects prompts with too many combining marks on one letter.
        return limit_combining_marks(text)

    def _check_finished(self, response: ChatResponse, request_id: str | None, *, ended: bool) -> None:
        reason = _reason(response)
        if response.refusal or reason == "refusal":
            details = self._connection.redact(response.refusal or response.text)
            raise EnhancementRefused(details=details, request_id=request_id)
        details = self._connection.redact(f"finish_reason {reason or 'missing'}")
        if reason in _FILTER_REASONS:
            filtered = ContentFiltered(details=details, request_id=request_id)
            filtered.charged = None
            raise filtered
        if reason in _LENGTH_REASONS:
            raise EnhancementTooLong(details=details, request_id=request_id)
        if reason not in _END_REASONS and not (ended and not reason):
            raise EnhancementTruncated(details=details, request_id=request_id)


def _no_prompt(response: ChatResponse, request_id: str | None) -> ImagePromptError:
    """Return the error for a response that is empty or holds nothing but reasoning and wrapping."""
    if not (response.text.strip() or response.has_reasoning):
        error = ImagePromptError(details="empty answer", request_id=request_id)
    else:
        error = ImagePromptError(
            "The text model sent only its reasoning and no prompt.",
            details="no text outside of the reasoning",
            request_id=request_id,
            suggestions=(
                "Try again, or shorten the description.",
                "Skip the enhancement and write the prompt yourself.",
                "If it happens often, ask your administrator to choose another TEXT_MODEL.",
            ),
        )
    error.charged = True
    return error


@contextmanager
def _whole_text_kept(response: ChatResponse) -> Iterator[None]:
    """Drop an ImageError raised in the with-block, which reads `response`, if the text's end has arrived.

    Otherwise, raise the error that the service reported in `response`, or else the error of the with-block.
    """
    try:
        yield
    except ImageError as error:
        if not isinstance(error, EnhancementTooLong) and _reason(response) in _END_REASONS:
            return
        if isinstance(error, BadResponse) and not isinstance(error, WebPageReceived):
            error.message = _NOT_A_PROMPT
        if response.error:
            raise response.error from error
        raise


def _has_end_mark(response: httpx2.Response) -> bool:
    """Return whether the end of a stream, `[DONE]`, is near the end of the received body."""
    return _END_MARK.search(recorded_bytes(response)[-_END_MARK_BYTES:]) is not None


@contextmanager
def _keep_unfinished(response: ChatResponse) -> Iterator[None]:
    """Add the prompt that has arrived so far to an ImageError raised in the with-block.

    If the model refused, or if the prompt was blocked, nothing is added.
    """
    try:
        yield
    except (PromptBlocked, EnhancementRefused):
        raise
    except ImageError as error:
        text = extract_prompt(response.text)
        error.unfinished_text = "" if is_refusal(text) else limit_combining_marks(text[:MAX_PROMPT_LENGTH])
        raise


def _reason(response: ChatResponse) -> str:
    """Return the `finish_reason` of `response` in lower case and without a prefix.

    Returns "" if there is none, or if it says nothing.
    """
    reason = response.finish_reason if isinstance(response.finish_reason, str) else ""
    name = re.sub(r"[\s-]+", "_", reason.strip().lower()).removeprefix("finish_reason_")
    return "" if name in _NO_REASONS else name


def _first_choice(event: JsonObject) -> JsonObject:
    choices = event.get("choices")
    return as_object(choices[0]) if isinstance(choices, list) and choices else {}


def _has_words(event: JsonObject) -> bool:
    """Return whether `event` has any text, which may be reasoning in a field of its own."""
    choice = _first_choice(event)
    message = as_object(choice.get("delta") or choice.get("message"))
    return any(value for name, value in message.items() if name != "role")


def _check_length(length: int, limit: int, request_id: str | None) -> None:
    if length > limit:
        raise EnhancementTooLong(details=f"more than {limit:,} characters", request_id=request_id)
