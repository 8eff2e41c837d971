"""Translates failures of an OpenAI-compatible service into the errors of core.errors.

A failure arrives as an HTTP error response, as an error event inside a stream, or as a broken connection.
Error responses and error events are parsed into a ServiceFault. Tables then map the fault to an error class
by the fault's code, type, message or status.

The SDK is imported inside functions, because its import takes about 0.2 seconds.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import httpx2

from core.errors import (
    ApiKeyRejected,
    BadResponse,
    BillingLimitReached,
    ConnectionLost,
    ContentFiltered,
    ImageError,
    ImageGenerationError,
    InvalidParameter,
    ModelUnavailable,
    NotDrawable,
    OrganisationUnverified,
    ParameterRefused,
    PromptBlocked,
    PromptTooLong,
    QuotaSpent,
    RateLimited,
    RegionUnsupported,
    RequestTooLarge,
    ResponseLost,
    ResponseTimeout,
    ServiceAccessDenied,
    ServiceAddressWrong,
    ServiceBusy,
    ServiceFailed,
    ServiceTimeout,
    ServiceUnreachable,
    StreamingUnverified,
    WebPageReceived,
    scrub,
)
from core.provider.responses import as_object

_BY_CODE: dict[str, type[ImageError]] = {
    "invalid_api_key": ApiKeyRejected,
    "model_not_found": ModelUnavailable,
    "unsupported_country_region_territory": RegionUnsupported,
    "insufficient_quota": QuotaSpent,
    "credit_balance_exhausted": QuotaSpent,
    "billing_hard_limit_reached": BillingLimitReached,
    "rate_limit_exceeded": RateLimited,
    "slow_down": RateLimited,
    "server_is_overloaded": ServiceBusy,
    "server_error": ServiceFailed,
    "moderation_blocked": PromptBlocked,
    "content_policy_violation": PromptBlocked,
    "content_filter": ContentFiltered,
    "image_generation_user_error": NotDrawable,
    "invalid_value": InvalidParameter,
    "unknown_parameter": ParameterRefused,
    "unsupported_parameter": ParameterRefused,
    "unsupported_value": ParameterRefused,
    "string_above_max_length": PromptTooLong,
    "context_length_exceeded": PromptTooLong,
}
# The atomic groups, written as (?>…), never backtrack. The search therefore takes linear time.
_BY_MESSAGE: tuple[tuple[re.Pattern[str], type[ImageError]], ...] = (
    (re.compile(r"must be verified", re.IGNORECASE), OrganisationUnverified),
    (
        re.compile(r"^(?>.*?rejected ).*safety system|content (management )?policy", re.I | re.M),
        PromptBlocked,
    ),
    (
        re.compile(r"^(?>.*?model ).*(not found|does not exist|no access)", re.I | re.M),
        ModelUnavailable,
    ),
)
_BY_STATUS: dict[int, type[ImageError]] = {
    400: InvalidParameter,
    401: ApiKeyRejected,
    402: QuotaSpent,
    403: ServiceAccessDenied,
    404: ServiceAddressWrong,
    405: ServiceAddressWrong,
    413: RequestTooLarge,
    422: InvalidParameter,
    429: RateLimited,
    503: ServiceBusy,
    529: ServiceBusy,
}
_GATEWAY_TIMEOUTS = (504, 524)
_NEVER_SENT = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,
    httpx2.UnsupportedProtocol,
    httpx2.LocalProtocolError,
)
_PARAMETER_REFUSAL = re.compile(
    r"un(supported|recogni[sz]ed|known|expected)|not (supported|permitted|allowed)|extra inputs",
    re.IGNORECASE,
)
_MAX_DETAILS_LENGTH = 600
_MIN_SECRET_LENGTH = 6
# The database column for request ids holds 128 characters.
_REQUEST_ID = re.compile(r"[\w.:/-]{1,128}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ServiceFault:
    """One failure as the service reports it.

    `status` is the HTTP status, or None if the failure was reported inside a stream. `stage` says what
    moderation blocked: "input" for the prompt, or "output" for a generated image. `param` is the parameter
    that caused the failure. `retry_after` is in seconds.
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

    @property
    def refuses_streaming(self) -> bool:
        return "verified to stream this model" in self.message.lower()

    @property
    def may_be_charged(self) -> bool:
        """Whether the service may have generated and charged something before it reported the failure."""
        return self.status is None or self.stage == "output"

    def refused_parameter(self, sent: frozenset[str]) -> str | None:
        """Return the name of the parameter that the service refuses, if this name is in `sent`.

        `sent` holds the names of the optional parameters that were sent. Returns None if none of them was
        refused.
        """
        coded = self.code in ("unsupported_parameter", "unsupported_value", "unknown_parameter")
        if not coded and not (self.status in (400, 422) and _PARAMETER_REFUSAL.search(self.message)):
            return None
        named = [self.param.partition(".")[0]] if self.param else re.findall(r"\w+", self.message)
        return next((name for name in named if name in sent), None)

    def details(self) -> str:
        """Return the status, the code and the message in one line.

        The line may contain secrets and have any length, so pass it to `redact`.
        """
        head = " ".join(str(part) for part in (self.status, self.code or self.type) if part)
        return ": ".join(part for part in (head, " ".join(self.message.split())) if part)


