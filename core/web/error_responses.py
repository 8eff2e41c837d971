"""What is answered to a request that is refused, or that has failed: one shape for all of them."""

from __future__ import annotations

import math
from typing import Any

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from core import errors
from core.common.text import storable_text
from core.web import request_context
from core.web.request_context import HEADER


class ErrorBody(BaseModel):
    code: str = Field(examples=["IMG-FIND-001"])
    message: str = Field(description="For people")
    details: str = Field(description="Technical, and often empty")
    suggestions: list[str] = Field(description="What can be done")
    retryable: bool = Field(description="Whether the same request may succeed later")
    request_id: str = Field(description="As in the header `X-Request-ID`, and in the log")


class Failed(BaseModel):
    """The one shape of every failure."""

    error: ErrorBody


def error_body(error: errors.ImageError) -> dict[str, Any]:
    """The one shape of every failure; its details end with the service's id of its request, and the cost."""
    foreign = f"request {error.request_id} at the service" if error.request_id else ""
    might_cost = error.charged is not False or isinstance(error, errors.PromptBlocked)
    cost = errors.COST_MESSAGES[error.charged] if might_cost else ""
    body = ErrorBody(
        code=error.code,
        message=storable_text(error.message),
        details=storable_text("; ".join(filter(None, (error.details, foreign, cost)))),
        suggestions=list(error.suggestions),
        retryable=error.retryable,
        request_id=request_context.current(),
    )
    return Failed(error=body).model_dump()


def failure(error: errors.ImageError, status: int) -> JSONResponse:
    """The one shape of every failure."""
    body = error_body(error)
    headers = {"Cache-Control": "no-store", HEADER: body["error"]["request_id"]}
    if status == 401:
        wrong = ', error="invalid_token"' if isinstance(error, errors.TokenRejected) else ""
        headers["WWW-Authenticate"] = f'Bearer realm="Atelier"{wrong}'
    if isinstance(error, errors.RangeRejected):
        headers["Content-Range"] = f"bytes */{error.size}"
    if error.retry_after is not None:
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    return JSONResponse(body, status, headers)
