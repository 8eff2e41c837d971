"""The errors that each API route can respond with, as they appear in the OpenAPI document."""

from __future__ import annotations

from typing import Any

from core import errors
from core.web.error_responses import Failed

# Errors that reject what a request asks for, such as its prompt, model or size.
REQUEST_ERRORS = (
    errors.PromptEmpty,
    errors.PromptTooLong,
    errors.PromptFlagged,
    errors.TextRejected,
    errors.InvalidParameter,
    errors.ModelRetired,
    errors.ModelUnavailable,
    errors.BudgetSpent,
    errors.IdempotencyKeyReused,
)
# Errors that come from the image service, or from calling it.
SERVICE_ERRORS = (
    errors.RateLimited,
    errors.QuotaSpent,
    errors.BillingLimitReached,
    errors.PromptBlocked,
    errors.RequestTooLarge,
    errors.EditsUnsupported,
    errors.HeaderMissing,
    errors.ApiKeyRejected,
    errors.ServiceAccessDenied,
    errors.ServiceFailed,
    errors.ServiceBusy,
    errors.ServiceUnreachable,
    errors.OutcomeUnknown,
)
# Errors that any route can respond with.
_COMMON_ERRORS: tuple[type[errors.ImageError], ...] = (
    errors.RequestRejected,
    errors.ImageAuthError,
    errors.TokenRejected,
    errors.ScopeMissing,
    errors.OriginRejected,
    errors.BodyTooLarge,
    errors.RequestRateExceeded,
    errors.ImageError,
    errors.DatabaseError,
    errors.StorageError,
    errors.StorageFull,
)
_IMAGE_BYTES = {"image/*": {"schema": {"type": "string", "format": "binary"}}}
IMAGE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The bytes", "content": _IMAGE_BYTES},
    206: {"description": "The requested range", "content": _IMAGE_BYTES},
    304: {"description": "Unchanged since the version in `If-None-Match`"},
}
_SCHEMA_REF = "#/components/schemas/{model}"


def document_errors(*kinds: type[errors.ImageError]) -> dict[int | str, dict[str, Any]]:
    """Return the value of FastAPI's `responses=` for a route that can raise `kinds`.

    The dictionary has one OpenAPI response for each HTTP status. The response's description lists the codes
    and messages of the errors with this status. The errors that any route can raise are included.
    """
    lines = {422: [f"`{errors.RequestRejected.code}` A field is missing, unknown or of the wrong type."]}
    for kind in (*_COMMON_ERRORS, *kinds):
        lines.setdefault(kind.status, []).append(f"`{kind.code}` {kind.message}")
    # Refer to one shared schema. If each status of each route had its own model, every start would take 0.1 s
    # longer.
    content = {"application/json": {"schema": {"$ref": _SCHEMA_REF.format(model=Failed.__name__)}}}
    return {
        status: {"content": content, "description": "\n\n".join(dict.fromkeys(descriptions))}
        for status, descriptions in sorted(lines.items())
    }


def error_schemas() -> dict[str, Any]:
    """Return the JSON schemas of an error response, by the schemas' names.

    They belong into `components.schemas` of the OpenAPI document. The responses of `document_errors` refer to
    them.
    """
    schema = Failed.model_json_schema(ref_template=_SCHEMA_REF)
    definitions: dict[str, Any] = schema.pop("$defs")
    return definitions | {Failed.__name__: schema}
