"""The failures that the offline engine can act out, as data: write `!fail quota` in a prompt."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Any

_CALL = re.compile(r"!fail\s+([a-z]+)", re.IGNORECASE)


class Act(Enum):
    """What a fault does: answer with an error, break the connection, or spoil a good answer."""

    ERROR = auto()
    TIMEOUT = auto()
    REFUSED = auto()
    DROP = auto()
    HTML = auto()
    GARBLED = auto()
    TRUNCATED = auto()
    DAMAGED = auto()
    EMPTY = auto()


@dataclass(frozen=True, slots=True)
class Fault:
    """One failure. `status` to `extra` fill OpenAI's error body and matter for `Act.ERROR` only."""

    description: str
    act: Act = Act.ERROR
    status: int = 400
    message: str = ""
    code: str | None = None
    type: str = "invalid_request_error"
    param: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON, in OpenAI's shape."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return {"error": error | dict(self.extra)}


def _rate(description: str, message: str, code: str, after: str) -> Fault:
    """A 429 that says in `after` seconds to come back."""
    return Fault(
        description, status=429, message=message, code=code, type="requests", headers={"retry-after": after}
    )


FAULTS: Mapping[str, Fault] = {
    "quota": Fault(
        "the account's quota is used up",
        status=429,
        message="You exceeded your current quota, please check your plan and billing details.",
        code="insufficient_quota",
        type="insufficient_quota",
    ),
    "credit": Fault(
        "the prepaid credit is used up",
        status=429,
        message="Your credit balance is exhausted. Add credits to continue.",
        code="credit_balance_exhausted",
        type="insufficient_quota",
    ),
    "billing": Fault(
        "the monthly spending limit is reached",
        message="Billing hard limit has been reached",
        code="billing_hard_limit_reached",
        type="billing_limit_user_error",
    ),
    "rate": _rate(
        "too many requests in a minute",
        "Rate limit reached for images per minute. Please try again in 12s.",
        "rate_limit_exceeded",
        "12",
    ),
    "slow": _rate(
        "the traffic rose too fast",
        "Your requests increased too quickly. Please slow down.",
        "slow_down",
        "30",
    ),
    "overloaded": Fault(
        "the service is overloaded",
        status=503,
        message="The server is overloaded or not ready yet. Please try again later.",
        code="server_is_overloaded",
        type="service_unavailable_error",
        headers={"retry-after": "20"},
    ),
    "server": Fault(
        "the service has a fault of its own",
        status=500,
        message="The server had an error while processing your request. Sorry about that!",
        code="server_error",
        type="server_error",
    ),
    "key": Fault(
        "the API key is wrong",
        status=401,
        message="Incorrect API key provided: sk-offli********************demo.",
        code="invalid_api_key",
    ),
    "organisation": Fault(
        "the organisation isn't verified",
        status=403,
        message="Your organization must be verified to use this model.",
    ),
    "region": Fault(
        "the country isn't supported",
        status=403,
        message="Country, region, or territory not supported",
        code="unsupported_country_region_territory",
        type="request_forbidden",
    ),
    "model": Fault(
        "the model doesn't exist for this account",
        status=404,
        message="The model does not exist or you do not have access to it.",
        code="model_not_found",
        param="model",
    ),
    "moderation": Fault(
        "the safety system blocks the prompt",
        message="Your request was rejected by the safety system.",
        code="moderation_blocked",
        type="image_generation_user_error",
        extra={"moderation_details": {"moderation_stage": "input", "categories": ["violence"]}},
    ),
    "policy": Fault(
        "the prompt goes against the content policy",
        message="Your request was rejected as a result of our safety system: content policy.",
        code="content_policy_violation",
    ),
    "size": Fault(
        "the size doesn't fit the model",
        message="Invalid size '1x1'. Supported sizes are 1024x1024, 1536x1024, 1024x1536 and auto.",
        code="invalid_value",
        param="size",
    ),
    "parameter": Fault(
        "the model doesn't know a parameter",
        message="Unsupported parameter: 'background' is not supported with this model.",
        code="unsupported_parameter",
        param="background",
    ),
    "long": Fault(
        "the prompt is too long",
        message="Invalid 'prompt': string too long. Expected a string with maximum length 32000.",
        code="string_above_max_length",
        param="prompt",
    ),
    "toolarge": Fault("the request is too large", status=413, message="Request Entity Too Large"),
    "timeout": Fault("no answer comes in time", Act.TIMEOUT),
    "drop": Fault("the connection breaks in the middle", Act.DROP),
    "refused": Fault("the service can't be reached", Act.REFUSED),
    "html": Fault("a web page comes instead of an answer", Act.HTML),
    "garbled": Fault("the answer isn't valid JSON", Act.GARBLED),
    "truncated": Fault("the answer ends too early", Act.TRUNCATED),
    "damaged": Fault("the picture's file is damaged", Act.DAMAGED),
    "empty": Fault("the answer holds no picture", Act.EMPTY),
}


def fault_in(text: str) -> Fault | None:
    """The fault that `text` asks for, or None. An unknown word gives an error that lists the known."""
    called = _CALL.search(text)
    if called is None:
        return None
    unknown = f"Unknown word after !fail: {called[1]!r}. Known words: {', '.join(FAULTS)}."
    return FAULTS.get(called[1].lower(), Fault("", message=unknown, code="invalid_value", param="prompt"))