def fault_from_body(body: object, response: httpx2.Response | None = None) -> ServiceFault:
    """Return the fault that `body` describes. `body` is the parsed JSON of an error.

    The error's fields may be directly in `body` or in an object under the key `error`. The status, the
    waiting time and the request id are taken from `response`, if it is given.
    """
    found = body.get("error", body) if isinstance(body, dict) else body
    error: dict[str, Any] = found if isinstance(found, dict) else {"message": str(found or "")}
    return ServiceFault(
        status=response.status_code if response is not None and not response.is_success else None,
        code=_text(error.get("code")),
        type=_text(error.get("type")),
        message=_text(error.get("message") or error.get("detail")),
        param=_text(error.get("param")) or None,
        categories=_categories(error),
        stage=_text(as_object(error.get("moderation_details")).get("moderation_stage")),
        retry_after=_retry_after(response),
        request_id=read_request_id(response),
    )


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

    Returns None for any other exception. The SDK has already removed the `error` envelope from the JSON body
    that the exception holds.
    """
    import openai  # noqa: PLC0415

    if not isinstance(error, openai.APIStatusError):
        return None
    return fault_from_body(error.body if error.body is not None else error.message, error.response)


def read_request_id(response: httpx2.Response | None, *, secret: str = "") -> str | None:
    """Return the service's id of the request, from the header `x-request-id` of `response`.

    Returns None if the header is missing, isn't a valid id, or contains `secret`.
    """
    found = response.headers.get("x-request-id", "") if response is not None else ""
    return found if _REQUEST_ID.fullmatch(found) and redact(found, secret) == found else None


def error_from_fault(fault: ServiceFault, *, paid: bool, secret: str = "") -> ImageError:
    """Return the error of core.errors that corresponds to `fault`.

    `paid` is true if the call buys images. `secret` is the API key, which is removed from all texts.
    """
    details = redact(fault.details(), secret)
    request_id = None if redact(fault.request_id or "", secret) != fault.request_id else fault.request_id
    kind = _error_class(fault, paid=paid)
    if issubclass(kind, PromptBlocked):
        reasons = tuple(redact(reason, secret) for reason in fault.categories)
        blocked = kind(details=details, request_id=request_id, categories=reasons)
        blocked.charged = None if fault.may_be_charged else False
        return blocked
    return kind(details=details, field=fault.param, retry_after=fault.retry_after, request_id=request_id)


def translate_error(
    error: Exception, *, paid: bool, secret: str = "", response: httpx2.Response | None = None
) -> ImageError:
    """Return the error of core.errors for `error`, an exception of the SDK, its transport or a parser.

    `paid` is true if the call buys images. `secret` is the API key, which is removed from all texts.
    `response` is the response that was being read when `error` was raised, or None. The request id is taken
    from `response`.
    """
    import openai  # noqa: PLC0415

    cause = error.__cause__ if isinstance(error, openai.APIConnectionError) else error
    if isinstance(cause, httpx2.DecodingError):
        return _unreadable_response(cause, secret=secret, response=response)
    if isinstance(cause, httpx2.RequestError) or isinstance(error, openai.APIConnectionError):
        request_id = read_request_id(response, secret=secret)
        return _connection_error(cause or error, paid=paid, secret=secret, request_id=request_id)
    if fault := fault_from_error(error):
        return error_from_fault(fault, paid=paid, secret=secret)
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
        details=redact(f"{type(error).__name__}: {error}", secret),
        request_id=read_request_id(response, secret=secret),
    )


def _is_web_page(response: httpx2.Response | None) -> bool:
    return response is not None and str(response.headers.get("content-type", "")).startswith("text/html")


def _error_class(fault: ServiceFault, *, paid: bool) -> type[ImageError]:
    if fault.refuses_streaming:
        return StreamingUnverified
    found = _BY_CODE.get(fault.code) or _BY_CODE.get(fault.type)
    if found is NotDrawable and fault.param and fault.code not in _BY_CODE:
        return InvalidParameter
    by_message = next((kind for pattern, kind in _BY_MESSAGE if pattern.search(fault.message)), None)
    if found is NotDrawable:
        return by_message or found
    return found or by_message or _error_class_by_status(fault.status, paid=paid)


def _error_class_by_status(status: int | None, *, paid: bool) -> type[ImageError]:
    if status in _GATEWAY_TIMEOUTS:
        return ResponseTimeout if paid else ServiceBusy
    if status is None or status >= httpx2.codes.INTERNAL_SERVER_ERROR:
        return _BY_STATUS.get(status or 0, ServiceFailed)
    return _BY_STATUS.get(
        status, ServiceAddressWrong if status < httpx2.codes.BAD_REQUEST else ImageGenerationError
    )


def _connection_error(error: BaseException, *, paid: bool, secret: str, request_id: str | None) -> ImageError:
    """Return the error for a connection that failed with `error`.

    The class of the returned error says whether nothing was sent, the service took too long, or the
    connection was lost. In the last two cases, a `paid` call may have been charged.
    """
    details = redact(f"{type(error).__name__}: {error}", secret)
    if isinstance(error, _NEVER_SENT):
        return ServiceUnreachable(details=details)
    timeout, lost = (ResponseTimeout, ResponseLost) if paid else (ServiceTimeout, ConnectionLost)
    kind = timeout if isinstance(error, httpx2.TimeoutException) else lost
    return kind(details=details, request_id=request_id)


def _categories(error: dict[str, Any]) -> tuple[str, ...]:
    """Return the categories for which moderation blocked a prompt, such as "violence".

    `error` is the service's error object, in OpenAI's or Azure's format. Returns () if it lists no
    categories.
    """
    listed = as_object(error.get("moderation_details")).get("categories")
    if isinstance(listed, dict):
        listed = [name for name, hit in listed.items() if hit]
    if isinstance(listed, list):
        return tuple(str(name) for name in listed)
    results = as_object(as_object(error.get("innererror")).get("content_filter_result"))
    return tuple(name for name, hit in results.items() if isinstance(hit, dict) and hit.get("filtered"))


def _retry_after(response: httpx2.Response | None) -> float | None:
    """Return how many seconds the service asks to wait before the next call.

    The value is in the header `retry-after-ms`, or in `retry-after` as seconds or a date. Returns None if
    neither header is valid.
    """
    headers = response.headers if response is not None else httpx2.Headers()
    for name, divisor in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers.get(name, "")) / divisor)
        except ValueError:
            continue
    try:
        moment = parsedate_to_datetime(headers.get("retry-after", ""))
        return max(0.0, (moment - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return None


def _text(value: object) -> str:
    return str(value) if value is not None else ""


def redact(text: str, secret: str) -> str:
    """Return `text` with `secret` and all other API keys masked, cut to _MAX_DETAILS_LENGTH characters.

    The text is cut last, because half a key wouldn't be recognised.
    """
    redacted = text.replace(secret, "[secret]") if len(secret) >= _MIN_SECRET_LENGTH else text
    return scrub(redacted)[:_MAX_DETAILS_LENGTH]
