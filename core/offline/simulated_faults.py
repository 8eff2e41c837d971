"""The faults that the offline engine simulates if a prompt asks for one, as in `!fail quota`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

from core.responses.error_classes import UNKNOWN_FAULT

_FAULT_CALL = re.compile(r"!fail(?![\w-])(?:\s+(\w{1,40}))?", re.IGNORECASE)


class FaultKind(Enum):
    """The effect of a simulated fault: an error response, a broken connection, or a damaged response."""

    ERROR = auto()
    TIMEOUT = auto()
    CONNECTION_REFUSED = auto()
    CONNECTION_LOST = auto()
    """The connection breaks. A stream breaks before its last event."""
    HTML = auto()
    """The response is a web page instead of JSON."""
    INVALID_JSON = auto()
    TRUNCATED = auto()
    """The response ends too early. A stream ends without its last event."""
    DAMAGED_IMAGE = auto()
    EMPTY = auto()
    """The response has no text and no image."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One simulated fault. All fields except `kind` describe the error response of FaultKind.ERROR.

    `extra` holds further fields of the error object.
    """

    kind: FaultKind = FaultKind.ERROR
    status: int = 400
    message: str = ""
    code: str | None = None
    type: str = "invalid_request_error"
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The JSON object of the error response, in OpenAI's format."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error | dict(self.extra)}


def _too_many_requests(message: str, code: str, retry_after: str) -> Fault:
    """Return a fault that is a response with status 429. `retry_after` is in seconds."""
    headers = {"retry-after": retry_after}
    return Fault(status=429, message=message, code=code, type="requests", headers=headers)


FAULTS: Mapping[str, Fault] = {
    "quota": Fault(
        status=429,
        message="You exceeded your current quota, please check your plan and billing details.",
        code="insufficient_quota",
        type="insufficient_quota",
    ),
    "credit": Fault(
        status=429,
        message="Your credit balance is exhausted. Add credits to continue.",
        code="credit_balance_exhausted",
        type="insufficient_quota",
    ),
    "billing": Fault(
        message="Billing hard limit has been reached",
        code="billing_hard_limit_reached",
        type="billing_limit_user_error",
    ),
    "rate": _too_many_requests(
        "Rate limit reached for images per minute. Please try again in 12s.",
        "rate_limit_exceeded",
        "12",
    ),
    "slow": _too_many_requests(
        "Your requests increased too quickly. Please slow down.",
        "slow_down",
        "30",
    ),
    "overloaded": Fault(
        status=503,
        message="The server is overloaded or not ready yet. Please try again later.",
        code="server_is_overloaded",
        type="service_unavailable_error",
        headers={"retry-after": "20"},
    ),
    "server": Fault(
        status=500,
        message="The server had an error while processing your request. Sorry about that!",
        code="server_error",
        type="server_error",
    ),
    "key": Fault(
        status=401,
        message="Incorrect API key provided: sk-offli********************demo.",
        code="invalid_api_key",
    ),
    "organisation": Fault(
        status=403,
        message="Your organization must be verified to use this model.",
    ),
    "region": Fault(
        status=403,
        message="Country, region, or territory not supported",
        code="unsupported_country_region_territory",
        type="request_forbidden",
    ),
    "model": Fault(
        status=404,
        message="The model does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    ),
    "moderation": Fault(
        message="Your request was rejected by the safety system.",
        code="moderation_blocked",
        type="image_generation_user_error",
        extra={"moderation_details": {"moderation_stage": "input", "categories": ["violence"]}},
    ),
    "policy": Fault(
        message="Your request was rejected as a result of our safety system: content policy.",
        code="content_policy_violation",
    ),
    "size": Fault(
        message="Invalid size '1x1'. Supported sizes are 1024x1024, 1536x1024, 1024x1536 and auto.",
        code="invalid_value",
        param="size",
    ),
    "parameter": Fault(
        message="Unsupported parameter: 'background' is not supported with this model.",
        code="unsupported_parameter",
        param="background",
    ),
    "long": Fault(
        message="Invalid 'prompt': string too long. Expected a string with maximum length 32000.",
        code="string_above_max_length",
        param="prompt",
    ),
    "toolarge": Fault(status=413, message="Request Entity Too Large"),
    "timeout": Fault(FaultKind.TIMEOUT),
    "drop": Fault(FaultKind.CONNECTION_LOST),
    "refused": Fault(FaultKind.CONNECTION_REFUSED),
    "html": Fault(FaultKind.HTML),
    "garbled": Fault(FaultKind.INVALID_JSON),
    "truncated": Fault(FaultKind.TRUNCATED),
    "damaged": Fault(FaultKind.DAMAGED_IMAGE),
    "empty": Fault(FaultKind.EMPTY),
}


def fault_in(text: str) -> Fault | None:
    """Return the fault that `text` asks for with `!fail NAME`, or None if `text` has no `!fail`.

    If the name is missing or unknown, the returned fault is an error response that lists the known names.
    """
    call = _FAULT_CALL.search(text)
    if call is None:
        return None
    name = call[1] or ""
    known = f"After !fail, write one of these words: {', '.join(FAULTS)}."
    unknown = f"There is no fault “{name}”. {known}" if name else known
    return FAULTS.get(name.lower(), Fault(message=unknown, code=UNKNOWN_FAULT, param="prompt"))
