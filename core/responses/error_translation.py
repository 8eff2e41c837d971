"""Translates failures of an OpenAI-compatible service into the errors of core.errors.

A failure arrives as an HTTP error response, as an error event inside a stream, or as a broken connection.
Error responses and error events are parsed into a ServiceFault. The tables of error_classes then map the
fault to an error class by its code, its type, its words or its status.

The SDK is imported inside functions, because its import takes about 0.2 seconds.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import nan

import httpx2

from core.errors import (
    BadResponse,
    CertificateUntrusted,
    ConnectionLost,
    EditsUnsupported,
    FaultUnknown,
    ImageError,
    InvalidParameter,
    ModelUnavailable,
    NoImage,
    NotDrawable,
    PromptBlocked,
    ProxyRejected,
    QuotaSpent,
    RateLimited,
    ResponseLost,
    ResponseTimeout,
    SchemeWrong,
    ServiceBusy,
    ServiceFailed,
    ServiceTimeout,
    ServiceUnreachable,
    StreamingUnverified,
    WebPageReceived,
    exception_text,
    scrub,
)
from core.responses.error_bodies import (
    error_code,
    error_objects,
    error_place,
    error_text,
    exceeded_limits,
    first_text,
    reports_failure,
)
from core.responses.error_classes import (
    MONEY,
    NOT_THERE,
    OVERLOADED,
    RATE_LIMITED,
    VAGUE,
    class_by_code,
    class_by_status,
    class_by_words,
    class_of_refusal,
    passes_soon,
)
from core.responses.events import JsonObject
from core.responses.parsing import as_object

_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
# A service may ask for a pause of at most this length. A longer one is ignored: nobody waits for it.
MAX_RETRY_AFTER_SECONDS = 600
_REFUSAL_STATUSES = (400, 404, 405, 406, 415, 422, 501)
_PARAMETER_CODES = ("unsupported_parameter", "unsupported_value", "unknown_parameter")
# Failures to connect that another attempt wouldn't avoid, by the words of OpenSSL and httpx2.
_LASTING_FAILURES: tuple[tuple[re.Pattern[str], type[ImageError]], ...] = (
    (re.compile(r"CERTIFICATE_VERIFY_FAILED"), CertificateUntrusted),
    # If the service sends plain text instead of TLS, OpenSSL's error depends on the first bytes.
    (
        re.compile(r"WRONG_VERSION_NUMBER|RECORD_LAYER_FAILURE|PACKET_LENGTH_TOO_LONG|HTTP_REQUEST"),
        SchemeWrong,
    ),
    (re.compile(r"^4\d\d\b"), ProxyRejected),
)
_PARAMETER_REFUSAL = re.compile(
    r"un(?:supported|recogni[sz]ed|known|expected)"
    r"|(?:not|n't) (?:yet |be |currently )?"
    r"(?:support|permitted|allowed|recogni[sz]ed|implemented|accept|available)"
    r"|extra (?:inputs|fields)|should not exist|cannot find field|no such (?:parameter|field|argument)",
    re.IGNORECASE,
)
_VALUE_REFUSAL = re.compile(r"unsupported value", re.IGNORECASE)
_SENTENCE_END = re.compile(r"(?<=[.;!?])\s")
_STREAMING = re.compile(r"streaming", re.IGNORECASE)
# These words mean that the image was made before it was blocked.
_BLOCKED_OUTPUT = re.compile(r"(?:generated|output) (?:image|content|data)", re.IGNORECASE)
_MAX_DETAILS_LENGTH = 600
_MIN_SECRET_LENGTH = 6
# The database column for request ids holds 128 characters.
_REQUEST_ID = re.compile(r"[\w.:/-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ServiceFault:
    """One failure as the service reports it.

    `status` is the HTTP status, or None if the failure was reported inside a stream. `stage` says what
    moderation blocked: "input" for the prompt, or "output" for a generated image. `param` is the parameter
    that caused the failure. `retry_after` is in seconds. `limits` are the names that Gemini gives to the
    limits that were exceeded. `unlabelled` is true if the body of a successful response only seems to report
    a failure.
    """

    status: int | None = None
    code: str = ""
    type: str = ""
    message: str = ""
    param: str | None = None
    categories: tuple[str, ...] = ()
    stage: str = ""
    retry_after: float | None = None
    request_id: str | None = None
    limits: tuple[str, ...] = ()
    unlabelled: bool = False

    @property
    def refuses_streaming(self) -> bool:
        return "verified to stream this model" in self.message.lower()

    @property
    def refuses_value(self) -> bool:
        """Whether the service knows the parameter that it refuses, but not the value."""
        return self.code == "unsupported_value" or bool(_VALUE_REFUSAL.search(self.message))

    @property
    def may_be_charged(self) -> bool:
        """Whether the service may have generated and charged something before it reported the failure."""
        if self.status is None or self.status >= httpx2.codes.INTERNAL_SERVER_ERROR:
            return True
        return self.stage == "output" or bool(_BLOCKED_OUTPUT.search(self.message))

    def refused_parameters(self, sent: frozenset[str]) -> frozenset[str]:
        """Return the names of all parameters that the service refuses and that are in `sent`.

        `sent` holds the names of the optional parameters that were sent. Only sentences that refuse something
        are searched, because others may list the parameters that the service accepts.
        """
        coded = self.code in _PARAMETER_CODES
        if not coded and self.status not in _REFUSAL_STATUSES:
            return frozenset()
        refusals = [text for text in _SENTENCE_END.split(self.message) if _PARAMETER_REFUSAL.search(text)]
        names = {name for text in refusals for name in re.findall(r"\w+", text)}
        if self.param and (coded or refusals):
            names.add(self.param.partition(".")[0])
        if any(_STREAMING.search(text) for text in refusals):
            names.add("stream")
        return sent & names

    def details(self) -> str:
        """Return the status, the code and the message in one line.

        The line may contain secrets and have any length, so pass it to `redact`.
        """
        status = str(self.status or "")
        name = next((name for name in (self.code, self.type) if name and name != status), "")
        head = " ".join(filter(None, (status, name)))
        return ": ".join(part for part in (head, " ".join(self.message.split())) if part)


def fault_from_body(body: object, response: httpx2.Response | None = None) -> ServiceFault:
    """Return the fault that `body` describes. `body` is the parsed JSON of an error, in any shape, or a text.

    The status, the waiting time and the request id are taken from `response`, if it is given.
    """
    objects = error_objects(body)
    return ServiceFault(
        status=response.status_code if response is not None and not response.is_success else None,
        code=error_code(objects),
        type=first_text(objects, "type", "status"),
        message=error_text(body),
        param=first_text(objects, "param") or error_place(objects) or None,
        categories=next(filter(None, map(_categories, objects)), ()),
        stage=next(filter(None, map(_moderation_stage, objects)), ""),
        retry_after=_retry_after(response),
        request_id=read_request_id(response),
        limits=exceeded_limits(objects),
    )


def unlabelled_fault(body: JsonObject, response: httpx2.Response, *, streamed: bool) -> ServiceFault | None:
    """Return the fault in `body`, a JSON object of a response with a success status.

    `body` has no error under the key `error`. Returns None if it reports no failure in another way, for
    example because it holds a result. `streamed` says whether `body` is one event of a stream.
    """
    if not reports_failure(body, streamed=streamed):
        return None
    return replace(fault_from_body(body, response), unlabelled=True)


def sdk_errors(*own: type[Exception]) -> tuple[type[Exception], ...]:
    """Return the exception classes to catch while a call is sent or a response is read.

    These are the classes of the SDK, of its transport and of the parsers, and the classes in `own`.
    """
    import openai  # noqa: PLC0415

    return (
        *own, openai.OpenAIError, httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError, ValueError,
    )  # fmt: skip


def fault_from_error(error: Exception) -> ServiceFault | None:
    """Return the fault that `error` describes, if `error` is the SDK's exception for an HTTP error response.

    Returns None for any other exception. The body is read from the response, because the SDK's exception
    holds only the content of its key `error`.
    """
    import openai  # noqa: PLC0415

    if not isinstance(error, openai.APIStatusError):
        return None
    try:
        body = json.loads(error.response.content.decode("utf-8-sig"))
    except (ValueError, RecursionError, httpx2.StreamError):
        body = error.body if error.body is not None else error.message
    return fault_from_body(body, error.response)


def read_request_id(response: httpx2.Response | None, *, secret: str = "") -> str | None:
    """Return the service's id of the request, from the header `x-request-id` of `response`.

    Returns None if the header is missing, isn't a valid id, or contains `secret`.
    """
    found = response.headers.get("x-request-id", "") if response is not None else ""
    return found if _REQUEST_ID.fullmatch(found) and redact(found, secret) == found else None


def error_from_fault(fault: ServiceFault, *, paid: bool, secret: str = "", edit: bool = False) -> ImageError:
    """Return the error of core.errors that corresponds to `fault`.

    `paid` is true if the call buys images, and `edit` if it edits some. `secret` is the API key, which is
    removed from all texts.
    """
    details = redact(fault.details(), secret)
    request_id = None if redact(fault.request_id or "", secret) != fault.request_id else fault.request_id
    kind = _error_class(fault, paid=paid, edit=edit)
    if issubclass(kind, PromptBlocked):
        reasons = tuple(redact(reason, secret) for reason in fault.categories)
        blocked = kind(details=details, request_id=request_id, categories=reasons)
        blocked.charged = None if fault.may_be_charged else False
        return blocked
    # The offline engine's message lists the words that it knows.
    message = redact(fault.message, secret) if kind is FaultUnknown else None
    error = kind(
        message, details=details, field=fault.param, retry_after=fault.retry_after, request_id=request_id,
    )  # fmt: skip
    return error if paid else error.of_text_call()


def translate_error(
    error: Exception,
    *,
    paid: bool,
    secret: str = "",
    response: httpx2.Response | None = None,
    edit: bool = False,
) -> ImageError:
    """Return the error of core.errors for `error`, an exception of the SDK, its transport or a parser.

    `paid` is true if the call buys images, and `edit` if it edits some. `secret` is the API key, which is
    removed from all texts. `response` is the response that was being read when `error` was raised, or None.
    The request id is taken from `response`.
    """
    import openai  # noqa: PLC0415

    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    if isinstance(cause, httpx2.DecodingError):
        return _unreadable_response(cause, secret=secret, response=response)
    if isinstance(cause, httpx2.RequestError) or isinstance(error, openai.APIConnectionError):
        request_id = read_request_id(response, secret=secret)
        return _connection_error(cause or error, paid=paid, secret=secret, request_id=request_id)
    if fault := fault_from_error(error):
        return error_from_fault(fault, paid=paid, secret=secret, edit=edit)
    if isinstance(error, openai.APIError):
        return error_from_fault(
            fault_from_body(error.body or error.message, response), paid=paid, secret=secret
        )
    return _unreadable_response(error, secret=secret, response=response)


def _unreadable_response(
    error: BaseException, *, secret: str, response: httpx2.Response | None
) -> BadResponse:
    kind = WebPageReceived if _is_web_page(response) else BadResponse
    return kind(
        details=redact(exception_text(error), secret),
        request_id=read_request_id(response, secret=secret),
    )


def _is_web_page(response: httpx2.Response | None) -> bool:
    return response is not None and str(response.headers.get("content-type", "")).startswith("text/html")


def _error_class(fault: ServiceFault, *, paid: bool, edit: bool) -> type[ImageError]:
    """Return the class for `fault`: by its code, its type, its words or its status.

    The code takes precedence. The words count if there is no code, if the code is general, or if they report
    a spent quota although the code is that of a rate limit.
    """
    if fault.refuses_streaming:
        return StreamingUnverified
    coded = class_by_code(fault.code, fault.type)
    if coded is NotDrawable and fault.param and class_by_code(fault.code) is None:
        coded = InvalidParameter
    if fault.status in OVERLOADED and coded not in (*MONEY, ModelUnavailable):
        # An overloaded service often sends the type of an internal error.
        coded = ServiceBusy
    passing = coded in (RateLimited, ServiceBusy) or (coded is None and fault.status == RATE_LIMITED)
    worded = class_by_words(fault.message, only_money=passing)
    found = worded if worded and (passing or coded is None or coded in VAGUE) else coded
    if found is QuotaSpent and passes_soon(" ".join((fault.message, *fault.limits))):
        return RateLimited
    return found or _class_by_status(fault, paid=paid, edit=edit)


def _class_by_status(fault: ServiceFault, *, paid: bool, edit: bool) -> type[ImageError]:
    found = class_by_status(fault.status, fault.code, paid=paid)
    if found is None:
        return class_of_refusal(fault.message, fault.param)
    if found is ServiceFailed and fault.unlabelled:
        return NoImage if paid else BadResponse
    return EditsUnsupported if edit and fault.status in NOT_THERE else found


def _connection_error(error: BaseException, *, paid: bool, secret: str, request_id: str | None) -> ImageError:
    """Return the error for a connection that failed with `error`.

    The class of the returned error says whether nothing was sent, the service took too long, or the
    connection was lost. In the last two cases, a `paid` call may have been charged.
    """
    details = redact(exception_text(error), secret)
    if isinstance(error, _NEVER_SENT):
        lasting = (kind for pattern, kind in _LASTING_FAILURES if pattern.search(str(error)))
        unsent = next(lasting, ServiceUnreachable)(details=details)
        return unsent if paid else unsent.of_text_call()
    timeout, lost = (ResponseTimeout, ResponseLost) if paid else (ServiceTimeout, ConnectionLost)
    kind = timeout if isinstance(error, httpx2.TimeoutException) else lost
    return kind(details=details, request_id=request_id)


def _categories(error: JsonObject) -> tuple[str, ...]:
    """Return the categories for which moderation blocked a prompt, such as "violence".

    `error` is the service's error object, in OpenAI's or Azure's format. Returns () if it lists no
    categories.
    """
    listed = as_object(error.get("moderation_details")).get("categories")
    if isinstance(listed, dict):
        listed = [name for name, hit in listed.items() if hit]
    if isinstance(listed, list):
        return tuple(str(name) for name in listed)
    # Azure spells both names differently for images and for texts.
    inner = as_object(error.get("innererror") or error.get("inner_error"))
    results = as_object(inner.get("content_filter_result") or inner.get("content_filter_results"))
    return tuple(name for name, hit in results.items() if isinstance(hit, dict) and hit.get("filtered"))


def _moderation_stage(error: JsonObject) -> str:
    return str(as_object(error.get("moderation_details")).get("moderation_stage") or "")


def _retry_after(response: httpx2.Response | None) -> float | None:
    """Return how many seconds the service asks to wait before the next call.

    The value is in the header `retry-after-ms`, or in `retry-after` as seconds or a date. Returns None if
    neither header names a pause above zero and of at most MAX_RETRY_AFTER_SECONDS. The caller then chooses
    the pause.
    """
    headers = response.headers if response is not None else httpx2.Headers()
    values = (
        _number(headers.get("retry-after-ms", "")) / 1000,
        _number(headers.get("retry-after", "")),
        _seconds_until(headers.get("retry-after", "")),
    )
    return next((value for value in values if 0 < value <= MAX_RETRY_AFTER_SECONDS), None)


def _number(text: str) -> float:
    """Return the number in `text`, or NaN, which is neither above nor below any number."""
    try:
        return float(text)
    except ValueError:
        return nan


def _seconds_until(date: str) -> float:
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return nan


def redact(text: str, secret: str) -> str:
    """Return `text` with `secret` and all other API keys masked, cut to _MAX_DETAILS_LENGTH characters.

    The text is cut last, because half a key wouldn't be recognised.
    """
    redacted = text.replace(secret, "[secret]") if len(secret) >= _MIN_SECRET_LENGTH else text
    return scrub(redacted)[:_MAX_DETAILS_LENGTH]
